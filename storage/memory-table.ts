// A table in memory for tests and simulations. crash() does what a power cut does to the real one: what is left is a
// prefix of the batches, at least up to the last flush().
import type { RangeOptions, Table, TableBatch, TableSnapshot } from "./table.ts";

interface Entry {
  name: string;
  value: Uint8Array;
}

export class MemoryTable implements Table {
  #values = new Map<string, Uint8Array>();
  #sorted: Entry[] | null = null;
  #flushed = new Map<string, Uint8Array>();
  #batches: TableBatch[] = [];

  async get(keys: readonly Uint8Array[]): Promise<(Uint8Array | null)[]> {
    return keys.map((key) => copyOf(this.#values.get(nameOf(key))));
  }

  async range({ gte, lt, limit = Infinity, reverse = false }: RangeOptions): Promise<{ key: Uint8Array; value: Uint8Array }[]> {
    const entries = this.#entries();
    const found = entries.slice(
      lowerBound(entries, nameOf(gte)),
      Math.max(lowerBound(entries, nameOf(gte)), lowerBound(entries, nameOf(lt))),
    );
    if (reverse) found.reverse();
    return found.slice(0, limit).map(({ name, value }) => ({ key: Buffer.from(name, "latin1"), value: copyOf(value)! }));
  }

  async write(batch: TableBatch): Promise<void> {
    const copy = {
      puts: batch.puts.map(({ key, value }) => ({ key: copyOf(key)!, value: copyOf(value)! })),
      deletes: batch.deletes.map((key) => copyOf(key)!),
    };
    this.#batches.push(copy);
    this.#apply(this.#values, copy);
    this.#sort(copy);
  }

  async flush(): Promise<void> {
    for (const batch of this.#batches.splice(0)) this.#apply(this.#flushed, batch);
  }

  snapshot(): TableSnapshot {
    const copy = new MemoryTable();
    copy.#values = new Map(this.#values);
    return copy;
  }

  async close(): Promise<void> {}

  /** How many batches a crash could lose. */
  get unflushedBatches(): number {
    return this.#batches.length;
  }

  /** Keeps what was flushed and the first `keepBatches` batches after that. The table can be used on as the reopened one. */
  crash(keepBatches: number): void {
    for (const batch of this.#batches.splice(0).slice(0, keepBatches)) this.#apply(this.#flushed, batch);
    this.#values = new Map(this.#flushed);
    this.#sorted = null;
  }

  #apply(values: Map<string, Uint8Array>, batch: TableBatch): void {
    for (const key of batch.deletes) values.delete(nameOf(key));
    for (const { key, value } of batch.puts) values.set(nameOf(key), value);
  }

  /** Keeps the sorted entries right, where there are any. */
  #sort({ puts, deletes }: TableBatch): void {
    const entries = this.#sorted;
    if (entries === null) return;
    const put = (name: string, value: Uint8Array | null): void => {
      const at = lowerBound(entries, name);
      const found = at < entries.length && entries[at].name === name ? 1 : 0;
      if (value === null) entries.splice(at, found);
      else if (found === 1) entries[at] = { name, value };
      else entries.splice(at, 0, { name, value });
    };
    for (const key of deletes) put(nameOf(key), null);
    for (const { key, value } of puts) put(nameOf(key), value);
  }

  #entries(): Entry[] {
    // Names are latin1, so comparing strings compares the bytes.
    this.#sorted ??= [...this.#values].map(([name, value]) => ({ name, value })).sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.#sorted;
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

function copyOf(bytes: Uint8Array | undefined): Uint8Array | null {
  return bytes === undefined ? null : Uint8Array.prototype.slice.call(bytes);
}

/** Position of the first entry whose name is not below `name`. */
function lowerBound(entries: readonly Entry[], name: string): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle].name < name) low = middle + 1;
    else high = middle;
  }
  return low;
}
