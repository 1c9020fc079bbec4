// Which bytes of a file are where: replacing, cutting and counting extents within a transaction.
//
// Invariants:
// 1. Extents of a file do not overlap, and none crosses a multiple of WINDOW_BYTES.
// 2. A stripe's live count is the sum of the lengths of all extents that lie in it, of all files.
// 3. The number of promised bytes (PROMISED_KEY) is the sum of the lengths of all reserved extents, of all files.
// 4. With HAS_CUT, extents that begin in [cutFrom, cutTo) are dead: never shown, dropped by a tick. Nothing may write
//    there before. cutFrom is a multiple of WINDOW_BYTES; no extent crosses cutTo.

import { FsError } from "../errno.ts";
import type { Extent } from "../messages.ts";
import { FILE_MAX_BYTES, type StripeId } from "../types.ts";
import { id8, TAG_CUT } from "./keys.ts";
import { HAS_CUT, type Inode } from "./records.ts";
import type { Services } from "./services.ts";
import { inlineCost, WINDOW_BYTES } from "./state.ts";
import type { Transaction, WindowEdit } from "./transaction.ts";

/** A truncate over at most this many windows drops its extents at once (128 MiB of file), a larger one in pieces by a tick. */
export const WINDOWS_AT_ONCE = 32;
/** ... and at most so many extents: some 20 ms. */
export const EXTENTS_AT_ONCE = 8192;
/** Small pieces written one after another grow together in the table up to this size, so that a line-by-line log does not make a record a line. */
const INLINE_MERGE_BYTES = 4096;

export function windowOf(offset: number): number {
  return Math.floor(offset / WINDOW_BYTES);
}

/** Bytes [from, to) of an extent, as an extent. */
export function part(extent: Extent, from: number, to: number): Extent {
  const skipped = from - extent.offset;
  const length = to - from;
  if (skipped === 0 && length === extent.length) return extent;
  if (extent.stripe !== undefined)
    return { offset: from, length, stripe: extent.stripe, stripeOffset: extent.stripeOffset! + skipped };
  if (extent.inline !== undefined) return { offset: from, length, inline: extent.inline.subarray(skipped, skipped + length) };
  return { offset: from, length };
}

/** Whether the extent's bytes are promised and not stored. */
export function isReserved(extent: Extent): boolean {
  return extent.stripe === undefined && extent.inline === undefined;
}

/** The same bytes at another place of a file. */
export function moved(extent: Extent, offset: number): Extent {
  return { ...extent, offset };
}

/** Index of the first extent that ends above `offset`. */
export function firstAbove(extents: readonly Extent[], offset: number): number {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (extents[middle].offset + extents[middle].length > offset) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Whether extents that begin at this offset are dead. */
export function isCut(inode: Inode, offset: number): boolean {
  return (inode.flags & HAS_CUT) !== 0 && offset >= inode.cutFrom && offset < inode.cutTo;
}

/** Before a change in [from, to): waits until no dead extents are in the way. */
export function requireUncut(tx: Transaction, inode: Inode, from: number, to: number): void {
  if ((inode.flags & HAS_CUT) !== 0 && to > inode.cutFrom && from < inode.cutTo) {
    tx.miss({ kind: "cut", inode: inode.inode, until: Math.min(to, inode.cutTo) });
  }
}

/** Makes [from, to) a hole. `inode` is the transaction's copy. */
export function removeRange(tx: Transaction, inode: Inode, from: number, to: number): void {
  const end = Math.min(to, inode.extentEnd);
  if (from >= end) return;
  const first = windowOf(from);
  const count = windowOf(end - 1) + 1 - first;
  tx.wantWindows(inode, first, count);
  wantStripesOf(tx, inode, first, count, from, end);
  for (let window = first; window < first + count; window++) removeFromWindow(tx, inode, window, from, end);
  if (to >= inode.extentEnd && from < inode.extentEnd && (inode.flags & HAS_CUT) === 0) inode.extentEnd = from;
}

/** Asks for all stripes that lose bytes in one hop. */
function wantStripesOf(tx: Transaction, inode: Inode, first: number, count: number, from: number, to: number): void {
  const stripes = new Set<StripeId>();
  for (let window = first; window < first + count; window++) addStripesOf(tx.window(inode, window), from, to, stripes);
  if (stripes.size > 0) tx.wantStripes(stripes);
}

function addStripesOf(extents: readonly Extent[], from: number, to: number, into: Set<StripeId>): void {
  for (let index = firstAbove(extents, from); index < extents.length && extents[index].offset < to; index++) {
    const { stripe } = extents[index];
    if (stripe !== undefined) into.add(stripe);
  }
}

/** A change of a file: these ranges get new contents. */
export interface Replacement {
  inode: Inode;
  ranges: readonly { offset: number; length: number }[];
}

/** Asks for everything that the changes touch in two hops: the windows, then the stripes that lose bytes. */
export function wantReplaced(tx: Transaction, changes: readonly Replacement[]): void {
  for (const { inode, ranges } of changes) if (inode.extentEnd > 0) noteWindowsOf(tx, inode, ranges);
  tx.interruptWhereMissing();
  const stripes = new Set<StripeId>();
  for (const { inode, ranges } of changes) {
    for (const { offset, length } of ranges) {
      const end = Math.min(offset + length, inode.extentEnd);
      for (let window = windowOf(offset); window * WINDOW_BYTES < end; window++)
        addStripesOf(tx.window(inode, window), offset, end, stripes);
    }
  }
  if (stripes.size > 0) tx.wantStripes(stripes);
}

function noteWindowsOf(tx: Transaction, inode: Inode, ranges: Replacement["ranges"]): void {
  const noted = new Set<number>();
  let last = -1;
  for (const { offset, length } of ranges) {
    const first = windowOf(offset);
    const end = windowOf(offset + length - 1);
    if (first === last && end === last) continue;
    for (let window = first; window <= end && window * WINDOW_BYTES < inode.extentEnd; window++) {
      if (!noted.has(window)) tx.noteWindows(inode, window, 1);
      noted.add(window);
    }
    last = end;
  }
}

/** So many extents of a window are put in by one pass over it: one by one, each moves all that follow it in memory. */
const MERGE_FROM_EXTENTS = 16;

/** Gives the file these contents, which do not overlap. Everything that they touch is in memory (wantReplaced). */
export function replaceExtents(tx: Transaction, inode: Inode, extents: readonly Extent[]): void {
  for (const [window, parts] of byWindow(extents)) {
    if (parts.length >= MERGE_FROM_EXTENTS) mergeIntoWindow(tx, inode, window, parts);
    else {
      for (const extent of parts) {
        removeRange(tx, inode, extent.offset, extent.offset + extent.length);
        insertExtent(tx, inode, extent);
      }
    }
  }
}

/** The extents cut at window borders, each window's in order. */
function byWindow(extents: readonly Extent[]): Map<number, Extent[]> {
  const windows = new Map<number, Extent[]>();
  for (const extent of extents) {
    const end = extent.offset + extent.length;
    for (let from = extent.offset; from < end;) {
      const window = windowOf(from);
      const to = Math.min(end, (window + 1) * WINDOW_BYTES);
      const parts = windows.get(window);
      if (parts === undefined) windows.set(window, [part(extent, from, to)]);
      else parts.push(part(extent, from, to));
      from = to;
    }
  }
  for (const parts of windows.values()) if (!isSorted(parts)) parts.sort((a, b) => a.offset - b.offset);
  return windows;
}

function isSorted(extents: readonly Extent[]): boolean {
  for (let index = 1; index < extents.length; index++) if (extents[index].offset < extents[index - 1].offset) return false;
  return true;
}

/** As removeRange and insertExtent for each, in one pass. */
function mergeIntoWindow(tx: Transaction, inode: Inode, window: number, incoming: readonly Extent[]): void {
  const edit = tx.editWindow(inode, window);
  const merge = new WindowMerge(edit);
  for (const extent of incoming) merge.put(extent);
  edit.extents = merge.finish();
  inode.allocatedBytes += merge.bytes;
  inode.extentEnd = Math.max(inode.extentEnd, incoming[incoming.length - 1].offset + incoming[incoming.length - 1].length);
  for (const [stripe, bytes] of merge.stripes) tx.countStripe(stripe, bytes);
  if (merge.reservedBytes !== 0) tx.promise(merge.reservedBytes);
}

/** Puts extents over those of a window, in ascending order. */
class WindowMerge {
  readonly #edit: WindowEdit;
  readonly #present: readonly Extent[];
  #index = 0;
  /** The end of a present extent that was cut, still to be kept or cut again. */
  #rest: Extent | null = null;
  readonly #merged: Extent[] = [];
  /** By how much the file's allocated bytes change, stripes' live ones, and reserved ones. */
  bytes = 0;
  readonly stripes = new Map<StripeId, number>();
  reservedBytes = 0;

  constructor(edit: WindowEdit) {
    this.#edit = edit;
    this.#present = edit.extents;
  }

  put(extent: Extent): void {
    const end = extent.offset + extent.length;
    this.#keepUpTo(extent.offset);
    for (let there = this.#next(); there !== undefined && there.offset < end; there = this.#next())
      this.#cut(there, extent.offset, end);
    this.#count(extent, extent.length);
    this.#append(extent);
  }

  finish(): Extent[] {
    this.#keepUpTo(Infinity);
    return this.#merged;
  }

  #next(): Extent | undefined {
    return this.#rest ?? this.#present[this.#index];
  }

  #keepUpTo(offset: number): void {
    for (let there = this.#next(); there !== undefined && there.offset + there.length <= offset; there = this.#next()) {
      if (this.#rest !== null) note(this.#edit, there);
      this.#merged.push(there);
      this.#advance();
    }
  }

  #advance(): void {
    if (this.#rest === null) this.#index++;
    this.#rest = null;
  }

  /** Takes [from, to) out of the extent. */
  #cut(there: Extent, from: number, to: number): void {
    const end = there.offset + there.length;
    if (this.#rest === null) {
      forget(this.#edit, there);
      this.#index++;
    }
    this.#rest = end > to ? part(there, to, end) : null;
    if (there.offset < from) {
      const kept = part(there, there.offset, from);
      note(this.#edit, kept);
      this.#merged.push(kept);
    }
    this.#count(there, Math.max(there.offset, from) - Math.min(end, to));
  }

  #count({ stripe, inline }: Extent, bytes: number): void {
    this.bytes += bytes;
    if (stripe !== undefined) this.stripes.set(stripe, (this.stripes.get(stripe) ?? 0) + bytes);
    else if (inline === undefined) this.reservedBytes += bytes;
  }

  #append(extent: Extent): void {
    const before = this.#merged.at(-1);
    const joined = before === undefined ? null : join(before, extent);
    if (joined === null) this.#merged.push(extent);
    else {
      this.#edit.inlineCost -= inlineCost(before!);
      this.#merged[this.#merged.length - 1] = joined;
    }
    note(this.#edit, joined ?? extent);
  }
}

function removeFromWindow(tx: Transaction, inode: Inode, window: number, from: number, to: number): void {
  const present = tx.window(inode, window);
  const first = firstAbove(present, from);
  if (first === present.length || present[first].offset >= to) return;
  const edit = tx.editWindow(inode, window);
  const kept: Extent[] = [];
  let last = first;
  for (; last < edit.extents.length && edit.extents[last].offset < to; last++) {
    const extent = edit.extents[last];
    const end = extent.offset + extent.length;
    forget(edit, extent);
    if (extent.offset < from) kept.push(part(extent, extent.offset, from));
    if (end > to) kept.push(part(extent, to, end));
    const lost = Math.min(end, to) - Math.max(extent.offset, from);
    inode.allocatedBytes -= lost;
    if (extent.stripe !== undefined) tx.countStripe(extent.stripe, -lost);
    else if (extent.inline === undefined) tx.promise(-lost);
  }
  edit.extents.splice(first, last - first, ...kept);
  for (const extent of kept) note(edit, extent);
}

function forget(edit: WindowEdit, extent: Extent): void {
  edit.removed.add(extent.offset);
  edit.added.delete(extent.offset);
  edit.inlineCost -= inlineCost(extent);
}

function note(edit: WindowEdit, extent: Extent): void {
  edit.added.set(extent.offset, extent);
  edit.inlineCost += inlineCost(extent);
}

/** Puts an extent into a hole; it is split at window borders. Its stripe must be known to the transaction. */
export function insertExtent(tx: Transaction, inode: Inode, extent: Extent): void {
  const end = extent.offset + extent.length;
  for (let from = extent.offset; from < end;) {
    const window = windowOf(from);
    const to = Math.min(end, (window + 1) * WINDOW_BYTES);
    insertPart(tx, inode, window, part(extent, from, to));
    from = to;
  }
  if (extent.stripe !== undefined) tx.countStripe(extent.stripe, extent.length);
  else if (extent.inline === undefined) tx.promise(extent.length);
  inode.allocatedBytes += extent.length;
}

function insertPart(tx: Transaction, inode: Inode, window: number, extent: Extent): void {
  const edit = tx.editWindow(inode, window);
  const index = firstAbove(edit.extents, extent.offset);
  const before = edit.extents[index - 1];
  const joined = before === undefined ? null : join(before, extent);
  if (joined !== null) {
    edit.inlineCost -= inlineCost(before!);
    edit.extents[index - 1] = joined;
    note(edit, joined);
  } else {
    edit.extents.splice(index, 0, extent);
    note(edit, extent);
  }
  inode.extentEnd = Math.max(inode.extentEnd, extent.offset + extent.length);
}

/** The two as one extent, where they are neighbours in file and place. */
function join(before: Extent, extent: Extent): Extent | null {
  if (before.offset + before.length !== extent.offset) return null;
  const length = before.length + extent.length;
  if (before.inline !== undefined && extent.inline !== undefined && length <= INLINE_MERGE_BYTES) {
    return { offset: before.offset, length, inline: Buffer.concat([before.inline, extent.inline], length) };
  }
  if (
    before.stripe !== undefined &&
    before.stripe === extent.stripe &&
    before.stripeOffset! + before.length === extent.stripeOffset
  ) {
    return { offset: before.offset, length, stripe: before.stripe, stripeOffset: before.stripeOffset };
  }
  return null;
}

export function checkRange(from: number, length: number): void {
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(length) || from < 0 || length < 0) {
    throw new FsError("EINVAL", `a range of ${length} bytes from ${from}`);
  }
  if (from + length > FILE_MAX_BYTES)
    throw new FsError("EFBIG", `a file to ${from + length} bytes; at most ${FILE_MAX_BYTES} are possible`);
}

/** Makes the file this long. What lies beyond is gone at once for readers; where it is much, a tick drops it later. */
export function setSize(tx: Transaction, inode: Inode, size: number, services: Services): void {
  checkRange(0, size);
  if (size <= inode.size && size < inode.extentEnd) shrink(tx, inode, size, services);
  inode.size = size;
}

function shrink(tx: Transaction, inode: Inode, size: number, services: Services): void {
  const cutting = (inode.flags & HAS_CUT) !== 0;
  if (!cutting && isLittle(tx, inode, size)) {
    removeRange(tx, inode, size, inode.extentEnd);
    return;
  }
  // Live extents lie between the cut and the new end: the cut cannot grow over them.
  if (cutting && size > inode.cutTo) tx.miss({ kind: "cut", inode: inode.inode, until: inode.cutTo });
  const border = Math.ceil(size / WINDOW_BYTES) * WINDOW_BYTES;
  if (!cutting || border <= inode.cutFrom) {
    if (border > size) removeRange(tx, inode, size, Math.min(border, inode.extentEnd));
    inode.cutFrom = border;
  }
  inode.cutTo = Math.max(inode.extentEnd, cutting ? inode.cutTo : 0);
  inode.flags |= HAS_CUT;
  tx.raw(TAG_CUT + id8(inode.inode), "", () => {});
  services.becomesCut(tx, inode.inode);
}

/** Whether what lies behind the new end can be dropped in one transaction. */
function isLittle(tx: Transaction, inode: Inode, size: number): boolean {
  if (windowOf(inode.extentEnd - 1) - windowOf(size) >= WINDOWS_AT_ONCE) return false;
  return endOfPiece(tx, inode, size, { windows: WINDOWS_AT_ONCE + 1, extents: EXTENTS_AT_ONCE }) >= inode.extentEnd;
}

/** How much one transaction may drop. */
export interface PieceLimits {
  windows: number;
  extents: number;
}

/** The offset up to which a piece that begins at `from` reaches: behind so many windows, or before one extent more than the limit. At least one extent is in it. */
export function endOfPiece(tx: Transaction, inode: Inode, from: number, limits: PieceLimits): number {
  if (inode.extentEnd <= from) return Infinity;
  const first = windowOf(from);
  const end = Math.min(first + limits.windows, windowOf(inode.extentEnd - 1) + 1);
  let count = 0;
  let loaded = first;
  for (let window = first; window < end; window++) {
    if (window === loaded) {
      const wanted = Math.min(end - window, Math.max(1, window - first));
      tx.wantWindows(inode, window, wanted);
      loaded += wanted;
    }
    const extents = tx.window(inode, window);
    const index = firstAbove(extents, from);
    if (count + extents.length - index > limits.extents) return extents[index + limits.extents - count].offset;
    count += extents.length - index;
  }
  return end * WINDOW_BYTES;
}

/** Drops dead extents of the next windows; between cutFrom and emptyTo there are none. Returns whether that was all. */
export function cutPiece(tx: Transaction, inode: Inode, limits: PieceLimits, emptyTo: number): boolean {
  const from = Math.min(inode.cutTo, Math.max(inode.cutFrom, Math.floor(emptyTo / WINDOW_BYTES) * WINDOW_BYTES));
  const to = Math.min(inode.cutTo, endOfPiece(tx, inode, from, limits));
  removeRange(tx, inode, from, to);
  inode.cutFrom = Math.floor(to / WINDOW_BYTES) * WINDOW_BYTES;
  if (to < inode.cutTo) return false;
  inode.flags &= ~HAS_CUT;
  inode.cutFrom = 0;
  inode.cutTo = 0;
  tx.raw(TAG_CUT + id8(inode.inode), "", null);
  return true;
}
