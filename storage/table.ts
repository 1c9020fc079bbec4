// The seam to RocksDB: an ordered map of byte strings with atomic batches. The real one is storage/rocks-table.ts,
// the one in memory with simulated crashes storage/memory-table.ts.
//
// Durability: rocksdb-native cannot sync its write-ahead file, so a power cut may lose the last batches, but what is
// left is always a prefix of the batches in the order of write(). flush() makes everything written before it durable.

export interface TableBatch {
  puts: { key: Uint8Array; value: Uint8Array }[];
  deletes: Uint8Array[];
}

export interface RangeOptions {
  gte: Uint8Array;
  lt: Uint8Array;
  /** At most this many entries; no limit means all of them, so callers give one wherever the range is not small. */
  limit?: number;
  reverse?: boolean;
}

/** The table as it was at one moment, whatever is written afterwards. Holds disk space until it is closed. */
export interface TableSnapshot {
  range(options: RangeOptions): Promise<{ key: Uint8Array; value: Uint8Array }[]>;
  close(): Promise<void>;
}

export interface Table {
  /** Values in the order of the keys, null where a key is missing. One call is one hop: batch them. */
  get(keys: readonly Uint8Array[]): Promise<(Uint8Array | null)[]>;
  /** Entries in key order. */
  range(options: RangeOptions): Promise<{ key: Uint8Array; value: Uint8Array }[]>;
  /**
   * Applies the batch atomically and in the order of the calls. Deletes are applied before puts. After a failure the
   * table takes no more, except where the code is ENOSPC: then the caller repeats this batch before any later one.
   */
  write(batch: TableBatch): Promise<void>;
  /** All batches whose write() has resolved are durable when this resolves. */
  flush(): Promise<void>;
  /** Everything whose write() has resolved, and of a write() under way all or nothing. */
  snapshot(): TableSnapshot;
  close(): Promise<void>;
}
