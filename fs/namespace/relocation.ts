// Moving what files hold to other places in stripes, for the cleaner: walk all extents, and change those that still lie
// where they were read. The bytes of a file stay the same, so nobody's lease has to be recalled: who still reads at the
// old place finds the same bytes, or, when the old stripe is removed, asks for the place again.

import type { Extent } from "../messages.ts";
import type { Stripe } from "../../replication/stripe.ts";
import { type InodeId, S_IFMT, S_IFREG, type StripeId } from "../types.ts";
import { firstAbove, insertExtent, isCut, removeRange, windowOf } from "./extents.ts";
import { SERVER_SESSION } from "./identities.ts";
import { after, id8, idFrom, TAG_EXTENT } from "./keys.ts";
import type { Server } from "./server.ts";
import { decodeExtent, type Inode, openValue } from "./records.ts";
import type { Services } from "./services.ts";
import { type Miss, WINDOW_BYTES } from "./state.ts";
import type { Transaction } from "./transaction.ts";

/** Where bytes of a file were found: in a stripe, or in the table itself. */
export type Source = { stripe: StripeId; stripeOffset: number } | { inline: Uint8Array };

export interface Move {
  inode: InodeId;
  /** A range of the file within one window. */
  offset: number;
  length: number;
  from: Source;
  to: { stripe: StripeId; stripeOffset: number };
}

/** Extents of one file within one window (WINDOW_BYTES), in order. */
export interface FileWindow {
  inode: InodeId;
  extents: Extent[];
}

/** Where a walk goes on; null is the start, and the end. */
export type Cursor = string | null;

export interface Relocation {
  /** All extents there are, some windows at a time. Extents that change meanwhile may be missed. */
  windows(cursor: Cursor): Promise<{ windows: FileWindow[]; next: Cursor }>;
  /** Calls back when a file has got much inline data since takeInline (limits.inlineFileBytes). One watcher. */
  watchInline(onFull: (inode: InodeId) => void): void;
  /** What the file has got inline since the last call and is inline still, in parts. */
  takeInline(inode: InodeId): AsyncIterable<FileWindow>;
  /** Stripe numbers of the server's own. */
  reserve(count: number): Promise<StripeId>;
  /** Blocks stored under numbers that were reserved and not used are removed from the disks. */
  releaseReserved(): void;
  /** Makes the stripes known (their blocks are durable), and of each range those bytes that still lie at `from` lie at `to` afterwards, in a transaction for every few windows. Returns how many bytes were moved. At most MOVES_MAX moves. */
  relocate(stripes: readonly Stripe[], moves: readonly Move[]): Promise<number>;
}

/** A stripe of 4 MiB in pieces of 1 KiB. */
export const MOVES_MAX = 4096;
/** More than the extents of one window of 4 KiB pieces, so that a page holds a whole window. Smaller pieces make a window that is walked in parts. */
const PAGE_RECORDS = 8192;

/** Windows that one transaction reads or changes: at most 90 KB each in memory, far from all that the cache keeps. */
const WINDOWS_MAX = 32;

export function relocationOf(server: Server): Relocation {
  return {
    windows: (cursor) => windows(server, cursor),
    watchInline: (onFull) => {
      server.inlineCount.onFull = onFull;
    },
    takeInline: (inode) => takeInline(server, inode),
    reserve: async (count) => {
      const first = await server.transact("reserveStripes", null, (tx) => server.identities.reserveStripes(tx, count));
      // As for a session (calls.ts).
      await server.sync();
      return first;
    },
    releaseReserved: () => server.identities.sessionEnded(SERVER_SESSION),
    relocate: async (stripes, moves) => {
      let moved = 0;
      let added = stripes;
      for (const some of byWindows(moves, ({ inode, offset }) => `${inode}/${windowOf(offset)}`)) {
        moved += await server.transact("relocate", null, (tx) =>
          relocate(tx, added, some, server.identities, (inodes) => server.sessions.tellMoved(inodes)),
        );
        added = [];
      }
      return moved;
    },
  };
}

async function windows({ overlay }: Server, cursor: Cursor): Promise<{ windows: FileWindow[]; next: Cursor }> {
  const to = after(TAG_EXTENT);
  return overlay.scan(cursor ?? TAG_EXTENT, to, PAGE_RECORDS, (records, bound) => {
    const found: FileWindow[] = [];
    let last = "";
    for (const { key, value } of records) {
      const inode = idFrom(key, 1) as InodeId;
      const offset = idFrom(key, 9);
      const place = TAG_EXTENT + id8(inode) + id8(windowOf(offset) * WINDOW_BYTES);
      if (place !== last) found.push({ inode, extents: [] });
      last = place;
      found[found.length - 1].extents.push(decodeExtent(openValue(key, value), offset));
    }
    if (bound >= to) return { windows: found, next: null };
    // The last window may go on in the next page: it comes whole then, unless it is all there is in this one.
    if (found.length < 2) return { windows: found, next: bound };
    found.pop();
    return { windows: found, next: last };
  });
}

async function* takeInline(server: Server, inode: InodeId): AsyncGenerator<FileWindow> {
  const offsets = server.inlineCount.take(inode);
  for (const some of byWindows(offsets, (offset) => windowOf(offset)))
    yield await server.transact("relocate", null, (tx) => inlineAt(tx, inode, some));
}

/** The items, which lie in order, in parts of at most WINDOWS_MAX windows. */
function* byWindows<Item>(items: readonly Item[], placeOf: (item: Item) => number | string): Generator<Item[]> {
  for (let from = 0; from < items.length;) {
    let to = from;
    for (let windows = 0; to < items.length; to++) {
      const isNew = to === from || placeOf(items[to]) !== placeOf(items[to - 1]);
      if (isNew && ++windows > WINDOWS_MAX) break;
    }
    yield items.slice(from, to);
    from = to;
  }
}

/** The file's inline extents at these offsets, which ascend. */
function inlineAt(tx: Transaction, id: InodeId, offsets: readonly number[]): FileWindow {
  tx.wantInodes([id]);
  const inode = tx.find(id);
  if (inode === null || (inode.mode & S_IFMT) !== S_IFREG) return { inode: id, extents: [] };
  wantAll(tx, offsets.map((offset) => ({ inode: id, offset }))); // prettier-ignore
  const extents: Extent[] = [];
  for (const offset of offsets) {
    if (offset >= inode.extentEnd) break;
    const present = tx.window(inode, windowOf(offset));
    const extent = present[firstAbove(present, offset)];
    if (extent?.inline === undefined || extent.offset > offset || isCut(inode, extent.offset)) continue;
    if (extents.at(-1) !== extent) extents.push(extent);
  }
  return { inode: id, extents };
}

function relocate(
  tx: Transaction,
  stripes: readonly Stripe[],
  moves: readonly Move[],
  services: Services,
  tellMoved: (inodes: ReadonlySet<InodeId>) => void,
): number {
  wantAll(tx, moves);
  for (const stripe of stripes) tx.addStripe({ ...stripe, id: stripe.id as StripeId, disks: [...stripe.disks], live: 0 });
  services.useReserved(tx, SERVER_SESSION, stripes.map(({ id }) => id as StripeId)); // prettier-ignore
  let moved = 0;
  const inodes = new Set<InodeId>();
  for (const move of moves) {
    // It was left without live bytes by an earlier part of these moves, for too long.
    if (services.isBeingRemoved(move.to.stripe)) continue;
    const bytes = relocateRange(tx, move);
    if (bytes > 0) inodes.add(move.inode);
    moved += bytes;
  }
  tx.afterwards(() => tellMoved(inodes));
  return moved;
}

/** Everything that the moves may touch, in as few hops as there are kinds of records. */
function wantAll(tx: Transaction, moves: readonly Pick<Move, "inode" | "offset">[]): void {
  tx.wantInodes([...new Set(moves.map(({ inode }) => inode))]);
  const missing = new Map<string, Miss>();
  for (const { inode, offset } of moves) {
    const window = windowOf(offset);
    const found = tx.find(inode);
    if (found === null || found.extentEnd <= window * WINDOW_BYTES || tx.state.window(inode, window) !== undefined) continue;
    missing.set(`${inode}/${window}`, { kind: "window", inode, window, count: 1 });
  }
  const misses = [...missing.values()];
  const last = misses.pop();
  if (last === undefined) return;
  tx.misses.push(...misses);
  tx.miss(last);
}

function relocateRange(tx: Transaction, move: Move): number {
  const inode = tx.find(move.inode);
  if (inode === null || (inode.mode & S_IFMT) !== S_IFREG) return 0;
  let moved = 0;
  for (const { from, to } of unchanged(tx, inode, move)) {
    const copy = tx.edit(move.inode);
    removeRange(tx, copy, from, to);
    const stripeOffset = move.to.stripeOffset + (from - move.offset);
    insertExtent(tx, copy, { offset: from, length: to - from, stripe: move.to.stripe, stripeOffset });
    moved += to - from;
  }
  return moved;
}

/** The parts of the range that are still what was read. */
function unchanged(tx: Transaction, inode: Inode, move: Move): { from: number; to: number }[] {
  const end = move.offset + move.length;
  const extents = tx.window(inode, windowOf(move.offset));
  const parts: { from: number; to: number }[] = [];
  for (let index = firstAbove(extents, move.offset); index < extents.length && extents[index].offset < end; index++) {
    const extent = extents[index];
    if (isCut(inode, extent.offset)) continue;
    const from = Math.max(extent.offset, move.offset);
    const to = Math.min(extent.offset + extent.length, end);
    if (isSame(extent, from, to, move)) parts.push({ from, to });
  }
  return parts;
}

function isSame(extent: Extent, from: number, to: number, move: Move): boolean {
  const inExtent = from - extent.offset;
  const inMove = from - move.offset;
  if ("inline" in move.from) {
    if (extent.inline === undefined) return false;
    const now = extent.inline.subarray(inExtent, inExtent + to - from);
    return Buffer.compare(now, move.from.inline.subarray(inMove, inMove + to - from)) === 0;
  }
  // A stripe's bytes never change and its number is never used again: the same place means the same bytes.
  return extent.stripe === move.from.stripe && extent.stripeOffset! + inExtent === move.from.stripeOffset + inMove;
}
