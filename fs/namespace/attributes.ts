// Attributes: reading and changing them, with what a change of one implies for others (chmod(2), chown(2),
// utimensat(2), truncate(2)).

import { FsError } from "../errno.ts";
import type { AttributeChange, Reply, Request, TimeStamp } from "../messages.ts";
import { type ByteString, S_IFDIR, S_IFMT, S_IFREG, S_ISGID, S_ISUID, TIME_MAX_SECONDS } from "../types.ts";
import { ACCESS_ACL, decodeAcl, encodeAcl, withMode } from "./acl.ts";
import { setSize } from "./extents.ts";
import { EXCLUSIVE, KNOWN, leaseLevel, SHARED } from "./leases.ts";
import { isDirectory, touchModified } from "./names.ts";
import { HAS_ACCESS_ACL, type Inode } from "./records.ts";
import type { Services } from "./services.ts";
import type { Transaction } from "./transaction.ts";
import { clearCapability } from "./xattrs.ts";

const S_IXGRP = 0o010;

export function getAttributes(tx: Transaction, { inode }: Request<"getAttributes">): Reply<"getAttributes"> {
  const found = tx.inode(inode);
  tx.reads(inode);
  tx.grant(inode, SHARED);
  return { attributes: found.attributes() };
}

export function setAttributes(
  tx: Transaction,
  { inode, change }: Request<"setAttributes">,
  services: Services,
): Reply<"setAttributes"> {
  tx.inode(inode);
  tx.changes(inode);
  const changed = tx.edit(inode);
  if (change.size !== undefined) changeSize(tx, changed, change.size, services);
  applyChange(tx, changed, change);
  tx.grant(inode, SHARED);
  return { attributes: changed.attributes() };
}

function changeSize(tx: Transaction, inode: Inode, size: number, services: Services): void {
  const type = inode.mode & S_IFMT;
  if (type === S_IFDIR) throw new FsError("EISDIR");
  if (type !== S_IFREG) throw new FsError("EINVAL", `inode ${inode.inode} is not a regular file`);
  setSize(tx, inode, size, services);
  touchModified(tx, inode);
}

/** Everything but the size. A ctime that the change does not give becomes `ctimeElse`. */
export function applyChange(tx: Transaction, inode: Inode, change: AttributeChange, ctimeElse: TimeStamp = tx.now): void {
  if (change.mode !== undefined) changeMode(tx, inode, change.mode);
  if (change.uid !== undefined) inode.uid = change.uid;
  if (change.gid !== undefined) inode.gid = change.gid;
  const owned = change.uid !== undefined || change.gid !== undefined;
  // chown(2): the kernel's own filesystems drop the bits whoever asks, unless the mode is set along with it.
  if (change.clearSetId || (owned && change.mode === undefined)) clearSetId(inode, change.clearSetGroupId === true);
  if (change.clearCapability || owned || change.size !== undefined) clearCapability(tx, inode);
  if (change.atime !== undefined) {
    const time = timeOf(tx, change.atime);
    inode.atimeSeconds = time.seconds;
    inode.atimeNanoseconds = time.nanoseconds;
  }
  if (change.mtime !== undefined) {
    const time = timeOf(tx, change.mtime);
    inode.mtimeSeconds = time.seconds;
    inode.mtimeNanoseconds = time.nanoseconds;
  }
  const ctime = change.ctime === undefined ? ctimeElse : timeOf(tx, change.ctime);
  inode.ctimeSeconds = ctime.seconds;
  inode.ctimeNanoseconds = ctime.nanoseconds;
}

function timeOf(tx: Transaction, time: TimeStamp | "now"): TimeStamp {
  if (time === "now") return tx.now;
  if (!(time.nanoseconds >= 0 && time.nanoseconds < 1e9) || !(Math.abs(time.seconds) <= TIME_MAX_SECONDS)) {
    throw new FsError("EINVAL", `a time of ${time.seconds} s and ${time.nanoseconds} ns; seconds lie within ${TIME_MAX_SECONDS}`);
  }
  return time;
}

function changeMode(tx: Transaction, inode: Inode, mode: number): void {
  inode.mode = (inode.mode & S_IFMT) | (mode & 0o7777);
  if ((inode.flags & HAS_ACCESS_ACL) === 0) return;
  const stored = tx.xattrs(inode.inode).get(ACCESS_ACL as ByteString);
  if (stored !== undefined) tx.setXattr(inode.inode, ACCESS_ACL, encodeAcl(withMode(decodeAcl(stored), mode)));
}

/** What a write by an unprivileged program does to set-user-id and, where the group may execute or the writer is a stranger to it, set-group-id. */
function clearSetId(inode: Inode, stranger: boolean): void {
  if (isDirectory(inode.mode)) return;
  inode.mode &= ~S_ISUID;
  if (stranger || (inode.mode & S_IXGRP) !== 0) inode.mode &= ~S_ISGID;
}

export function acquire(tx: Transaction, { inode, mode }: Request<"acquire">): Reply<"acquire"> {
  const found = tx.inode(inode);
  const level = leaseLevel(mode);
  tx.promises(inode);
  if (level === EXCLUSIVE) tx.changes(inode);
  else if (level !== KNOWN) tx.reads(inode);
  tx.grant(inode, level);
  return { attributes: found.attributes() };
}
