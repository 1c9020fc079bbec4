// What the parts of a simulated kernel share: its caches, its locks, and the way to the mount's handlers and back.

import type { Caller, Handlers } from "../../fs/mount/handlers.ts";
import type { Attributes, InodeId } from "../../fs/types.ts";
import type { Random } from "../../storage/seeded-random.ts";
import type { MachineClock, ProcessClock } from "./clock.ts";
import { KernelCache } from "./kernel-caches.ts";
import { Turns } from "./turns.ts";

/** An open file. */
export interface File {
  readonly inode: InodeId;
  readonly handle: number;
  readonly owner: string;
  /** Opened with O_APPEND. */
  readonly append: boolean;
  /** FOPEN_DIRECT_IO: reads and writes pass the page cache by. */
  readonly direct: boolean;
  /** O_TMPFILE: it has no name yet, and may get one (I_LINKABLE). */
  linkable?: boolean;
}

export interface KernelOptions {
  /** The mount's process: it takes requests while it runs. */
  clock: ProcessClock;
  kernelClock: MachineClock;
  random: Random;
  /** No other kernel of the world has it. */
  name: string;
}

export class KernelCore {
  readonly mount: Handlers;
  readonly clock: MachineClock;
  readonly #process: ProcessClock;
  readonly random: Random;
  readonly cache: KernelCache;
  readonly turns = new Turns();
  readonly #signal = new AbortController().signal;
  #threads = 0;
  readonly #name: string;
  #owners = 0;

  constructor(mount: Handlers, { clock, kernelClock, random, name }: KernelOptions) {
    this.mount = mount;
    this.clock = kernelClock;
    this.#process = clock;
    this.random = random;
    this.cache = new KernelCache(() => kernelClock.nowMs());
    this.#name = name;
  }

  /** Each request comes from a thread of its own. */
  get caller(): Caller {
    return { uid: 0, gid: 0, pid: ++this.#threads, signal: this.#signal };
  }

  newOwner(): string {
    return `owner-${this.#name}-${++this.#owners}`;
  }

  async attributes(inode: InodeId): Promise<Attributes> {
    const cached = this.cache.inodes.get(inode)!;
    if (this.cache.attributesFresh(cached)) return cached.attributes;
    const { version } = this.cache;
    const reply = await this.request(() => this.mount.getattr(this.caller, inode, null));
    this.cache.takeAttributes(cached, reply, version);
    return reply.attributes;
  }

  /** A request waits to be received, and its answer for its thread to run. */
  async request<T>(handle: () => T | Promise<T>): Promise<T> {
    await this.pause();
    await this.taken();
    try {
      const result = await handle();
      await this.pause();
      return result;
    } catch (error) {
      await this.pause();
      throw error;
    }
  }

  /** Resolves when the mount's process runs. */
  async taken(): Promise<void> {
    while (this.#process.stopped) await this.#process.running();
  }

  async pause(): Promise<void> {
    const choice = this.random();
    if (choice < 0.6) return;
    await this.clock.sleep(choice < 0.98 ? 0.3 * this.random() : 10 * this.random());
  }
}
