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
  /** The user id at the other end of a connected Unix socket (SO_PEERCRED). */
  peerUser(fd: number): number;
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

/** What filesystems and devices answer with and Node has no name for (errno(3)). */
const OTHER_ERRORS = new Map<number, [code: string, description: string]>([
  [62, ["ETIME", "timer expired"]],
  [67, ["ENOLINK", "link has been severed"]],
  [74, ["EBADMSG", "bad message: a checksum differs"]],
  [116, ["ESTALE", "stale file handle"]],
  [117, ["EUCLEAN", "structure needs cleaning: the filesystem is damaged"]],
  [122, ["EDQUOT", "disk quota exceeded"]],
  [123, ["ENOMEDIUM", "no medium found"]],
  [124, ["EMEDIUMTYPE", "wrong medium type"]],
  [126, ["ENOKEY", "required key not available"]],
  [127, ["EKEYEXPIRED", "key has expired"]],
  [128, ["EKEYREVOKED", "key has been revoked"]],
  [131, ["ENOTRECOVERABLE", "state not recoverable"]],
  [133, ["EHWPOISON", "memory page has hardware error"]],
]);

/** An error of the system's: `code` as errno(3) names it (ENOSPC), text "ACTION FILE: description". */
export class SystemError extends Error {
  readonly code: string;
  readonly path: string;
  constructor(negativeErrno: number, action: string, path: string) {
    const [code, description] = getSystemErrorMap().get(negativeErrno) ??
      OTHER_ERRORS.get(-negativeErrno) ?? [`ERRNO_${-negativeErrno}`, `error ${-negativeErrno}, see errno(3)`];
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
