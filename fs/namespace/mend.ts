// Mending what the check finds (check.ts), each time in one transaction, so a crash leaves a thing as it was or mended.
// Time has passed since the snapshot that was checked. So:
// - Counts are mended by their difference: every transaction changes a count and what it counts alike, so a difference
//   that was there at the snapshot is there still.
// - Everything else is decided anew, on the records as they are now; what is right by then stays as it is.
// Nobody asked for these changes: whoever caches what they touch gives it up first (Transaction.changesUnasked).

import type { DiskId, Stripe } from "../../replication/stripe.ts";
import { type ByteString, type InodeId, ROOT_INODE, S_IFDIR, S_IFMT, S_IFREG, type StripeId } from "../types.ts";
import { ACCESS_ACL, DEFAULT_ACL } from "./acl.ts";
import { CAPABILITY } from "./xattrs.ts";
import { id8, TAG_CUT, TAG_DEAD, TAG_NAME, TAG_ORDER, TAG_UNNAMED, TAG_XATTR } from "./keys.ts";
import { cutLoop, linkOrphan } from "./lost-and-found.ts";
import { mendDamaged } from "./mend-damaged.ts";
import { mendExtents } from "./mend-extents.ts";
import { ENTRY_OVERHEAD_BYTES, isDirectory, newInode } from "./names.ts";
import {
  decodeName,
  decodeOrder,
  encodeName,
  encodeOrder,
  HAS_ACCESS_ACL,
  HAS_CAPABILITY,
  HAS_CUT,
  HAS_DEFAULT_ACL,
  HAS_XATTRS,
  type NameEntry,
  openValue,
} from "./records.ts";
import type { Services } from "./services.ts";
import { diskKey, type Transaction } from "./transaction.ts";

export type Mending =
  /** Counts that are off by `difference`. */
  | { kind: "number"; inode: InodeId; field: "linkCount" | "size" | "allocatedBytes"; difference: number }
  | { kind: "live"; stripe: StripeId; difference: number }
  | { kind: "inodes"; difference: number }
  | { kind: "promised"; difference: number }
  /** An inode without a name gets one in LOST_AND_FOUND; with that its link count is off by `difference`. */
  | { kind: "orphan"; inode: InodeId; difference: number }
  /** Extents of an inode without a record get one. */
  | { kind: "lost"; inode: InodeId; size: number; bytes: number; names: number }
  /** Names in a directory without a record get one. */
  | {
      kind: "lostDirectory";
      inode: InodeId;
      size: number;
      subdirectories: number;
      nextCookie: number;
      /** null: it has lost its own name, too. */
      parent: InodeId | null;
    }
  /** On the list of inodes without names exactly where the link count is 0. */
  | { kind: "unnamed"; inode: InodeId }
  /** On the list of truncates under way exactly where one is. */
  | { kind: "cut"; inode: InodeId }
  /** A directory's parent is the one that has its name. */
  | { kind: "parent"; inode: InodeId; directory: InodeId; name: ByteString }
  /** Flags say what attributes there are. */
  | { kind: "attributes"; inode: InodeId }
  /** An attribute of no inode goes. */
  | { kind: "attribute"; inode: InodeId; name: ByteString }
  | { kind: "extentEnd"; inode: InodeId; end: number }
  /** Extents that begin in the window are laid out anew (mend-extents.ts). */
  | { kind: "extents"; inode: InodeId; window: number }
  /** A directory that lies within itself gets a place in LOST_AND_FOUND. */
  | { kind: "loop"; inode: InodeId; directory: InodeId; name: ByteString }
  /** A stripe that has extents, of `live` bytes, up to its byte `end`, gets its record again: `found`, by who can look at the disks. */
  | { kind: "stripe"; stripe: StripeId; live: number; end: number; found?: Stripe }
  /** A damaged record is put into quarantine (mend-damaged.ts). */
  | { kind: "damaged"; key: string }
  /** A name whose record was lost is written again as its directory's order has it. */
  | { kind: "name"; directory: InodeId; name: ByteString; inode: InodeId; type: number; cookie: number }
  /** A name gets its entry in the order. */
  | { kind: "order"; directory: InodeId; name: ByteString; cookie: number }
  /** An entry of the order that no name has goes. */
  | { kind: "leftover"; directory: InodeId; cookie: number }
  /** A name that leads nowhere, or is in no directory, goes. */
  | { kind: "dangling"; directory: InodeId; name: ByteString }
  /** A name says of what type its inode is. */
  | { kind: "type"; directory: InodeId; name: ByteString }
  /** On the list of dead stripes exactly where no byte is live. */
  | { kind: "dead"; stripe: StripeId }
  /** Listed for the disks that it lies on and no others of these. */
  | { kind: "disks"; stripe: StripeId; listed: readonly DiskId[] };

/** Mends it; false where that has become impossible. For every kind but `inodes`; `lost`, `orphan` and `loop` need LOST_AND_FOUND (makeLostAndFound). */
export function mend(tx: Transaction, mending: Mending, services: Services): boolean {
  switch (mending.kind) {
    case "number":
      return mendNumber(tx, mending.inode, mending.field, mending.difference);
    case "live":
      return mendLive(tx, mending.stripe, mending.difference);
    case "orphan":
      return linkOrphan(tx, mending.inode, mending.difference, services);
    case "lost":
      return makeLostInode(tx, mending, services);
    case "lostDirectory":
      return makeLostDirectory(tx, mending, services);
    case "unnamed":
      return mendUnnamed(tx, mending.inode, services);
    case "cut":
      return mendCut(tx, mending.inode, services);
    case "parent":
      return mendParent(tx, mending.inode, mending.directory, mending.name);
    case "extents":
      return mendExtents(tx, mending.inode, mending.window);
    case "loop":
      return cutLoop(tx, mending.inode, mending.directory, mending.name);
    case "stripe":
      return restoreStripe(tx, mending);
    case "damaged":
      return mendDamaged(tx, mending.key);
    case "attributes":
      return mendAttributes(tx, mending.inode);
    case "attribute":
      return dropAttribute(tx, mending.inode, mending.name);
    case "extentEnd":
      return mendExtentEnd(tx, mending.inode, mending.end);
    case "name":
      return restoreName(tx, mending);
    case "order":
      return mendOrder(tx, mending.directory, mending.name, mending.cookie);
    case "leftover":
      return dropLeftover(tx, mending.directory, mending.cookie);
    case "dangling":
      return dropDangling(tx, mending.directory, mending.name);
    case "type":
      return mendType(tx, mending.directory, mending.name);
    case "dead":
      return mendDead(tx, mending.stripe);
    case "disks":
      return mendDisks(tx, mending.stripe, mending.listed);
    case "promised":
      tx.promise(mending.difference);
      return true;
    case "inodes":
      throw new TypeError("mend: the number of inodes is not in a transaction");
  }
}

function nothing(): void {}

// Inodes.

function mendNumber(tx: Transaction, id: InodeId, field: "linkCount" | "size" | "allocatedBytes", difference: number): boolean {
  const value = (tx.find(id)?.[field] ?? NaN) + difference;
  if (!(value >= 0)) return false;
  tx.changesUnasked(id);
  tx.edit(id)[field] = value;
  return true;
}

function mendExtentEnd(tx: Transaction, id: InodeId, end: number): boolean {
  const inode = tx.find(id);
  if (inode === null) return false;
  if (inode.extentEnd < end) tx.edit(id).extentEnd = end;
  return true;
}

function mendUnnamed(tx: Transaction, id: InodeId, services: Services): boolean {
  const inode = tx.find(id);
  if (inode !== null && inode.linkCount === 0) {
    tx.raw(TAG_UNNAMED + id8(id), "", nothing);
    services.becomesUnnamed(tx, id);
  } else {
    tx.raw(TAG_UNNAMED + id8(id), "", null);
    services.becomesNamed(tx, id);
  }
  return true;
}

function mendCut(tx: Transaction, id: InodeId, services: Services): boolean {
  const inode = tx.find(id);
  const isCut = inode !== null && (inode.flags & HAS_CUT) !== 0;
  tx.raw(TAG_CUT + id8(id), "", isCut ? nothing : null);
  if (isCut) services.becomesCut(tx, id);
  return true;
}

function mendParent(tx: Transaction, id: InodeId, directory: InodeId, name: ByteString): boolean {
  if (readName(tx, directory, name)?.inode !== id || tx.find(id) === null) return false;
  tx.changesUnasked(id);
  tx.edit(id).parent = directory;
  return true;
}

function flagsOf(tx: Transaction, id: InodeId): number {
  const names = [...tx.xattrs(id).keys()];
  return (
    (names.length > 0 ? HAS_XATTRS : 0) |
    (names.includes(ACCESS_ACL) ? HAS_ACCESS_ACL : 0) |
    (names.includes(DEFAULT_ACL) ? HAS_DEFAULT_ACL : 0) |
    (names.includes(CAPABILITY) ? HAS_CAPABILITY : 0)
  );
}

function mendAttributes(tx: Transaction, id: InodeId): boolean {
  if (tx.find(id) === null) return false;
  const flags = flagsOf(tx, id);
  tx.changesUnasked(id);
  const inode = tx.edit(id);
  inode.flags = (inode.flags & ~(HAS_XATTRS | HAS_ACCESS_ACL | HAS_DEFAULT_ACL | HAS_CAPABILITY)) | flags;
  return true;
}

function dropAttribute(tx: Transaction, id: InodeId, name: ByteString): boolean {
  if (tx.find(id) !== null) return false;
  tx.raw(TAG_XATTR + id8(id), name, null);
  tx.afterwards(() => tx.state.forget(id));
  return true;
}

// Names. They are read and written past what is cached of directories: the two records of a name may differ.

function readName(tx: Transaction, directory: InodeId, name: ByteString): NameEntry | null {
  const key = TAG_NAME + id8(directory) + name;
  const value = tx.record(key);
  return value === null ? null : decodeName(openValue(key, value));
}

function readOrder(tx: Transaction, directory: InodeId, cookie: number): ReturnType<typeof decodeOrder> | null {
  const key = TAG_ORDER + id8(directory) + id8(cookie);
  const value = tx.record(key);
  return value === null ? null : decodeOrder(openValue(key, value));
}

function writeOrder(tx: Transaction, directory: InodeId, name: ByteString, { inode, type, cookie }: NameEntry): void {
  tx.raw(TAG_ORDER + id8(directory), id8(cookie), (writer) => encodeOrder(writer, inode, type, name));
}

/** The name is recalled from whoever caches it, and read anew when it was changed. */
function changesName(tx: Transaction, directory: InodeId, name: ByteString): void {
  tx.changesUnasked(directory, [name]);
  tx.afterwards(() => tx.state.forget(directory));
}

function restoreName(tx: Transaction, mending: Mending & { kind: "name" }): boolean {
  const { directory, name, cookie } = mending;
  const ordered = readOrder(tx, directory, cookie);
  if (ordered === null || ordered.name !== name || ordered.inode !== mending.inode) return false;
  if (tx.record(TAG_NAME + id8(directory) + name) !== null) return dropLeftover(tx, directory, cookie);
  const inode = tx.find(ordered.inode);
  const above = tx.find(directory);
  if (inode === null || inode.linkCount === 0 || (inode.mode & S_IFMT) !== ordered.type) return false;
  if (above === null || !isDirectory(above.mode)) return false;
  changesName(tx, directory, name);
  tx.raw(TAG_NAME + id8(directory), name, (writer) => encodeName(writer, { ...ordered, cookie }));
  return true;
}

function mendOrder(tx: Transaction, directory: InodeId, name: ByteString, cookie: number): boolean {
  const entry = readName(tx, directory, name);
  if (entry?.cookie !== cookie) return false;
  changesName(tx, directory, name);
  writeOrder(tx, directory, name, entry);
  return true;
}

function dropLeftover(tx: Transaction, directory: InodeId, cookie: number): boolean {
  const ordered = readOrder(tx, directory, cookie);
  if (ordered === null || readName(tx, directory, ordered.name)?.cookie === cookie) return false;
  changesName(tx, directory, ordered.name);
  tx.raw(TAG_ORDER + id8(directory), id8(cookie), null);
  return true;
}

function dropDangling(tx: Transaction, directory: InodeId, name: ByteString): boolean {
  const entry = readName(tx, directory, name);
  if (entry === null) return false;
  const above = tx.find(directory);
  const hasDirectory = above !== null && isDirectory(above.mode);
  if (hasDirectory && tx.find(entry.inode) !== null) return false;
  changesName(tx, directory, name);
  tx.raw(TAG_NAME + id8(directory), name, null);
  if (readOrder(tx, directory, entry.cookie)?.name === name) tx.raw(TAG_ORDER + id8(directory), id8(entry.cookie), null);
  if (hasDirectory) tx.edit(directory).size -= name.length + ENTRY_OVERHEAD_BYTES;
  return true;
}

function mendType(tx: Transaction, directory: InodeId, name: ByteString): boolean {
  const entry = readName(tx, directory, name);
  const inode = entry === null ? null : tx.find(entry.inode);
  if (entry === null || inode === null) return false;
  const mended = { ...entry, type: inode.mode & S_IFMT };
  changesName(tx, directory, name);
  tx.raw(TAG_NAME + id8(directory), name, (writer) => encodeName(writer, mended));
  writeOrder(tx, directory, name, mended);
  return true;
}

// Inodes that have lost their records.

/** A record for extents that have none. Times, owner and mode are lost; nobody but the owner of the root may read it. */
function makeLostInode(tx: Transaction, mending: Mending & { kind: "lost" }, services: Services): boolean {
  const { inode: id, size, bytes, names } = mending;
  if (tx.find(id) !== null) return false;
  const { uid, gid } = tx.directory(ROOT_INODE);
  const inode = newInode(tx, id, S_IFREG | 0o600, uid, gid);
  inode.linkCount = Math.max(1, names);
  inode.size = inode.extentEnd = size;
  inode.allocatedBytes = bytes;
  inode.flags = flagsOf(tx, id);
  tx.changesUnasked(id);
  tx.add(inode);
  tx.raw(TAG_UNNAMED + id8(id), "", null);
  services.countInodes(tx, 1);
  return true;
}

/** Owner and mode are lost, as above. */
function makeLostDirectory(tx: Transaction, mending: Mending & { kind: "lostDirectory" }, services: Services): boolean {
  const { inode: id, size, subdirectories, nextCookie, parent } = mending;
  if (tx.find(id) !== null) return false;
  const { uid, gid } = tx.directory(ROOT_INODE);
  const inode = newInode(tx, id, S_IFDIR | 0o700, uid, gid);
  inode.linkCount = 2 + subdirectories;
  inode.size = size;
  inode.nextCookie = nextCookie;
  inode.parent = parent ?? ROOT_INODE;
  inode.flags = flagsOf(tx, id);
  tx.changesUnasked(id);
  tx.add(inode);
  // It is not empty, as a new one is.
  tx.afterwards(() => tx.state.forget(id));
  tx.raw(TAG_UNNAMED + id8(id), "", null);
  services.countInodes(tx, 1);
  return true;
}

// Stripes.

function mendLive(tx: Transaction, id: StripeId, difference: number): boolean {
  const stripe = tx.stripe(id);
  const live = (stripe?.live ?? 0) + difference;
  if (stripe === null || live < 0) return false;
  tx.editStripe({ ...stripe, live });
  return true;
}

/** While there was no record, nothing could change what is live. */
function restoreStripe(tx: Transaction, { stripe: id, live, found }: Mending & { kind: "stripe" }): boolean {
  if (tx.stripe(id) !== null) return true;
  if (found === undefined) return false;
  const { scheme, dataBytes, blockBytes, disks } = found;
  tx.addStripe({ id, scheme, dataBytes, blockBytes, disks, live });
  return true;
}

function mendDead(tx: Transaction, id: StripeId): boolean {
  const stripe = tx.stripe(id);
  const isDead = stripe !== null && stripe.live === 0;
  tx.raw(TAG_DEAD + id8(id), "", isDead ? nothing : null);
  // Edited, though nothing of it changes, so that the tick that removes dead stripes hears of it.
  if (isDead) tx.editStripe(stripe);
  return true;
}

function mendDisks(tx: Transaction, id: StripeId, listed: readonly DiskId[]): boolean {
  const stripe = tx.stripe(id);
  const disks = new Set(stripe?.disks);
  for (const disk of listed) if (!disks.has(disk)) tx.raw(diskKey(disk, id8(id)), "", null);
  for (const disk of disks) tx.raw(diskKey(disk, id8(id)), "", nothing);
  return true;
}
