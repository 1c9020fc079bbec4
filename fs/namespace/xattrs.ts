// Extended attributes, and ACLs among them (xattr(7), acl(5)). Which names a program may use is the kernel's part.

import { FsError } from "../errno.ts";
import type { Reply, Request } from "../messages.ts";
import { type ByteString, S_IFLNK, S_IFMT, S_IFREG, S_ISGID, XATTR_NAME_MAX_BYTES, XATTR_VALUE_MAX_BYTES } from "../types.ts";
import { ACCESS_ACL, DEFAULT_ACL, decodeAcl, isMinimal, modeOf } from "./acl.ts";
import { SHARED } from "./leases.ts";
import { isDirectory, touchChanged } from "./names.ts";
import { HAS_ACCESS_ACL, HAS_CAPABILITY, HAS_DEFAULT_ACL, HAS_XATTRS, type Inode } from "./records.ts";
import type { Services } from "./services.ts";
import type { Transaction } from "./transaction.ts";

/** File capabilities (capabilities(7)). */
export const CAPABILITY = "security.capability" as ByteString;
/** listxattr(2) gives at most 64 KiB of names (XATTR_LIST_MAX), each with a terminating zero. */
export const NAMES_MAX_BYTES = 65536;
/** Names and values of one inode together; with these bounds all of them fit one log entry and one load. */
const INODE_XATTRS_MAX_BYTES = 1024 * 1024;

export function getXattr(tx: Transaction, { inode, name }: Request<"getXattr">): Reply<"getXattr"> {
  const found = tx.inode(inode);
  checkName(name);
  tx.grant(inode, SHARED);
  tx.reads(inode);
  if ((found.flags & HAS_XATTRS) === 0) return { value: null };
  return { value: tx.xattrs(inode).get(name) ?? null };
}

export function listXattrs(tx: Transaction, { inode }: Request<"listXattrs">): Reply<"listXattrs"> {
  const found = tx.inode(inode);
  tx.reads(inode);
  tx.grant(inode, SHARED);
  return { names: (found.flags & HAS_XATTRS) === 0 ? [] : [...tx.xattrs(inode).keys()] };
}

export function setXattr(tx: Transaction, request: Request<"setXattr">, services: Services): Reply<"setXattr"> {
  const { inode, name, value } = request;
  const found = tx.inode(inode);
  checkXattr(found, name, value);
  tx.changes(inode);
  const changed = tx.edit(inode);
  if ((changed.flags & HAS_XATTRS) === 0) tx.startXattrs(inode);
  const present = tx.xattrs(inode).has(name);
  if (present && request.create) throw new FsError("EEXIST");
  if (!present && request.replace) throw new FsError("ENODATA");
  if (name === ACCESS_ACL) setAccessAcl(tx, changed, value);
  else if (name === DEFAULT_ACL && decodeAcl(value).length === 0) drop(tx, changed, name);
  else store(tx, changed, name, value);
  services.checkSpace(tx);
  if (request.clearSetGroupId) changed.mode &= ~S_ISGID;
  touchChanged(tx, changed);
  tx.grant(inode, SHARED);
  return { attributes: changed.attributes() };
}

const NAMESPACES = ["user.", "trusted.", "security."];

function checkName(name: ByteString): void {
  if (name === ACCESS_ACL || name === DEFAULT_ACL) return;
  const prefix = NAMESPACES.find((known) => name.startsWith(known));
  if (prefix === undefined) throw new FsError("EOPNOTSUPP", `attribute ${name}: names begin with ${NAMESPACES.join(", ")}`);
  if (name === prefix) throw new FsError("EINVAL", `attribute ${name}: nothing follows the prefix`);
}

function checkXattr(inode: Inode, name: ByteString, value: Uint8Array): void {
  checkName(name);
  if (name.length === 0 || name.length > XATTR_NAME_MAX_BYTES) {
    throw new FsError("ERANGE", `an attribute name of ${name.length} bytes; 1 to ${XATTR_NAME_MAX_BYTES} are allowed`);
  }
  if (value.length > XATTR_VALUE_MAX_BYTES) {
    throw new FsError("E2BIG", `an attribute value of ${value.length} bytes; at most ${XATTR_VALUE_MAX_BYTES} are allowed`);
  }
  const type = inode.mode & S_IFMT;
  if (name.startsWith("user.") && type !== S_IFREG && !isDirectory(inode.mode))
    throw new FsError("EPERM", "user attributes are for files and directories");
  if (name !== ACCESS_ACL && name !== DEFAULT_ACL) return;
  if (type === S_IFLNK) throw new FsError("EOPNOTSUPP", "a symbolic link has no ACL");
  if (name === DEFAULT_ACL && !isDirectory(inode.mode) && decodeAcl(value).length > 0)
    throw new FsError("EACCES", "only a directory has a default ACL");
}

function setAccessAcl(tx: Transaction, inode: Inode, value: Uint8Array): void {
  const entries = decodeAcl(value);
  if (entries.length > 0) inode.mode = (inode.mode & ~0o777) | modeOf(entries);
  if (isMinimal(entries)) drop(tx, inode, ACCESS_ACL);
  else store(tx, inode, ACCESS_ACL, value);
}

function flagOf(name: ByteString): number {
  if (name === CAPABILITY) return HAS_CAPABILITY;
  return name === ACCESS_ACL ? HAS_ACCESS_ACL : name === DEFAULT_ACL ? HAS_DEFAULT_ACL : 0;
}

function store(tx: Transaction, inode: Inode, name: ByteString, value: Uint8Array): void {
  const xattrs = tx.xattrs(inode.inode);
  const before = xattrs.get(name);
  const names = xattrs.nameBytes + (before === undefined ? name.length + 1 : 0);
  const count = xattrs.size + (before === undefined ? 1 : 0);
  const bytes = names - count + xattrs.valueBytes + value.length - (before?.length ?? 0);
  if (names > NAMES_MAX_BYTES || bytes > INODE_XATTRS_MAX_BYTES) {
    throw new FsError(
      "ENOSPC",
      `inode ${inode.inode} would have ${bytes} bytes of attributes with ${names} bytes of names; at most ${INODE_XATTRS_MAX_BYTES} and ${NAMES_MAX_BYTES} are kept`,
    );
  }
  // The caller may use its buffer again.
  tx.setXattr(inode.inode, name, value.slice());
  inode.flags |= HAS_XATTRS | flagOf(name);
}

function drop(tx: Transaction, inode: Inode, name: ByteString): void {
  if (tx.xattrs(inode.inode).has(name)) tx.setXattr(inode.inode, name, null);
  inode.flags &= ~flagOf(name);
  if (tx.xattrs(inode.inode).size === 0) inode.flags &= ~HAS_XATTRS;
}

/** What a change of a file's data or owner does, whoever makes it. */
export function clearCapability(tx: Transaction, inode: Inode): void {
  if ((inode.flags & HAS_CAPABILITY) !== 0) drop(tx, inode, CAPABILITY);
}

export function removeXattr(tx: Transaction, { inode, name }: Request<"removeXattr">): Reply<"removeXattr"> {
  const found = tx.inode(inode);
  checkName(name);
  if ((found.flags & HAS_XATTRS) === 0 || !tx.xattrs(inode).has(name)) throw new FsError("ENODATA");
  tx.changes(inode);
  const changed = tx.edit(inode);
  drop(tx, changed, name);
  touchChanged(tx, changed);
  tx.grant(inode, SHARED);
  return { attributes: changed.attributes() };
}
