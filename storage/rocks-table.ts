// The real table: storage/table.ts over RocksDB. Every call is a hop to the thread pool (about 20 us), so callers batch.
// Values and keys handed out are the caller's own; keys and values handed in must stay unchanged until the call resolves.
//
// Durability is table.ts's: a prefix of the batches survives a power cut. RocksDB's recovery mode "point in time" stops
// at the first damaged record of its write-ahead file, which is what makes it a prefix.
import RocksDB from "rocksdb-native";
import type { RangeOptions, Table, TableBatch, TableSnapshot } from "./table.ts";

const WAL_POINT_IN_TIME = 2;
/** Table files kept open; RocksDB's default is all of them, which has no bound. */
const OPEN_FILES_MAX = 256;
/** Keys read by one call: bounds what one hop brings into memory. */
const KEYS_PER_READ = 1024;
/** Entries fetched by one hop of a long range. 64 to 1024 measured alike (20,000 entries in 80 ms); 8, the package's default, takes 145 ms. Where the event loop is busy, each hop waits for its turn. */
const ENTRIES_PER_READ = 1024;

export interface RocksTableOptions {
  /** Fail with ENOENT where there is no table yet, instead of making one. */
  mustExist?: boolean;
  /** Memory that one unflushed table may take; RocksDB keeps up to two. Default 16 MiB. */
  writeBufferBytes?: number;
  /** RocksDB's own cache of 32 MiB (the package lets it only be had or not). Without it every get reads a block from the page cache: for tables with a cache of their own in front. Default true. */
  blockCache?: boolean;
}

/** A table that could not be opened, read or written. `ECORRUPT` is damage, `EBUSY` another process that has it open. */
export class TableError extends Error {
  readonly code: "ECORRUPT" | "EBUSY" | "ENOENT" | "ENOSPC" | "EIO";
  constructor(code: TableError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export class RocksTable implements Table {
  readonly #database: RocksDB;
  readonly #path: string;
  #failure: TableError | null = null;

  private constructor(database: RocksDB, path: string) {
    this.#database = database;
    this.#path = path;
  }

  /** Opens the table in the directory at `path`, whose parent must exist. Errors: TableError. */
  static async open(
    path: string,
    { mustExist = false, writeBufferBytes = 16 * 1024 * 1024, blockCache = true }: RocksTableOptions = {},
  ): Promise<RocksTable> {
    const database = new RocksDB(path, {
      createIfMissing: !mustExist,
      maxBackgroundJobs: 2,
      maxOpenFiles: OPEN_FILES_MAX,
      skipStatsUpdateOnOpen: true,
      walRecoveryMode: WAL_POINT_IN_TIME,
      writeBufferSize: writeBufferBytes,
      maxWriteBufferNumber: 2,
      blockCache,
      // RocksDB refuses to keep these in a cache that is not there; then each open table file holds its own.
      tableCacheIndexAndFilterBlocks: blockCache,
    });
    try {
      await database.ready();
    } catch (error) {
      throw explain(error, "open", path);
    }
    return new RocksTable(database, path);
  }

  async get(keys: readonly Uint8Array[]): Promise<(Uint8Array | null)[]> {
    if (keys.length <= KEYS_PER_READ) return this.#read(keys);
    const values: (Uint8Array | null)[] = [];
    for (let start = 0; start < keys.length; start += KEYS_PER_READ)
      values.push(...(await this.#read(keys.slice(start, start + KEYS_PER_READ))));
    return values;
  }

  range(options: RangeOptions): Promise<{ key: Uint8Array; value: Uint8Array }[]> {
    return this.#range(this.#database, options);
  }

  snapshot(): TableSnapshot {
    const view = this.#database.snapshot();
    return { range: (options) => this.#range(view, options), close: () => view.close() };
  }

  async #range(
    view: Pick<RocksDB, "iterator">,
    { gte, lt, limit = Infinity, reverse = false }: RangeOptions,
  ): Promise<{ key: Uint8Array; value: Uint8Array }[]> {
    if (limit <= 0 || Buffer.compare(gte, lt) >= 0) return [];
    // One more than the limit: the stream then knows that it is at its end without another hop.
    const capacity = Math.min(limit + 1, ENTRIES_PER_READ);
    const entries: { key: Uint8Array; value: Uint8Array }[] = [];
    await new Promise<void>((resolve, reject) => {
      const stream = view.iterator({ gte, lt, limit, reverse, capacity });
      stream.on("data", (entry) => entries.push(entry));
      stream.on("end", resolve);
      stream.on("error", (error) => reject(explain(error, "read a range of", this.#path)));
    });
    return entries;
  }

  async write(batch: TableBatch): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    const size = batch.deletes.length + batch.puts.length;
    if (size === 0) return;
    const writes = this.#database.write({ capacity: size, autoDestroy: true });
    for (const key of batch.deletes) writes.tryDelete(key);
    for (const { key, value } of batch.puts) writes.tryPut(key, value);
    try {
      await writes.flush();
    } catch (error) {
      throw this.#failed(error, "write to");
    }
  }

  async flush(): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    try {
      await this.#database.flush();
    } catch (error) {
      throw this.#failed(error, "flush");
    }
  }

  /**
   * Later batches must not be applied after one that is missing: what is left would be no prefix. So a failure is final,
   * but for a full disk: the caller then repeats the batch, and RocksDB takes it again about 5 s after there is room.
   */
  #failed(error: unknown, action: string): TableError {
    const failure = explain(error, action, this.#path);
    if (failure.code !== "ENOSPC") this.#failure = failure;
    return failure;
  }

  async close(): Promise<void> {
    await this.#database.close({ force: true });
  }

  async #read(keys: readonly Uint8Array[]): Promise<(Uint8Array | null)[]> {
    if (keys.length === 0) return [];
    const batch = this.#database.read({ capacity: keys.length, autoDestroy: true });
    const values = keys.map((key) => batch.get(key));
    batch.tryFlush();
    try {
      return await Promise.all(values);
    } catch (error) {
      throw explain(error, "read", this.#path);
    }
  }
}

/** RocksDB says what happened only in its text: "Corruption: ...", "IO error: No space left on device: ...". */
function explain(error: unknown, action: string, path: string): TableError {
  const cause = (error as Error).cause instanceof Error ? ((error as Error).cause as Error) : (error as Error);
  const text = cause.message;
  const say = (code: TableError["code"], meaning: string): TableError =>
    new TableError(code, `${action} table ${path}: ${meaning} (RocksDB: ${text})`, { cause });
  if (/does not exist \(create_if_missing/.test(text)) return say("ENOENT", "there is no table");
  if (/lock hold by current process|While lock file/i.test(text))
    return say("EBUSY", "it is open already, in this process or another");
  if (/No space left/i.test(text)) return say("ENOSPC", "its disk is full; make room there");
  if (/corrupt|checksum|bad magic|truncated|CURRENT file|No such file/i.test(text))
    return say("ECORRUPT", "its files are damaged or missing");
  return say("EIO", "it failed");
}
