// The FUSE protocol's numbers and structures, as in the kernel's include/uapi/linux/fuse.h (protocol 7.45; spoken from
// 7.31 on). Everything lies in 32-bit little-endian words: a structure is read at a word index of a Uint32Array over
// the arena. 64-bit fields are two words; no BigInt, because this is on every request's path.
//
// Offsets in comments and constants are in words from the structure's start.
import type { Attributes, ByteString } from "../types.ts";

export const FUSE_MAJOR = 7;
/** The newest minor whose structures are described here. */
export const FUSE_MINOR = 45;
/** Linux 5.4. Older kernels lack what the filesystem relies on (and are past their end of life). */
export const FUSE_OLDEST_MINOR = 31;

// struct fuse_in_header: len, opcode, unique(2), nodeid(2), uid, gid, pid, total_extlen:16 | padding:16
export const IN_HEADER_BYTES = 40;
export const IN_HEADER_WORDS = 10;
export const IN_LENGTH = 0;
export const IN_OPCODE = 1;
export const IN_UNIQUE = 2;
export const IN_NODE = 4;
export const IN_UID = 6;
export const IN_GID = 7;
export const IN_PID = 8;
export const IN_EXTENSIONS = 9;

// struct fuse_out_header: len, error, unique(2)
export const OUT_HEADER_BYTES = 16;
export const OUT_HEADER_WORDS = 4;

export const ATTRIBUTES_BYTES = 88;
export const ENTRY_OUT_BYTES = 128;
export const ATTR_OUT_BYTES = 104;
export const OPEN_OUT_BYTES = 16;
export const DIRENT_BYTES = 24;
export const WRITE_IN_BYTES = 40;
export const STATFS_OUT_BYTES = 80;
export const LOCK_OUT_BYTES = 24;
export const INIT_OUT_BYTES = 64;

// FATTR_*: fuse_setattr_in.valid
export const FATTR_MODE = 1 << 0;
export const FATTR_UID = 1 << 1;
export const FATTR_GID = 1 << 2;
export const FATTR_SIZE = 1 << 3;
export const FATTR_ATIME = 1 << 4;
export const FATTR_MTIME = 1 << 5;
export const FATTR_FH = 1 << 6;
export const FATTR_ATIME_NOW = 1 << 7;
export const FATTR_MTIME_NOW = 1 << 8;
export const FATTR_CTIME = 1 << 10;
export const FATTR_KILL_SUIDGID = 1 << 11;

// FOPEN_*: fuse_open_out.open_flags
export const FOPEN_DIRECT_IO = 1 << 0;
export const FOPEN_KEEP_CACHE = 1 << 1;
export const FOPEN_CACHE_DIR = 1 << 3;
export const FOPEN_NOFLUSH = 1 << 5;
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6;

export const FUSE_GETATTR_FH = 1 << 0;
export const FUSE_LK_FLOCK = 1 << 0;
export const FUSE_WRITE_CACHE = 1 << 0;
export const FUSE_WRITE_KILL_SUIDGID = 1 << 2;
export const FUSE_OPEN_KILL_SUIDGID = 1 << 0;
export const FUSE_FSYNC_FDATASYNC = 1 << 0;
export const FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1;
export const FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0;

// fcntl.h: fuse_file_lock.type
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;
/** OFFSET_MAX of the kernel, 2^63-1: a lock to the end of the file. */
const LOCK_END_HIGH = 0x7fffffff;

// enum fuse_notify_code
export const FUSE_NOTIFY_INVAL_INODE = 2;
export const FUSE_NOTIFY_INVAL_ENTRY = 3;
export const FUSE_NOTIFY_STORE = 4;
export const FUSE_NOTIFY_DELETE = 6;
export const FUSE_NOTIFY_INC_EPOCH = 8;
/** The minor that brought FUSE_NOTIFY_INC_EPOCH. */
export const FUSE_EPOCH_MINOR = 44;

const WORD = 2 ** 32;
/** Whole seconds the kernel takes for a timeout; more overflows its jiffies and is taken for this anyway. */
const LONGEST_TIMEOUT_SECONDS = 2 ** 31;

/** An unsigned 64-bit field that must fit an exact number; -1 where it does not. */
export function readU64(words: Uint32Array, at: number): number {
  const high = words[at + 1];
  return high < 0x200000 ? high * WORD + words[at] : -1;
}

/** A signed 64-bit field (seconds before 1970 are negative), rounded where it needs more than 53 bits. */
export function readS64(words: Uint32Array, at: number): number {
  return (words[at + 1] | 0) * WORD + words[at];
}

/** Two's complement; exact for every integer of up to 53 bits. */
export function writeS64(words: Uint32Array, at: number, value: number): void {
  words[at] = value; // a Uint32Array takes numbers modulo 2^32
  words[at + 1] = Math.floor(value / WORD);
}

/** A lock owner: 64 bits that only need to be equal or not. */
export function readOwner(words: Uint32Array, at: number): string {
  return `${words[at + 1].toString(16)}:${words[at].toString(16)}`;
}

/** A lock's end, inclusive: Infinity for the end of the file. */
export function readLockEnd(words: Uint32Array, at: number): number {
  return words[at + 1] >= LOCK_END_HIGH ? Infinity : readS64(words, at);
}

export function writeLockEnd(words: Uint32Array, at: number, end: number): void {
  if (end < Number.MAX_SAFE_INTEGER) return writeS64(words, at, end);
  words[at] = 0xffffffff;
  words[at + 1] = LOCK_END_HIGH;
}

// struct fuse_attr: ino(2) size(2) blocks(2) atime(2) mtime(2) ctime(2) atimensec mtimensec ctimensec mode nlink uid gid rdev blksize flags
export function writeAttributes(words: Uint32Array, at: number, attributes: Attributes, blockBytes: number): void {
  writeS64(words, at, attributes.inode);
  writeS64(words, at + 2, attributes.size);
  writeS64(words, at + 4, Math.ceil(attributes.allocatedBytes / 512));
  writeS64(words, at + 6, attributes.atimeSeconds);
  writeS64(words, at + 8, attributes.mtimeSeconds);
  writeS64(words, at + 10, attributes.ctimeSeconds);
  words[at + 12] = attributes.atimeNanoseconds;
  words[at + 13] = attributes.mtimeNanoseconds;
  words[at + 14] = attributes.ctimeNanoseconds;
  words[at + 15] = attributes.mode;
  words[at + 16] = attributes.linkCount;
  words[at + 17] = attributes.uid;
  words[at + 18] = attributes.gid;
  words[at + 19] = attributes.device;
  words[at + 20] = blockBytes;
  words[at + 21] = 0;
}

function writeTimeout(words: Uint32Array, secondsAt: number, nanosecondsAt: number, timeoutMs: number): void {
  const seconds = Math.min(Math.floor(timeoutMs / 1000), LONGEST_TIMEOUT_SECONDS);
  writeS64(words, secondsAt, seconds);
  words[nanosecondsAt] = seconds === LONGEST_TIMEOUT_SECONDS ? 0 : Math.floor((timeoutMs - seconds * 1000) * 1e6);
}

/** struct fuse_entry_out: nodeid(2) generation(2) entry_valid(2) attr_valid(2) entry_valid_nsec attr_valid_nsec attr. Generation is 0: inode numbers are not reused. */
export function writeEntry(
  words: Uint32Array,
  at: number,
  attributes: Attributes | null,
  entryTimeoutMs: number,
  attributeTimeoutMs: number,
  blockBytes: number,
): void {
  // prettier-ignore
  if (attributes === null) words.fill(0, at, at + ENTRY_OUT_BYTES / 4);
  else writeAttributes(words, at + 10, attributes, blockBytes);
  writeS64(words, at, attributes === null ? 0 : attributes.inode);
  words[at + 2] = words[at + 3] = 0;
  writeTimeout(words, at + 4, at + 8, entryTimeoutMs);
  writeTimeout(words, at + 6, at + 9, attributeTimeoutMs);
}

/** struct fuse_attr_out: attr_valid(2) attr_valid_nsec dummy attr */
export function writeAttributesOut(
  words: Uint32Array,
  at: number,
  attributes: Attributes,
  timeoutMs: number,
  blockBytes: number,
): void {
  writeTimeout(words, at, at + 2, timeoutMs);
  words[at + 3] = 0;
  writeAttributes(words, at + 4, attributes, blockBytes);
}

/** The bytes of a directory item with a name of so many bytes: padded to 8 (FUSE_DIRENT_ALIGN). */
export function direntBytes(nameBytes: number): number {
  return (DIRENT_BYTES + nameBytes + 7) & ~7;
}

/** struct fuse_dirent: ino(2) off(2) namelen type name. `type` is DT_*, `name` not empty. Returns the bytes taken. */
export function writeDirent(
  words: Uint32Array,
  bytes: Uint8Array,
  atByte: number,
  inode: number,
  cookie: number,
  type: number,
  name: ByteString,
): number {
  // prettier-ignore
  const at = atByte >>> 2;
  const length = name.length;
  const total = direntBytes(length);
  writeS64(words, at, inode);
  writeS64(words, at + 2, cookie);
  words[at + 4] = length;
  words[at + 5] = type;
  // The padding, before the name is written over its part of it.
  words[at + (total >>> 2) - 2] = 0;
  words[at + (total >>> 2) - 1] = 0;
  writeName(bytes, atByte + DIRENT_BYTES, name);
  return total;
}

/** Copies a byte string. Short names, so a loop beats a call into C++. */
export function writeName(bytes: Uint8Array, at: number, name: ByteString): void {
  for (let i = 0; i < name.length; i++) bytes[at + i] = name.charCodeAt(i);
}

/** struct fuse_out_header */
export function writeOutHeader(
  words: Uint32Array,
  at: number,
  length: number,
  error: number,
  uniqueLow: number,
  uniqueHigh: number,
): void {
  words[at] = length;
  words[at + 1] = -error;
  words[at + 2] = uniqueLow;
  words[at + 3] = uniqueHigh;
}
