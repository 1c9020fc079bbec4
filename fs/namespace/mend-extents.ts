// Mending the extents of a file where they overlap, cross a window's border, or have data behind the file's end.
//
// All extents of the windows concerned are laid out anew. Where two claim the same bytes of the file and differ, one is
// shown and the other's part is kept as a file in LOST_AND_FOUND: nobody can say which of them a program wrote last, though
// a higher stripe number was reserved later. Data behind the file's end can be seen by nobody and goes.

import type { Extent } from "../messages.ts";
import { type InodeId, S_IFREG, type StripeId } from "../types.ts";
import { insertExtent, isCut, isReserved, part, requireUncut, windowOf } from "./extents.ts";
import { freeName, lostAndFound } from "./lost-and-found.ts";
import { make } from "./names.ts";
import type { Inode } from "./records.ts";
import type { Services } from "./services.ts";
import { WINDOW_BYTES } from "./state.ts";
import type { Transaction } from "./transaction.ts";

/** An unwritten extent may be long; more than this is not mended. */
const WINDOWS_MAX = 256;

interface Layout {
  first: number;
  count: number;
  before: Extent[];
  after: Extent[];
  /** What others cover and is not the same. */
  hidden: Extent[];
}

const endOf = (extent: Extent): number => extent.offset + extent.length;

/** Whether extents that begin in the window hide data of others. */
export function hidesData(tx: Transaction, id: InodeId, window: number): boolean {
  const inode = tx.find(id);
  return inode !== null && (layOut(tx, inode, window)?.hidden.length ?? 0) > 0;
}

/** Gives what would be hidden a file of its own, before `mendExtents` hides it. An entry of kind `make`. False where it cannot. */
export function keepHidden(tx: Transaction, id: InodeId, window: number, services: Services): boolean {
  const inode = tx.find(id);
  const layout = inode === null ? null : layOut(tx, inode, window);
  if (inode === null || layout === null) return false;
  if (layout.hidden.length === 0) return true;
  const directory = lostAndFound(tx);
  const name = directory === null ? null : freeName(tx, directory, `inode-${id}-other`);
  if (directory === null || name === null) return false;
  tx.changesUnasked(directory.inode, [name]);
  const { uid, gid } = inode;
  const request = { parent: directory.inode, name, mode: S_IFREG | 0o600, umask: 0, uid, gid, exclusive: true };
  const { attributes } = make(tx, request, services);
  const kept = tx.edit(attributes.inode);
  for (const extent of layout.hidden) insertExtent(tx, kept, extent);
  kept.size = endOf(layout.hidden.at(-1)!);
  return true;
}

/** Lays the extents out anew that begin in this window, and those of the following ones that they reach into. False where it cannot. */
export function mendExtents(tx: Transaction, id: InodeId, window: number): boolean {
  const inode = tx.find(id);
  const layout = inode === null ? null : layOut(tx, inode, window);
  if (inode === null || layout === null) return false;
  const { before, after } = layout;
  if (before.length === after.length && before.every((extent, index) => extent === after[index])) return true;
  const differences = new Map<StripeId, number>();
  for (const { stripe, length } of before)
    if (stripe !== undefined) differences.set(stripe, (differences.get(stripe) ?? 0) - length);
  for (const { stripe, length } of after)
    if (stripe !== undefined) differences.set(stripe, (differences.get(stripe) ?? 0) + length);
  tx.wantStripes(differences.keys());
  const allocated = inode.allocatedBytes + sum(after) - sum(before);
  const live = [...differences].map(([stripe, difference]) => (tx.stripe(stripe)?.live ?? Infinity) + difference);
  // Counts are mended before; where one could not be, nothing may be made of it.
  if (allocated < 0 || live.some((bytes) => bytes < 0)) return false;
  tx.changesUnasked(id);
  tx.edit(id).allocatedBytes = allocated;
  for (const [stripe, difference] of differences) if (difference !== 0) tx.countStripe(stripe, difference);
  tx.promise(sum(after.filter(isReserved)) - sum(before.filter(isReserved)));
  writeWindows(tx, tx.edit(id), layout);
  return true;
}

function sum(extents: readonly Extent[]): number {
  return extents.reduce((bytes, { length }) => bytes + length, 0);
}

function writeWindows(tx: Transaction, inode: Inode, { first, count, before, after }: Layout): void {
  for (let window = first; window < first + count; window++) {
    const here = ({ offset }: Extent): boolean => windowOf(offset) === window;
    const edit = tx.editWindow(inode, window);
    edit.extents = after.filter(here);
    const same = new Set(edit.extents);
    for (const extent of before) if (here(extent) && !same.has(extent)) edit.removed.add(extent.offset);
    const old = new Set(before);
    for (const extent of edit.extents) if (!old.has(extent)) edit.added.set(extent.offset, extent);
  }
}

/** Null where there is too much of it. Asks for a truncate under way to be finished first. */
function layOut(tx: Transaction, inode: Inode, first: number): Layout | null {
  const before: Extent[] = [];
  let last = first;
  for (let window = first; window <= last; window++) {
    if (window - first >= WINDOWS_MAX) return null;
    for (const extent of tx.window(inode, window)) {
      before.push(extent);
      last = Math.max(last, windowOf(endOf(extent) - 1));
    }
  }
  requireUncut(tx, inode, first * WINDOW_BYTES, (last + 1) * WINDOW_BYTES);
  const after: Part[] = [];
  const hidden: Part[] = [];
  for (const { from, to, shown, others } of pieces(before, inode)) {
    append(after, shown, from, to);
    for (const other of others) append(hidden, other, from, to);
  }
  const asExtents = (parts: readonly Part[]): Extent[] => parts.map(({ extent, from, to }) => part(extent, from, to));
  return { first, count: last + 1 - first, before, after: asExtents(after), hidden: asExtents(hidden) };
}

interface Piece {
  from: number;
  to: number;
  shown: Extent;
  /** Those with other data. */
  others: Extent[];
}

/** Cuts the file at every begin and end of an extent and every border of windows, and says what is in each piece. */
function* pieces(extents: readonly Extent[], inode: Inode): Generator<Piece> {
  const borders = new Set<number>(inode.linkCount > 0 ? [inode.size] : []);
  for (const extent of extents) {
    for (let at = extent.offset; at < endOf(extent); at = (windowOf(at) + 1) * WINDOW_BYTES) borders.add(at);
    borders.add(endOf(extent));
  }
  const sorted = [...borders].sort((left, right) => left - right);
  let active: Extent[] = [];
  let next = 0;
  for (let index = 0; index + 1 < sorted.length; index++) {
    const [from, to] = [sorted[index], sorted[index + 1]];
    active = active.filter((extent) => endOf(extent) > from);
    while (next < extents.length && extents[next].offset === from) active.push(extents[next++]);
    const isBehind = inode.linkCount > 0 && from >= inode.size && !isCut(inode, from);
    const candidates = isBehind ? active.filter((extent) => !hasData(extent)) : active;
    if (candidates.length === 0) continue;
    const shown = candidates.reduce((best, extent) => (rank(extent) > rank(best) ? extent : best));
    const others = candidates.filter((extent) => hasData(extent) && !isSame(extent, shown, from, to));
    yield { from, to, shown, others };
  }
}

function hasData({ stripe, inline }: Extent): boolean {
  return stripe !== undefined || inline !== undefined;
}

/** Unwritten below data; among data the stripe reserved later; bytes in the record last: they were a small write, and are moved to a stripe later. */
function rank(extent: Extent): number {
  if (extent.inline !== undefined) return Infinity;
  return extent.stripe ?? -1;
}

function isSame(left: Extent, right: Extent, from: number, to: number): boolean {
  if (left === right) return true;
  const [one, other] = [part(left, from, to), part(right, from, to)];
  if (one.inline !== undefined && other.inline !== undefined) return Buffer.compare(one.inline, other.inline) === 0;
  return one.stripe !== undefined && one.stripe === other.stripe && one.stripeOffset === other.stripeOffset;
}

/** Bytes [from, to) of the file as the extent has them. */
interface Part {
  extent: Extent;
  from: number;
  to: number;
}

/** Pieces of one extent in a row are one part, within a window. */
function append(parts: Part[], extent: Extent, from: number, to: number): void {
  const last = parts.at(-1);
  if (last?.extent === extent && last.to === from && windowOf(last.from) === windowOf(from)) last.to = to;
  else parts.push({ extent, from, to });
}
