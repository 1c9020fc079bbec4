// Open files and directories by handle number.

import { FsError } from "../errno.ts";
import type { DirectoryEntry } from "../messages.ts";
import type { InodeId } from "../types.ts";
import type { FileState } from "./file-state.ts";
import type { Mark } from "./marks.ts";

export interface FileHandle {
  readonly file: FileState;
  readonly flags: number;
  readonly writable: boolean;
  /** Its writes and reads pass by the page cache (FOPEN_DIRECT_IO). */
  readonly direct: boolean;
  /** End of the last read, and how long the run of adjacent reads is. */
  readEnd: number;
  readRun: number;
  /** Owners of byte-range locks that were taken through this open file. A process's own go when it closes a descriptor; what is left at the last close are locks of the open file (F_OFD_SETLK). */
  lockOwners: Set<string> | null;
}

export interface DirectoryHandle {
  readonly inode: InodeId;
  /** Entries fetched last, in order; `end`: nothing follows them. */
  page: DirectoryEntry[];
  /** When they were asked for. */
  mark: Mark;
  /** Whether the page's entries have attributes that a lease covered when they were fetched. */
  generation: number;
  /** Cookie after which the page begins. */
  after: number;
  /** The page's entries have attributes. */
  plus: boolean;
  end: boolean;
  /** The newest cookie that the directory had given when the page was fetched, and when the listing began. */
  pageNewest: number;
  newest: number;
}

export class Handles {
  readonly #files: (FileHandle | null)[] = [null];
  readonly #free: number[] = [];
  readonly #directories = new Map<number, DirectoryHandle>();
  #nextDirectory = 1;

  addFile(handle: FileHandle): number {
    const number = this.#free.pop() ?? this.#files.length;
    this.#files[number] = handle;
    return number;
  }

  file(number: number): FileHandle {
    const handle = this.#files[number];
    if (handle === null || handle === undefined) throw new FsError("EBADF", `file handle ${number} is not open`);
    return handle;
  }

  fileOrNull(number: number | null): FileHandle | null {
    return (number === null ? null : this.#files[number]) ?? null;
  }

  removeFile(number: number): FileHandle {
    const handle = this.file(number);
    this.#files[number] = null;
    this.#free.push(number);
    return handle;
  }

  addDirectory(handle: DirectoryHandle): number {
    const number = this.#nextDirectory++;
    this.#directories.set(number, handle);
    return number;
  }

  directory(number: number): DirectoryHandle {
    const handle = this.#directories.get(number);
    if (handle === undefined) throw new FsError("EBADF", `directory handle ${number} is not open`);
    return handle;
  }

  *directoryInodes(): Generator<InodeId> {
    for (const { inode } of this.#directories.values()) yield inode;
  }

  removeDirectory(number: number): void {
    this.#directories.delete(number);
  }

  get openFiles(): number {
    return this.#files.length - 1 - this.#free.length;
  }

  get openDirectories(): number {
    return this.#directories.size;
  }
}
