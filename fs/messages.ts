// Everything that fs/mount and fs/namespace say to each other: requests of a session, their replies, and what the
// server says on its own (recalls). In one process they are passed as objects; over a socket, fs/message-codec.ts
// turns them into frames. Nothing here has behaviour.
//
// The kernel has checked permissions (default_permissions) before a request gets here; uid and gid are there because
// they become owners or decide about set-id bits.

import type { Stripe } from "../replication/stripe.ts";
import type { Attributes, ByteString, InodeId, SessionId, StripeId } from "./types.ts";

/** What a session may do with what it knows of one inode. `known`: it may have it open, so the inode must outlive its last name. `shared`: it may cache attributes, data and, of a directory, names present and absent. `exclusive`: it may also hold changes (written data, size, times) that the server does not have yet. */
export type LeaseMode = "known" | "shared" | "exclusive";

/** A range of a file and where its bytes are. Ranges that no extent covers read as zeros. */
export interface Extent {
  offset: number;
  length: number;
  /** Bytes lie in a stripe from stripeOffset on, or in the table itself (`inline`, of exactly `length` bytes), or are reserved and zero (`unwritten`: neither). */
  stripe?: StripeId;
  stripeOffset?: number;
  inline?: Uint8Array;
}

export interface TimeStamp {
  seconds: number;
  nanoseconds: number;
}

/** Fields that are absent stay as they are, but: `ctime` becomes now; `size` also makes mtime now; `uid` or `gid` without `mode` drops set-id bits of files, as chown(2) does. `now` is the server's clock. */
export interface AttributeChange {
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  atime?: TimeStamp | "now";
  mtime?: TimeStamp | "now";
  ctime?: TimeStamp;
  /** Clear set-user-id and, where group-executable, set-group-id (a write, truncate or chown by an unprivileged program). */
  clearSetId?: boolean;
  /** With clearSetId: set-group-id goes also where the group may not execute (whoever asks is no member of it). */
  clearSetGroupId?: boolean;
  /** File capabilities go, as they do with `size`, `uid` and `gid`. */
  clearCapability?: boolean;
}

export interface FileCommit {
  inode: InodeId;
  /** New contents, not overlapping one another; they replace whatever the ranges held. */
  extents: Extent[];
  /** The file's size is at least this afterwards. */
  sizeAtLeast?: number;
  change?: AttributeChange;
}

export interface ByteLock {
  /** "flock" locks cover the whole file and are of their own kind: they never conflict with "posix" ones. */
  kind: "posix" | "flock";
  type: "read" | "write" | "unlock";
  /** Inclusive; end is 2^63-1 in the kernel and Infinity here. */
  start: number;
  end: number;
  /** The kernel's lock owner, as hex text. Unique within the session. */
  owner: string;
  pid: number;
}

export interface DirectoryEntry {
  name: ByteString;
  inode: InodeId;
  /** S_IFMT bits. */
  type: number;
  /** Position of this entry; listing goes on after it. Stable as long as the name is there, whatever it leads to; positive, grows with creation. */
  cookie: number;
  attributes?: Attributes;
}

export interface Statistics {
  totalBytes: number;
  freeBytes: number;
  inodes: number;
}

/** operation -> [request, reply]. Every request is one transaction. */
export interface Operations {
  /** Attributes of a name's inode, or null where there is no such name. Grants `shared` on the directory, and on the inode found. ENOTDIR, ENAMETOOLONG. */
  lookup: [{ parent: InodeId; name: ByteString }, { attributes: Attributes | null }];
  /** Parent of a directory (for NFS-like look-ups of ".."). */
  parent: [{ inode: InodeId }, { attributes: Attributes }];
  getAttributes: [{ inode: InodeId }, { attributes: Attributes }];
  /** `held` (for the transport, not sent): the session holds the inode exclusively, and gives nothing up before the reply: recalls wait for it, and it waits for none. */
  setAttributes: [{ inode: InodeId; change: AttributeChange; held?: boolean }, { attributes: Attributes }];
  /** mkdir, mknod, symlink and create in one: `mode` has type and permission bits; umask is applied here, or the parent's default ACL instead. With `exclusive` false an existing regular file is returned as it is (`created` false). Grants `exclusive` on a created file. EEXIST, ENOENT (parent gone), EMLINK, ENOSPC, EDQUOT. */
  make: [
    {
      parent: InodeId;
      name: ByteString;
      mode: number;
      umask: number;
      uid: number;
      gid: number;
      device?: number;
      target?: ByteString;
      exclusive: boolean;
    },
    { attributes: Attributes; created: boolean; parent: Attributes },
  ];
  /** A regular file without a name (O_TMPFILE); `link` gives it one. */
  makeUnnamed: [{ parent: InodeId; mode: number; umask: number; uid: number; gid: number }, { attributes: Attributes }];
  link: [{ inode: InodeId; parent: InodeId; name: ByteString }, { attributes: Attributes; parent: Attributes }];
  /** Removes a name that is not a directory's (`directory` false: EISDIR) or an empty directory's (`directory` true: ENOTDIR, ENOTEMPTY). The reply has the inode's attributes afterwards; with link count 0 it lives on while any session knows it, and `knownElsewhere` says whether a session other than this one does. */
  unlink: [
    { parent: InodeId; name: ByteString; directory: boolean },
    { attributes: Attributes; parent: Attributes; knownElsewhere?: boolean },
  ];
  /** rename(2) and renameat2(2). The replaced inode's attributes are in the reply (`knownElsewhere` as in unlink). EEXIST (noReplace), ENOTEMPTY, EISDIR, ENOTDIR, EINVAL (into itself), ENOENT. */
  rename: [
    { parent: InodeId; name: ByteString; newParent: InodeId; newName: ByteString; noReplace: boolean; exchange: boolean },
    { moved: Attributes; replaced: Attributes | null; parent: Attributes; newParent: Attributes; knownElsewhere?: boolean },
  ];
  readLink: [{ inode: InodeId }, { target: ByteString }];
  /** Entries with cookies above `after` (0: from the start), without "." and "..". Fewer than `limit` (1 to 4096) means the end. `newestCookie`: no entry made until now has a higher one. Grants `shared` on the directory and, with `attributes`, on each entry's inode. */
  list: [
    { inode: InodeId; after: number; limit: number; attributes: boolean },
    { entries: DirectoryEntry[]; newestCookie: number },
  ];
  getXattr: [{ inode: InodeId; name: ByteString }, { value: Uint8Array | null }];
  /** `create`: EEXIST if there; `replace`: ENODATA if not. Setting system.posix_acl_access also sets the mode's permission bits; `clearSetGroupId`: setgid goes. */
  setXattr: [
    { inode: InodeId; name: ByteString; value: Uint8Array; create: boolean; replace: boolean; clearSetGroupId: boolean },
    { attributes: Attributes },
  ];
  listXattrs: [{ inode: InodeId }, { names: ByteString[] }];
  removeXattr: [{ inode: InodeId; name: ByteString }, { attributes: Attributes }];
  /** Extents that touch [from, to), in order, at most `limit`, with the records of their stripes; `end`: all of them up to this offset are in the reply. */
  extents: [{ inode: InodeId; from: number; to: number; limit: number }, { extents: Extent[]; stripes: Stripe[]; end: number }];
  /** A range of 1 to 4096 stripe ids that nobody else gets. Blocks stored under ids that are not committed are removed after the session's end. */
  reserveStripes: [{ count: number }, { first: StripeId }];
  /** Makes stored stripes part of files, all files in one transaction. The blocks must be durable before. A file whose inode is gone is left out: `gone` names it, `attributes` has those of the others in order, which are committed still. Inline extents have up to 64 KiB, a commit up to 16384 files and 65536 extents; stripes are ones that this session has reserved (a stripe of an earlier commit may be named by extents, and given again). EINVAL otherwise. Data extents make the file at least as long. Without `change`, mtime and ctime become now. A file of which only the access time is given is left as it is where another session caches it: no lease is recalled for that. */
  commit: [{ files: FileCommit[]; stripes: Stripe[] }, { attributes: Attributes[]; gone: InodeId[] }];
  /** fallocate(2)'s other modes; `allocate` reserves without changing bytes. keepSize as there. collapse and insert need multiples of 4096. */
  reshape: [
    {
      inode: InodeId;
      kind: "allocate" | "punch" | "zero" | "collapse" | "insert";
      offset: number;
      length: number;
      keepSize: boolean;
    },
    { attributes: Attributes },
  ];
  /** Makes the target range share the source's stripes. Both offsets and the length in bytes, any alignment; the ranges do not overlap if the inodes are equal. Returns the number of bytes shared: up to the source's end, and at most 1 GiB at a time. */
  share: [
    { from: InodeId; fromOffset: number; to: InodeId; toOffset: number; length: number },
    { copied: number; attributes: Attributes },
  ];
  /** Everything that this session was told is done is durable when the reply comes. */
  sync: [Record<string, never>, Record<string, never>];
  /** Room to write. What the session says of itself (granted and not taken, taken and not stored) replaces what it said before. Granted are up to `wantedBytes` more, and at least `neededBytes`, or nothing: then what is deleted has been released, and there is no room. `release`: release what is deleted in any case. `scarce`: small pieces should be coded, since copies take more than they count as. */
  space: [
    { heldBytes: number; unstoredBytes: number; neededBytes: number; wantedBytes: number; release: boolean },
    { grantedBytes: number; scarce: boolean },
  ];
  statistics: [Record<string, never>, Statistics];
  /** Waits where `wait` and the lock is taken (the reply comes when it is granted); else EAGAIN. EDEADLK, ENOLCK. */
  lock: [{ inode: InodeId; lock: ByteLock; wait: boolean; ticket: number }, Record<string, never>];
  /** Ends a waiting `lock` with the ticket: that request gets EINTR. */
  cancelLock: [{ ticket: number }, Record<string, never>];
  /** The first lock that conflicts, or null. */
  testLock: [{ inode: InodeId; lock: ByteLock }, { conflict: ByteLock | null }];
  /** Drops all posix (close) or flock (last close) locks of an owner. */
  releaseLocks: [{ inode: InodeId; kind: "posix" | "flock"; owner: string }, Record<string, never>];
  /** Asks for a lease; the reply comes when others have given theirs up. */
  acquire: [{ inode: InodeId; mode: LeaseMode }, { attributes: Attributes }];
  /** These files, which the session knows, are open for writing through its mount (`open`) or not any more: the others' mounts are told, and refuse to map them (SessionEvents.writtenElsewhere). At most 1024. */
  writing: [{ inodes: InodeId[]; open: boolean }, Record<string, never>];
  /** The session no longer knows these inodes. Unnamed ones nobody knows are freed. */
  forget: [{ inodes: InodeId[] }, Record<string, never>];
}

export type OperationName = keyof Operations;
export type Request<Name extends OperationName> = Operations[Name][0];
export type Reply<Name extends OperationName> = Operations[Name][1];

/** A lease that a session holds. */
export interface HeldLease {
  inode: InodeId;
  mode: LeaseMode;
  /** The namespace was told that the file is open for writing. */
  writing?: boolean;
}

/** A lock that a session holds. */
export interface HeldLock {
  inode: InodeId;
  lock: ByteLock;
}

/** A session as its mount sees it: a request channel. In one process fs/namespace gives one out; over a socket, fs/remote-session.ts. */
export interface Session {
  readonly id: SessionId;
  /** Carries out the operation exactly once, also where the transport had to repeat it. Rejects with FsError; ETIMEDOUT when the deadline passes, ESTALE when the session is over (its time limit passed unheard). */
  call<Name extends OperationName>(operation: Name, request: Request<Name>): Promise<Reply<Name>>;
  /** False while the server cannot be reached. Absent where it always can. */
  readonly connected?: boolean;
  /** False where the server may have ended the session for its silence: nothing may be answered from caches until `contact` resolves. Absent where it cannot. */
  readonly fresh?: boolean;
  /** Resolves when the session, or another in its place, is fresh. EIO after a minute. */
  contact?(): Promise<void>;
  /** As call(), but what needs no waiting is answered, or refused by a throw, at once, without a promise. Where the namespace is in the same process. */
  callNow?<Name extends OperationName>(operation: Name, request: Request<Name>): Reply<Name> | Promise<Reply<Name>>;
  /** Gives everything up: leases, locks, unnamed inodes. */
  close(): Promise<void>;
}

/** What the server asks of a mount. The mount resolves when it has done it: the server lets the other's change through only then, or when the session's time limit passes. */
export interface SessionEvents {
  /**
   * Give the lease down to `mode`: write back what is held (from exclusive), forget cached attributes and data (from shared).
   * With `names` (a directory, mode `shared`): forget the directory's attributes and these names, and keep the rest of the lease.
   * Without: forget all names. While a recall is under way, requests about the inode are still answered, so that pending reads
   * and writing back can finish, but grant nothing: what a request sent before the recall was answered brings must not be
   * cached. Answer without waiting for changes of one's own that are under way: they may wait for this recall.
   */
  recall(inode: InodeId, mode: LeaseMode, names?: readonly ByteString[]): Promise<void>;
  /** A reply comes next that was made before, perhaps by a server that was started again since: what it says was so then, and it grants nothing. */
  repeated?(): void;
  /** Committed bytes of these files, still the same, lie at other places from now on: better forget where they were. Nobody waits for an answer; who misses this finds out when the old place is removed. */
  moved?(inodes: readonly InodeId[]): void;
  /** Another mount has the file open for writing. Comes before the reply that grants a lease on it, and where it is opened so while this one has a lease. */
  writtenElsewhere?(inode: InodeId): void;
  /** Every inode that the session knows and the lease on it. Asked where the server was started again and has forgotten. */
  held?(): Iterable<HeldLease>;
  /** The server was not heard of for the time limit: it may have ended the session. What the kernel caches must not be used as long as `fresh` is false. */
  lapsed?(): void;
  /** The session was over, and another goes on in its place, through the same object: nothing that was held is valid, nothing that was not committed is kept. `locked`: where locks were lost. */
  renewed?(locked: ReadonlySet<InodeId>): void;
  /** The session is over for good: nothing that it holds is valid, nothing it has not synced is kept. `locked`: where it had locks, as far as the teller knows. May resolve when nothing that was asked under the session is under way any more: what it stored and did not commit is removed then. */
  expired(locked?: ReadonlySet<InodeId>): void | Promise<void>;
}
