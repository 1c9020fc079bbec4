// A table as one life of the machine sees it: after a crash its calls fail, and each takes the disk's time. Not a test itself.

import type { MemoryTable } from "../../storage/memory-table.ts";
import type { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import type { RangeOptions, Table, TableBatch, TableSnapshot } from "../../storage/table.ts";

export class MachineTable implements Table {
  readonly #disk: SimulatedDirectory;
  readonly #table: MemoryTable;
  readonly #life: number;

  constructor(disk: SimulatedDirectory, table: MemoryTable) {
    this.#disk = disk;
    this.#table = table;
    this.#life = disk.life;
  }

  get(keys: readonly Uint8Array[]): Promise<(Uint8Array | null)[]> {
    return this.#call("get from", () => this.#table.get(keys));
  }
  range(options: RangeOptions): Promise<{ key: Uint8Array; value: Uint8Array }[]> {
    return this.#call("read a range of", () => this.#table.range(options));
  }
  write(batch: TableBatch): Promise<void> {
    return this.#call("write to", () => this.#table.write(batch));
  }
  flush(): Promise<void> {
    return this.#call("flush", () => this.#table.flush());
  }
  snapshot(): TableSnapshot {
    return this.#table.snapshot();
  }
  async close(): Promise<void> {}

  async #call<T>(action: string, effect: () => Promise<T>): Promise<T> {
    return await this.#disk.call<Promise<T>>(action, "table", this.#life, effect);
  }
}
