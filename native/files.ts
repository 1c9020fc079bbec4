// The typed face of the files addon: positioned reads and writes on descriptors, without libuv's per-call copies and
// with what Node lacks (O_DIRECT buffers, fallocate, RWF_NOWAIT, flock, write and fdatasync in one job).
// Calls that may wait run on libuv's pool (UV_THREADPOOL_SIZE threads). They resolve with a number >= 0 or a negative
// errno, never reject; `check` turns the latter into an error.
import { constants } from "node:fs";
import { getSystemErrorMap } from "node:util";
import { loadAddon } from "./load.ts";

interface FilesAddon {
  open(path: string, flags: number): Promise<number>;
  close(fd: number): Promise<number>;
  read(fd: number, buffer: Uint8Array, position: number): Promise<number>;
  readNow(fd: number, buffer: Uint8Array, position: number): number;
  write(fd: number, buffers: readonly Uint8Array[], position: number): Promise<number>;
  writeAndSync(fd: number, buffers: readonly Uint8Array[], position: number): Promise<number>;
  sync(fd: number): Promise<number>;
  allocate(fd: number, mode: number, position: number, length: number): Promise<number>;
  truncate(fd: number, length: number): Promise<number>;
  size(fd: number): number;
  /** flock(2) LOCK_EX | LOCK_NB. */
  lock(fd: number): number;
  raiseOpenFiles(): number;
  /** At most so many heaps of malloc(3), beyond those that threads have by then. */
  limitArenas(count: number): number;
  allocateMemory(bytes: number): ArrayBuffer;
}

export const files: FilesAddon = loadAddon<FilesAddon>("files");

/** open(2) flags. */
export const openFlags = {
  readOnly: constants.O_RDONLY,
  readWrite: constants.O_RDWR,
  create: constants.O_CREAT,
  direct: constants.O_DIRECT,
} as const;

/** fallocate(2) modes (linux/falloc.h): reserve and grow; KEEP_SIZE | PUNCH_HOLE. */
export const allocateModes = { reserve: 0, punch: 0x03 } as const;

/** An error of the system's: `code` as Node's own (ENOSPC), text "ACTION FILE: description". */
export class SystemError extends Error {
  readonly code: string;
  readonly path: string;
  constructor(negativeErrno: number, action: string, path: string) {
    const [code, description] = getSystemErrorMap().get(negativeErrno) ?? [`ERRNO_${-negativeErrno}`, "unknown error"];
    super(`${action} ${path}: ${description} (${code})`);
    this.code = code;
    this.path = path;
  }
}

/** Returns the result, or throws a SystemError where it is a negative errno. */
export function check(result: number, action: string, path: string): number {
  if (result < 0) throw new SystemError(result, action, path);
  return result;
}

/** Zeroed memory that begins on a page, for O_DIRECT. Costs the first touch of every page: keep it and use it again. */
export function allocateAligned(bytes: number): Uint8Array {
  return new Uint8Array(files.allocateMemory(bytes));
}

/** Raises the limit of open files as far as it goes without privilege; returns the limit now in force. */
export function raiseOpenFiles(): number {
  return check(files.raiseOpenFiles(), "raise the limit of open files of", "this process");
}
