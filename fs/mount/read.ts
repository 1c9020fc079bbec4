// Reading: pieces tell where each byte is. What needs no waiting is answered at once; the rest is fetched, several
// stripes at a time, straight into the channel's buffer.

import { FsError } from "../errno.ts";
import type { Stripe } from "../../replication/stripe.ts";
import type { StripeBuffer } from "./buffers.ts";
import { acquire } from "./core.ts";
import type { Core } from "./core.ts";
import { boundPieces, fetchExtents, forgetCleanIn } from "./extents.ts";
import type { FileState } from "./file-state.ts";
import type { ReadReply, Result } from "./handlers.ts";
import type { FileHandle } from "./handles.ts";
import {
  EXTENTS_RANDOM,
  EXTENTS_SEQUENTIAL,
  FRAGMENT_MAX_BYTES,
  FRAGMENTS_MIN,
  READ_AHEAD_FROM_BYTES,
  READ_AHEAD_STRIPES,
  READ_ATTEMPTS_MAX,
} from "./limits.ts";
import { holdPages, releasePages } from "./page-locks.ts";
import { O_DIRECT } from "./write.ts";
import { BUFFERED, HOLE, INLINE, STRIPED, UNWRITTEN } from "./pieces.ts";

/** Smaller answers are copied: a reference costs more than they do. */
const BY_REFERENCE_FROM_BYTES = 32 * 1024;

interface StripeRead {
  /** Where in the file. */
  at: number;
  stripe: Stripe;
  offset: number;
  into: Uint8Array;
}

export function readFile(
  core: Core,
  handle: FileHandle,
  offset: number,
  length: number,
  into: Uint8Array,
  flags: number,
): Result<number | ReadReply> {
  const file = handle.file;
  if (file.lease !== "known" && file.recall === null) return readHeld(core, handle, offset, length, into);
  return readAfterWait(core, handle, offset, length, into, handle.direct || (flags & O_DIRECT) !== 0);
}

/** Waits for the end of a recall and for a lease. The kernel holds the read's pages meanwhile: recalls leave them out. */
async function readAfterWait(
  core: Core,
  handle: FileHandle,
  offset: number,
  length: number,
  into: Uint8Array,
  direct: boolean,
): Promise<number | ReadReply> {
  const file = handle.file;
  const held = holdPages(file, offset, length, !direct);
  try {
    while (file.recall !== null || file.lease === "known") {
      if (file.recall !== null) await file.recall;
      else await acquire(core, file, "shared");
    }
  } finally {
    releasePages(file, held);
  }
  return readHeld(core, handle, offset, length, into);
}

function readHeld(core: Core, handle: FileHandle, offset: number, length: number, into: Uint8Array): Result<number | ReadReply> {
  const file = handle.file;
  const end = Math.min(offset + length, file.attributes.size);
  // Noted before the answer: dropping the pages waits for it.
  file.filled = true;
  if (offset + length > end) file.tailCached = true;
  if (end <= offset) return 0;
  if (offset === 0 && !handle.direct) file.pagesGiven = true;
  const sequential = followRun(handle, offset, end);
  if (sequential) {
    const reference = byReference(core, file, offset, end);
    if (reference !== null) {
      readOn(core, file, end);
      return reference;
    }
  }
  const waiting = gatherNow(core, file, offset, end, into, sequential);
  if (sequential) readOn(core, file, offset);
  if (!(waiting instanceof Promise) && waiting.length === 0) return end - offset;
  return readWaiting(core, file, offset, end, into, sequential, waiting);
}

/** Copies the file from its start, if all of it can be had at once. */
export function readAtOnce(core: Core, file: FileState, into: Uint8Array): boolean {
  const waiting = gatherNow(core, file, 0, into.length, into, false);
  if (!(waiting instanceof Promise)) return waiting.length === 0;
  // The read that follows meets its error again.
  waiting.catch(() => {});
  return false;
}

function followRun(handle: FileHandle, offset: number, end: number): boolean {
  // Read-ahead of the kernel may ask slightly out of order; a small step back or forth goes on with the run.
  const near =
    offset === handle.readEnd ||
    (offset > handle.readEnd - READ_AHEAD_FROM_BYTES && offset < handle.readEnd + READ_AHEAD_FROM_BYTES);
  handle.readRun = near ? handle.readRun + (end - offset) : end - offset;
  handle.readEnd = near ? Math.max(handle.readEnd, end) : end;
  return handle.readRun >= READ_AHEAD_FROM_BYTES;
}

/** The whole range from one stripe that was read ahead, without a copy. */
function byReference(core: Core, file: FileState, offset: number, end: number): ReadReply | null {
  if (end - offset < BY_REFERENCE_FROM_BYTES) return null;
  const piece = file.pieces.after(offset);
  if (piece === undefined || piece.kind !== STRIPED || piece.start > offset || piece.end < end) return null;
  const ahead = core.readAhead.get((piece.source as Stripe).id);
  if (ahead === undefined || ahead.loading !== null) return null;
  const from = piece.sourceOffset + (offset - piece.start);
  ahead.pins++;
  return { buffers: [ahead.bytes.subarray(from, from + (end - offset))], release: () => void ahead.pins-- };
}

/** As gatherAll, but where the namespace does not know at once where the bytes are, what has to be waited for. */
function gatherNow(
  core: Core,
  file: FileState,
  offset: number,
  end: number,
  into: Uint8Array,
  sequential: boolean,
): StripeRead[] | Promise<void> {
  for (let isFirst = true; ; isFirst = false) {
    const waiting: StripeRead[] = [];
    const gap = gather(core, file, offset, end, into, waiting);
    if (gap === -1) return withoutCached(core, file, waiting);
    if (isFirst) boundPieces(file);
    const fetched = fetchGap(core, file, gap, end, sequential);
    if (fetched instanceof Promise) return fetched;
  }
}

function fetchGap(core: Core, file: FileState, gap: number, end: number, sequential: boolean): Result<void> {
  const to = sequential ? Math.max(end, file.attributes.size) : end;
  return fetchExtents(core, file, gap, to, sequential ? EXTENTS_SEQUENTIAL : EXTENTS_RANDOM);
}

/** Copies what can be had at once and lists the rest. Returns the offset of the first byte that is not known, or -1. */
function gather(core: Core, file: FileState, offset: number, end: number, into: Uint8Array, waiting: StripeRead[]): number {
  const pieces = file.pieces;
  let position = offset;
  while (position < end) {
    const piece = pieces.after(position);
    if (piece === undefined || piece.start > position) return position;
    const stop = Math.min(piece.end, end);
    const from = piece.sourceOffset + (position - piece.start);
    const target = into.subarray(position - offset, stop - offset);
    switch (piece.kind) {
      case BUFFERED:
        target.set((piece.source as StripeBuffer).bytes.subarray(from, from + target.length));
        break;
      case INLINE:
        target.set((piece.source as Uint8Array).subarray(from, from + target.length));
        break;
      case HOLE:
      case UNWRITTEN:
        target.fill(0);
        break;
      default:
        if (!isAtHand(core, piece.source as Stripe, from, target))
          waiting.push({ at: position, stripe: piece.source as Stripe, offset: from, into: target });
    }
    position = stop;
  }
  return -1;
}

function isAtHand(core: Core, stripe: Stripe, from: number, target: Uint8Array): boolean {
  if (core.fragments.copy(stripe, from, target)) return true;
  const ahead = core.readAhead.has(stripe.id) ? core.readAhead.walked(stripe, from, target.length) : undefined;
  if (ahead === undefined || ahead.loading !== null) return false;
  target.set(ahead.bytes.subarray(from, from + target.length));
  return true;
}

/** Leaves out what the page cache has. Of many reads, which are read together, nothing is asked one by one. */
function withoutCached(core: Core, file: FileState, reads: StripeRead[]): StripeRead[] {
  return areTogether(core, file, reads) ? reads : reads.filter((read) => !readCached(core, read));
}

/** Whether the reads are many small ones, or the first is being fetched with others. */
function areTogether(core: Core, file: FileState, reads: readonly StripeRead[]): boolean {
  if (reads.length === 0) return false;
  if (core.fragments.isComing(file, reads[0].at)) return true;
  if (reads.length < FRAGMENTS_MIN) return false;
  return reads.filter(({ into }) => into.length <= FRAGMENT_MAX_BYTES).length >= FRAGMENTS_MIN;
}

function readCached(core: Core, { stripe, offset, into }: StripeRead): boolean {
  const ahead = core.readAhead.walked(stripe, offset, into.length);
  return ahead === undefined && core.stripes.readNow(stripe, offset, into);
}

async function readWaiting(
  core: Core,
  file: FileState,
  offset: number,
  end: number,
  into: Uint8Array,
  sequential: boolean,
  begun: StripeRead[] | Promise<void>,
): Promise<number> {
  file.reads++;
  let { cuts } = file;
  try {
    let gathered = begun instanceof Promise ? await begun : begun;
    for (let attempt = 1; ; attempt++) {
      const generation = file.cleanGeneration;
      const waiting = gathered ?? (await gatherAll(core, file, offset, end, into, sequential));
      gathered = undefined;
      try {
        const alone = await readTogether(core, file, sequential ? Infinity : end, waiting);
        await Promise.all(alone.map((read) => readStripe(core, read)));
        // Holes that it found may be what a truncation has left, while the size was still the one before.
        if (file.cut !== null && file.cut.size < end) await file.cut.done;
        if (cuts === file.cuts) return end - offset;
        ({ cuts } = file);
        end = Math.min(end, file.attributes.size);
        if (end <= offset) return 0;
      } catch (error) {
        // The stripe may have been replaced since we heard of it; fresh extents tell.
        if (attempt >= READ_ATTEMPTS_MAX) throw readError(file, offset, error);
        if (generation === file.cleanGeneration) forgetCleanIn(file, offset, end);
      }
    }
  } finally {
    if (--file.reads === 0) for (const resolve of file.readsDone.splice(0)) resolve();
  }
}

/** Gathers until no byte is unknown. Every round makes at least one more known, or starts over because a recall dropped them. */
async function gatherAll(
  core: Core,
  file: FileState,
  offset: number,
  end: number,
  into: Uint8Array,
  sequential: boolean,
): Promise<StripeRead[]> {
  for (;;) {
    const waiting: StripeRead[] = [];
    const gap = gather(core, file, offset, end, into, waiting);
    if (gap === -1) return withoutCached(core, file, waiting);
    await fetchGap(core, file, gap, end, sequential);
  }
}

/** Has what lies in many small pieces fetched together, as far as `end`. Returns what is left to be read one by one. */
async function readTogether(core: Core, file: FileState, end: number, reads: StripeRead[]): Promise<StripeRead[]> {
  const { fragments } = core;
  let rest = reads;
  while (areTogether(core, file, rest)) {
    const { at } = rest[0];
    const came = await fragments.arrival(file, at);
    if (!came && (await fragments.fetch(core, file, at, end)) <= at) break;
    rest = rest.filter(({ stripe, offset, into }) => !fragments.copy(stripe, offset, into));
    // What came may end before this place. What was fetched for it and is not here cannot be read.
    if (!came && rest[0]?.at === at) break;
  }
  return rest;
}

async function readStripe(core: Core, read: StripeRead): Promise<void> {
  const ahead = core.readAhead.get(read.stripe.id);
  if (ahead !== undefined) {
    ahead.pins++;
    if (ahead.loading !== null) await ahead.loading;
    ahead.pins--;
    if (core.readAhead.get(read.stripe.id) === ahead) {
      read.into.set(ahead.bytes.subarray(read.offset, read.offset + read.into.length));
      return;
    }
  }
  await core.stripes.read(read.stripe, read.offset, read.into);
}

function readError(file: FileState, offset: number, error: unknown): unknown {
  if (error instanceof FsError) return error;
  return new FsError("EIO", `reading inode ${file.inode} at ${offset}: ${String((error as Error)?.message ?? error)}`, {
    cause: error,
  });
}

/** Begins to fetch the stripes, or the parts of stripes, that come after the offset. */
function readOn(core: Core, file: FileState, offset: number): void {
  core.fragments.goOn(core, file, offset);
  const pieces = file.pieces;
  let ahead = 0;
  for (let position = offset; ahead <= READ_AHEAD_STRIPES; ahead++) {
    const piece = pieces.after(position);
    if (piece === undefined || piece.kind !== STRIPED) return;
    const stripe = piece.source as Stripe;
    // A few bytes of a large stripe are not worth reading all of it.
    if ((piece.end - piece.start) * 2 >= stripe.dataBytes) core.readAhead.fetch(stripe);
    position = piece.end;
  }
}
