// The disks of the simulated machine: made, opened, lost, damaged, healed.

import type { EmbeddedStore } from "../../fs/embedded.ts";
import type { StripeId } from "../../fs/types.ts";
import { complete, evacuate, scrub, type WalkProgress } from "../../replication/drain.ts";
import type { LocalBlocks } from "../../replication/local-blocks.ts";
import type { LocalDisk } from "../../replication/local-disk.ts";
import { Repairer } from "../../replication/repair.ts";
import type { StripeDirectory } from "../../replication/stripe-directory.ts";
import type { DiskId } from "../../replication/stripe.ts";
import { Throttle } from "../../replication/throttle.ts";
import { createDiskIdentity } from "../../storage/disk-identity.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { openSegmentBlocks } from "../../storage/segment-blocks.ts";
import { randomBelow, type Random } from "../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { MachineTable } from "../storage/machine-table.ts";
import type { MachineClock } from "./clock.ts";

const DISKS = 6;
/** Disks that may be bad at once. */
export const LOSSES_MAX = 2;
/** Faults come within so many calls. */
const FAULT_CALLS_MAX = 200;
/** Small, so that segments are retired within a short run. */
const SEGMENT_BYTES = 8 * 1024 * 1024;

export interface Disk {
  id: number;
  directory: SimulatedDirectory;
  index: MemoryTable;
  /** What it holds cannot be counted on: lost, or rotten in places. */
  damaged: boolean;
  lost: boolean;
}

export class Disks {
  readonly #store: string;
  readonly #seed: number;
  readonly #random: Random;
  #disks: Disk[] = [];
  #last = 0;
  /** Told of disks that cannot be opened. */
  note: (line: string) => void = () => {};

  private constructor(store: string, seed: number, random: Random) {
    this.#store = store;
    this.#seed = seed;
    this.#random = random;
  }

  static async create(store: string, seed: number, random: Random): Promise<Disks> {
    const disks = new Disks(store, seed, random);
    for (let index = 0; index < DISKS; index++) disks.#disks.push(await disks.#make());
    return disks;
  }

  get all(): readonly Disk[] {
    return this.#disks;
  }

  get anyLost(): boolean {
    return this.#disks.some(({ lost }) => lost);
  }

  async #make(): Promise<Disk> {
    const id = ++this.#last;
    const directory = new SimulatedDirectory({ seed: this.#seed * 64 + id, path: `/disk-${id}` });
    await createDiskIdentity(directory, { store: this.#store, disk: id });
    return { id, directory, index: new MemoryTable(), damaged: false, lost: false };
  }

  open(clock: MachineClock): Promise<LocalDisk[]> {
    return Promise.all(this.#disks.map((disk) => this.#openOne(disk, clock)));
  }

  async #openOne(disk: Disk, clock: MachineClock): Promise<LocalDisk> {
    slow(disk.directory, clock, this.#random);
    const id = disk.id as DiskId;
    const path = disk.directory.path;
    try {
      const blocks = await openSegmentBlocks({
        directory: disk.directory.view(),
        identity: { store: this.#store, disk: disk.id },
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
      this.note(`disk ${id} cannot be opened: ${String(error)}`);
      return { id, path, blocks: null, state: "failed", reason: String(error) };
    }
  }

  /** A disk that may go bad as well. */
  #choose(choice: number): Disk | null {
    const disk = this.#disks[choice % this.#disks.length];
    const bad = this.#disks.filter(({ damaged }) => damaged).length;
    return disk.damaged || bad < LOSSES_MAX ? disk : null;
  }

  /** A disk goes away while it runs: its calls fail, or everything on it is gone. */
  lose(choice: number): string {
    const disk = this.#choose(choice);
    if (disk === null) return "enough is broken already";
    disk.damaged = true;
    disk.lost = true;
    if (choice % 2 === 0) disk.directory.broken = "EIO";
    else disk.directory.wipe();
    return `disk ${disk.id} is ${choice % 2 === 0 ? "broken" : "wiped"}`;
  }

  /** The n-th call from now on will fail: with EIO, or because there is no space. `full`: the latter. */
  fault(choice: number, calls: number): { text: string; full: boolean } {
    const call = 1 + (calls % FAULT_CALLS_MAX);
    if (choice % 3 === 0) {
      const { id, directory } = this.#disks[choice % this.#disks.length];
      directory.faults.push({ call: directory.calls + call, code: "ENOSPC", growing: true });
      return { text: `disk ${id} has no space from call ${call} on, once`, full: true };
    }
    const disk = this.#choose(choice);
    if (disk === null) return { text: "enough is broken already", full: false };
    disk.damaged = true;
    disk.lost = true;
    disk.directory.faults.push({ call: disk.directory.calls + call, code: "EIO" });
    return { text: `call ${call} of disk ${disk.id} will fail`, full: false };
  }

  /** There is space again. */
  clearFull(): void {
    for (const { directory } of this.#disks) directory.faults = directory.faults.filter(({ code }) => code !== "ENOSPC");
  }

  /** Bits change in what a disk holds. */
  rot(choice: number): string {
    const disk = this.#choose(choice);
    if (disk === null) return "enough is broken already";
    const names = disk.directory.fileNames().filter((name) => name.startsWith("segments/"));
    if (names.length === 0) return "nothing to damage";
    disk.damaged = true;
    for (let flips = 0; flips < 20; flips++) {
      const name = names[randomBelow(this.#random, names.length)];
      const { length } = disk.directory.contents(name);
      if (length > 0) disk.directory.flip(name, randomBelow(this.#random, length), randomBelow(this.#random, 8));
    }
    return `bits of disk ${disk.id} changed`;
  }

  /** New disks for the lost ones, and a scrub: full redundancy. Returns what could not be mended. */
  async heal(blocks: LocalBlocks, store: EmbeddedStore, clock: MachineClock): Promise<string[]> {
    const directory = stripeDirectory(store);
    const repairer = new Repairer({ client: blocks, directory, throttle: new Throttle(clock), random: this.#random });
    const problems: string[] = [];
    const walk = async (steps: AsyncGenerator<WalkProgress>): Promise<void> => {
      for await (const { failed, unplacedBlocks } of steps) {
        problems.push(...failed.map(({ stripe, reason }) => `stripe ${stripe}: ${reason}`));
        if (unplacedBlocks > 0) problems.push(`${unplacedBlocks} blocks have no place`);
      }
    };
    // The store looks after its disks every two seconds.
    if (this.anyLost) await clock.sleep(10_000);
    // A disk with errors is replaced even if it was started again since: what it did not sync, nobody knows any more.
    for (const { id, lost } of this.#disks) if (lost) blocks.setState(id as DiskId, "failed", "it had errors");
    const failed = blocks.disks().filter(({ state }) => state === "failed").map(({ id }) => id); // prettier-ignore
    for (let count = 0; count < failed.length; count++) {
      const fresh = await this.#make();
      await blocks.add(await this.#openOne(fresh, clock));
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
}

/** Each call takes its time: most are quick, some are not. */
export function slow(directory: SimulatedDirectory, clock: MachineClock, random: Random): void {
  directory.delay = (action) => {
    const choice = random();
    if (choice < 0.5 && !action.startsWith("sync")) return Promise.resolve();
    return clock.sleep(choice < 0.97 ? 0.5 * random() : 20 * random());
  };
  directory.cached = true;
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
