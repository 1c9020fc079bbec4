// Asks the namespace where a file's bytes are and fills the gaps of its pieces with the answer.

import type { Extent, Reply } from "../messages.ts";
import type { Stripe } from "../../replication/stripe.ts";
import { after, callNow } from "./core.ts";
import type { Core } from "./core.ts";
import type { FileState } from "./file-state.ts";
import type { Result } from "./handlers.ts";
import { CLEAN_PIECES_PER_FILE_MAX, EXTENTS_RANDOM, LEARN_ROUNDS_MAX } from "./limits.ts";
import { HOLE, INLINE, Piece, STRIPED, UNWRITTEN } from "./pieces.ts";

/** Call before a request asks where bytes are, and not again before it has all that it needs: what it was just told is what would go first if it needs more than may be kept. */
export function boundPieces(file: FileState): void {
  if (file.pieces.count > CLEAN_PIECES_PER_FILE_MAX) forgetOldest(file);
}

/** After this, [from, some end > from) is known; `to` bounds what is of interest, `limit` how many extents are fetched. Pieces that were known stay. */
export function fetchExtents(core: Core, file: FileState, from: number, to: number, limit: number): Result<void> {
  const generation = file.cleanGeneration;
  return after(callNow(core, "extents", { inode: file.inode, from, to, limit }), (reply) => {
    // What was dropped meanwhile may have been newer than this answer: the caller looks again and asks again.
    if (generation === file.cleanGeneration) fillGaps(file, from, to, reply);
  });
}

/** Asks until it is known where all bytes of [from, to) are, as far as they are not known already; what is dropped meanwhile is given up after some rounds. */
export async function learnExtents(core: Core, file: FileState, from: number, to: number): Promise<void> {
  boundPieces(file);
  for (let round = 0; round < LEARN_ROUNDS_MAX; round++) {
    const at = file.pieces.firstUnknown(from, to);
    if (at === Infinity) return;
    await fetchExtents(core, file, at, to, EXTENTS_RANDOM);
  }
}

function fillGaps(file: FileState, from: number, to: number, reply: Reply<"extents">): void {
  const stripes = new Map<number, Stripe>();
  for (const stripe of reply.stripes) stripes.set(stripe.id, stripe);
  const end = Math.max(from + 1, Math.min(to, reply.end));
  let position = from;
  for (const extent of reply.extents) {
    const start = Math.max(extent.offset, from);
    if (start > position) file.pieces.fill(new Piece(position, Math.min(start, end), HOLE, null, 0, null));
    const stop = extent.offset + extent.length;
    if (stop > start) file.pieces.fill(pieceOf(extent, start, stripes));
    position = Math.max(position, stop);
  }
  if (position < end) file.pieces.fill(new Piece(position, end, HOLE, null, 0, null));
}

function pieceOf(extent: Extent, start: number, stripes: ReadonlyMap<number, Stripe>): Piece {
  const end = extent.offset + extent.length;
  const skip = start - extent.offset;
  if (extent.inline !== undefined) return new Piece(start, end, INLINE, extent.inline, skip, null);
  if (extent.stripe === undefined) return new Piece(start, end, UNWRITTEN, null, 0, null);
  return new Piece(start, end, STRIPED, stripes.get(extent.stripe)!, (extent.stripeOffset ?? 0) + skip, null);
}

/** Forgets where committed bytes are. */
export function forgetClean(file: FileState): void {
  file.pagesGiven = false;
  file.pieces.dropClean();
  file.cleanGeneration++;
}

/** ... of the half that was learned first. */
function forgetOldest(file: FileState): void {
  file.pieces.dropOldest();
  file.cleanGeneration++;
}

/** ... of a range only. */
export function forgetCleanIn(file: FileState, start: number, end: number): void {
  file.pieces.dropCleanIn(start, end);
  file.cleanGeneration++;
}
