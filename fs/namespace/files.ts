// Operations on the contents of files: extents, commit, share, reshape.

import { FsError } from "../errno.ts";
import type { Extent, FileCommit, Reply, Request } from "../messages.ts";
import { STRIPE_DATA_MAX_BYTES, type Stripe } from "../../replication/stripe.ts";
import { FILE_MAX_BYTES, S_IFDIR, S_IFMT, S_IFREG, type StripeId } from "../types.ts";
import { applyChange } from "./attributes.ts";
import {
  checkRange,
  firstAbove,
  insertExtent,
  isCut,
  isReserved,
  moved,
  part,
  removeRange,
  replaceExtents,
  type Replacement,
  requireUncut,
  setSize,
  wantReplaced,
  windowOf,
} from "./extents.ts";
import { SHARED } from "./leases.ts";
import { touchModified } from "./names.ts";
import type { Inode } from "./records.ts";
import type { Hold } from "./room.ts";
import type { Services } from "./services.ts";
import { WINDOW_BYTES } from "./state.ts";
import type { Transaction } from "./transaction.ts";

/** Windows that one `extents` request looks at (16 GiB of file), so that a huge sparse file is walked in bounded steps. */
const WINDOWS_PER_REQUEST = 4096;
/** ... and asks for at first; then for twice as many, as long as they hold little. */
const WINDOWS_AT_FIRST = 4;
export const EXTENTS_LIMIT_MAX = 16384;
/** Bytes of a file that ride in the table in one extent. */
export const INLINE_MAX_BYTES = 64 * 1024;
/** Smaller files cannot have much inline. */
const INLINE_COUNTED_FROM_BYTES = 64 * 1024;
/** Files and stripes of one commit: what keeps its log entry within a few MiB. */
export const COMMIT_FILES_MAX = 16384;
export const COMMIT_EXTENTS_MAX = 65536;
/** A piece of share, punch, zero and allocate: what is done in one transaction. Larger ones are done piece by piece. */
export const PIECE_WINDOWS = 256;
export const PIECE_BYTES = PIECE_WINDOWS * WINDOW_BYTES;
/** Extents that collapse and insert move in their one transaction. */
export const SHIFT_EXTENTS_MAX = 32768;
export const SHIFT_WINDOWS_MAX = 16384;
/** collapse and insert work on whole blocks of this size, as ext4's do. */
const SHIFT_ALIGNMENT_BYTES = 4096;
/** What space is reserved in. */
const BLOCK_BYTES = 4096;

function regular(inode: Inode): Inode {
  const type = inode.mode & S_IFMT;
  if (type === S_IFDIR) throw new FsError("EISDIR");
  if (type !== S_IFREG) throw new FsError("EINVAL", `inode ${inode.inode} is not a regular file`);
  return inode;
}

export function extents(tx: Transaction, request: Request<"extents">): Reply<"extents"> {
  const { from } = request;
  if (!(request.limit >= 1) || !(from >= 0)) throw new FsError("EINVAL", `extents: from ${from}, limit ${request.limit}`);
  const limit = Math.min(request.limit, EXTENTS_LIMIT_MAX);
  const inode = regular(tx.inode(request.inode));
  tx.reads(inode.inode);
  tx.grant(inode.inode, SHARED);
  const to = Math.min(request.to, inode.extentEnd);
  const found: Extent[] = [];
  let end = request.to;
  if (from < to) {
    const first = windowOf(from);
    const windows = Math.min(windowOf(to - 1) + 1 - first, WINDOWS_PER_REQUEST);
    if (first + windows <= windowOf(to - 1)) end = (first + windows) * WINDOW_BYTES;
    // Not all windows at once: of a file in many small extents the first one has enough.
    let loaded = first;
    for (let window = first; window < first + windows && found.length < limit; window++) {
      if (window === loaded) {
        const count = Math.min(first + windows - window, Math.max(WINDOWS_AT_FIRST, window - first));
        tx.wantWindows(inode, window, count);
        loaded += count;
      }
      collect(tx, inode, window, from, to, limit, found);
    }
    if (found.length === limit) end = Math.min(end, found[limit - 1].offset + found[limit - 1].length);
  }
  return { extents: found, stripes: stripesOf(tx, found), end };
}

function collect(tx: Transaction, inode: Inode, window: number, from: number, to: number, limit: number, into: Extent[]): void {
  const present = tx.window(inode, window);
  for (
    let index = firstAbove(present, from);
    index < present.length && present[index].offset < to && into.length < limit;
    index++
  ) {
    if (!isCut(inode, present[index].offset)) into.push(present[index]);
  }
}

function stripesOf(tx: Transaction, extents: readonly Extent[]): Stripe[] {
  const ids = new Set<StripeId>();
  for (const { stripe } of extents) if (stripe !== undefined) ids.add(stripe);
  if (ids.size === 0) return [];
  tx.wantStripes(ids);
  return [...ids].map((id) => tx.stripe(id) ?? damagedStripe(id));
}

function damagedStripe(id: StripeId): never {
  throw new FsError("EIO", `stripe ${id} has an extent and no record; run the check of the namespace`);
}

export function commit(tx: Transaction, request: Request<"commit">, services: Services): Reply<"commit"> {
  checkCommit(request);
  tx.wantInodes(request.files.map((file) => file.inode));
  const stripes = addStripes(tx, request.stripes, services);
  wantReplaced(tx, changesOf(tx, request.files));
  const reply: Reply<"commit"> = { attributes: [], gone: [] };
  for (const file of request.files) {
    if (tx.find(file.inode) === null) reply.gone.push(file.inode);
    else reply.attributes.push(commitFile(tx, file, stripes, services).attributes());
  }
  return reply;
}

function changesOf(tx: Transaction, files: readonly FileCommit[]): Replacement[] {
  const changes: Replacement[] = [];
  for (const { inode: id, extents } of files) {
    const inode = extents.length === 0 ? null : tx.find(id);
    if (inode !== null) changes.push({ inode, ranges: extents });
  }
  return changes;
}

function checkCommit(request: Request<"commit">): void {
  let count = 0;
  for (const file of request.files) count += file.extents.length;
  if (request.files.length > COMMIT_FILES_MAX || count > COMMIT_EXTENTS_MAX) {
    throw new FsError(
      "EINVAL",
      `a commit of ${request.files.length} files and ${count} extents; at most ${COMMIT_FILES_MAX} and ${COMMIT_EXTENTS_MAX} are taken`,
    );
  }
}

/** Adds the records of new stripes, without live bytes yet. Returns the ids that extents may name without asking the table. */
function addStripes(tx: Transaction, stripes: readonly Stripe[], services: Services): Set<StripeId> {
  const added = new Set<StripeId>();
  const used: StripeId[] = [];
  for (const stripe of stripes) {
    const id = stripe.id as StripeId;
    checkStripe(stripe);
    // Not yet used: the table cannot have it, so it need not be asked.
    if (tx.session === null || services.isReserved(tx.session.id, id)) {
      used.push(id);
      tx.addStripe({
        id,
        scheme: stripe.scheme,
        dataBytes: stripe.dataBytes,
        blockBytes: stripe.blockBytes,
        disks: [...stripe.disks],
        live: 0,
      });
    } else if (tx.stripe(id) === null) throw new FsError("EINVAL", `stripe ${id} is not reserved by session ${tx.session.id}`);
    added.add(id);
  }
  if (tx.session !== null && used.length > 0) services.useReserved(tx, tx.session.id, used);
  return added;
}

function checkStripe(stripe: Stripe): void {
  if (
    !(stripe.dataBytes >= 1 && stripe.dataBytes <= STRIPE_DATA_MAX_BYTES) ||
    !(stripe.blockBytes >= 1) ||
    stripe.disks.length === 0
  ) {
    throw new FsError("EINVAL", `stripe ${stripe.id} of ${stripe.dataBytes} bytes on ${stripe.disks.length} disks`);
  }
}

/** Whether nothing but the access time is to be changed. */
function isAccessTime({ extents, sizeAtLeast, change }: FileCommit): boolean {
  if (extents.length > 0 || sizeAtLeast !== undefined || change?.atime === undefined) return false;
  return Object.entries(change).every(([name, value]) => name === "atime" || value === undefined);
}

function commitFile(tx: Transaction, file: FileCommit, added: Set<StripeId>, services: Services): Inode {
  regular(tx.inode(file.inode));
  if (isAccessTime(file)) {
    // Not worth a recall. Where somebody caches the file, it keeps the access time that is known there.
    if (!tx.isFree(file.inode)) return tx.inode(file.inode);
  } else tx.changes(file.inode);
  const inode = tx.edit(file.inode);
  if (file.change?.size !== undefined) setSize(tx, inode, file.change.size, services);
  for (const extent of file.extents) checkExtent(tx, extent, added, services);
  if (file.extents.length > 0) replaceContents(tx, inode, file.extents);
  inode.size = Math.max(inode.size, file.sizeAtLeast ?? 0);
  if (inode.size >= INLINE_COUNTED_FROM_BYTES) noteInline(tx, inode, file.extents, services);
  if (file.change !== undefined) {
    // Data written earlier, or an access time: ctime is as the mount says, else as it was.
    const ctime = { seconds: inode.ctimeSeconds, nanoseconds: inode.ctimeNanoseconds };
    applyChange(tx, inode, file.change, ctime);
  } else if (file.extents.length > 0) touchModified(tx, inode);
  // One that has waited may come after the session's forget: nobody would forget the inode again.
  if (tx.knows(inode.inode)) tx.grant(inode.inode, SHARED);
  return inode;
}

function noteInline(tx: Transaction, inode: Inode, extents: readonly Extent[], services: Services): void {
  const inline = extents.filter((extent) => extent.inline !== undefined);
  if (inline.length > 0) services.becomesInline(tx, inode.inode, inline);
}

function checkExtent(tx: Transaction, extent: Extent, added: Set<StripeId>, services: Services): void {
  checkRange(extent.offset, extent.length);
  if (extent.length === 0) throw new FsError("EINVAL", "an extent of 0 bytes");
  if (extent.inline !== undefined && (extent.inline.length !== extent.length || extent.length > INLINE_MAX_BYTES)) {
    throw new FsError(
      "EINVAL",
      `an inline extent of ${extent.length} bytes with ${extent.inline.length} of data; at most ${INLINE_MAX_BYTES} are taken`,
    );
  }
  if (extent.stripe === undefined) return;
  const stripe = tx.stripe(extent.stripe);
  if (stripe === null || (!added.has(extent.stripe) && services.isBeingRemoved(extent.stripe))) {
    throw new FsError("EINVAL", `an extent in stripe ${extent.stripe}, which does not exist`);
  }
  const end = (extent.stripeOffset ?? -1) + extent.length;
  if (!(end >= extent.length && end <= stripe.dataBytes)) {
    throw new FsError(
      "EINVAL",
      `an extent at ${extent.stripeOffset}, ${extent.length} bytes, of a stripe of ${stripe.dataBytes}`,
    );
  }
}

function replaceContents(tx: Transaction, inode: Inode, extents: readonly Extent[]): void {
  for (const { offset, length, stripe, inline } of extents) {
    const end = offset + length;
    requireUncut(tx, inode, offset, end);
    // Data never lies beyond the end: a file that grows later must read as zeros there.
    if (stripe !== undefined || inline !== undefined) inode.size = Math.max(inode.size, end);
  }
  replaceExtents(tx, inode, extents.map(owned));
}

/** The bytes of a request belong to the caller, who may use the buffer again. */
function owned({ offset, length, stripe, stripeOffset, inline }: Extent): Extent {
  if (inline !== undefined) return { offset, length, inline: inline.slice() };
  return stripe === undefined ? { offset, length } : { offset, length, stripe, stripeOffset };
}

/** At most PIECE_BYTES at a time: `copied` may be less than asked for, as copy_file_range(2) allows. */
export function share(tx: Transaction, request: Request<"share">, services: Services): Reply<"share"> {
  checkRange(request.fromOffset, request.length);
  checkRange(request.toOffset, request.length);
  const source = regular(tx.inode(request.from));
  const target = regular(tx.inode(request.to));
  tx.reads(source.inode);
  tx.changes(target.inode);
  const length = Math.max(0, Math.min(request.length, source.size - request.fromOffset, PIECE_BYTES));
  if (source === target && request.fromOffset < request.toOffset + length && request.toOffset < request.fromOffset + length) {
    throw new FsError("EINVAL", "the ranges overlap");
  }
  if (length === 0) return { copied: 0, attributes: target.attributes() };
  services.checkSpace(tx);
  const found = sharedExtents(tx, source, request, length);
  const inode = tx.edit(target.inode);
  requireUncut(tx, inode, request.toOffset, request.toOffset + length);
  removeRange(tx, inode, request.toOffset, request.toOffset + length);
  for (const extent of found) insertExtent(tx, inode, extent);
  inode.size = Math.max(inode.size, request.toOffset + length);
  touchModified(tx, inode);
  tx.grant(inode.inode, SHARED);
  return { copied: length, attributes: inode.attributes() };
}

/** The source's extents, cut to the range and moved to their new place. Reserved space is not shared: it reads as zeros, as a hole does. */
function sharedExtents(tx: Transaction, source: Inode, request: Request<"share">, length: number): Extent[] {
  const from = request.fromOffset;
  const to = Math.min(from + length, source.extentEnd);
  if (from >= to) return [];
  const first = windowOf(from);
  const count = windowOf(to - 1) + 1 - first;
  tx.wantWindows(source, first, count);
  const found: Extent[] = [];
  for (let window = first; window < first + count; window++) collect(tx, source, window, from, to, Infinity, found);
  const ids = new Set<StripeId>();
  for (const { stripe } of found) if (stripe !== undefined) ids.add(stripe);
  if (ids.size > 0) tx.wantStripes(ids);
  return found
    .filter((extent) => extent.stripe !== undefined || extent.inline !== undefined)
    .map((extent) => part(extent, Math.max(extent.offset, from), Math.min(extent.offset + extent.length, to)))
    .map((extent) => moved(extent, extent.offset - from + request.toOffset));
}

/** One piece (at most PIECE_BYTES, but for collapse and insert) of fallocate(2). */
export function reshape(
  tx: Transaction,
  request: Request<"reshape">,
  services: Services,
  hold: Hold | null = null,
): Reply<"reshape"> {
  const { kind, offset, length } = request;
  checkRange(offset, length);
  if (length === 0) throw new FsError("EINVAL", "a range of 0 bytes");
  regular(tx.inode(request.inode));
  tx.changes(request.inode);
  const inode = tx.edit(request.inode);
  if (kind === "collapse" || kind === "insert") shift(tx, inode, kind, offset, length, services);
  else {
    const end = offset + length;
    const { from, to } = kind === "punch" ? { from: offset, to: end } : reservedRange(request);
    requireUncut(tx, inode, from, to);
    if (kind === "punch" || kind === "zero") removeRange(tx, inode, offset, end);
    if (kind === "allocate" || kind === "zero") fillHoles(tx, inode, from, to);
    services.checkPromise(tx, hold);
    if (kind !== "punch" && !request.keepSize) inode.size = Math.max(inode.size, end);
  }
  touchModified(tx, inode);
  tx.grant(inode.inode, SHARED);
  return { attributes: inode.attributes() };
}

/** Space is reserved in whole blocks, as ext4 does. */
function reservedRange({ offset, length }: Request<"reshape">): { from: number; to: number } {
  const from = offset - (offset % BLOCK_BYTES);
  return { from, to: Math.min(FILE_MAX_BYTES, Math.ceil((offset + length) / BLOCK_BYTES) * BLOCK_BYTES) };
}

function fillHoles(tx: Transaction, inode: Inode, from: number, to: number): void {
  const holes: Extent[] = [];
  let at = from;
  for (const { offset, length } of extentsIn(tx, inode, from, to)) {
    if (offset > at) holes.push({ offset: at, length: offset - at });
    at = offset + length;
  }
  if (at < to) holes.push({ offset: at, length: to - at });
  for (const hole of holes) insertExtent(tx, inode, hole);
}

/** Extents that touch [from, to), in order. */
function extentsIn(tx: Transaction, inode: Inode, from: number, to: number): Extent[] {
  const first = windowOf(from);
  const windows = windowOf(to - 1) + 1 - first;
  tx.wantWindows(inode, first, windows);
  const found: Extent[] = [];
  for (let window = first; window < first + windows; window++) collect(tx, inode, window, from, to, Infinity, found);
  return found;
}

/** What a piece of `allocate` or `zero` would promise: bytes that are no extent's, or, where all is to be zero, not reserved yet. */
export function missingBytes(tx: Transaction, request: Request<"reshape">): number {
  checkRange(request.offset, request.length);
  const inode = regular(tx.inode(request.inode));
  const { from, to } = reservedRange(request);
  requireUncut(tx, inode, from, to);
  let missing = to - from;
  for (const extent of extentsIn(tx, inode, from, to)) {
    const there = request.kind === "allocate" || isReserved(extent);
    if (there) missing -= Math.min(to, extent.offset + extent.length) - Math.max(from, extent.offset);
  }
  return missing;
}

/** Collapse takes a range out of the file, insert makes a hole; what follows moves. In one transaction, so bounded. */
function shift(
  tx: Transaction,
  inode: Inode,
  kind: "collapse" | "insert",
  offset: number,
  length: number,
  services: Services,
): void {
  if (offset % SHIFT_ALIGNMENT_BYTES !== 0 || length % SHIFT_ALIGNMENT_BYTES !== 0) {
    throw new FsError("EINVAL", `${kind}: offset ${offset} and length ${length} must be multiples of ${SHIFT_ALIGNMENT_BYTES}`);
  }
  if (offset >= inode.size || (kind === "collapse" && offset + length >= inode.size))
    throw new FsError("EINVAL", `${kind}: the range reaches the end of the file`);
  checkRange(inode.size, kind === "insert" ? length : 0);
  requireUncut(tx, inode, 0, Infinity);
  const end = inode.extentEnd;
  if (windowOf(end) - windowOf(offset) > SHIFT_WINDOWS_MAX)
    throw new FsError("EOPNOTSUPP", `${kind}: too much of the file would move`);
  const difference = kind === "insert" ? length : -length;
  const following = takeOut(tx, inode, kind === "insert" ? offset : offset + length, end);
  if (kind === "collapse") removeRange(tx, inode, offset, end);
  for (const extent of following) insertExtent(tx, inode, moved(extent, extent.offset + difference));
  setSize(tx, inode, inode.size + difference, services);
}

function takeOut(tx: Transaction, inode: Inode, from: number, end: number): Extent[] {
  if (from >= end) return [];
  const first = windowOf(from);
  const windows = windowOf(end - 1) + 1 - first;
  tx.wantWindows(inode, first, windows);
  const taken: Extent[] = [];
  for (let window = first; window < first + windows; window++)
    collect(tx, inode, window, from, end, SHIFT_EXTENTS_MAX + 1, taken);
  if (taken.length > SHIFT_EXTENTS_MAX) throw new FsError("EOPNOTSUPP", `more than ${SHIFT_EXTENTS_MAX} extents would move`);
  const cut = taken.map((extent) => part(extent, Math.max(extent.offset, from), extent.offset + extent.length));
  removeRange(tx, inode, from, end);
  return cut;
}
