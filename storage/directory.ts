// The injected disk: everything that storage/ does to a file goes through these two interfaces, so a simulated twin
// can lose what was not synced, tear it, or fail the n-th call. The real one is storage/real-directory.ts, the
// simulated one storage/simulated-directory.ts. RocksDB, which does its own I/O, has its own seam: storage/table.ts.
//
// Durability: file contents are durable when that file's sync() has resolved; a name made, renamed or removed is
// durable when syncNames() of its directory has resolved. Nothing else is.
// Errors: thrown with the system's `code` (ENOSPC, EIO, ENOENT, ...) and a text that names the file and the action.

export interface OpenOptions {
  /** Make the file if it is missing. */
  create?: boolean;
  /** Bypass the page cache (O_DIRECT): buffers, positions and lengths must then be multiples of ALIGNMENT_BYTES. */
  direct?: boolean;
  readOnly?: boolean;
}

export interface DirectoryFile {
  /** Reads up to buffer.length bytes at position; resolves with the number read, less only at the end of the file. */
  read(buffer: Uint8Array, position: number): Promise<number>;
  /** Reads without waiting: the number of bytes where all are in the page cache (or memory), else -1 and the buffer is undefined. */
  readNow(buffer: Uint8Array, position: number): number;
  /** Writes all of the buffers, one after another, at position. The caller keeps them unchanged until it resolves. */
  write(buffers: readonly Uint8Array[], position: number): Promise<void>;
  /** write(), then sync(), in one step: one hop to the thread pool instead of two. */
  writeAndSync(buffers: readonly Uint8Array[], position: number): Promise<void>;
  /** fdatasync(2): all writes that resolved before this call are durable when it resolves. */
  sync(): Promise<void>;
  /** Reserves space for [position, position+length) and grows the file to hold it (fallocate(2) mode 0). */
  allocate(position: number, length: number): Promise<void>;
  /** Returns the range's space to the disk; it reads as zeros (FALLOC_FL_PUNCH_HOLE). */
  punch(position: number, length: number): Promise<void>;
  truncate(length: number): Promise<void>;
  size(): Promise<number>;
  /** flock(2), exclusive, until close(): false where another open file (of any process) has it. */
  tryLock(): boolean;
  close(): Promise<void>;
}

/** A directory on a medium. Names are relative paths with "/" between parts and without "..". */
export interface Directory {
  /** For messages and for RocksDB, which needs a real path; a simulated one makes up a path. */
  readonly path: string;
  open(name: string, options?: OpenOptions): Promise<DirectoryFile>;
  /** Names in the directory `name` ("" for this one), sorted, without "." and "..". */
  list(name: string): Promise<string[]>;
  /** Makes the directory and its missing parents. No error if it is there. */
  makeDirectory(name: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a directory with all below it. No error if it is missing. */
  remove(name: string): Promise<void>;
  syncNames(name: string): Promise<void>;
  /** Space of the medium in bytes: all of it, and what this user may still write. */
  space(): Promise<{ totalBytes: number; freeBytes: number }>;
}

/** O_DIRECT needs this on every disk that is in use today (4 KiB sectors). */
export const ALIGNMENT_BYTES = 4096;
