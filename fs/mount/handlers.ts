// The filesystem as the kernel asks for it: one method an operation. fs/mount/operations.ts (the opcode table) decodes
// a FUSE request, calls the method here and encodes what it returns. The mount (fs/mount/mount.ts) and the in-memory
// filesystem in bench/ implement it; tests call it without a kernel.
//
// Methods return their result or a promise of it: a result at once spares the event loop a turn. They refuse by throwing
// (or rejecting with) FsError. Buffers handed in belong to the channel and are valid until the method's result is
// there; buffers returned belong to the channel until `release`, if given, is called.

import type { Attributes, ByteString, InodeId } from "../types.ts";

export type Result<T> = T | Promise<T>;

/** The asking program. */
export interface Caller {
  uid: number;
  gid: number;
  pid: number;
  /** Aborted when the kernel sends INTERRUPT for this request. Created on first use. */
  readonly signal: AbortSignal;
}

/** How long the kernel may use an answer without asking, in ms. */
export interface Entry {
  attributes: Attributes;
  entryTimeoutMs: number;
  attributeTimeoutMs: number;
}

/** A name that does not exist, which the kernel may remember. */
export interface NegativeEntry {
  attributes: null;
  entryTimeoutMs: number;
}

export interface AttributesReply {
  attributes: Attributes;
  attributeTimeoutMs: number;
}

/** A handle is a small number of the implementation's choosing. */
export interface Opened {
  handle: number;
  /** FOPEN_DIRECT_IO: no page cache for this open file. */
  directIo?: boolean;
  /** FOPEN_KEEP_CACHE: what the page cache holds of the file is still right. */
  keepCache?: boolean;
  /** FOPEN_CACHE_DIR, for opendir. */
  cacheDirectory?: boolean;
  /** FOPEN_NOFLUSH, FOPEN_PARALLEL_DIRECT_WRITES where set. */
  noFlush?: boolean;
  parallelDirectWrites?: boolean;
}

export interface SetAttributesFields {
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  atime?: { seconds: number; nanoseconds: number } | "now";
  mtime?: { seconds: number; nanoseconds: number } | "now";
  ctime?: { seconds: number; nanoseconds: number };
  handle?: number;
  /** FATTR_KILL_SUIDGID */
  clearSetId?: boolean;
}

export interface DirectoryItem {
  name: ByteString;
  inode: InodeId;
  /** readdir(3)'s d_type: the mode's type bits shifted right by 12. */
  type: number;
  /** The offset that continues after this item. */
  cookie: number;
  /** For READDIRPLUS; null gives the bare name and counts no look-up. */
  entry?: Entry | null;
}

/** Receives items until it returns false (no room: that item was not taken). */
export type DirectorySink = (item: DirectoryItem) => boolean;

export interface FileLock {
  type: "read" | "write" | "unlock";
  start: number;
  /** Inclusive; Infinity for to the end. */
  end: number;
  pid: number;
}

export interface StatfsReply {
  blockBytes: number;
  blocks: number;
  freeBlocks: number;
  availableBlocks: number;
  inodes: number;
  freeInodes: number;
  nameMaxBytes: number;
}

export interface ReadReply {
  /** Sent one after another; fewer bytes than asked for means the end of the file. */
  buffers: readonly Uint8Array[];
  release?: () => void;
}

export interface Handlers {
  lookup(caller: Caller, parent: InodeId, name: ByteString): Result<Entry | NegativeEntry>;
  /** The kernel dropped `count` references got from lookup, create, readdirplus, ... No reply. */
  forget(inode: InodeId, count: number): void;
  getattr(caller: Caller, inode: InodeId, handle: number | null): Result<AttributesReply>;
  setattr(caller: Caller, inode: InodeId, fields: SetAttributesFields): Result<AttributesReply>;
  readlink(caller: Caller, inode: InodeId): Result<ByteString>;
  symlink(caller: Caller, parent: InodeId, name: ByteString, target: ByteString): Result<Entry>;
  /** mode has type and permission bits; umask is to be applied by the filesystem (FUSE_DONT_MASK). */
  mknod(caller: Caller, parent: InodeId, name: ByteString, mode: number, device: number, umask: number): Result<Entry>;
  mkdir(caller: Caller, parent: InodeId, name: ByteString, mode: number, umask: number): Result<Entry>;
  unlink(caller: Caller, parent: InodeId, name: ByteString): Result<void>;
  rmdir(caller: Caller, parent: InodeId, name: ByteString): Result<void>;
  /** flags: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4. */
  rename(caller: Caller, parent: InodeId, name: ByteString, newParent: InodeId, newName: ByteString, flags: number): Result<void>;
  link(caller: Caller, inode: InodeId, newParent: InodeId, newName: ByteString): Result<Entry>;
  /** flags: open(2)'s without O_CREAT, O_EXCL, O_NOCTTY; O_TRUNC is there (ATOMIC_O_TRUNC). killSetId: FUSE_OPEN_KILL_SUIDGID. */
  open(caller: Caller, inode: InodeId, flags: number, killSetId: boolean): Result<Opened>;
  /** killSetId: FUSE_OPEN_KILL_SUIDGID, for a file that is there already and O_TRUNC. */
  create(
    caller: Caller,
    parent: InodeId,
    name: ByteString,
    mode: number,
    flags: number,
    umask: number,
    killSetId?: boolean,
  ): Result<{ entry: Entry; opened: Opened }>;
  tmpfile(caller: Caller, parent: InodeId, mode: number, flags: number, umask: number): Result<{ entry: Entry; opened: Opened }>;
  /** `into`, of `length` bytes, is the channel's own reply buffer, page aligned: fill it and return a number of bytes, or return buffers of your own. */
  read(
    caller: Caller,
    inode: InodeId,
    handle: number,
    offset: number,
    length: number,
    into: Uint8Array,
    flags: number,
  ): Result<number | ReadReply>;
  /** Returns the number of bytes taken. flags: open flags (O_APPEND, O_DIRECT, O_SYNC ...); killSetId: FUSE_WRITE_KILL_SUIDGID; fromCache: FUSE_WRITE_CACHE (writeback of a shared mapping, caller unknown). */
  write(
    caller: Caller,
    inode: InodeId,
    handle: number,
    offset: number,
    data: Uint8Array,
    flags: number,
    killSetId: boolean,
    fromCache: boolean,
  ): Result<number>;
  /** close(2) of one descriptor; posix locks of lockOwner go. */
  flush(caller: Caller, inode: InodeId, handle: number, lockOwner: string): Result<void>;
  release(caller: Caller, inode: InodeId, handle: number, flockOwner: string | null): Result<void>;
  fsync(caller: Caller, inode: InodeId, handle: number, dataOnly: boolean): Result<void>;
  opendir(caller: Caller, inode: InodeId, flags: number): Result<Opened>;
  /** Gives items after cookie `offset` (0: from the start, "." and ".." first) to the sink; with `plus` each has an entry, which counts as a look-up if taken. */
  readdir(caller: Caller, inode: InodeId, handle: number, offset: number, plus: boolean, sink: DirectorySink): Result<void>;
  releasedir(caller: Caller, inode: InodeId, handle: number): Result<void>;
  fsyncdir(caller: Caller, inode: InodeId, handle: number, dataOnly: boolean): Result<void>;
  statfs(caller: Caller, inode: InodeId): Result<StatfsReply>;
  /** flags: XATTR_CREATE 1, XATTR_REPLACE 2. clearSetGroupId: FUSE_SETXATTR_ACL_KILL_SGID. */
  setxattr(
    caller: Caller,
    inode: InodeId,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    clearSetGroupId: boolean,
  ): Result<void>;
  /** The value (the channel answers size queries and ERANGE), or FsError ENODATA. */
  getxattr(caller: Caller, inode: InodeId, name: ByteString): Result<Uint8Array>;
  listxattr(caller: Caller, inode: InodeId): Result<readonly ByteString[]>;
  removexattr(caller: Caller, inode: InodeId, name: ByteString): Result<void>;
  getlk(caller: Caller, inode: InodeId, handle: number, owner: string, lock: FileLock): Result<FileLock>;
  /** flock: from flock(2), whole file. wait: SETLKW; honours caller.signal with EINTR. */
  setlk(
    caller: Caller,
    inode: InodeId,
    handle: number,
    owner: string,
    lock: FileLock,
    flock: boolean,
    wait: boolean,
  ): Result<void>;
  /** mode: fallocate(2)'s flags. */
  fallocate(caller: Caller, inode: InodeId, handle: number, offset: number, length: number, mode: number): Result<void>;
  /** whence: 3 SEEK_DATA, 4 SEEK_HOLE. Returns the offset. ENXIO past the end. */
  lseek(caller: Caller, inode: InodeId, handle: number, offset: number, whence: number): Result<number>;
  copyFileRange(
    caller: Caller, inode: InodeId, handle: number, offset: number,
    toInode: InodeId, toHandle: number, toOffset: number, length: number, flags: number,
  ): Result<number>; // prettier-ignore
  /** syncfs(2). */
  syncfs(caller: Caller, inode: InodeId): Result<void>;
  /** The mount is going away; no request follows. */
  destroy(): Promise<void>;
}

/** What a filesystem may ask of the kernel. Sent from a thread of its own; never await one in a handler whose own request it may block on (facts-fuse.md, pitfall 1). */
export interface KernelCaches {
  /** Drops cached attributes and, of [offset, offset+length), data. offset -1: attributes only; length 0: to the end. False: the kernel does not know the inode, or not yet: it learns it when the program that looked it up goes on. */
  invalidateInode(inode: InodeId, offset: number, length: number): Promise<boolean>;
  invalidateEntry(parent: InodeId, name: ByteString): Promise<void>;
  /** As invalidateEntry, and tells watchers that the child is gone. */
  notifyDelete(parent: InodeId, child: InodeId, name: ByteString): Promise<void>;
  /**
   * Fills the pages of [0, length) and returns whether that was done; `fill` gets memory for the bytes and says whether they
   * are there. Sent at once, on this thread: no request may hold a page of the inode.
   */
  storePages?(inode: InodeId, length: number, fill: (into: Uint8Array) => boolean): boolean;
  /** Drops cached attributes, at once, on this thread: it takes no lock. An answer that has not been taken yet is not kept, either. */
  forgetAttributes?(inode: InodeId): void;
  /** Makes every cached entry need a look-up again (FUSE_NOTIFY_INC_EPOCH); takes no lock. */
  incrementEpoch(): Promise<void>;
  /** Has a process beside the mount look up a directory by the names that lead to it. False: it could not. */
  lookUp?(names: readonly ByteString[]): Promise<boolean>;
}
