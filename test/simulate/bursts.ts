// Hundreds of programs of each mount ask at once: more than a session has places for on its connection, and more than it has
// numbers of requests that change something. Each mount has written a file that the programs of the other one look at, change and
// write; what a mount must do to give its own up (reserve, store, commit) must not wait behind its programs, who wait for the other.
//
// Orders of so many are not tried: each value that is read must be the first one, or that of a change that may have been the last
// before it (a register). What is written goes to places of its own, all of which must be there in the end. The files are removed
// afterwards, so the model does not know of them.

import type { ByteString, InodeId } from "../../fs/types.ts";
import { ROOT_INODE } from "../../fs/types.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import type { Bound } from "./bound.ts";
import type { MachineClock } from "./clock.ts";
import type { Kernel } from "./kernel.ts";
import type { File } from "./kernel-core.ts";
import { type RanBound, ranOf, type Scene } from "./scene.ts";
import type { Step } from "./steps.ts";
import { describe, Violation } from "./story.ts";
import { restart } from "./strikes.ts";
import { SESSION_LIMIT_MS } from "./world.ts";

/** Above the 256 requests that a connection has in flight; the seed adds up to PROGRAMS_MORE. */
const PROGRAMS_MIN = 300;
const PROGRAMS_MORE = 80;
/** All are answered within this, beside the time that the daemon is away: who waits for a lease that cannot come waits for a session's end. */
const BURST_MAX_MS = SESSION_LIMIT_MS;
const SLOT_BYTES = 64;
const FILE_BYTES_MIN = 300_000;
const FILE_BYTES_MORE = 1_500_000;
const DOWN_MS = 1_500;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;

/** Of a thousand programs, how many do what. `places`: all wait for the other mount. `numbers`: one does, the rest change something of their own. */
const MIXES: Record<string, number>[] = [
  { stat: 960, chmod: 10, write: 20, sync: 10 },
  { chmod: 5, xattrOwn: 900, write: 60, stat: 35 },
  { stat: 450, chmod: 60, xattr: 60, xattrOwn: 150, write: 60, writeOther: 20, read: 100, make: 60, sync: 40 },
];

/** What has one value at a time, and who has set or read it. */
interface Register {
  first: string;
  set: { one: RanBound; value: string }[];
  read: { one: RanBound; value: () => string }[];
}

interface Shared {
  inode: InodeId;
  /** Open on both mounts. */
  files: File[];
  bytes: Uint8Array;
  mode: Register;
}

class Burst {
  readonly #scene: Scene;
  readonly #step: Step;
  readonly #random: () => number;
  readonly #registers = new Map<string, Register>();
  readonly ran: RanBound[] = [];
  readonly shared: Shared[] = [];
  #slots = 0;

  constructor(scene: Scene, step: Step) {
    this.#scene = scene;
    this.#step = step;
    this.#random = seededRandom(step.numbers[0]);
  }

  /** A file of each mount, dirty there, open on both. */
  async prepare(): Promise<void> {
    const { world } = this.#scene;
    for (const mount of world.kernels.keys()) {
      const name = nameOf(mount);
      const files: File[] = [];
      for (const kernel of world.kernels) files.push(await kernel.open(ROOT_INODE, name, O_RDWR | O_CREAT));
      const { inode } = files[0];
      const bytes = new Uint8Array(FILE_BYTES_MIN + randomBelow(this.#random, FILE_BYTES_MORE) * this.#random()).fill(1 + mount);
      this.shared.push({ inode, files, bytes, mode: this.#register(`mode of ${inode}`, "644") });
    }
    await Promise.all(
      this.shared.map(({ files, bytes }, mount) => world.kernels[mount].data.write(files[mount], 0, bytes, false)),
    );
  }

  #register(name: string, first: string): Register {
    let register = this.#registers.get(name);
    if (register === undefined) this.#registers.set(name, (register = { first, set: [], read: [] }));
    return register;
  }

  /** What one program of the mount does. */
  program(mount: number, kind: string, number: number): Bound {
    const kernel = this.#scene.world.kernels[mount];
    const [own, other] = [this.shared[mount], this.shared[1 - mount]];
    switch (kind) {
      case "stat":
        return this.#stat(kernel, other);
      case "chmod":
        return this.#chmod(kernel, other, number);
      case "xattr":
        return this.#setXattr(kernel, other.inode, number);
      case "xattrOwn":
        return this.#setXattr(kernel, own.inode, number);
      case "write":
        return this.#write(kernel, own, mount);
      case "writeOther":
        return this.#write(kernel, other, mount);
      case "read":
        return this.#read(kernel, [own, other][number % 2], mount);
      case "make":
        return makeAndRemove(kernel, `burst-${mount}-${number}` as ByteString);
      default:
        return { text: `fsync ${own.inode}`, run: () => kernel.sync(own.files[mount]), apply: () => true };
    }
  }

  #stat(kernel: Kernel, { inode, bytes, mode }: Shared): Bound {
    let shown = "";
    const run = async (): Promise<void> => {
      const attributes = await kernel.attributes(inode);
      shown = (attributes.mode & 0o7777).toString(8);
      if (attributes.size !== bytes.length)
        throw new Violation(`amid a burst, file ${inode} of ${bytes.length} bytes has ${attributes.size}`);
    };
    return this.#reads(mode, { text: `stat ${inode}`, run, apply: () => true }, () => shown);
  }

  #chmod(kernel: Kernel, { inode, mode }: Shared, number: number): Bound {
    const wanted = 0o400 + (number % 0o400);
    return this.#sets(mode, wanted.toString(8), {
      text: `chmod ${inode}`,
      run: () => kernel.changeMode(inode, wanted),
      apply: () => true,
    });
  }

  #setXattr(kernel: Kernel, inode: InodeId, number: number): Bound {
    const name = `user.b${number % 5}` as ByteString;
    const value = String(number);
    const run = (): Promise<void> => kernel.setXattr(inode, name, Buffer.from(value));
    return this.#sets(this.#register(`${name} of ${inode}`, ""), value, {
      text: `set ${name} of ${inode}`,
      run,
      apply: () => true,
    });
  }

  /** Each to a place of its own. */
  #write(kernel: Kernel, { inode, files, bytes }: Shared, mount: number): Bound {
    const offset = (this.#slots++ * 7919 * SLOT_BYTES) % (bytes.length - SLOT_BYTES);
    const slot = offset - (offset % SLOT_BYTES);
    const data = new Uint8Array(SLOT_BYTES).fill(100 + (this.#slots % 100));
    const register = this.#register(`bytes at ${slot} of ${inode}`, String(bytes[slot]));
    const run = async (): Promise<void> => void (await kernel.data.write(files[mount], slot, data, false));
    return this.#sets(register, String(data[0]), { text: `write at ${slot} of ${inode}`, run, apply: () => true });
  }

  #read(kernel: Kernel, { inode, files, bytes }: Shared, mount: number): Bound {
    const places = [...this.#registers.keys()].filter((name) => name.endsWith(` of ${inode}`) && name.startsWith("bytes at "));
    const place = places.length === 0 ? 0 : Number(places[randomBelow(this.#random, places.length)].split(" ")[2]);
    let shown = "";
    const run = async (): Promise<void> => {
      shown = String((await kernel.data.read(files[mount], place, SLOT_BYTES))[0]);
    };
    const register = this.#register(`bytes at ${place} of ${inode}`, String(bytes[place]));
    return this.#reads(register, { text: `read at ${place} of ${inode}`, run, apply: () => true }, () => shown);
  }

  #sets(register: Register, value: string, bound: Bound): Bound {
    register.set.push({ one: this.#add(bound), value });
    return bound;
  }

  #reads(register: Register, bound: Bound, value: () => string): Bound {
    register.read.push({ one: this.#add(bound), value });
    return bound;
  }

  #add(bound: Bound): RanBound {
    const one = ranOf(bound, this.#step);
    this.ran.push(one);
    return one;
  }

  addTo(bound: Bound): RanBound {
    return this.ran.find((one) => one.bound === bound) ?? this.#add(bound);
  }

  /** Every value that was read may have been the last one set. */
  checkRegisters(): void {
    for (const [name, { first, set, read }] of this.#registers)
      for (const { one, value } of read) {
        const possible = set
          .filter((change) =>
            mayBeLast(
              change.one,
              one,
              set.map((other) => other.one),
            ),
          )
          .map((change) => change.value);
        if (!set.some((change) => change.one.ended < one.began)) possible.push(first);
        if (!possible.includes(value()))
          throw new Violation(`amid a burst, ${name} is ${value()}, and should be one of ${possible.slice(0, 8).join(" ")}`);
      }
  }

  /** Both mounts see everything that was done. */
  async checkEnd(): Promise<void> {
    const { world } = this.#scene;
    for (const kernel of world.kernels) {
      const mount = world.kernels.indexOf(kernel);
      for (const shared of this.shared) {
        for (const bound of this.#looks(kernel, shared, mount)) await this.#scene.run(this.addTo(bound));
        const problem = this.#contentProblem(shared, await kernel.data.read(shared.files[mount], 0, 2 ** 24));
        if (problem !== null)
          throw new Violation(`after a burst, mount ${mount} sees other bytes in ${shared.inode}: ${problem}`);
      }
    }
  }

  #looks(kernel: Kernel, shared: Shared, mount: number): Bound[] {
    const looks = [this.#stat(kernel, shared)];
    for (const [name, register] of this.#registers) {
      const match = /^(user\.b\d) of (\d+)$/.exec(name);
      if (match === null || Number(match[2]) !== shared.inode || register.set.length === 0) continue;
      let shown = "";
      const run = async (): Promise<void> => {
        shown = Buffer.from(await kernel.xattr(shared.inode, match[1] as ByteString)).toString();
      };
      looks.push(this.#reads(register, { text: `${name} on mount ${mount}`, run, apply: () => true }, () => shown));
    }
    return looks;
  }

  /** null, or where the bytes are not those that were written. Where two programs wrote to one place, either's are right. */
  #contentProblem({ inode, bytes }: Shared, found: Uint8Array): string | null {
    const left = found.slice();
    for (const [name, { set }] of this.#registers) {
      const match = /^bytes at (\d+) of (\d+)$/.exec(name);
      if (match === null || Number(match[2]) !== inode || set.length === 0) continue;
      const slot = left.subarray(Number(match[1]), Number(match[1]) + SLOT_BYTES);
      if (!set.some(({ value }) => slot.every((byte) => byte === Number(value)))) return `${name} are ${slot[0]}`;
      slot.fill(bytes[0]);
    }
    const at = left.findIndex((byte, index) => byte !== bytes[index]);
    if (at >= 0) return `byte ${at} is ${left[at]}`;
    return found.length === bytes.length ? null : `${found.length} of ${bytes.length}`;
  }

  async remove(): Promise<void> {
    const { kernels } = this.#scene.world;
    for (const [mount, { files }] of this.shared.entries()) {
      for (const [index, kernel] of kernels.entries()) {
        const error = await kernel.close(files[index]);
        if (error !== null) throw new Violation(`after a burst, close says ${error}`);
      }
      await kernels[randomBelow(this.#random, 2)].remove(ROOT_INODE, nameOf(mount), false);
    }
  }

  get random(): () => number {
    return this.#random;
  }
}

export async function burst(scene: Scene, step: Step): Promise<void> {
  const { world, counts, story } = scene;
  await scene.settleFull();
  const one = new Burst(scene, step);
  await scene.drive(one.prepare());
  const mix = MIXES[step.numbers[1] % MIXES.length];
  const programs = PROGRAMS_MIN + (step.numbers[2] % PROGRAMS_MORE);
  story.tell(() => `${programs} programs of each mount at once: ${JSON.stringify(mix)}`);
  const clock = world.clock.machine();
  const began = world.clock.nowMs;
  const running: Promise<unknown>[] = [];
  for (let number = 0; number < programs; number++)
    for (const mount of world.kernels.keys()) {
      const first = number === 0 && mix.chmod !== undefined;
      const bound = one.program(mount, first ? "chmod" : kindOf(mix, one.random), number);
      const ran = one.addTo(bound);
      const delayMs = first ? 0 : 0.3 + one.random();
      running.push(clock.sleep(delayMs).then(() => scene.run(ran)));
    }
  const mishap = beginMishap(scene, step, clock);
  const limitMs = BURST_MAX_MS + (mishap === null ? 0 : DOWN_MS);
  const over = Promise.all([...running, mishap]);
  await scene.drive(over, began + limitMs);
  const open = one.ran.filter(({ ended }) => ended === Infinity);
  if (open.length > 0)
    throw new Violation(
      `a burst of ${programs} programs a mount is not over after ${limitMs} ms: ${open.length} wait, the first for ${open[0].text}`,
    );
  await scene.drive(over);
  clock.end();
  const refused = one.ran.find(({ outcome }) => outcome !== null && "error" in outcome);
  if (refused !== undefined) throw new Violation(`amid a burst, ${refused.text} -> ${describe(refused.outcome)}`);
  counts.bursts++;
  await scene.drive(one.checkEnd());
  one.checkRegisters();
  await scene.drive(one.remove());
  await scene.syncAll();
}

/** Where all mounts are processes of their own, the daemon may be killed amid it. */
function beginMishap(scene: Scene, { numbers }: Step, clock: MachineClock): Promise<void> | null {
  if (numbers[3] % 4 === 0 && scene.world.allRemote)
    return clock.sleep(numbers[4] % 60).then(() => restart(scene, undefined, numbers[5] % DOWN_MS, clock));
  if (numbers[3] % 4 !== 1) return null;
  const mount = scene.world.isRemote(0) ? numbers[5] % 2 : 1;
  return clock.sleep(numbers[4] % 60).then(() => {
    scene.counts.connectionsCut++;
    scene.world.cutConnection(mount);
  });
}

function makeAndRemove(kernel: Kernel, name: ByteString): Bound {
  const run = async (): Promise<void> => {
    const file = await kernel.open(ROOT_INODE, name, O_RDWR | O_CREAT | O_EXCL);
    await kernel.close(file);
    await kernel.remove(ROOT_INODE, name, false);
  };
  return { text: `make and remove ${name}`, run, apply: () => true };
}

/** Whether no other change must lie between the change and the look. */
function mayBeLast(change: RanBound, look: RanBound, all: readonly RanBound[]): boolean {
  if (change.began > look.ended) return false;
  return !all.some((other) => other !== change && other.began > change.ended && other.ended < look.began);
}

function kindOf(mix: Record<string, number>, random: () => number): string {
  let left = 1000 * random();
  return Object.entries(mix).find(([, share]) => (left -= share) < 0)?.[0] ?? "stat";
}

function nameOf(mount: number): ByteString {
  return `burst-${mount}` as ByteString;
}
