// A simulated disk with a block store on it, for the tests of segment*.ts and blocks. Not a test itself.
import { createDiskIdentity, type DiskIdentity } from "../../storage/disk-identity.ts";
import type { Damage } from "../../storage/block-errors.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { openSegmentBlocks, type SegmentBlocks, type SegmentBlocksOptions } from "../../storage/segment-blocks.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { MachineTable } from "./machine-table.ts";

export const IDENTITY: DiskIdentity = { store: "5e0c5a4e-0f5b-4c44-9d5e-3f6c7b7d3a11", disk: 3 };

export class TestDisk {
  readonly directory: SimulatedDirectory;
  table = new MemoryTable();
  damages: Damage[] = [];
  resets = 0;
  milliseconds = 0;
  readonly #options: Partial<SegmentBlocksOptions>;

  constructor(seed: number, options: Partial<SegmentBlocksOptions> & { totalBytes?: number } = {}) {
    const { totalBytes, ...rest } = options;
    this.directory = new SimulatedDirectory({ seed, totalBytes });
    this.#options = { reserveBytes: 0, ...rest };
  }

  static async create(seed: number, options: Partial<SegmentBlocksOptions> & { totalBytes?: number } = {}): Promise<TestDisk> {
    const disk = new TestDisk(seed, options);
    await createDiskIdentity(disk.directory, IDENTITY);
    return disk;
  }

  open(options: Partial<SegmentBlocksOptions> = {}): Promise<SegmentBlocks> {
    return openSegmentBlocks({
      directory: this.directory.view(),
      identity: IDENTITY,
      index: {
        open: async () => new MachineTable(this.directory, this.table),
        reset: async () => {
          this.resets++;
          this.table = new MemoryTable();
        },
      },
      now: () => this.milliseconds,
      onDamage: (damage) => this.damages.push(damage),
      ...this.#options,
      ...options,
    });
  }

  /** The power goes; `keepBatches` of the index's unflushed batches survive. */
  crash(keepBatches: number): void {
    this.directory.crash();
    this.table.crash(keepBatches);
  }
}

/** Bytes that depend on the block's name, so a block taken for another one is noticed. */
export function bytesOf(stripe: number, index: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (stripe * 31 + index * 7 + length) >>> 0 || 1;
  for (let at = 0; at < length; at++) {
    if (at % 4 === 0) state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> (8 * (at % 4));
  }
  return bytes;
}
