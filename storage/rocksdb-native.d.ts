// The part of rocksdb-native (3.18.1) that storage/rocks-table.ts uses; the package has no types of its own.
declare module "rocksdb-native" {
  export interface RocksDBOptions {
    createIfMissing?: boolean;
    readOnly?: boolean;
    maxBackgroundJobs?: number;
    maxOpenFiles?: number;
    skipStatsUpdateOnOpen?: boolean;
    /** 2: replay the write-ahead file up to the first damaged record. */
    walRecoveryMode?: number;
    tableBlockSize?: number;
    tableCacheIndexAndFilterBlocks?: boolean;
    blockCache?: boolean;
    writeBufferSize?: number;
    maxWriteBufferNumber?: number;
  }

  export interface RangeBounds {
    gte?: Uint8Array;
    lt?: Uint8Array;
    reverse?: boolean;
    limit?: number;
    /** Entries fetched by one call into the database. */
    capacity?: number;
  }

  export interface EntryStream {
    on(event: "data", listener: (entry: { key: Buffer; value: Buffer }) => void): this;
    on(event: "end" | "close", listener: () => void): this;
    on(event: "error", listener: (error: Error) => void): this;
  }

  export interface ReadBatch {
    get(key: Uint8Array): Promise<Buffer | null>;
    tryFlush(): void;
  }

  export interface WriteBatch {
    tryPut(key: Uint8Array, value: Uint8Array): void;
    tryDelete(key: Uint8Array): void;
    flush(): Promise<void>;
  }

  export default class RocksDB {
    constructor(path: string, options?: RocksDBOptions);
    ready(): Promise<void>;
    read(options?: { capacity?: number; autoDestroy?: boolean }): ReadBatch;
    write(options?: { capacity?: number; autoDestroy?: boolean }): WriteBatch;
    iterator(range: RangeBounds): EntryStream;
    /** The database as it is now; to be closed by itself. */
    snapshot(): { iterator(range: RangeBounds): EntryStream; close(): Promise<void> };
    flush(): Promise<void>;
    close(options?: { force?: boolean }): Promise<void>;
    getProperty(name: string): Promise<string>;
  }
}
