// A filesystem in memory on the same FUSE binding and operation table as the real mount: what metadata operations cost
// at most when nothing is stored (the ceiling for benchmarks), and the binding's own test. Everything answers at once,
// except a lock that has to wait.
import { FsError } from "../fs/errno.ts";
import type {
  AttributesReply, Caller, DirectorySink, Entry, FileLock, Handlers, NegativeEntry, Opened, ReadReply, Result, SetAttributesFields, StatfsReply,
} from "../fs/mount/handlers.ts"; // prettier-ignore
import { LINK_MAX, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISGID, S_ISUID } from "../fs/types.ts";
import type { Attributes, ByteString, InodeId } from "../fs/types.ts";
import { Content } from "./memory-filesystem-content.ts";
import { Locks } from "./memory-filesystem-locks.ts";

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;
const SEEK_DATA = 3;
const DOTS = ["." as ByteString, ".." as ByteString];

interface Inode {
  attributes: Attributes;
  content: Content | null;
  /** A directory's. */
  entries: Map<ByteString, Inode> | null;
  parent: Inode | null;
  target: ByteString;
  xattrs: Map<ByteString, Uint8Array> | null;
  /** References of the kernel: look-ups not yet forgotten. */
  lookups: number;
  posixLocks: Locks | null;
  flocks: Locks | null;
}

interface OpenDirectory {
  names: ByteString[];
}

export interface MemoryFilesystemOptions {
  entryTimeoutMs?: number;
  attributeTimeoutMs?: number;
}

export class MemoryFilesystem implements Handlers {
  readonly #inodes = new Map<InodeId, Inode>();
  readonly #directories = new Map<number, OpenDirectory>();
  readonly #entryTimeoutMs: number;
  readonly #attributeTimeoutMs: number;
  #lastInode = 0;
  #lastHandle = 0;

  constructor(options: MemoryFilesystemOptions = {}) {
    this.#entryTimeoutMs = options.entryTimeoutMs ?? 3_600_000;
    this.#attributeTimeoutMs = options.attributeTimeoutMs ?? 3_600_000;
    const root = this.#newInode(S_IFDIR | 0o755, process.getuid!(), process.getgid!(), 0);
    root.parent = root;
    root.lookups = 1;
  }

  // ---- Inodes

  #newInode(mode: number, uid: number, gid: number, device: number): Inode {
    const id = ++this.#lastInode as InodeId;
    const now = Date.now();
    const seconds = Math.floor(now / 1000);
    const nanoseconds = (now % 1000) * 1e6;
    const type = mode & S_IFMT;
    const inode: Inode = {
      attributes: {
        inode: id, mode, linkCount: type === S_IFDIR ? 2 : 1, uid, gid, device, size: 0, allocatedBytes: 0,
        atimeSeconds: seconds, atimeNanoseconds: nanoseconds, mtimeSeconds: seconds, mtimeNanoseconds: nanoseconds,
        ctimeSeconds: seconds, ctimeNanoseconds: nanoseconds,
      },
      content: type === S_IFREG ? new Content() : null,
      entries: type === S_IFDIR ? new Map() : null,
      parent: null, target: "" as ByteString, xattrs: null, lookups: 0, posixLocks: null, flocks: null,
    }; // prettier-ignore
    this.#inodes.set(id, inode);
    return inode;
  }

  #inode(id: InodeId): Inode {
    const inode = this.#inodes.get(id);
    if (!inode) throw new FsError("ESTALE", `inode ${id} is not known`);
    return inode;
  }

  #entries(id: InodeId): Map<ByteString, Inode> {
    const entries = this.#inode(id).entries;
    if (!entries) throw new FsError("ENOTDIR");
    return entries;
  }

  #content(id: InodeId): Content {
    const inode = this.#inode(id);
    if (!inode.content) throw new FsError(inode.entries ? "EISDIR" : "EINVAL");
    return inode.content;
  }

  #entry(inode: Inode): Entry {
    inode.lookups++;
    return {
      attributes: this.#refresh(inode),
      entryTimeoutMs: this.#entryTimeoutMs,
      attributeTimeoutMs: this.#attributeTimeoutMs,
    };
  }

  #refresh(inode: Inode): Attributes {
    if (inode.content) {
      inode.attributes.size = inode.content.size;
      inode.attributes.allocatedBytes = inode.content.allocatedBytes;
    }
    return inode.attributes;
  }

  #reply(inode: Inode): AttributesReply {
    return { attributes: this.#refresh(inode), attributeTimeoutMs: this.#attributeTimeoutMs };
  }

  #touch(inode: Inode, modified: boolean): void {
    const now = Date.now();
    const attributes = inode.attributes;
    attributes.ctimeSeconds = Math.floor(now / 1000);
    attributes.ctimeNanoseconds = (now % 1000) * 1e6;
    if (!modified) return;
    attributes.mtimeSeconds = attributes.ctimeSeconds;
    attributes.mtimeNanoseconds = attributes.ctimeNanoseconds;
  }

  #clearSetId(inode: Inode): void {
    const attributes = inode.attributes;
    attributes.mode &= ~S_ISUID;
    if (attributes.mode & 0o010) attributes.mode &= ~S_ISGID;
  }

  /** Gone when neither a name nor the kernel refers to it; open files keep the kernel's reference. */
  #dropIfUnused(inode: Inode): void {
    if (inode.lookups === 0 && inode.attributes.linkCount === 0) this.#inodes.delete(inode.attributes.inode);
  }

  #unlinked(inode: Inode, links: number): void {
    inode.attributes.linkCount -= links;
    this.#touch(inode, false);
    this.#dropIfUnused(inode);
  }

  #make(caller: Caller, parentId: InodeId, name: ByteString | null, mode: number, umask: number, device = 0): Inode {
    const parent = this.#inode(parentId);
    const entries = this.#entries(parentId);
    if (name !== null && entries.has(name)) throw new FsError("EEXIST");
    if (parent.attributes.linkCount === 0) throw new FsError("ENOENT");
    const inherits = (parent.attributes.mode & S_ISGID) !== 0;
    const isDirectory = (mode & S_IFMT) === S_IFDIR;
    const finalMode = (mode & ~(umask & 0o777)) | (inherits && isDirectory ? S_ISGID : 0);
    const inode = this.#newInode(finalMode, caller.uid, inherits ? parent.attributes.gid : caller.gid, device);
    if (name === null) inode.attributes.linkCount = 0;
    else entries.set(name, inode);
    if (isDirectory) {
      inode.parent = parent;
      parent.attributes.linkCount++;
    }
    this.#touch(parent, name !== null);
    return inode;
  }

  // ---- Names

  lookup(_caller: Caller, parent: InodeId, name: ByteString): Entry | NegativeEntry {
    const inode = this.#entries(parent).get(name);
    return inode ? this.#entry(inode) : { attributes: null, entryTimeoutMs: this.#entryTimeoutMs };
  }

  forget(id: InodeId, count: number): void {
    const inode = this.#inodes.get(id);
    if (!inode) return;
    inode.lookups -= count;
    this.#dropIfUnused(inode);
  }

  symlink(caller: Caller, parent: InodeId, name: ByteString, target: ByteString): Entry {
    const inode = this.#make(caller, parent, name, S_IFLNK | 0o777, 0);
    inode.target = target;
    inode.attributes.size = target.length;
    return this.#entry(inode);
  }

  readlink(_caller: Caller, id: InodeId): ByteString {
    return this.#inode(id).target;
  }

  mknod(caller: Caller, parent: InodeId, name: ByteString, mode: number, device: number, umask: number): Entry {
    return this.#entry(this.#make(caller, parent, name, mode & S_IFMT ? mode : mode | S_IFREG, umask, device));
  }

  mkdir(caller: Caller, parent: InodeId, name: ByteString, mode: number, umask: number): Entry {
    return this.#entry(this.#make(caller, parent, name, (mode & ~S_IFMT) | S_IFDIR, umask));
  }

  unlink(_caller: Caller, parentId: InodeId, name: ByteString): void {
    const entries = this.#entries(parentId);
    const inode = entries.get(name);
    if (!inode) throw new FsError("ENOENT");
    if (inode.entries) throw new FsError("EISDIR");
    entries.delete(name);
    this.#touch(this.#inode(parentId), true);
    this.#unlinked(inode, 1);
  }

  rmdir(_caller: Caller, parentId: InodeId, name: ByteString): void {
    const entries = this.#entries(parentId);
    const inode = entries.get(name);
    if (!inode) throw new FsError("ENOENT");
    if (!inode.entries) throw new FsError("ENOTDIR");
    if (inode.entries.size > 0) throw new FsError("ENOTEMPTY");
    entries.delete(name);
    const parent = this.#inode(parentId);
    parent.attributes.linkCount--;
    this.#touch(parent, true);
    this.#unlinked(inode, 2);
  }

  link(_caller: Caller, id: InodeId, newParent: InodeId, newName: ByteString): Entry {
    const inode = this.#inode(id);
    const entries = this.#entries(newParent);
    if (inode.entries) throw new FsError("EPERM");
    if (entries.has(newName)) throw new FsError("EEXIST");
    if (inode.attributes.linkCount >= LINK_MAX) throw new FsError("EMLINK");
    entries.set(newName, inode);
    inode.attributes.linkCount++;
    this.#touch(inode, false);
    this.#touch(this.#inode(newParent), true);
    return this.#entry(inode);
  }

  rename(_caller: Caller, parentId: InodeId, name: ByteString, newParentId: InodeId, newName: ByteString, flags: number): void {
    const [from, to] = [this.#entries(parentId), this.#entries(newParentId)];
    const [inode, target] = [from.get(name), to.get(newName)];
    if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) throw new FsError("EINVAL");
    if (!inode) throw new FsError("ENOENT");
    if (target && flags & RENAME_NOREPLACE) throw new FsError("EEXIST");
    if (!target && flags & RENAME_EXCHANGE) throw new FsError("ENOENT");
    if (target === inode) return;
    if (!(flags & RENAME_EXCHANGE)) {
      if (target) this.#replaceable(inode, target);
      from.delete(name);
    } else {
      from.set(name, target!);
      this.#moveDirectory(target!, newParentId, parentId);
    }
    to.set(newName, inode);
    this.#moveDirectory(inode, parentId, newParentId);
    this.#touch(this.#inode(parentId), true);
    this.#touch(this.#inode(newParentId), true);
    this.#touch(inode, false);
    if (!target || flags & RENAME_EXCHANGE) return;
    if (target.entries) this.#inode(newParentId).attributes.linkCount--;
    this.#unlinked(target, target.entries ? 2 : 1);
  }

  #replaceable(inode: Inode, target: Inode): void {
    if (target.entries && !inode.entries) throw new FsError("EISDIR");
    if (!target.entries && inode.entries) throw new FsError("ENOTDIR");
    if (target.entries && target.entries.size > 0) throw new FsError("ENOTEMPTY");
  }

  #moveDirectory(inode: Inode, from: InodeId, to: InodeId): void {
    if (!inode.entries || from === to) return;
    this.#inode(from).attributes.linkCount--;
    this.#inode(to).attributes.linkCount++;
    inode.parent = this.#inode(to);
  }

  // ---- Attributes

  getattr(_caller: Caller, id: InodeId): AttributesReply {
    return this.#reply(this.#inode(id));
  }

  setattr(_caller: Caller, id: InodeId, fields: SetAttributesFields): AttributesReply {
    const inode = this.#inode(id);
    const attributes = inode.attributes;
    this.#touch(inode, fields.size !== undefined);
    if (fields.size !== undefined) this.#content(id).truncate(fields.size);
    if (fields.uid !== undefined || fields.gid !== undefined || fields.clearSetId) {
      if (!inode.entries) this.#clearSetId(inode);
    }
    if (fields.mode !== undefined) attributes.mode = (attributes.mode & S_IFMT) | (fields.mode & 0o7777);
    attributes.uid = fields.uid ?? attributes.uid;
    attributes.gid = fields.gid ?? attributes.gid;
    const now = { seconds: attributes.ctimeSeconds, nanoseconds: attributes.ctimeNanoseconds };
    const atime = fields.atime === "now" ? now : fields.atime;
    const mtime = fields.mtime === "now" ? now : fields.mtime;
    if (atime) [attributes.atimeSeconds, attributes.atimeNanoseconds] = [atime.seconds, atime.nanoseconds];
    if (mtime) [attributes.mtimeSeconds, attributes.mtimeNanoseconds] = [mtime.seconds, mtime.nanoseconds];
    return this.#reply(inode);
  }

  statfs(): StatfsReply {
    return { blockBytes: 4096, blocks: 2 ** 28, freeBlocks: 2 ** 28, availableBlocks: 2 ** 28, inodes: 2 ** 32, freeInodes: 2 ** 32 - this.#inodes.size, nameMaxBytes: 255 }; // prettier-ignore
  }

  setxattr(_caller: Caller, id: InodeId, name: ByteString, value: Uint8Array, flags: number): void {
    const inode = this.#inode(id);
    if (name.startsWith("system.")) throw new FsError("EOPNOTSUPP");
    inode.xattrs ??= new Map();
    if (flags & XATTR_CREATE && inode.xattrs.has(name)) throw new FsError("EEXIST");
    if (flags & XATTR_REPLACE && !inode.xattrs.has(name)) throw new FsError("ENODATA");
    inode.xattrs.set(name, value);
    this.#touch(inode, false);
  }

  getxattr(_caller: Caller, id: InodeId, name: ByteString): Uint8Array {
    const value = this.#inode(id).xattrs?.get(name);
    if (!value) throw new FsError("ENODATA");
    return value;
  }

  listxattr(_caller: Caller, id: InodeId): ByteString[] {
    return [...(this.#inode(id).xattrs?.keys() ?? [])];
  }

  removexattr(_caller: Caller, id: InodeId, name: ByteString): void {
    if (!this.#inode(id).xattrs?.delete(name)) throw new FsError("ENODATA");
  }

  // ---- Files

  open(_caller: Caller, id: InodeId, flags: number, killSetId: boolean): Opened {
    const inode = this.#inode(id);
    if (flags & O_TRUNC && inode.content) {
      inode.content.truncate(0);
      this.#touch(inode, true);
      if (killSetId) this.#clearSetId(inode);
    }
    return { handle: ++this.#lastHandle, keepCache: true };
  }

  create(
    caller: Caller,
    parent: InodeId,
    name: ByteString,
    mode: number,
    _flags: number,
    umask: number,
  ): { entry: Entry; opened: Opened } {
    const inode = this.#make(caller, parent, name, (mode & 0o7777) | S_IFREG, umask);
    return { entry: this.#entry(inode), opened: { handle: ++this.#lastHandle, keepCache: true } };
  }

  tmpfile(caller: Caller, parent: InodeId, mode: number, _flags: number, umask: number): { entry: Entry; opened: Opened } {
    const inode = this.#make(caller, parent, null, (mode & 0o7777) | S_IFREG, umask);
    return { entry: this.#entry(inode), opened: { handle: ++this.#lastHandle } };
  }

  read(
    _caller: Caller,
    id: InodeId,
    _handle: number,
    offset: number,
    _length: number,
    into: Uint8Array,
  ): Result<number | ReadReply> {
    return this.#content(id).read(offset, into);
  }

  write(
    _caller: Caller,
    id: InodeId,
    _handle: number,
    offset: number,
    data: Uint8Array,
    flags: number,
    killSetId: boolean,
  ): number {
    const content = this.#content(id);
    const inode = this.#inode(id);
    content.write(flags & O_APPEND ? content.size : offset, data);
    this.#touch(inode, true);
    if (killSetId) this.#clearSetId(inode);
    return data.length;
  }

  flush(_caller: Caller, id: InodeId, _handle: number, lockOwner: string): void {
    this.#inodes.get(id)?.posixLocks?.releaseAll(lockOwner);
  }

  release(_caller: Caller, id: InodeId, _handle: number, flockOwner: string | null): void {
    if (flockOwner !== null) this.#inodes.get(id)?.flocks?.releaseAll(flockOwner);
  }

  fsync(): void {}

  fallocate(_caller: Caller, id: InodeId, _handle: number, offset: number, length: number, mode: number): void {
    const content = this.#content(id);
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) throw new FsError("EOPNOTSUPP");
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) content.clear(offset, length);
    if (!(mode & FALLOC_FL_KEEP_SIZE)) content.truncate(Math.max(content.size, offset + length));
    this.#touch(this.#inode(id), true);
  }

  lseek(_caller: Caller, id: InodeId, _handle: number, offset: number, whence: number): number {
    const content = this.#content(id);
    const found = offset < content.size ? content.seek(offset, whence === SEEK_DATA) : undefined;
    if (found === undefined) throw new FsError("ENXIO");
    return found;
  }

  copyFileRange(
    _caller: Caller,
    id: InodeId,
    _handle: number,
    offset: number,
    toId: InodeId,
    _toHandle: number,
    toOffset: number,
    length: number,
  ): number {
    const from = this.#content(id);
    const piece = new Uint8Array(Math.max(0, Math.min(length, from.size - offset, 16 * 1024 * 1024)));
    from.read(offset, piece);
    this.#content(toId).write(toOffset, piece);
    this.#touch(this.#inode(toId), true);
    return piece.length;
  }

  // ---- Directories

  opendir(): Opened {
    const handle = ++this.#lastHandle;
    this.#directories.set(handle, { names: [] });
    return { handle, cacheDirectory: true, keepCache: true };
  }

  readdir(_caller: Caller, id: InodeId, handle: number, offset: number, plus: boolean, sink: DirectorySink): void {
    const directory = this.#inode(id);
    const entries = this.#entries(id);
    const open = this.#directories.get(handle);
    if (!open) throw new FsError("EBADF");
    if (offset === 0) open.names = [...DOTS, ...entries.keys()];
    for (let cookie = offset + 1; cookie <= open.names.length; cookie++) {
      const name = open.names[cookie - 1];
      const inode = cookie === 1 ? directory : cookie === 2 ? directory.parent! : entries.get(name);
      if (!inode) continue; // removed since the listing began
      const entry = plus && cookie > 2 ? this.#entry(inode) : null;
      if (sink({ name, inode: inode.attributes.inode, type: inode.attributes.mode >>> 12, cookie, entry })) continue;
      if (entry) inode.lookups--;
      return;
    }
  }

  releasedir(_caller: Caller, _id: InodeId, handle: number): void {
    this.#directories.delete(handle);
  }

  fsyncdir(): void {}

  // ---- Locks

  getlk(_caller: Caller, id: InodeId, _handle: number, owner: string, lock: FileLock): FileLock {
    return this.#inode(id).posixLocks?.conflict(owner, lock) ?? { ...lock, type: "unlock" };
  }

  setlk(
    caller: Caller,
    id: InodeId,
    _handle: number,
    owner: string,
    lock: FileLock,
    flock: boolean,
    wait: boolean,
  ): void | Promise<void> {
    const inode = this.#inode(id);
    const locks = flock ? (inode.flocks ??= new Locks()) : (inode.posixLocks ??= new Locks());
    return locks.set(owner, lock, wait, () => caller.signal);
  }

  syncfs(): void {}

  async destroy(): Promise<void> {}
}
