// Operations on names: make, link, unlink, rename, look-up, listing. The rules are POSIX's (rename(2), link(2),
// unlink(2), rmdir(2), mkdir(2)) as Linux carries them out; permissions and the sticky bit are the kernel's part.

import { FsError } from "../errno.ts";
import type { DirectoryEntry, Reply, Request } from "../messages.ts";
import { type ByteString, type InodeId, LINK_MAX, NAME_MAX_BYTES, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISGID } from "../types.ts";
import { ACCESS_ACL, decodeAcl, DEFAULT_ACL, encodeAcl, inherit, isMinimal } from "./acl.ts";
import { id8, TAG_UNNAMED } from "./keys.ts";
import { SHARED } from "./leases.ts";
import { HAS_ACCESS_ACL, HAS_DEFAULT_ACL, HAS_XATTRS, Inode, LINKABLE, type NameEntry } from "./records.ts";
import type { Services } from "./services.ts";
import type { Page } from "./directory.ts";
import type { Transaction } from "./transaction.ts";

/** What a name adds to its directory's size, besides its bytes. So size 0 means empty. */
export const ENTRY_OVERHEAD_BYTES = 16;
/** The kernel's limit for a link's text: a page with its terminating zero. */
const TARGET_MAX_BYTES = 4095;
export const LIST_LIMIT_MAX = 4096;

function checkName(name: ByteString): void {
  if (name.length > NAME_MAX_BYTES)
    throw new FsError("ENAMETOOLONG", `a name of ${name.length} bytes; at most ${NAME_MAX_BYTES} are allowed`);
  if (name.length === 0) throw new FsError("ENOENT");
  if (name === "." || name === ".." || name.includes("/") || name.includes("\0"))
    throw new FsError("EINVAL", `the name ${JSON.stringify(name)}`);
}

export function isDirectory(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

export function touchChanged(tx: Transaction, inode: Inode): void {
  inode.ctimeSeconds = tx.now.seconds;
  inode.ctimeNanoseconds = tx.now.nanoseconds;
}

export function touchModified(tx: Transaction, inode: Inode): void {
  inode.mtimeSeconds = tx.now.seconds;
  inode.mtimeNanoseconds = tx.now.nanoseconds;
  touchChanged(tx, inode);
}

export function newInode(tx: Transaction, id: InodeId, mode: number, uid: number, gid: number): Inode {
  const inode = new Inode(id, mode, isDirectory(mode) ? 2 : 1, uid, gid);
  touchModified(tx, inode);
  inode.atimeSeconds = tx.now.seconds;
  inode.atimeNanoseconds = tx.now.nanoseconds;
  return inode;
}

export function lookup(tx: Transaction, { parent, name }: Request<"lookup">): Reply<"lookup"> {
  checkLookupName(name);
  const directory = tx.find(parent);
  if (directory === null) throw new FsError("ESTALE", `directory ${parent} is gone`);
  if (!isDirectory(directory.mode)) throw new FsError("ENOTDIR");
  tx.reads(parent);
  const entry = tx.name(directory, name);
  tx.grant(parent, SHARED);
  if (entry === null) return { attributes: null };
  const inode = tx.inode(entry.inode);
  tx.reads(inode.inode);
  tx.grant(inode.inode, SHARED);
  return { attributes: inode.attributes() };
}

function checkLookupName(name: ByteString): void {
  if (name.length > NAME_MAX_BYTES)
    throw new FsError("ENAMETOOLONG", `a name of ${name.length} bytes; at most ${NAME_MAX_BYTES} are allowed`);
}

export function parent(tx: Transaction, { inode }: Request<"parent">): Reply<"parent"> {
  const directory = tx.directory(inode);
  tx.reads(inode);
  const above = tx.inode(directory.parent);
  tx.reads(above.inode);
  tx.grant(above.inode, SHARED);
  return { attributes: above.attributes() };
}

export function make(tx: Transaction, request: Request<"make">, services: Services): Reply<"make"> {
  checkName(request.name);
  const directory = tx.directory(request.parent);
  const existing = tx.name(directory, request.name);
  if (existing !== null) return openExisting(tx, request, existing, directory);
  services.checkSpace(tx);
  tx.changes(directory.inode, [request.name]);
  const inode = makeInode(tx, directory, request, services);
  if (request.target !== undefined) setTarget(inode, request.target);
  const above = tx.edit(directory.inode);
  if (isDirectory(inode.mode)) {
    inode.parent = above.inode;
    above.linkCount++;
  }
  addName(tx, above, request.name, inode);
  tx.grant(above.inode, SHARED);
  tx.grantExclusive(inode.inode);
  services.countInodes(tx, 1);
  return { attributes: inode.attributes(), created: true, parent: above.attributes() };
}

function openExisting(tx: Transaction, request: Request<"make">, existing: NameEntry, directory: Inode): Reply<"make"> {
  const wantsFile = (request.mode & S_IFMT) === S_IFREG;
  if (request.exclusive || !wantsFile || existing.type !== S_IFREG) throw new FsError("EEXIST");
  const inode = tx.inode(existing.inode);
  tx.reads(directory.inode);
  tx.reads(inode.inode);
  tx.grant(directory.inode, SHARED);
  tx.grant(inode.inode, SHARED);
  return { attributes: inode.attributes(), created: false, parent: directory.attributes() };
}

function setTarget(inode: Inode, target: ByteString): void {
  if ((inode.mode & S_IFMT) !== S_IFLNK) throw new FsError("EINVAL", "only a symbolic link has a target");
  if (target.length > TARGET_MAX_BYTES)
    throw new FsError("ENAMETOOLONG", `a target of ${target.length} bytes; at most ${TARGET_MAX_BYTES} are allowed`);
  inode.target = target;
  inode.size = target.length;
}

interface NewInode {
  mode: number;
  umask: number;
  uid: number;
  gid: number;
  device?: number;
}

/** Ownership and permission bits of a new file: set-group-id of the directory, umask or default ACL. */
function makeInode(tx: Transaction, directory: Inode, request: NewInode, services: Services): Inode {
  const type = request.mode & S_IFMT;
  const inherits = (directory.mode & S_ISGID) !== 0;
  const inode = newInode(tx, services.allocateInode(tx), request.mode, request.uid, inherits ? directory.gid : request.gid);
  inode.device = request.device ?? 0;
  if (type === S_IFLNK) inode.mode = S_IFLNK | 0o777;
  else if ((directory.flags & HAS_DEFAULT_ACL) !== 0) inheritAcl(tx, directory, inode);
  else inode.mode &= ~(request.umask & 0o777);
  if (inherits && type === S_IFDIR) inode.mode |= S_ISGID;
  tx.add(inode);
  return inode;
}

function inheritAcl(tx: Transaction, directory: Inode, inode: Inode): void {
  const stored = tx.xattrs(directory.inode).get(DEFAULT_ACL);
  if (stored === undefined) return;
  const { mode, access } = inherit(decodeAcl(stored), inode.mode);
  inode.mode = mode;
  tx.startXattrs(inode.inode);
  if (!isMinimal(access)) {
    tx.setXattr(inode.inode, ACCESS_ACL, encodeAcl(access));
    inode.flags |= HAS_XATTRS | HAS_ACCESS_ACL;
  }
  if (isDirectory(mode)) {
    tx.setXattr(inode.inode, DEFAULT_ACL, stored);
    inode.flags |= HAS_XATTRS | HAS_DEFAULT_ACL;
  }
}

export function addName(tx: Transaction, directory: Inode, name: ByteString, inode: Inode): void {
  tx.setName(directory.inode, name, { inode: inode.inode, type: inode.mode & S_IFMT, cookie: directory.nextCookie++ }, null);
  directory.size += name.length + ENTRY_OVERHEAD_BYTES;
  touchModified(tx, directory);
}

export function removeName(tx: Transaction, directory: Inode, name: ByteString, entry: NameEntry): void {
  tx.setName(directory.inode, name, null, entry);
  directory.size -= name.length + ENTRY_OVERHEAD_BYTES;
  touchModified(tx, directory);
}

/** The name leads to another inode from now on. It keeps its place in listings: one that is under way neither misses it nor gives it twice. */
function replaceName(tx: Transaction, directory: Inode, name: ByteString, inode: Inode, { cookie }: NameEntry): void {
  tx.setName(directory.inode, name, { inode: inode.inode, type: inode.mode & S_IFMT, cookie }, null);
  touchModified(tx, directory);
}

export function makeUnnamed(tx: Transaction, request: Request<"makeUnnamed">, services: Services): Reply<"makeUnnamed"> {
  const directory = tx.directory(request.parent);
  if ((request.mode & S_IFMT) !== S_IFREG) throw new FsError("EINVAL", "only a regular file can be made without a name");
  services.checkSpace(tx);
  const inode = makeInode(tx, directory, request, services);
  inode.linkCount = 0;
  inode.flags |= LINKABLE;
  markUnnamed(tx, inode.inode, services);
  tx.grantExclusive(inode.inode);
  services.countInodes(tx, 1);
  return { attributes: inode.attributes() };
}

function markUnnamed(tx: Transaction, inode: InodeId, services: Services): void {
  tx.raw(TAG_UNNAMED + id8(inode), "", () => {});
  services.becomesUnnamed(tx, inode);
}

export function link(tx: Transaction, request: Request<"link">, services: Services): Reply<"link"> {
  checkName(request.name);
  const directory = tx.directory(request.parent);
  const inode = tx.inode(request.inode);
  if (isDirectory(inode.mode)) throw new FsError("EPERM", "a directory has one name");
  if (tx.name(directory, request.name) !== null) throw new FsError("EEXIST");
  if (inode.linkCount === 0 && (inode.flags & LINKABLE) === 0)
    throw new FsError("ENOENT", `inode ${inode.inode} has no name left`);
  if (inode.linkCount >= LINK_MAX)
    throw new FsError("EMLINK", `inode ${inode.inode} has ${inode.linkCount} names, the limit is ${LINK_MAX}`);
  services.checkSpace(tx);
  tx.changes(directory.inode, [request.name]);
  tx.changes(inode.inode);
  const changed = tx.edit(inode.inode);
  if (changed.linkCount === 0) {
    tx.raw(TAG_UNNAMED + id8(changed.inode), "", null);
    services.becomesNamed(tx, changed.inode);
    changed.flags &= ~LINKABLE;
  }
  changed.linkCount++;
  touchChanged(tx, changed);
  const above = tx.edit(directory.inode);
  addName(tx, above, request.name, changed);
  tx.grant(above.inode, SHARED);
  tx.grant(changed.inode, SHARED);
  return { attributes: changed.attributes(), parent: above.attributes() };
}

/** Takes one name from an inode, which goes on the list of unnamed ones with its last. */
function dropLink(tx: Transaction, id: InodeId, services: Services): Inode {
  const inode = tx.edit(id);
  inode.linkCount = isDirectory(inode.mode) ? 0 : inode.linkCount - 1;
  touchChanged(tx, inode);
  if (inode.linkCount === 0) markUnnamed(tx, id, services);
  return inode;
}

export function unlink(tx: Transaction, request: Request<"unlink">, services: Services): Reply<"unlink"> {
  checkName(request.name);
  const directory = tx.directory(request.parent);
  const entry = tx.name(directory, request.name);
  if (entry === null) throw new FsError("ENOENT");
  const inode = tx.inode(entry.inode);
  if (request.directory && entry.type !== S_IFDIR) throw new FsError("ENOTDIR");
  if (!request.directory && entry.type === S_IFDIR) throw new FsError("EISDIR");
  if (request.directory && inode.size > 0) throw new FsError("ENOTEMPTY");
  tx.changes(directory.inode, [request.name]);
  tx.changes(inode.inode);
  const above = tx.edit(directory.inode);
  const changed = dropLink(tx, inode.inode, services);
  removeName(tx, above, request.name, entry);
  if (request.directory) above.linkCount--;
  tx.grant(above.inode, SHARED);
  const knownElsewhere = changed.linkCount === 0 && tx.knownToOthers(changed.inode);
  return { attributes: changed.attributes(), parent: above.attributes(), knownElsewhere };
}

export function rename(tx: Transaction, request: Request<"rename">, services: Services): Reply<"rename"> {
  checkName(request.name);
  checkName(request.newName);
  if (request.noReplace && request.exchange) throw new FsError("EINVAL", "noReplace and exchange exclude each other");
  const from = tx.directory(request.parent);
  const to = tx.directory(request.newParent);
  const source = tx.name(from, request.name);
  if (source === null) throw new FsError("ENOENT");
  const target = tx.name(to, request.newName);
  if (target === null && request.exchange) throw new FsError("ENOENT");
  if (target !== null && request.noReplace) throw new FsError("EEXIST");
  if (target !== null && target.inode === source.inode) return renameToItself(tx, request, from, to, source);
  if (source.type === S_IFDIR) refuseLoop(tx, source.inode, to);
  if (request.exchange && target!.type === S_IFDIR) refuseLoop(tx, target!.inode, from);
  if (target !== null && !request.exchange) checkReplace(tx, source, target);
  renameLeases(tx, request, source, target);
  if (request.exchange) return exchange(tx, request, source, target!);
  const moved = tx.edit(source.inode);
  const above = tx.edit(from.inode);
  const newAbove = tx.edit(to.inode);
  const replaced = target === null ? null : dropLink(tx, target.inode, services);
  removeName(tx, above, request.name, source);
  if (target === null) addName(tx, newAbove, request.newName, moved);
  else replaceName(tx, newAbove, request.newName, moved, target);
  if (target?.type === S_IFDIR) newAbove.linkCount--;
  moveDirectory(moved, above, newAbove);
  touchChanged(tx, moved);
  grantRename(tx, request, moved.inode);
  return {
    moved: moved.attributes(),
    replaced: replaced?.attributes() ?? null,
    parent: above.attributes(),
    newParent: newAbove.attributes(),
    knownElsewhere: replaced !== null && replaced.linkCount === 0 && tx.knownToOthers(replaced.inode),
  };
}

/** Two names of one inode, or one name: rename(2) does nothing then. The leases are those of any rename: the mount does not know the difference. */
function renameToItself(tx: Transaction, request: Request<"rename">, from: Inode, to: Inode, source: NameEntry): Reply<"rename"> {
  const moved = tx.inode(source.inode);
  for (const { inode } of [from, to, moved]) tx.reads(inode);
  grantRename(tx, request, moved.inode);
  return { moved: moved.attributes(), replaced: null, parent: from.attributes(), newParent: to.attributes() };
}

/** EINVAL where `directory` is `below` or lies above it: it would become its own ancestor. */
function refuseLoop(tx: Transaction, directory: InodeId, below: Inode): void {
  for (let at = below; ; at = tx.inode(at.parent)) {
    if (at.inode === directory) throw new FsError("EINVAL", "a directory cannot be moved into itself");
    if (at.parent === at.inode) return;
  }
}

function checkReplace(tx: Transaction, source: NameEntry, target: NameEntry): void {
  if (source.type === S_IFDIR && target.type !== S_IFDIR) throw new FsError("ENOTDIR");
  if (source.type !== S_IFDIR && target.type === S_IFDIR) throw new FsError("EISDIR");
  if (target.type === S_IFDIR && tx.inode(target.inode).size > 0) throw new FsError("ENOTEMPTY");
}

function renameLeases(tx: Transaction, request: Request<"rename">, source: NameEntry, target: NameEntry | null): void {
  if (request.parent === request.newParent) tx.changes(request.parent, [request.name, request.newName]);
  else {
    tx.changes(request.parent, [request.name]);
    tx.changes(request.newParent, [request.newName]);
  }
  tx.changes(source.inode);
  if (target !== null) tx.changes(target.inode);
}

function grantRename(tx: Transaction, request: Request<"rename">, moved: InodeId): void {
  tx.grant(request.parent, SHARED);
  tx.grant(request.newParent, SHARED);
  tx.grant(moved, SHARED);
}

function moveDirectory(moved: Inode, from: Inode, to: Inode): void {
  if (!isDirectory(moved.mode)) return;
  moved.parent = to.inode;
  from.linkCount--;
  to.linkCount++;
}

function exchange(tx: Transaction, request: Request<"rename">, source: NameEntry, target: NameEntry): Reply<"rename"> {
  const moved = tx.edit(source.inode);
  const other = tx.edit(target.inode);
  const above = tx.edit(request.parent);
  const newAbove = tx.edit(request.newParent);
  replaceName(tx, above, request.name, other, source);
  replaceName(tx, newAbove, request.newName, moved, target);
  moveDirectory(moved, above, newAbove);
  moveDirectory(other, newAbove, above);
  touchChanged(tx, moved);
  touchChanged(tx, other);
  grantRename(tx, request, moved.inode);
  tx.grant(other.inode, SHARED);
  return {
    moved: moved.attributes(),
    replaced: other.attributes(),
    parent: above.attributes(),
    newParent: newAbove.attributes(),
  };
}

export function readLink(tx: Transaction, { inode }: Request<"readLink">): Reply<"readLink"> {
  const found = tx.inode(inode);
  if ((found.mode & S_IFMT) !== S_IFLNK) throw new FsError("EINVAL", `inode ${inode} is not a symbolic link`);
  return { target: found.target };
}

export function list(tx: Transaction, request: Request<"list">): Reply<"list"> {
  const directory = tx.inode(request.inode);
  if (!isDirectory(directory.mode)) throw new FsError("ENOTDIR");
  if (!(request.limit >= 1 && request.limit <= LIST_LIMIT_MAX)) {
    throw new FsError("EINVAL", `list: limit is ${request.limit}, it must be 1 to ${LIST_LIMIT_MAX}`);
  }
  tx.reads(directory.inode);
  const names = tx.listNames(directory, request.after, request.limit);
  const entries = request.attributes ? withAttributes(tx, names) : names.map(({ name, entry }) => listed(name, entry));
  tx.grant(directory.inode, SHARED);
  return { entries, newestCookie: directory.nextCookie - 1 };
}

function listed(name: ByteString, { inode, type, cookie }: NameEntry): DirectoryEntry {
  return { name, inode, type, cookie };
}

function withAttributes(tx: Transaction, names: Page["entries"]): DirectoryEntry[] {
  const inodes = tx.inodesOf(names);
  const entries: DirectoryEntry[] = [];
  for (let index = 0; index < names.length; index++) {
    const { name, entry } = names[index];
    const { inode, type, cookie } = entry;
    const found = inodes[index] ?? tx.inode(inode);
    tx.reads(inode);
    tx.grant(inode, SHARED);
    entries.push({ name, inode, type, cookie, attributes: found.attributes() });
  }
  return entries;
}
