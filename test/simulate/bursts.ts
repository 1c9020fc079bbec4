// Hundreds of programs of each mount ask at once: more than a session has places for on its connection, and more than it has
// numbers of requests that change something. Each mount has written a file that the programs of the other one look at, change and
// write; what a mount must do to give its own up (reserve, store, commit) must not wait behind its programs, who wait for the other.
//
// Orders of so many are not tried: values are registers (registers.ts). What is written goes to places of its own, all of which must be there in the end. The files are removed
// afterwards, so the model does not know of them.

import type { ByteString, InodeId } from "../../fs/types.ts";
import { ROOT_INODE } from "../../fs/types.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import type { MachineClock } from "./clock.ts";
import type { Kernel } from "./kernel.ts";
import type { File } from "./kernel-core.ts";
import { type Register, Registers } from "./registers.ts";
import type { RanBound, Scene } from "./scene.ts";
import type { Step } from "./steps.ts";
import { Violation } from "./story.ts";
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

/** The name of a register of bytes. */
const PLACE = /^bytes at (\d+) of (\d+)$/;

interface Shared {
  inode: InodeId;
  /** Open on both mounts. */
  files: File[];
  bytes: Uint8Array;
  mode: Register;
}

class Burst {
  readonly #scene: Scene;
  readonly random: () => number;
  readonly registers: Registers;
  readonly shared: Shared[] = [];
  #slots = 0;

  constructor(scene: Scene, step: Step) {
    this.#scene = scene;
    this.random = seededRandom(step.numbers[0]);
    this.registers = new Registers(step);
  }

  /** A file of each mount, dirty there, open on both. */
  async prepare(): Promise<void> {
    const { world } = this.#scene;
    for (const mount of world.kernels.keys()) {
      const name = nameOf(mount);
      const files: File[] = [];
      for (const kernel of world.kernels) files.push(await kernel.open(ROOT_INODE, name, O_RDWR | O_CREAT));
      const { inode } = files[0];
      const bytes = new Uint8Array(FILE_BYTES_MIN + randomBelow(this.random, FILE_BYTES_MORE) * this.random()).fill(1 + mount);
      // Its size is known to both kernels: else a read may find none (Linux ends it at the size that it knew).
      await world.kernels[mount].data.truncate(files[mount], bytes.length);
      await world.kernels[1 - mount].attributes(inode);
      this.shared.push({ inode, files, bytes, mode: this.registers.of(`mode of ${inode}`, "644") });
    }
    await Promise.all(
      this.shared.map(({ files, bytes }, mount) => world.kernels[mount].data.write(files[mount], 0, bytes, false)),
    );
  }

  /** What one program of the mount does. */
  program(mount: number, kind: string, number: number): RanBound {
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
        return this.#makeAndRemove(kernel, `burst-${mount}-${number}` as ByteString);
      default:
        return this.registers.does(`fsync ${own.inode}`, () => kernel.sync(own.files[mount]));
    }
  }

  #stat(kernel: Kernel, { inode, bytes, mode }: Shared): RanBound {
    return this.registers.reads(mode, `stat ${inode}`, async () => {
      const attributes = await kernel.attributes(inode);
      if (attributes.size !== bytes.length)
        throw new Violation(`amid a burst, file ${inode} of ${bytes.length} bytes has ${attributes.size}`);
      return (attributes.mode & 0o7777).toString(8);
    });
  }

  #chmod(kernel: Kernel, { inode, mode }: Shared, number: number): RanBound {
    const wanted = 0o400 + (number % 0o400);
    return this.registers.sets(mode, wanted.toString(8), `chmod ${inode}`, () => kernel.changeMode(inode, wanted));
  }

  #setXattr(kernel: Kernel, inode: InodeId, number: number): RanBound {
    const name = `user.b${number % 5}` as ByteString;
    const register = this.registers.of(`${name} of ${inode}`, "");
    return this.registers.sets(register, String(number), `set ${name} of ${inode}`, () =>
      kernel.setXattr(inode, name, Buffer.from(String(number))),
    );
  }

  /** Each to a place of its own, as long as there are enough. */
  #write(kernel: Kernel, { inode, files, bytes }: Shared, mount: number): RanBound {
    const offset = (this.#slots++ * 7919 * SLOT_BYTES) % (bytes.length - SLOT_BYTES);
    const slot = offset - (offset % SLOT_BYTES);
    const data = new Uint8Array(SLOT_BYTES).fill(100 + (this.#slots % 100));
    const register = this.registers.of(`bytes at ${slot} of ${inode}`, String(bytes[slot]));
    return this.registers.sets(register, String(data[0]), `write at ${slot} of ${inode}`, () =>
      kernel.data.write(files[mount], slot, data, false),
    );
  }

  #read(kernel: Kernel, { inode, files, bytes }: Shared, mount: number): RanBound {
    const names = [...this.registers.entries()].map(([name]) => PLACE.exec(name));
    const places = names.filter((match) => match !== null && Number(match[2]) === inode);
    const place = places.length === 0 ? 0 : Number(places[randomBelow(this.random, places.length)]![1]);
    const register = this.registers.of(`bytes at ${place} of ${inode}`, String(bytes[place]));
    return this.registers.reads(register, `read at ${place} of ${inode}`, async () =>
      String((await kernel.data.read(files[mount], place, SLOT_BYTES))[0]),
    );
  }

  #makeAndRemove(kernel: Kernel, name: ByteString): RanBound {
    return this.registers.does(`make and remove ${name}`, async () => {
      const file = await kernel.open(ROOT_INODE, name, O_RDWR | O_CREAT | O_EXCL);
      await kernel.close(file);
      await kernel.remove(ROOT_INODE, name, false);
    });
  }

  /** Both mounts see everything that was done. */
  async checkEnd(): Promise<void> {
    for (const [mount, kernel] of this.#scene.world.kernels.entries()) {
      for (const shared of this.shared) {
        for (const look of this.#looks(kernel, shared, mount)) await this.#scene.run(look);
        const problem = this.#contentProblem(shared, await kernel.data.read(shared.files[mount], 0, 2 ** 24));
        if (problem !== null)
          throw new Violation(`after a burst, mount ${mount} sees other bytes in ${shared.inode}: ${problem}`);
      }
    }
  }

  #looks(kernel: Kernel, shared: Shared, mount: number): RanBound[] {
    const looks = [this.#stat(kernel, shared)];
    for (const [name, register] of this.registers.entries()) {
      const match = /^(user\.b\d) of (\d+)$/.exec(name);
      if (match === null || Number(match[2]) !== shared.inode || register.set.length === 0) continue;
      looks.push(
        this.registers.reads(register, `${name} on mount ${mount}`, async () =>
          Buffer.from(await kernel.xattr(shared.inode, match[1] as ByteString)).toString(),
        ),
      );
    }
    return looks;
  }

  /** null, or where the bytes are not those that were written. Where two programs wrote to one place, either's are right. */
  #contentProblem({ inode, bytes }: Shared, found: Uint8Array): string | null {
    const left = found.slice();
    for (const [name, { set }] of this.registers.entries()) {
      const match = PLACE.exec(name);
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
      await kernels[randomBelow(this.random, 2)].remove(ROOT_INODE, nameOf(mount), false);
    }
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
      const ran = one.program(mount, first ? "chmod" : kindOf(mix, one.random), number);
      const delayMs = first ? 0 : 0.3 + one.random();
      running.push(clock.sleep(delayMs).then(() => scene.run(ran)));
    }
  const mishap = beginMishap(scene, step, clock);
  const limitMs = BURST_MAX_MS + (mishap === null ? 0 : DOWN_MS);
  const over = Promise.all([...running, mishap]);
  await scene.drive(over, began + limitMs);
  const open = one.registers.ran.filter(({ ended }) => ended === Infinity);
  if (open.length > 0)
    throw new Violation(
      `a burst of ${programs} programs a mount is not over after ${limitMs} ms: ${open.length} wait, the first for ${open[0].text}`,
    );
  await scene.drive(over);
  clock.end();
  counts.bursts++;
  await scene.drive(one.checkEnd());
  one.registers.check(scene, "amid a burst");
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

function kindOf(mix: Record<string, number>, random: () => number): string {
  let left = 1000 * random();
  return Object.entries(mix).find(([, share]) => (left -= share) < 0)?.[0] ?? "stat";
}

function nameOf(mount: number): ByteString {
  return `burst-${mount}` as ByteString;
}
