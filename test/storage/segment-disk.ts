// A simulated disk with a block store on it, for the tests of segment*.ts and blocks. Not a test itself.
import { createDiskIdentity, type DiskIdentity } from "../../storage/disk-identity.ts";
import type { Damage } from "../../storage/block-errors.ts";
import type { Directory, DirectoryFile, OpenOptions } from "../../storage/directory.ts";
import type { RangeOptions, Table, TableBatch } from "../../storage/table.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { openSegmentBlocks, type SegmentBlocks, type SegmentBlocksOptions } from "../../storage/segment-blocks.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";

export const IDENTITY: DiskIdentity = { store: "5e0c5a4e-0f5b-4c44-9d5e-3f6c7b7d3a11", disk: 3 };

/** The table as one life of the process sees it: after a crash its calls fail. */
class LivingTable implements Table {
  readonly #disk: TestDisk;
  readonly #table: MemoryTable;
  readonly #life: number;
  constructor(disk: TestDisk) {
    this.#disk = disk;
    this.#table = disk.table;
    this.#life = disk.directory.life;
  }
  #living(action: string): Promise<void> {
    return this.#disk.directory.begin(action, "index", this.#life);
  }
  async get(keys: readonly Uint8Array[]): Promise<(Uint8Array | null)[]> {
    await this.#living("get from");
    return this.#table.get(keys);
  }
  async range(options: RangeOptions): Promise<{ key: Uint8Array; value: Uint8Array }[]> {
    await this.#living("range of");
    return this.#table.range(options);
  }
  async write(batch: TableBatch): Promise<void> {
    await this.#living("write to");
    return this.#table.write(batch);
  }
  async flush(): Promise<void> {
    await this.#living("flush");
    return this.#table.flush();
  }
  async close(): Promise<void> {}
}

/** The directory as one life of the process sees it: a process that died opens and removes nothing any more. */
class LivingDirectory implements Directory {
  readonly #disk: SimulatedDirectory;
  readonly #life: number;
  constructor(disk: SimulatedDirectory) {
    this.#disk = disk;
    this.#life = disk.life;
  }
  get path(): string {
    return this.#disk.path;
  }
  #living(name: string): SimulatedDirectory {
    if (this.#life !== this.#disk.life) throw this.#disk.error("EIO", "use after death", name);
    return this.#disk;
  }
  async open(name: string, options?: OpenOptions): Promise<DirectoryFile> {
    return this.#living(name).open(name, options);
  }
  async list(name: string): Promise<string[]> {
    return this.#living(name).list(name);
  }
  async makeDirectory(name: string): Promise<void> {
    return this.#living(name).makeDirectory(name);
  }
  async rename(from: string, to: string): Promise<void> {
    return this.#living(from).rename(from, to);
  }
  async remove(name: string): Promise<void> {
    return this.#living(name).remove(name);
  }
  async syncNames(name: string): Promise<void> {
    return this.#living(name).syncNames(name);
  }
  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    return this.#living("").space();
  }
}

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
      directory: new LivingDirectory(this.directory),
      identity: IDENTITY,
      index: {
        open: async () => new LivingTable(this),
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
