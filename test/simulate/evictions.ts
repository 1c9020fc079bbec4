// A file is forgotten (evicted) by one mount while the other one takes it back: programs of one mount open, write and close it again and
// again, and others beside it, more than that mount keeps idle; its kernel forgets what it does not use; programs of the other mount write
// the same bytes. What was written last must be there, on both.
//
// Mounts keep few idle files here (World, `inodeLimits`). The files are removed afterwards, so the model does not know of them.

import type { ByteString } from "../../fs/types.ts";
import { ROOT_INODE } from "../../fs/types.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import type { Kernel } from "./kernel.ts";
import type { File } from "./kernel-core.ts";
import { type Register, Registers } from "./registers.ts";
import type { RanBound, Scene } from "./scene.ts";
import type { Step } from "./steps.ts";
import { Violation } from "./story.ts";
import { SESSION_LIMIT_MS } from "./world.ts";

const TURNS = 6;
const FILLERS = 4;
const PLACES = 3;
const PLACE_BYTES = 64;
/** A pause between what a program does. */
const PAUSE_MS = 25;
const O_RDWR = 2;
const O_CREAT = 0o100;
const NAME = "evicted" as ByteString;

class Eviction {
  readonly #scene: Scene;
  readonly registers: Registers;
  readonly random: () => number;
  readonly #places: Register[] = [];
  readonly #mode: Register;
  #written = 0;

  constructor(scene: Scene, step: Step) {
    this.#scene = scene;
    this.random = seededRandom(step.numbers[0]);
    this.registers = new Registers(step);
    for (let place = 0; place < PLACES; place++) this.#places.push(this.registers.of(`place ${place}`, "0"));
    this.#mode = this.registers.of("mode", "644");
  }

  async #do(one: RanBound): Promise<void> {
    await this.#scene.run(one);
  }

  pause(): Promise<void> {
    const clock = this.#scene.world.clock.machine();
    return clock.sleep(PAUSE_MS * this.random() * this.random());
  }

  async prepare(): Promise<void> {
    const [kernel] = this.#scene.world.kernels;
    const file = await kernel.open(ROOT_INODE, NAME, O_RDWR | O_CREAT);
    await kernel.data.write(file, 0, new Uint8Array(4096 * PLACES), false);
    await kernel.sync(file);
    await kernel.close(file);
  }

  async #open(kernel: Kernel, name: ByteString): Promise<File> {
    let file: File | null = null;
    const run = async (): Promise<void> => void (file = await kernel.open(ROOT_INODE, name, O_RDWR | O_CREAT));
    await this.#do(this.registers.does(`open ${name}`, run));
    if (file === null) throw new Violation(`amid evictions, ${name} cannot be opened`);
    return file;
  }

  #close(kernel: Kernel, file: File): Promise<void> {
    return this.#do(
      this.registers.does(`close ${file.inode}`, async () => {
        const error = await kernel.close(file);
        if (error !== null) throw new Violation(`amid evictions, close says ${error}`);
      }),
    );
  }

  /** Opens the file, writes or reads a place of it, and closes it. */
  async use(mount: number): Promise<void> {
    const kernel = this.#scene.world.kernels[mount];
    for (let turn = 0; turn < TURNS; turn++) {
      const file = await this.#open(kernel, NAME);
      if (this.random() < 0.5) await this.#do(this.registers.does(`stat ${file.inode}`, () => kernel.attributes(file.inode)));
      if (this.random() < 0.4) await this.#do(this.registers.does(`extend ${file.inode}`, () => this.#extend(kernel, file)));
      const reads = this.random() < 0.4;
      await this.#do(reads ? this.#read(kernel, file, mount) : this.#write(kernel, file, mount));
      if (this.random() < 0.2) await this.#do(this.#chmod(kernel, file));
      if (this.random() < 0.3) await this.pause();
      if (this.random() < 0.3) await this.#do(this.registers.does(`fsync ${file.inode}`, () => kernel.sync(file)));
      await this.#close(kernel, file);
      await this.pause();
    }
  }

  #write(kernel: Kernel, file: File, mount: number): RanBound {
    const place = randomBelow(this.random, PLACES);
    const value = (++this.#written % 250) + 1;
    const data = new Uint8Array(PLACE_BYTES).fill(value);
    return this.registers.sets(this.#places[place], String(value), `mount ${mount}: write ${value} at place ${place}`, () =>
      kernel.data.write(file, place * 4096, data, false),
    );
  }

  #read(kernel: Kernel, file: File, mount: number, place = randomBelow(this.random, PLACES)): RanBound {
    return this.registers.reads(this.#places[place], `mount ${mount}: read place ${place}`, async () =>
      String((await kernel.data.read(file, place * 4096, PLACE_BYTES))[0]),
    );
  }

  /** A size that is new to the other mount: its kernel gets time to take it before pages are dropped, and so recalls take longer. */
  #extend(kernel: Kernel, file: File): Promise<void> {
    return kernel.data.truncate(file, 4096 * PLACES + ++this.#written);
  }

  #chmod(kernel: Kernel, { inode }: File): RanBound {
    const mode = 0o400 + (++this.#written % 0o377);
    return this.registers.sets(this.#mode, mode.toString(8), `chmod ${inode}`, () => kernel.changeMode(inode, mode));
  }

  /** Opens and closes others, so that the file is the least lately used. */
  async fill(mount: number): Promise<void> {
    const kernel = this.#scene.world.kernels[mount];
    for (let turn = 0; turn < 4 * TURNS; turn++) {
      const file = await this.#open(kernel, fillerOf(mount, randomBelow(this.random, FILLERS)));
      await this.#close(kernel, file);
      if (this.random() < 0.2) await this.pause();
    }
  }

  /** The kernel forgets the file and looks it up again at once, while the other mount changes it. */
  async forget(mount: number): Promise<void> {
    const { kernels } = this.#scene.world;
    const [kernel, other] = [kernels[mount], kernels[1 - mount]];
    for (let turn = 0; turn < TURNS; turn++) {
      await kernel.shrink();
      const file = await this.#open(other, NAME);
      await Promise.all([
        this.#do(this.#chmod(other, file)),
        this.#do(this.registers.does(`look up ${NAME}`, () => kernel.find(ROOT_INODE, NAME))),
      ]);
      await this.#close(other, file);
      await this.#do(this.#stat(kernel));
    }
  }

  #stat(kernel: Kernel): RanBound {
    return this.registers.reads(this.#mode, `stat ${NAME}`, async () => {
      const inode = await kernel.find(ROOT_INODE, NAME);
      return ((await kernel.attributes(inode!)).mode & 0o7777).toString(8);
    });
  }

  async checkEnd(): Promise<void> {
    for (const [mount, kernel] of this.#scene.world.kernels.entries()) {
      const file = await this.#open(kernel, NAME);
      for (let place = 0; place < PLACES; place++) await this.#do(this.#read(kernel, file, mount, place));
      await this.#do(this.#stat(kernel));
      await this.#close(kernel, file);
    }
  }

  async remove(): Promise<void> {
    const { kernels } = this.#scene.world;
    const names = [NAME];
    for (const mount of kernels.keys()) for (let number = 0; number < FILLERS; number++) names.push(fillerOf(mount, number));
    for (const name of names) {
      const kernel = kernels[randomBelow(this.random, 2)];
      if ((await kernel.find(ROOT_INODE, name)) !== null) await kernel.remove(ROOT_INODE, name, false);
    }
  }
}

export async function evict(scene: Scene, step: Step): Promise<void> {
  const { world, counts, story } = scene;
  await scene.settleFull();
  const eviction = new Eviction(scene, step);
  await scene.drive(eviction.prepare());
  story.tell(() => "files are evicted while they are recalled");
  const began = world.clock.nowMs;
  const users = [0, 0, 1, 1].slice(step.numbers[1] % 2, 3 + (step.numbers[1] % 2));
  const programs = [...users.map((mount) => eviction.use(mount)), eviction.fill(0), eviction.fill(1)];
  const over = Promise.all(programs);
  await scene.drive(over, began + SESSION_LIMIT_MS);
  const open = eviction.registers.ran.find(({ ended }) => ended === Infinity);
  if (open !== undefined) {
    const concerned = eviction.registers.ran.filter(({ text, ended }) => ended === Infinity || !/filler|close/.test(text));
    scene.note(concerned.sort((a, b) => a.began - b.began).slice(-40));
    throw new Violation(`amid evictions, ${open.text} is not over after ${SESSION_LIMIT_MS} ms`);
  }
  await scene.drive(over);
  await scene.drive(eviction.forget(step.numbers[2] % 2));
  await scene.syncAll();
  await scene.drive(eviction.checkEnd());
  eviction.registers.check(scene, "amid evictions");
  counts.evictions++;
  await scene.drive(eviction.remove());
  await scene.syncAll();
}

function fillerOf(mount: number, number: number): ByteString {
  return `filler-${mount}-${number}` as ByteString;
}
