// INIT: what the kernel offers and what is taken of it. Flags as in include/uapi/linux/fuse.h.
import { FUSE_MAJOR, FUSE_MINOR, INIT_OUT_BYTES } from "./protocol.ts";

const FUSE_ASYNC_READ = 1 << 0;
const FUSE_POSIX_LOCKS = 1 << 1;
const FUSE_ATOMIC_O_TRUNC = 1 << 3;
const FUSE_EXPORT_SUPPORT = 1 << 4;
const FUSE_BIG_WRITES = 1 << 5;
const FUSE_DONT_MASK = 1 << 6;
const FUSE_FLOCK_LOCKS = 1 << 10;
const FUSE_DO_READDIRPLUS = 1 << 13;
const FUSE_READDIRPLUS_AUTO = 1 << 14;
const FUSE_PARALLEL_DIROPS = 1 << 18;
const FUSE_POSIX_ACL = 1 << 20;
const FUSE_ABORT_ERROR = 1 << 21;
const FUSE_MAX_PAGES = 1 << 22;
const FUSE_CACHE_SYMLINKS = 1 << 23;
const FUSE_EXPLICIT_INVAL_DATA = 1 << 25;
const FUSE_HANDLE_KILLPRIV_V2 = 1 << 28;
const FUSE_SETXATTR_EXT = 1 << 29;
const FUSE_INIT_EXT = 1 << 30;
// flags2: bits 32 and up
const FUSE_HAS_EXPIRE_ONLY = 1 << 3;

/**
 * Not asked for, and why: WRITEBACK_CACHE, since a dirty page that the kernel hides cannot be recalled from it;
 * ASYNC_DIO, since an interrupted O_DIRECT read then got no INTERRUPT and hung; NO_OPEN(DIR)_SUPPORT,
 * since the filesystem wants to know of every open; AUTO_INVAL_DATA, since leases say when cached pages are stale.
 * DIRECT_IO_ALLOW_MMAP, since a shared mapping of what another mount writes must be refused (writers.ts).
 * EXPORT_SUPPORT, taken: the kernel asks for the names "." and ".." of inodes that a file handle names and it has forgotten.
 */
const WANTED =
  FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_FLOCK_LOCKS | FUSE_DO_READDIRPLUS |
  FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL | FUSE_ABORT_ERROR | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
  FUSE_EXPLICIT_INVAL_DATA | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT; // prettier-ignore
const WANTED2 = FUSE_HAS_EXPIRE_ONLY;

/** max_pages is 16 bits and by default bounded by the kernel at 256 (fs.fuse.max_pages_limit): 1 MiB. */
export const MAX_PAGES = 256;
export const MAX_WRITE_BYTES = MAX_PAGES * 4096;
const MAX_BACKGROUND = 64;
const CONGESTION_THRESHOLD = 48;

export interface InitRequest {
  major: number;
  minor: number;
  maxReadaheadBytes: number;
  flags: number;
  flags2: number;
}

/** What both sides will do. */
export interface Negotiated {
  minor: number;
  flags: number;
  flags2: number;
  maxReadaheadBytes: number;
  maxWriteBytes: number;
  /** SETXATTR has the 16-byte structure. */
  extendedSetxattr: boolean;
}

/** struct fuse_init_in: major minor max_readahead flags [flags2 unused(11)], `bodyWords` long. */
export function readInit(words: Uint32Array, at: number, bodyWords: number): InitRequest {
  const flags = words[at + 3];
  const extended = (flags & FUSE_INIT_EXT) !== 0 && bodyWords > 4;
  return {
    major: words[at],
    minor: words[at + 1],
    maxReadaheadBytes: words[at + 2],
    flags,
    flags2: extended ? words[at + 4] : 0,
  };
}

/** The flags that both sides know. The kernel's minor is at least FUSE_OLDEST_MINOR. */
export function negotiate(init: InitRequest): Negotiated {
  const flags = (init.flags & WANTED) >>> 0;
  return {
    minor: Math.min(init.minor, FUSE_MINOR),
    flags,
    flags2: (init.flags2 & WANTED2) >>> 0,
    maxReadaheadBytes: init.maxReadaheadBytes,
    maxWriteBytes: MAX_WRITE_BYTES,
    extendedSetxattr: (flags & FUSE_SETXATTR_EXT) !== 0,
  };
}

/**
 * struct fuse_init_out: major minor max_readahead flags max_background:16|congestion_threshold:16 max_write time_gran
 * max_pages:16|map_alignment:16 flags2 max_stack_depth request_timeout:16 unused(11 halfwords). Returns its bytes.
 */
export function writeInit(words: Uint32Array, at: number, negotiated: Negotiated): number {
  words.fill(0, at, at + INIT_OUT_BYTES / 4);
  words[at] = FUSE_MAJOR;
  words[at + 1] = FUSE_MINOR;
  words[at + 2] = negotiated.maxReadaheadBytes;
  words[at + 3] = negotiated.flags;
  words[at + 4] = MAX_BACKGROUND | (CONGESTION_THRESHOLD << 16);
  words[at + 5] = negotiated.maxWriteBytes;
  words[at + 6] = 1;
  words[at + 7] = MAX_PAGES;
  words[at + 8] = negotiated.flags2;
  return INIT_OUT_BYTES;
}
