// The operation table: one row per FUSE opcode that Linux sends (include/uapi/linux/fuse.h). A row decodes the request's
// body, calls the handler and encodes its result. Opcodes without a row are answered ENOSYS, which the kernel remembers.
//
// Body offsets given to u32/u64/... are in words, those given to names and data in bytes, both from the body's start;
// they are the offsets of the fields of struct fuse_*_in.
import { FsError } from "../errno.ts";
import { TIME_MAX_SECONDS, XATTR_VALUE_MAX_BYTES } from "../types.ts";
import type { ByteString, InodeId } from "../types.ts";
import type {
  AttributesReply, DirectoryItem, DirectorySink, Entry, FileLock, Handlers, NegativeEntry, Opened, ReadReply, Result, SetAttributesFields, StatfsReply,
} from "./handlers.ts"; // prettier-ignore
import type { ReplyBody, Request } from "./operations-request.ts";
import * as protocol from "./protocol.ts";

/** PATH_MAX without its NUL, as Linux's own filesystems allow. */
const SYMLINK_MAX_BYTES = 4095;

/** What the few operations that concern the connection itself need of it. */
export interface Connection {
  handlers: Handlers;
  /** SETXATTR has the 16-byte structure. */
  extendedSetxattr: boolean;
  /** Takes INIT's body; the reply is written by `encode` of its row. */
  initialize(request: Request): unknown;
  writeInitialized(body: ReplyBody): number;
  /** The reply body in the slot of a request that holds it. */
  slotBody(request: Request): ReplyBody;
  /** INTERRUPT of the request with this number. Throws EAGAIN where that is not pending. */
  interrupt(unique: number): void;
}

export interface Operation<T = unknown> {
  code: number;
  name: string;
  /** Bytes that the body must have at least. */
  bodyBytes: number;
  /** The handler works in the request's slot until it answers: the slot stays taken. */
  holdsSlot?: true;
  /** No reply is due. */
  silent?: true;
  /** May wait for another program as long as it takes: has no deadline. */
  waits?: true;
  call(request: Request, connection: Connection): Result<T>;
  /** Writes the reply's body at body.at and returns its bytes. Without it the reply is a bare header. */
  encode?(body: ReplyBody, value: T, request: Request, connection: Connection): number;
  /** Takes back what the kernel will never learn of: the result came when nobody waited for it any more. */
  undo?(value: T, request: Request, connection: Connection): void;
}

function row<T>(operation: Operation<T>): Operation {
  return operation as unknown as Operation;
}

// ---- Encoders

function encodeEntry(body: ReplyBody, entry: Entry | NegativeEntry): number {
  const attributeTimeoutMs = entry.attributes === null ? 0 : (entry as Entry).attributeTimeoutMs;
  protocol.writeEntry(body.words, body.at >>> 2, entry.attributes, entry.entryTimeoutMs, attributeTimeoutMs, body.blockBytes);
  return protocol.ENTRY_OUT_BYTES;
}

function encodeAttributes(body: ReplyBody, reply: AttributesReply): number {
  protocol.writeAttributesOut(body.words, body.at >>> 2, reply.attributes, reply.attributeTimeoutMs, body.blockBytes);
  return protocol.ATTR_OUT_BYTES;
}

function openFlags(opened: Opened): number {
  return (
    (opened.directIo ? protocol.FOPEN_DIRECT_IO : 0) |
    (opened.keepCache ? protocol.FOPEN_KEEP_CACHE : 0) |
    (opened.cacheDirectory ? protocol.FOPEN_CACHE_DIR : 0) |
    (opened.noFlush ? protocol.FOPEN_NOFLUSH : 0) |
    (opened.parallelDirectWrites ? protocol.FOPEN_PARALLEL_DIRECT_WRITES : 0)
  );
}

/** struct fuse_open_out: fh(2) open_flags backing_id */
function encodeOpened(body: ReplyBody, opened: Opened): number {
  const at = body.at >>> 2;
  protocol.writeS64(body.words, at, opened.handle);
  body.words[at + 2] = openFlags(opened);
  body.words[at + 3] = 0;
  return protocol.OPEN_OUT_BYTES;
}

function encodeCreated(body: ReplyBody, created: { entry: Entry; opened: Opened }): number {
  encodeEntry(body, created.entry);
  body.at += protocol.ENTRY_OUT_BYTES;
  encodeOpened(body, created.opened);
  body.at -= protocol.ENTRY_OUT_BYTES;
  return protocol.ENTRY_OUT_BYTES + protocol.OPEN_OUT_BYTES;
}

/** struct fuse_write_out, fuse_getxattr_out: size padding */
function encodeSize(body: ReplyBody, size: number): number {
  body.words[body.at >>> 2] = size;
  body.words[(body.at >>> 2) + 1] = 0;
  return 8;
}

/** struct fuse_lseek_out, fuse_copy_file_range_out */
function encodeOffset(body: ReplyBody, offset: number): number {
  protocol.writeS64(body.words, body.at >>> 2, offset);
  return 8;
}

function encodeText(body: ReplyBody, text: ByteString): number {
  protocol.writeName(body.bytes, body.at, text);
  return text.length;
}

/** struct fuse_kstatfs: blocks(2) bfree(2) bavail(2) files(2) ffree(2) bsize namelen frsize padding spare(6) */
function encodeStatfs(body: ReplyBody, reply: StatfsReply): number {
  const at = body.at >>> 2;
  body.words.fill(0, at, at + protocol.STATFS_OUT_BYTES / 4);
  const counts = [reply.blocks, reply.freeBlocks, reply.availableBlocks, reply.inodes, reply.freeInodes];
  counts.forEach((count, i) => protocol.writeS64(body.words, at + 2 * i, count));
  body.words[at + 10] = reply.blockBytes;
  body.words[at + 11] = reply.nameMaxBytes;
  body.words[at + 12] = reply.blockBytes;
  return protocol.STATFS_OUT_BYTES;
}

function encodeRead(_body: ReplyBody, reply: number | ReadReply, request: Request): number {
  // Buffers of the handler's own are sent by the channel, without a copy.
  if (typeof reply !== "number") throw new Error("a READ's own buffers have no encoding");
  if (!(reply >= 0 && reply <= request.room))
    throw new Error(`read returned ${reply} bytes where ${request.room} were asked for`);
  return reply;
}

/** struct fuse_file_lock: start(2) end(2) type pid */
function encodeLock(body: ReplyBody, lock: FileLock): number {
  const at = body.at >>> 2;
  protocol.writeS64(body.words, at, lock.start);
  protocol.writeLockEnd(body.words, at + 2, lock.end);
  body.words[at + 4] = lock.type === "read" ? protocol.F_RDLCK : lock.type === "write" ? protocol.F_WRLCK : protocol.F_UNLCK;
  body.words[at + 5] = lock.pid;
  return protocol.LOCK_OUT_BYTES;
}

/** An xattr's value or a list of names: only its size where the caller's buffer is 0, ERANGE where it is too small. */
function encodeSized(body: ReplyBody, value: Uint8Array, room: number): number {
  if (value.length > XATTR_VALUE_MAX_BYTES) throw new FsError("E2BIG");
  if (room === 0) return encodeSize(body, value.length);
  if (value.length > room) throw new FsError("ERANGE");
  body.bytes.set(value, body.at);
  return value.length;
}

// ---- Decoders of more than one line

function decodeTime(request: Request, seconds: number, nanoseconds: number): { seconds: number; nanoseconds: number } {
  const whole = request.s64(seconds);
  // As the kernel does for filesystems that say what they can hold (timestamp_truncate).
  if (Math.abs(whole) >= TIME_MAX_SECONDS) return { seconds: Math.sign(whole) * TIME_MAX_SECONDS, nanoseconds: 0 };
  return { seconds: whole, nanoseconds: request.u32(nanoseconds) };
}

/**
 * struct fuse_setattr_in: valid padding fh(2) size(2) lock_owner(2) atime(2) mtime(2) ctime(2) atimensec mtimensec
 * ctimensec mode unused4 uid gid unused5
 */
function decodeSetAttributes(request: Request): SetAttributesFields {
  const valid = request.u32(0);
  const fields: SetAttributesFields = {};
  if (valid & protocol.FATTR_MODE) fields.mode = request.u32(17);
  if (valid & protocol.FATTR_UID) fields.uid = request.u32(19);
  if (valid & protocol.FATTR_GID) fields.gid = request.u32(20);
  if (valid & protocol.FATTR_SIZE) fields.size = request.length64(4);
  if (valid & protocol.FATTR_ATIME) fields.atime = valid & protocol.FATTR_ATIME_NOW ? "now" : decodeTime(request, 8, 14);
  if (valid & protocol.FATTR_MTIME) fields.mtime = valid & protocol.FATTR_MTIME_NOW ? "now" : decodeTime(request, 10, 15);
  if (valid & protocol.FATTR_CTIME) fields.ctime = decodeTime(request, 12, 16);
  if (valid & protocol.FATTR_FH) fields.handle = request.u64(2);
  if (valid & protocol.FATTR_KILL_SUIDGID) fields.clearSetId = true;
  return fields;
}

/** struct fuse_lk_in: fh(2) owner(2) lk(start(2) end(2) type pid) lk_flags padding */
function decodeLock(request: Request): FileLock {
  const type = request.u32(8);
  if (type > protocol.F_UNLCK) throw new FsError("EINVAL", `lock type ${type}`);
  return {
    type: type === protocol.F_RDLCK ? "read" : type === protocol.F_WRLCK ? "write" : "unlock",
    start: request.u64(4),
    end: protocol.readLockEnd(request.words, request.at(6)),
    pid: request.u32(9),
  };
}

function joinNames(names: readonly ByteString[]): Uint8Array {
  return Buffer.from(names.map((name) => `${name}\0`).join(""), "latin1");
}

// ---- Directories: items go straight into the slot's reply body

/** What READDIR's sink wrote: kept so that its look-ups can be undone. */
interface Listing {
  bytes: number;
  inodes: InodeId[] | null;
}

function isDot(name: ByteString): boolean {
  return name === "." || name === "..";
}

function directorySink(body: ReplyBody, room: number, plus: boolean, listing: Listing): DirectorySink {
  return (item: DirectoryItem): boolean => {
    const bytes = protocol.direntBytes(item.name.length) + (plus ? protocol.ENTRY_OUT_BYTES : 0);
    if (listing.bytes + bytes > room) return false;
    let at = body.at + listing.bytes;
    if (plus) {
      // The kernel takes no reference on "." and "..", whatever it is told of them.
      const entry = isDot(item.name) ? null : (item.entry ?? null);
      protocol.writeEntry(
        body.words, at >>> 2, entry && entry.attributes, entry ? entry.entryTimeoutMs : 0, entry ? entry.attributeTimeoutMs : 0, body.blockBytes,
      ); // prettier-ignore
      if (entry) listing.inodes!.push(entry.attributes.inode);
      at += protocol.ENTRY_OUT_BYTES;
    }
    protocol.writeDirent(body.words, body.bytes, at, item.inode, item.cookie, item.type, item.name);
    listing.bytes += bytes;
    return true;
  };
}

function callReaddir(request: Request, connection: Connection, plus: boolean): Result<Listing> {
  const room = request.takeRoom(4);
  const body = connection.slotBody(request);
  const listing: Listing = { bytes: 0, inodes: plus ? [] : null };
  let refused = false;
  const sink = directorySink(body, room, plus, listing);
  const watched: DirectorySink = (item) => {
    const taken = sink(item);
    refused ||= !taken;
    return taken;
  };
  const done = (): Listing => {
    if (refused && listing.bytes === 0) throw new FsError("EINVAL", `readdir: ${room} bytes hold no item`);
    return listing;
  };
  // An error after some items: they are answered, and the next call meets the error again.
  const failed = (error: unknown): Listing => {
    if (listing.bytes === 0) throw error;
    return listing;
  };
  try {
    const result = connection.handlers.readdir(request, request.node, request.u64(0), request.u64(2), plus, watched);
    return result instanceof Promise ? result.then(done, failed) : done();
  } catch (error) {
    return failed(error);
  }
}

function undoListing(listing: Listing, _request: Request, connection: Connection): void {
  for (const inode of listing.inodes ?? []) connection.handlers.forget(inode, 1);
}

// ---- Undoing what came too late

function undoEntry(entry: Entry | NegativeEntry, _request: Request, connection: Connection): void {
  if (entry.attributes !== null) connection.handlers.forget(entry.attributes.inode, 1);
}

function ignore(result: Result<void>): void {
  if (result instanceof Promise) result.catch(() => {});
}

function undoOpened(opened: Opened, request: Request, connection: Connection): void {
  ignore(connection.handlers.release(request, request.node, opened.handle, null));
}

function undoCreated(created: { entry: Entry; opened: Opened }, request: Request, connection: Connection): void {
  const inode = created.entry.attributes.inode;
  ignore(connection.handlers.release(request, inode, created.opened.handle, null));
  connection.handlers.forget(inode, 1);
}

// ---- The table

function callLock(request: Request, { handlers }: Connection, wait: boolean): Result<void> {
  const flock = (request.u32(10) & protocol.FUSE_LK_FLOCK) !== 0;
  return handlers.setlk(request, request.node, request.u64(0), request.owner(2), decodeLock(request), flock, wait);
}

function callRename(request: Request, { handlers }: Connection, namesAt: number, flags: number): Result<void> {
  const name = request.firstName(namesAt);
  return handlers.rename(request, request.node, name, request.inode(0), request.lastName(namesAt + name.length + 1), flags);
}

function callCopy(request: Request, { handlers }: Connection): Result<number> {
  return handlers.copyFileRange(
    request, request.node, request.u64(0), request.length64(2), request.inode(4), request.u64(6), request.length64(8), request.length64(10), request.u32(12),
  ); // prettier-ignore
}

function callSetxattr(request: Request, { handlers, extendedSetxattr }: Connection): Result<void> {
  const nameAt = extendedSetxattr ? 16 : 8;
  const size = request.u32(0);
  const name = request.firstName(nameAt);
  const value = Uint8Array.prototype.slice.call(request.data(nameAt + name.length + 1, size));
  const clearSetGroupId = extendedSetxattr && (request.u32(2) & protocol.FUSE_SETXATTR_ACL_KILL_SGID) !== 0;
  return handlers.setxattr(request, request.node, name, value, request.u32(1), clearSetGroupId);
}

function callBatchForget(request: Request, { handlers }: Connection): void {
  const count = request.u32(0);
  if (8 + count * 16 > request.bodyBytes) throw new FsError("EINVAL", `BATCH_FORGET of ${count} in ${request.bodyBytes} bytes`);
  for (let i = 0; i < count; i++) handlers.forget(request.inode(2 + 4 * i), request.u64(4 + 4 * i));
}

function callForRelease(request: Request): string | null {
  return request.u32(3) & protocol.FUSE_RELEASE_FLOCK_UNLOCK ? request.owner(4) : null;
}

function dataOnly(request: Request): boolean {
  return (request.u32(2) & protocol.FUSE_FSYNC_FDATASYNC) !== 0;
}

function refuse(code: "ENOSYS" | "ENOTTY"): () => never {
  return () => {
    throw new FsError(code);
  };
}

export const operations: readonly Operation[] = [
  row<Entry | NegativeEntry>({ code: 1, name: "LOOKUP", bodyBytes: 1, encode: encodeEntry, undo: undoEntry,
    call: (r, { handlers }) => handlers.lookup(r, r.node, r.lastName(0)) }),
  row<void>({ code: 2, name: "FORGET", bodyBytes: 8, silent: true,
    call: (r, { handlers }) => handlers.forget(r.node, r.u64(0)) }),
  row<AttributesReply>({ code: 3, name: "GETATTR", bodyBytes: 16, encode: encodeAttributes,
    call: (r, { handlers }) => handlers.getattr(r, r.node, r.u32(0) & protocol.FUSE_GETATTR_FH ? r.u64(2) : null) }),
  row<AttributesReply>({ code: 4, name: "SETATTR", bodyBytes: 88, encode: encodeAttributes,
    call: (r, { handlers }) => handlers.setattr(r, r.node, decodeSetAttributes(r)) }),
  row<ByteString>({ code: 5, name: "READLINK", bodyBytes: 0, encode: encodeText,
    call: (r, { handlers }) => handlers.readlink(r, r.node) }),
  row<Entry>({ code: 6, name: "SYMLINK", bodyBytes: 2, encode: encodeEntry, undo: undoEntry,
    call: (r, { handlers }) => {
      const name = r.firstName(0);
      return handlers.symlink(r, r.node, name, r.lastName(name.length + 1, SYMLINK_MAX_BYTES));
    } }),
  row<Entry>({ code: 8, name: "MKNOD", bodyBytes: 17, encode: encodeEntry, undo: undoEntry,
    call: (r, { handlers }) => handlers.mknod(r, r.node, r.lastName(16), r.u32(0), r.u32(1), r.u32(2)) }),
  row<Entry>({ code: 9, name: "MKDIR", bodyBytes: 9, encode: encodeEntry, undo: undoEntry,
    call: (r, { handlers }) => handlers.mkdir(r, r.node, r.lastName(8), r.u32(0), r.u32(1)) }),
  row<void>({ code: 10, name: "UNLINK", bodyBytes: 1,
    call: (r, { handlers }) => handlers.unlink(r, r.node, r.lastName(0)) }),
  row<void>({ code: 11, name: "RMDIR", bodyBytes: 1,
    call: (r, { handlers }) => handlers.rmdir(r, r.node, r.lastName(0)) }),
  row<void>({ code: 12, name: "RENAME", bodyBytes: 10, call: (r, connection) => callRename(r, connection, 8, 0) }),
  row<Entry>({ code: 13, name: "LINK", bodyBytes: 9, encode: encodeEntry, undo: undoEntry,
    call: (r, { handlers }) => handlers.link(r, r.inode(0), r.node, r.lastName(8)) }),
  row<Opened>({ code: 14, name: "OPEN", bodyBytes: 8, encode: encodeOpened, undo: undoOpened,
    call: (r, { handlers }) => handlers.open(r, r.node, r.u32(0), (r.u32(1) & protocol.FUSE_OPEN_KILL_SUIDGID) !== 0) }),
  row<number | ReadReply>({ code: 15, name: "READ", bodyBytes: 40, holdsSlot: true, encode: encodeRead,
    undo: (value) => { if (typeof value !== "number") value.release?.(); },
    call: (r, { handlers }) => {
      const room = r.takeRoom(4);
      return handlers.read(r, r.node, r.u64(0), r.length64(2), room, r.slotData(room), r.u32(8));
    } }),
  row<number>({ code: 16, name: "WRITE", bodyBytes: 40, holdsSlot: true, encode: encodeSize,
    call: (r, { handlers }) => {
      const flags = r.u32(5);
      return handlers.write(r, r.node, r.u64(0), r.length64(2), r.data(40, r.u32(4)), r.u32(8),
        (flags & protocol.FUSE_WRITE_KILL_SUIDGID) !== 0, (flags & protocol.FUSE_WRITE_CACHE) !== 0);
    } }),
  row<StatfsReply>({ code: 17, name: "STATFS", bodyBytes: 0, encode: encodeStatfs,
    call: (r, { handlers }) => handlers.statfs(r, r.node) }),
  row<void>({ code: 18, name: "RELEASE", bodyBytes: 24,
    call: (r, { handlers }) => handlers.release(r, r.node, r.u64(0), callForRelease(r)) }),
  row<void>({ code: 20, name: "FSYNC", bodyBytes: 16,
    call: (r, { handlers }) => handlers.fsync(r, r.node, r.u64(0), dataOnly(r)) }),
  row<void>({ code: 21, name: "SETXATTR", bodyBytes: 10, call: callSetxattr }),
  row<Uint8Array>({ code: 22, name: "GETXATTR", bodyBytes: 9,
    call: (r, { handlers }) => {
      r.takeRoom(0);
      return handlers.getxattr(r, r.node, r.lastName(8));
    },
    encode: (body, value, r) => encodeSized(body, value, r.room) }),
  row<readonly ByteString[]>({ code: 23, name: "LISTXATTR", bodyBytes: 8,
    call: (r, { handlers }) => {
      r.takeRoom(0);
      return handlers.listxattr(r, r.node);
    },
    encode: (body, names, r) => encodeSized(body, joinNames(names), r.room) }),
  row<void>({ code: 24, name: "REMOVEXATTR", bodyBytes: 1,
    call: (r, { handlers }) => handlers.removexattr(r, r.node, r.lastName(0)) }),
  row<void>({ code: 25, name: "FLUSH", bodyBytes: 24,
    call: (r, { handlers }) => handlers.flush(r, r.node, r.u64(0), r.owner(4)) }),
  row<unknown>({ code: 26, name: "INIT", bodyBytes: 16, call: (r, connection) => connection.initialize(r),
    encode: (body, _value, _r, connection) => connection.writeInitialized(body) }),
  row<Opened>({ code: 27, name: "OPENDIR", bodyBytes: 8, encode: encodeOpened,
    call: (r, { handlers }) => handlers.opendir(r, r.node, r.u32(0)),
    undo: (opened, r, { handlers }) => ignore(handlers.releasedir(r, r.node, opened.handle)) }),
  row<Listing>({ code: 28, name: "READDIR", bodyBytes: 40, holdsSlot: true, encode: (_body, listing) => listing.bytes,
    call: (r, connection) => callReaddir(r, connection, false) }),
  row<void>({ code: 29, name: "RELEASEDIR", bodyBytes: 24,
    call: (r, { handlers }) => handlers.releasedir(r, r.node, r.u64(0)) }),
  row<void>({ code: 30, name: "FSYNCDIR", bodyBytes: 16,
    call: (r, { handlers }) => handlers.fsyncdir(r, r.node, r.u64(0), dataOnly(r)) }),
  row<FileLock>({ code: 31, name: "GETLK", bodyBytes: 48, encode: encodeLock,
    call: (r, { handlers }) => handlers.getlk(r, r.node, r.u64(0), r.owner(2), decodeLock(r)) }),
  row<void>({ code: 32, name: "SETLK", bodyBytes: 48, call: (r, connection) => callLock(r, connection, false) }),
  row<void>({ code: 33, name: "SETLKW", bodyBytes: 48, waits: true, call: (r, connection) => callLock(r, connection, true) }),
  // Not sent under default_permissions, which POSIX_ACL implies; ENOSYS means "yes" once and for all.
  row<void>({ code: 34, name: "ACCESS", bodyBytes: 8, call: refuse("ENOSYS") }),
  row<{ entry: Entry; opened: Opened }>({ code: 35, name: "CREATE", bodyBytes: 17, encode: encodeCreated, undo: undoCreated,
    call: (r, { handlers }) => handlers.create(r, r.node, r.lastName(16), r.u32(1), r.u32(0), r.u32(2),
      (r.u32(3) & protocol.FUSE_OPEN_KILL_SUIDGID) !== 0) }),
  row<void>({ code: 36, name: "INTERRUPT", bodyBytes: 8, silent: true, call: (r, connection) => connection.interrupt(r.u64(0)) }),
  row<void>({ code: 37, name: "BMAP", bodyBytes: 16, call: refuse("ENOSYS") }),
  row<void>({ code: 38, name: "DESTROY", bodyBytes: 0, call: () => {} }),
  row<void>({ code: 39, name: "IOCTL", bodyBytes: 32, call: refuse("ENOTTY") }),
  row<void>({ code: 40, name: "POLL", bodyBytes: 24, call: refuse("ENOSYS") }),
  row<void>({ code: 41, name: "NOTIFY_REPLY", bodyBytes: 0, silent: true, call: () => {} }),
  row<void>({ code: 42, name: "BATCH_FORGET", bodyBytes: 8, silent: true, call: callBatchForget }),
  row<void>({ code: 43, name: "FALLOCATE", bodyBytes: 32,
    call: (r, { handlers }) => handlers.fallocate(r, r.node, r.u64(0), r.length64(2), r.length64(4), r.u32(6)) }),
  row<Listing>({ code: 44, name: "READDIRPLUS", bodyBytes: 40, holdsSlot: true, encode: (_body, listing) => listing.bytes, undo: undoListing,
    call: (r, connection) => callReaddir(r, connection, true) }),
  row<void>({ code: 45, name: "RENAME2", bodyBytes: 18, call: (r, connection) => callRename(r, connection, 16, r.u32(2)) }),
  row<number>({ code: 46, name: "LSEEK", bodyBytes: 24, encode: encodeOffset,
    call: (r, { handlers }) => handlers.lseek(r, r.node, r.u64(0), r.s64(2), r.u32(4)) }),
  row<number>({ code: 47, name: "COPY_FILE_RANGE", bodyBytes: 56, call: callCopy, encode: encodeSize }),
  row<void>({ code: 48, name: "SETUPMAPPING", bodyBytes: 0, call: refuse("ENOSYS") }),
  row<void>({ code: 49, name: "REMOVEMAPPING", bodyBytes: 0, call: refuse("ENOSYS") }),
  row<void>({ code: 50, name: "SYNCFS", bodyBytes: 8, call: (r, { handlers }) => handlers.syncfs(r, r.node) }),
  row<{ entry: Entry; opened: Opened }>({ code: 51, name: "TMPFILE", bodyBytes: 16, encode: encodeCreated, undo: undoCreated,
    call: (r, { handlers }) => handlers.tmpfile(r, r.node, r.u32(1), r.u32(0), r.u32(2)) }),
  row<void>({ code: 52, name: "STATX", bodyBytes: 0, call: refuse("ENOSYS") }),
  row<number>({ code: 53, name: "COPY_FILE_RANGE_64", bodyBytes: 56, call: callCopy, encode: encodeOffset }),
]; // prettier-ignore

/** The table by opcode; undefined where there is no row. */
export const operationByCode: readonly (Operation | undefined)[] = (() => {
  const byCode: (Operation | undefined)[] = Array.from({ length: 64 }, () => undefined);
  for (const operation of operations) byCode[operation.code] = operation;
  return byCode;
})();
