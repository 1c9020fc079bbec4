// How the bytes of an open write buffer are put in order before they go: by file, and within a file by their place in
// it. Writers of a few bytes each fill a buffer in turn, so what is adjacent in a file is not adjacent in the buffer:
// left so, each write would be an extent. Laid out, each run of a file is one piece, one extent.
//
// Invariant: the bytes that a reader sees do not change, and nothing is awaited.

import type { StripeBuffer } from "./buffers.ts";
import type { FileState } from "./file-state.ts";
import { INLINE_RANGE_MAX_BYTES, RUN_GAP_MAX_BYTES, STRIPE_BUFFER_BYTES } from "./limits.ts";
import { BUFFERED, HOLE, INLINE, Piece, UNWRITTEN } from "./pieces.ts";

/** Bytes of one file that will lie together: pieces in its order, and between them nothing, or a few zeros. */
export interface Run {
  start: number;
  end: number;
  pieces: Piece[];
}

/** Runs from this length on begin at a page of the buffer, so that they are read from disks without their neighbours. */
export const ALIGNED_FROM_BYTES = 16 * 1024;
const PAGE_BYTES = 4096;

/** The file's pieces in the open buffer, in the file's order. */
export function piecesIn(file: FileState, buffer: StripeBuffer): Piece[] {
  const part = buffer.files.get(file);
  return part === undefined ? [] : file.pieces.within(part.ranges, (piece) => piece.source === buffer);
}

/** Joins pieces that follow one another in the file. Gaps of up to `gapMaxBytes` that are known to be zero go along: their bytes cost less than an extent's record. */
export function runsOf(file: FileState, pieces: readonly Piece[], gapMaxBytes: number = RUN_GAP_MAX_BYTES): Run[] {
  const runs: Run[] = [];
  let last: Run | undefined;
  for (const piece of pieces) {
    if (last !== undefined && (last.end === piece.start || isZeroGap(file, last.end, piece.start, gapMaxBytes))) {
      last.pieces.push(piece);
      last.end = piece.end;
    } else runs.push((last = { start: piece.start, end: piece.end, pieces: [piece] }));
  }
  return runs;
}

/** Under an exclusive lease a hole stays one until this mount writes there. */
function isZeroGap(file: FileState, from: number, to: number, gapMaxBytes: number): boolean {
  if (to - from > gapMaxBytes) return false;
  const piece = file.pieces.after(from);
  return piece !== undefined && piece.start <= from && piece.end >= to && (piece.kind === HOLE || piece.kind === UNWRITTEN);
}

export function bytesOf(runs: readonly Run[]): number {
  let bytes = 0;
  for (const { start, end } of runs) bytes += end - start;
  return bytes;
}

/** Copies the run to `at` of `target` and makes it one piece of the file there. */
export function packRun(file: FileState, run: Run, target: StripeBuffer, bytes: Uint8Array, at: number): void {
  let position = run.start;
  for (const piece of run.pieces) {
    if (piece.start > position) bytes.fill(0, at + position - run.start, at + piece.start - run.start);
    const source = (piece.source as StripeBuffer).bytes;
    copy(source, piece.sourceOffset, bytes, at + piece.start - run.start, piece.end - piece.start);
    position = piece.end;
  }
  if (run.pieces.length > 1) return file.pieces.put(new Piece(run.start, run.end, BUFFERED, target, at, null));
  const [piece] = run.pieces;
  piece.source = target;
  piece.sourceOffset = at;
}

/** A view for each of many short pieces takes longer than copying them. */
const SHORT_BYTES = 64;

function copy(source: Uint8Array, from: number, target: Uint8Array, to: number, length: number): void {
  if (length > SHORT_BYTES) target.set(source.subarray(from, from + length), to);
  else for (let index = 0; index < length; index++) target[to + index] = source[from + index];
}

/** Makes inline pieces of the run, each short enough for the table. */
export function inlineRun(file: FileState, run: Run): Piece[] {
  const bytes = new Uint8Array(run.end - run.start);
  for (const piece of run.pieces)
    copy((piece.source as StripeBuffer).bytes, piece.sourceOffset, bytes, piece.start - run.start, piece.end - piece.start);
  const made: Piece[] = [];
  for (let at = 0; at < bytes.length; at += INLINE_RANGE_MAX_BYTES) {
    const part = bytes.length <= INLINE_RANGE_MAX_BYTES ? bytes : bytes.slice(at, at + INLINE_RANGE_MAX_BYTES);
    const piece = new Piece(run.start + at, run.start + at + part.length, INLINE, part, 0, null);
    file.pieces.put(piece);
    made.push(piece);
  }
  return made;
}

/** What a buffer's files have there. */
export type Laid = Map<FileState, Run[]>;

/** The runs of all files of the buffer; without zeros in between where these would not fit. */
export function runsIn(buffer: StripeBuffer): Laid {
  const laid = runsWith(buffer, RUN_GAP_MAX_BYTES);
  return bytesIn(laid) <= STRIPE_BUFFER_BYTES ? laid : runsWith(buffer, 0);
}

export function bytesIn(laid: Laid): number {
  let bytes = 0;
  for (const runs of laid.values()) bytes += bytesOf(runs);
  return bytes;
}

function runsWith(buffer: StripeBuffer, gapMaxBytes: number): Laid {
  const laid: Laid = new Map();
  for (const file of buffer.files.keys()) laid.set(file, runsOf(file, piecesIn(file, buffer), gapMaxBytes));
  return laid;
}

/** Lays the runs out in `bytes`, which become the buffer's. Returns the memory that it had. */
export function layOut(buffer: StripeBuffer, laid: Laid, bytes: Uint8Array): Uint8Array {
  const before = buffer.bytes;
  const aligned = alignedBytes(laid) <= STRIPE_BUFFER_BYTES;
  let used = 0;
  let ranges = 0;
  for (const [file, runs] of laid) {
    for (const run of runs) {
      if (aligned) used = alignedAt(used, run);
      packRun(file, run, buffer, bytes, used);
      used += run.end - run.start;
    }
    notePart(buffer, file, runs);
    ranges += runs.length;
  }
  buffer.bytes = bytes;
  buffer.used = used;
  buffer.pieces = ranges;
  return before;
}

function alignedAt(at: number, run: Run): number {
  return run.end - run.start < ALIGNED_FROM_BYTES ? at : Math.ceil(at / PAGE_BYTES) * PAGE_BYTES;
}

function alignedBytes(laid: Laid): number {
  let at = 0;
  for (const runs of laid.values()) for (const run of runs) at = alignedAt(at, run) + (run.end - run.start);
  return at;
}

/** The runs are all that the file has in the buffer. */
export function notePart(buffer: StripeBuffer, file: FileState, runs: readonly Run[]): void {
  const bytes = bytesOf(runs);
  file.openBytes += bytes - (buffer.files.get(file)?.bytes ?? 0);
  buffer.files.set(file, { bytes, ranges: runs.map(({ start, end }) => ({ start, length: end - start })) });
}
