// A whole store over simulated disks whose power can go at any of their calls.
import assert from "node:assert/strict";
import { systemDatedClock, type DatedClock } from "../../fs/clock.ts";
import { EmbeddedStore } from "../../fs/embedded.ts";
import type { NamespaceLimits } from "../../fs/namespace/namespace.ts";
import type { StripeId } from "../../fs/types.ts";
import { LocalBlocks } from "../../replication/local-blocks.ts";
import type { DiskId } from "../../replication/stripe.ts";
import { StripeStore } from "../../replication/stripes.ts";
import { SimulatedClock, systemClock } from "../../storage/clock.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import type { Table } from "../../storage/table.ts";
import { TestDisk } from "../storage/segment-disk.ts";

const schemes = { full: "rs:4+2", small: "copies:3" };
const DISKS = 6;

export class CrashingStore {
  readonly random;
  readonly log: SimulatedDirectory;
  readonly table = new MemoryTable();
  readonly disks: TestDisk[];
  #life = 0;
  #opened = 0;
  /** Of the store that was opened last: an earlier one's would keep all of its memory. */
  readonly #timers = new Set<() => void>();

  private constructor(seed: number, disks: TestDisk[]) {
    this.random = seededRandom(seed);
    this.log = new SimulatedDirectory({ seed });
    this.disks = disks;
  }

  static async create(seed: number): Promise<CrashingStore> {
    const disks = Array.from({ length: DISKS }, (_, index) =>
      TestDisk.create(seed * 10 + index, { segmentBytesMax: 1024 * 1024 }),
    );
    return new CrashingStore(seed, await Promise.all(disks));
  }

  /** The store as a start after the last crash finds it. */
  async open(
    limits: Partial<NamespaceLimits> = {},
  ): Promise<{ store: EmbeddedStore; stripes: StripeStore; blocks: LocalBlocks }> {
    const life = this.#life;
    const living = <T>(action: () => T): T => {
      if (life !== this.#life) throw new Error("the power is gone");
      return action();
    };
    const { table } = this;
    const view: Table = {
      get: async (keys) => living(() => table.get(keys)),
      range: async (options) => living(() => table.range(options)),
      write: async (batch) => living(() => table.write(batch)),
      flush: async () => living(() => table.flush()),
      snapshot: () => living(() => table.snapshot()),
      close: async () => {},
    };
    const opened = await Promise.all(this.disks.map((disk) => disk.open()));
    const blocks = new LocalBlocks({
      disks: opened.map((store, index) => ({ id: (index + 1) as DiskId, path: `/disk-${index + 1}`, blocks: store })),
      clock: new SimulatedClock(),
    });
    await blocks.start();
    const stripes = new StripeStore({ client: blocks, scheme: schemes.full, random: this.random });
    const clock = this.#clock();
    const log = await LocalLog.open(this.log.view(), { clock: { ...systemClock, after: clock.after } });
    const store = await EmbeddedStore.open({
      table: view, log, clock, stripes, blocks, schemes, limits: { deadStripeGraceMs: 0, ...limits },
    }); // prettier-ignore
    return { store, stripes, blocks };
  }

  /** The system's, until the next store is opened. */
  #clock(): DatedClock {
    for (const cancel of this.#timers) cancel();
    const opened = ++this.#opened;
    const { nowMs, dateMs, after } = systemDatedClock();
    return {
      nowMs,
      dateMs,
      after: (delayMs, action) => {
        if (opened !== this.#opened) return () => {};
        const stop = after(delayMs, () => {
          this.#timers.delete(cancel);
          action();
        });
        const cancel = (): void => {
          this.#timers.delete(cancel);
          stop();
        };
        this.#timers.add(cancel);
        return cancel;
      },
    };
  }

  /** The power goes at the n-th call to any disk from now. */
  crashAfter(calls: number): Promise<void> {
    return new Promise((resolve) => {
      let left = calls;
      const count = async (): Promise<void> => {
        if (left-- !== 0) return;
        this.crash();
        resolve();
      };
      this.log.delay = count;
      for (const disk of this.disks) disk.directory.delay = count;
    });
  }

  crash(): void {
    this.#life++;
    for (const disk of this.disks) {
      disk.directory.delay = null;
      disk.crash(randomBelow(this.random, disk.table.unflushedBatches + 1));
    }
    this.log.delay = null;
    this.log.crash();
    this.table.crash(randomBelow(this.random, this.table.unflushedBatches + 1));
  }
}

/** What the check of the namespace finds, and that every block of every stripe in use is there and right. */
export async function checkStore(store: EmbeddedStore, blocks: LocalBlocks, story: string): Promise<void> {
  const problems: string[] = [];
  for await (const { text } of store.namespace.check()) problems.push(text);
  assert.deepEqual(problems, [], story);
  for (let last: StripeId | 0 = 0; ;) {
    const page = await store.namespace.stripes.list(last, 1000);
    if (page.length === 0) return;
    last = page.at(-1)!.id;
    for (const { id, live, disks } of page) {
      if (live === 0) continue;
      for (const [index, disk] of disks.entries())
        assert.equal(await blocks.verify(disk, { stripe: id, index }), "good", `${story}: block ${index} of stripe ${id}`);
    }
  }
}
