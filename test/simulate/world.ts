// A machine with a store on it: six simulated disks, one for the log and the table, and two mounts behind simulated
// kernels, all in this process. Power cuts, lost disks and rot happen to it.

import { EmbeddedStore } from "../../fs/embedded.ts";
import type { StripeId } from "../../fs/types.ts";
import { complete, evacuate, scrub, type WalkProgress } from "../../replication/drain.ts";
import { LocalBlocks } from "../../replication/local-blocks.ts";
import type { LocalDisk } from "../../replication/local-disk.ts";
import { Repairer } from "../../replication/repair.ts";
import type { StripeDirectory } from "../../replication/stripe-directory.ts";
import type { DiskId } from "../../replication/stripe.ts";
import { StripeStore } from "../../replication/stripes.ts";
import { Throttle } from "../../replication/throttle.ts";
import { createDiskIdentity } from "../../storage/disk-identity.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { openSegmentBlocks } from "../../storage/segment-blocks.ts";
import { randomBelow, type Random, seededRandom } from "../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { type MachineClock, SimulationClock } from "./clock.ts";
import type { Kernel } from "./kernel.ts";
import { MachineTable } from "../storage/machine-table.ts";
import { Mounted } from "./mounted.ts";
import { codeOnThisThread } from "./one-thread.ts";

const STORE = "5e0c5a4e-0f5b-4c44-9d5e-3f6c7b7d3a11";
const DISKS = 6;
const SCHEMES = { full: "rs:4+2", small: "copies:3" };
export const LOSSES_MAX = 2;
const MOUNTS = 2;
/** Small, so that files are rolled, trimmed and retired within a short run. */
const LOG_FILE_BYTES = 1024 * 1024;
const SEGMENT_BYTES = 8 * 1024 * 1024;
const LIMITS = { cacheBytes: 64 * 1024, applyIntervalMs: 200, trimIntervalMs: 500, deadStripeGraceMs: 300 };

interface Disk {
  id: number;
  directory: SimulatedDirectory;
  index: MemoryTable;
  /** What it holds cannot be counted on: lost, or rotten in places. */
  damaged: boolean;
  lost: boolean;
}

interface Running {
  clock: MachineClock;
  log: LocalLog;
  blocks: LocalBlocks;
  stripes: StripeStore;
  store: EmbeddedStore;
  mounts: Mounted[];
  /** Opens a mount; its place among them. */
  open(index: number): Promise<Mounted>;
}

export class World {
  readonly clock = new SimulationClock();
  readonly trace: string[] = [];
  /** Decides delays and what crashes keep; set anew before each round, so that leaving rounds out changes little. */
  random: Random;
  #system: SimulatedDirectory;
  #table = new MemoryTable();
  #disks: Disk[] = [];
  #lastDisk = 0;
  #lastMount = 0;
  #seed: number;
  #running: Running | null = null;

  private constructor(seed: number) {
    this.#seed = seed;
    this.random = seededRandom(seed);
    this.#system = new SimulatedDirectory({ seed: seed + 1, path: "/system" });
  }

  static async create(seed: number): Promise<World> {
    codeOnThisThread();
    const world = new World(seed);
    for (let index = 0; index < DISKS; index++) world.#disks.push(await world.#newDisk());
    return world;
  }

  get kernels(): Kernel[] {
    return this.#required().mounts.map(({ kernel }) => kernel);
  }

  get store(): EmbeddedStore {
    return this.#required().store;
  }

  get up(): boolean {
    return this.#running !== null;
  }

  async #newDisk(): Promise<Disk> {
    const id = ++this.#lastDisk;
    const directory = new SimulatedDirectory({ seed: this.#seed * 64 + id, path: `/disk-${id}` });
    await createDiskIdentity(directory, { store: STORE, disk: id });
    return { id, directory, index: new MemoryTable(), damaged: false, lost: false };
  }

  /** Boots the machine and mounts twice. */
  async start(): Promise<void> {
    const clock = this.clock.machine();
    this.#slow(this.#system, clock);
    const disks = await Promise.all(this.#disks.map((disk) => this.#openDisk(disk, clock)));
    const blocks = new LocalBlocks({ disks, clock, onDiskFailed: (status) => this.note(`disk ${status.id}: ${status.reason}`) });
    await blocks.start();
    const stripes = new StripeStore({ client: blocks, scheme: SCHEMES.full, random: () => this.random() });
    const log = await LocalLog.open(this.#system.view(), { clock, fileBytes: LOG_FILE_BYTES });
    const table = new MachineTable(this.#system, this.#table);
    const trace = (line: string): void => this.note(line);
    const parts = { table, log, stripes, blocks, schemes: SCHEMES, clock, trace, limits: LIMITS };
    const store = await EmbeddedStore.open({ ...parts, clean: true });
    const { namespace } = store;
    const mountParts = { namespace, stripes, schemes: SCHEMES, trace, allocate: pooledBuffer() };
    const open = (index: number): Promise<Mounted> => {
      const name = `${index}-${++this.#lastMount}`;
      return Mounted.open({ ...mountParts, name, clock: this.clock.machine(), random: () => this.random() });
    };
    const mounts: Mounted[] = [];
    for (let index = 0; index < MOUNTS; index++) mounts.push(await open(index));
    this.#running = { clock, log, blocks, stripes, store, mounts, open };
  }

  /** SIGKILL to one mount; another one takes its place. */
  async killMount(index: number): Promise<void> {
    const { mounts, open } = this.#required();
    await mounts[index].kill();
    mounts[index] = await open(index);
  }

  async #openDisk(disk: Disk, clock: MachineClock): Promise<LocalDisk> {
    this.#slow(disk.directory, clock);
    const id = disk.id as DiskId;
    const path = disk.directory.path;
    try {
      const blocks = await openSegmentBlocks({
        directory: disk.directory.view(),
        identity: { store: STORE, disk: disk.id },
        index: {
          open: async () => new MachineTable(disk.directory, disk.index),
          reset: async () => {
            disk.index = new MemoryTable();
          },
        },
        now: () => clock.nowMs(),
        reserveBytes: 0,
        segmentBytesMax: SEGMENT_BYTES,
      });
      return { id, path, blocks, medium: path };
    } catch (error) {
      if (!disk.lost) throw error;
      return { id, path, blocks: null, state: "failed", reason: String(error) };
    }
  }

  /** Each call takes its time: most are quick, some are not. */
  #slow(directory: SimulatedDirectory, clock: MachineClock): void {
    directory.delay = (action) => {
      const choice = this.random();
      if (choice < 0.5 && !action.startsWith("sync")) return Promise.resolve();
      return clock.sleep(choice < 0.97 ? 0.5 * this.random() : 20 * this.random());
    };
    directory.cached = true;
  }

  /** The power goes, at this moment. */
  cutPower(): void {
    this.halt();
    for (const directory of [this.#system, ...this.#disks.map((disk) => disk.directory)]) {
      directory.delay = null;
      directory.crash();
    }
    for (const table of [this.#table, ...this.#disks.map((disk) => disk.index)])
      table.crash(randomBelow(this.random, table.unflushedBatches + 1));
  }

  /** Everything is written back and ended, as Ctrl-C does. */
  async stop(): Promise<void> {
    const { store, log, blocks, clock, mounts } = this.#required();
    await store.cleaner.stop();
    for (const mount of mounts) await mount.close();
    await store.close();
    await log.close();
    // A disk that is lost says so once more.
    await blocks.close().catch((error: unknown) => {
      if (!this.#disks.some(({ lost }) => lost)) throw error;
    });
    clock.end();
    this.#running = null;
  }

  /** A whole pass of the cleaner begins, beside whatever comes next. */
  beginCleaning(): void {
    const { cleaner } = this.store;
    if (cleaner.report().state !== "idle") return;
    const ended = (): void => this.note(`cleaner: ${JSON.stringify(cleaner.report())}`);
    cleaner.run({ thorough: true }).then(ended, ended);
  }

  /** What the namespace's own check finds. Takes no time but what it waits for. */
  async check(): Promise<string[]> {
    const { delay } = this.#system;
    this.#system.delay = null;
    const problems: string[] = [];
    for await (const { kind, text } of this.store.namespace.check()) problems.push(`${kind}: ${text}`);
    this.#system.delay = delay;
    return problems;
  }

  /** Nothing happens here any more. */
  halt(): void {
    this.#running?.clock.end();
    for (const mount of this.#running?.mounts ?? []) mount.halt();
    this.#running = null;
  }

  get damagedDisks(): number {
    return this.#disks.filter((disk) => disk.damaged).length;
  }

  /** A disk goes away while it runs: its calls fail, or everything on it is gone. */
  loseDisk(choice: number): string {
    const disk = this.#disks[choice % this.#disks.length];
    if (!disk.damaged && this.damagedDisks >= LOSSES_MAX) return "enough is broken already";
    disk.damaged = true;
    disk.lost = true;
    if (choice % 2 === 0) disk.directory.broken = "EIO";
    else disk.directory.wipe();
    return `disk ${disk.id} is ${choice % 2 === 0 ? "broken" : "wiped"}`;
  }

  /** Bits change in what a disk holds. */
  rot(choice: number): string {
    const disk = this.#disks[choice % this.#disks.length];
    if (!disk.damaged && this.damagedDisks >= LOSSES_MAX) return "enough is broken already";
    const names = disk.directory.fileNames().filter((name) => name.startsWith("segments/"));
    if (names.length === 0) return "nothing to damage";
    disk.damaged = true;
    for (let flips = 0; flips < 20; flips++) {
      const name = names[randomBelow(this.random, names.length)];
      const { length } = disk.directory.contents(name);
      if (length > 0) disk.directory.flip(name, randomBelow(this.random, length), randomBelow(this.random, 8));
    }
    return `bits of disk ${disk.id} changed`;
  }

  /** New disks for the lost ones, and a scrub: full redundancy. Returns what could not be mended. */
  async heal(): Promise<string[]> {
    const { blocks, clock, store } = this.#required();
    const directory = stripeDirectory(store);
    const repairer = new Repairer({ client: blocks, directory, throttle: new Throttle(clock), random: () => this.random() });
    const problems: string[] = [];
    const walk = async (steps: AsyncGenerator<WalkProgress>): Promise<void> => {
      for await (const { failed, unplacedBlocks } of steps) {
        problems.push(...failed.map(({ stripe, reason }) => `stripe ${stripe}: ${reason}`));
        if (unplacedBlocks > 0) problems.push(`${unplacedBlocks} blocks have no place`);
      }
    };
    // The store looks after its disks every two seconds.
    if (this.#disks.some(({ lost }) => lost)) await clock.sleep(10_000);
    const failed = blocks.disks().filter(({ state }) => state === "failed").map(({ id }) => id); // prettier-ignore
    for (let count = 0; count < failed.length; count++) {
      const fresh = await this.#newDisk();
      await blocks.add(await this.#openDisk(fresh, clock));
      this.#disks.push(fresh);
    }
    for (const id of failed) {
      await walk(evacuate(repairer, directory, id));
      if (problems.length > 0) return problems;
      await blocks.remove(id);
      this.#disks = this.#disks.filter((disk) => disk.id !== id);
    }
    await walk(complete(repairer, directory));
    await walk(scrub(repairer, directory));
    if (problems.length === 0) for (const disk of this.#disks) disk.damaged = disk.lost && disk.directory.broken !== null;
    return problems;
  }

  note(line: string): void {
    this.trace.push(`${this.clock.nowMs.toFixed(3)} ${line}`);
    if (this.trace.length > 500) this.trace.splice(0, 250);
  }

  #required(): Running {
    if (this.#running === null) throw new Error("the machine is down");
    return this.#running;
  }
}

function stripeDirectory({ namespace }: EmbeddedStore): StripeDirectory {
  const { stripes } = namespace;
  return {
    stripesOn: (disk, after, limit) => stripes.listByDisk(disk, after as StripeId, limit),
    stripes: (after, limit) => stripes.list(after as StripeId, limit),
    commit: async (from, to) => {
      const done = await stripes.replaceDisks(from.id as StripeId, from.disks, to.disks);
      await namespace.sync();
      return done;
    },
  };
}

/** Large buffers are dear to make; a mount takes few at once. */
function pooledBuffer(): (bytes: number) => Uint8Array {
  return (bytes) => new Uint8Array(bytes);
}
