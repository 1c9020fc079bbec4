// Where written bytes wait: they are copied once, from the channel's buffer to the end of a stripe-sized buffer, and
// the file's pieces point there. A buffer that is full is sealed and becomes one stripe as it is; so small writes of
// any files pack themselves. A file written in long runs gets buffers of its own.
//
// 1. A file's open bytes are in one buffer: in the shared one, or in its own, which takes over what the shared one has.
// 2. Units are sealed in the order of writing: what a crash may leave is a file's state at some moment.
// 3. A buffer is sealed before its unit could have more ranges, files or bytes than a commit takes. Ranges count after
//    the bytes are laid out by file (layout.ts).

import assert from "node:assert/strict";
import type { Clock } from "../../storage/clock.ts";
import { BufferPool, newStripeBuffer } from "./buffers.ts";
import type { StripeBuffer } from "./buffers.ts";
import type { FileState } from "./file-state.ts";
import { commitBytes, newUnit } from "./flush-unit.ts";
import type { FlushUnit, SealedFile } from "./flush-unit.ts";
import {
  ALIGNED_FROM_BYTES,
  bytesIn,
  bytesOf,
  inlineRun,
  layOut,
  notePart,
  packRun,
  piecesIn,
  runsIn,
  runsOf,
} from "./layout.ts";
import type { Laid, Run } from "./layout.ts";
import {
  BUFFER_FILES_MAX, BUFFER_PIECES_MAX, BUFFER_RANGES_MAX, CODED_FROM_BYTES, COMMIT_BYTES_MAX, COMMIT_FILES_MAX, COMMIT_RANGES_MAX, INLINE_FILE_MAX_BYTES,
  INLINE_FLUSH_MAX_BYTES, INLINE_RANGE_MAX_BYTES, INLINE_RANGE_MIN_BYTES, LIVE_SHARE_MIN, OWN_BUFFERS_MAX, OWN_BUFFER_FROM_BYTES, STRIPE_BUFFER_BYTES,
} from "./limits.ts"; // prettier-ignore
import { BUFFERED, INLINE, Piece } from "./pieces.ts";

export interface SealedSink {
  /** Takes over a sealed unit. */
  enqueue(unit: FlushUnit): void;
  release(buffer: StripeBuffer): void;
}

export interface Schemes {
  /** The store's own scheme, for full stripes. */
  full: string;
  /** For small flushes: as many losses survived, by copies. */
  small: string;
}

export class WriteBuffer {
  readonly #pool: BufferPool;
  readonly #clock: Clock;
  readonly #schemes: Schemes;
  readonly #sink: SealedSink;
  #shared: StripeBuffer | null = null;
  readonly #own = new Set<StripeBuffer>();
  #sequence = 0;

  constructor(pool: BufferPool, clock: Clock, schemes: Schemes, sink: SealedSink) {
    this.#pool = pool;
    this.#clock = clock;
    this.#schemes = schemes;
    this.#sink = sink;
  }

  /** Bytes in open buffers. */
  get openBytes(): number {
    let bytes = this.#shared?.used ?? 0;
    for (const buffer of this.#own) bytes += buffer.used;
    return bytes;
  }

  /** Takes as much of data as buffers at hand allow; returns the number of bytes. Fewer than all: wait for a buffer with `more`. */
  place(file: FileState, offset: number, data: Uint8Array): number {
    if (this.#overwrite(file, offset, data)) return data.length;
    let done = 0;
    while (done < data.length) {
      const buffer = this.#bufferFor(file, offset + done, data.length - done);
      if (buffer === null) return done;
      const length = Math.min(STRIPE_BUFFER_BYTES - buffer.used, data.length - done);
      buffer.bytes.set(length === data.length ? data : data.subarray(done, done + length), buffer.used);
      this.#record(file, buffer, offset + done, length);
      done += length;
      if (buffer.used === STRIPE_BUFFER_BYTES || buffer.files.size >= BUFFER_FILES_MAX) this.#seal(buffer);
      else if (buffer.pieces >= BUFFER_PIECES_MAX) this.#tidy(buffer);
    }
    return done;
  }

  /** Joins what many small writes have left. A buffer in which nothing is joined is sealed. */
  #tidy(buffer: StripeBuffer): void {
    const laid = runsIn(buffer);
    if (rangesIn(laid) > BUFFER_RANGES_MAX || bytesIn(laid) > STRIPE_BUFFER_BYTES * LIVE_SHARE_MIN) this.#seal(buffer, laid);
    else this.#layOut(buffer, laid);
  }

  #layOut(buffer: StripeBuffer, laid: Laid): void {
    this.#pool.giveSpare(layOut(buffer, laid, this.#pool.takeSpare()));
  }

  /** Waits for a free buffer and makes it the one that the file's next bytes go to. Rejects if flushing fails. */
  async more(file: FileState): Promise<void> {
    const bytes = await this.#pool.wait();
    if (file.ownBuffer === null && this.#shared === null) this.#shared = newStripeBuffer(bytes, null, true, this.#clock.nowMs());
    else this.#pool.give(bytes);
  }

  #overwrite(file: FileState, offset: number, data: Uint8Array): boolean {
    if (file.openBytes === 0) return false;
    const piece = file.pieces.after(offset);
    if (piece === undefined || piece.kind !== BUFFERED || piece.start > offset || piece.end < offset + data.length) return false;
    const buffer = piece.source as StripeBuffer;
    if (buffer.sealed || buffer.owner !== file.ownBuffer) return false;
    buffer.bytes.set(data, piece.sourceOffset + (offset - piece.start));
    return true;
  }

  #bufferFor(file: FileState, offset: number, length: number): StripeBuffer | null {
    if (offset === file.writeEnd) file.writeRun += length;
    else file.writeRun = length;
    file.writeEnd = offset + length;
    if (file.ownBuffer !== null) return file.ownBuffer;
    if (file.writeRun >= OWN_BUFFER_FROM_BYTES && this.#own.size < OWN_BUFFERS_MAX)
      return this.#newOwn(file) ?? this.#sharedFor(length);
    return this.#sharedFor(length);
  }

  #newOwn(file: FileState): StripeBuffer | null {
    const bytes = this.#pool.take();
    if (bytes === null) return null;
    const buffer = newStripeBuffer(bytes, file, true, this.#clock.nowMs());
    this.#takeOver(file, buffer);
    this.#own.add(buffer);
    file.ownBuffer = buffer;
    return buffer;
  }

  /** What the file has in the shared buffer goes to its own; where that would fill much of it, on its way. */
  #takeOver(file: FileState, own: StripeBuffer): void {
    const shared = this.#shared;
    const part = shared?.files.get(file);
    if (shared === null || part === undefined) return;
    const runs = runsOf(file, piecesIn(file, shared));
    const bytes = bytesOf(runs);
    if (bytes > STRIPE_BUFFER_BYTES / 2 || runs.length > BUFFER_RANGES_MAX) return this.#seal(shared);
    for (const run of runs) {
      packRun(file, run, own, own.bytes, own.used);
      own.used += run.end - run.start;
    }
    own.since = shared.since;
    own.pieces = runs.length;
    this.#leave(file, shared);
    notePart(own, file, runs);
  }

  #sharedFor(length: number): StripeBuffer | null {
    let buffer = this.#shared;
    if (buffer === null) {
      const bytes = this.#pool.take();
      if (bytes === null) return null;
      buffer = newStripeBuffer(bytes, null, true, this.#clock.nowMs());
      this.#shared = buffer;
    }
    if (length >= ALIGNED_FROM_BYTES) {
      const aligned = Math.ceil(buffer.used / 4096) * 4096;
      if (aligned < STRIPE_BUFFER_BYTES) buffer.used = aligned;
    }
    return buffer;
  }

  /** Makes the bytes just copied to the buffer's end the file's. */
  #record(file: FileState, buffer: StripeBuffer, offset: number, length: number): void {
    const at = buffer.used;
    buffer.used += length;
    // Here and not later: sealing, which a full buffer brings about at once, notes the size.
    if (offset + length > file.attributes.size) file.attributes.size = offset + length;
    file.openBytes += length;
    const pieces = file.pieces;
    const before = offset > 0 ? pieces.after(offset - 1) : undefined;
    if (before !== undefined && before.end === offset && before.kind === BUFFERED && before.source === buffer) {
      if (before.sourceOffset + (offset - before.start) === at) {
        pieces.remove(offset, offset + length);
        before.end += length;
        noteRange(buffer, file, offset, length);
        return;
      }
    }
    noteRange(buffer, file, offset, length);
    buffer.pieces++;
    pieces.put(new Piece(offset, offset + length, BUFFERED, buffer, at, null));
  }

  /** Everything written to the file so far is on its way to the namespace after this: see file.units. */
  sealFile(file: FileState): void {
    const shared = this.#shared;
    if (shared !== null && shared.files.has(file) && !this.#takeOut(file, shared)) this.#seal(shared);
    if (file.ownBuffer !== null) this.#seal(file.ownBuffer);
  }

  /** Seals buffers that were begun before `time` (ms); all of them with Infinity. */
  sealOlder(time: number): void {
    if (this.#shared !== null && this.#shared.since < time) this.#seal(this.#shared);
    for (const buffer of this.#own) if (buffer.since < time) this.#seal(buffer);
  }

  /** A unit that carries only the file's size and times. */
  sealAttributes(file: FileState): void {
    const unit = newUnit(++this.#sequence, this.#clock.nowMs());
    addFile(unit, file, []);
    this.#enqueue(unit);
  }

  /** Called when nobody writes the file any more: a buffer of its own is worth sending off. */
  finishRun(file: FileState): void {
    if (file.ownBuffer !== null && file.ownBuffer.used >= OWN_BUFFER_FROM_BYTES) this.#seal(file.ownBuffer);
  }

  /** Throws away what the file has in open buffers; its pieces are the caller's to remove. */
  drop(file: FileState): void {
    this.#shared?.files.delete(file);
    const own = file.ownBuffer;
    if (own !== null) {
      file.ownBuffer = null;
      this.#own.delete(own);
      this.#sink.release(own);
    }
    file.openBytes = 0;
  }

  /** Puts a small file's bytes alone on their way, so that a flush does not have to send everyone's. False: too much for that. */
  #takeOut(file: FileState, shared: StripeBuffer): boolean {
    const pieces = piecesIn(file, shared);
    const runs = runsOf(file, pieces);
    const bytes = bytesOf(runs);
    const inline = longestOf(pieces) <= INLINE_RANGE_MAX_BYTES && bytes <= INLINE_FLUSH_MAX_BYTES && inlineFits(file, runs);
    if (!inline && (bytes >= CODED_FROM_BYTES || shared.files.size === 1 || file.openBytes > CODED_FROM_BYTES)) return false;
    const unit = newUnit(++this.#sequence, this.#clock.nowMs());
    if (inline) addFile(unit, file, toInline(file, runs));
    else this.#toSmallBuffer(unit, file, runs, bytes);
    this.#leave(file, shared);
    this.#enqueue(unit);
    return true;
  }

  #leave(file: FileState, shared: StripeBuffer): void {
    file.openBytes -= shared.files.get(file)?.bytes ?? 0;
    shared.files.delete(file);
    if (shared.files.size === 0) {
      // Nobody's bytes are left in it: start it over.
      shared.used = 0;
      shared.pieces = 0;
      shared.since = this.#clock.nowMs();
    }
  }

  #toSmallBuffer(unit: FlushUnit, file: FileState, runs: readonly Run[], bytes: number): void {
    const buffer = newStripeBuffer(new Uint8Array(bytes), null, false, this.#clock.nowMs());
    for (const run of runs) {
      packRun(file, run, buffer, buffer.bytes, buffer.used);
      buffer.used += run.end - run.start;
    }
    buffer.sealed = true;
    addFile(
      unit,
      file,
      file.pieces.within(rangesOfRuns(runs), (piece) => piece.source === buffer),
    );
    unit.buffer = buffer;
    unit.stage = "sealed";
    unit.scheme = bytes < CODED_FROM_BYTES ? this.#schemes.small : this.#schemes.full;
  }

  #seal(buffer: StripeBuffer, laid: Laid = runsIn(buffer)): void {
    const { owner } = buffer;
    if (owner !== null) {
      owner.ownBuffer = null;
      this.#own.delete(buffer);
    } else {
      this.#shared = null;
    }
    const unit = newUnit(++this.#sequence, this.#clock.nowMs());
    if (ridesInLog(laid)) this.#sealInline(unit, buffer, laid);
    else this.#sealBuffer(unit, buffer, laid);
    buffer.files.clear();
    this.#enqueue(unit);
  }

  /** All of it is little: it rides in the log. */
  #sealInline(unit: FlushUnit, buffer: StripeBuffer, laid: Laid): void {
    for (const [file, runs] of laid) {
      file.openBytes -= buffer.files.get(file)!.bytes;
      addFile(unit, file, toInline(file, runs));
    }
    buffer.sealed = true;
    this.#sink.release(buffer);
  }

  #sealBuffer(unit: FlushUnit, buffer: StripeBuffer, laid: Laid): void {
    if (isScattered(buffer, laid)) this.#layOut(buffer, laid);
    for (const [file, { bytes }] of buffer.files) {
      file.openBytes -= bytes;
      addFile(unit, file, piecesIn(file, buffer));
    }
    buffer.sealed = true;
    unit.buffer = buffer;
    unit.stage = "sealed";
    unit.scheme = unit.bytes < CODED_FROM_BYTES ? this.#schemes.small : this.#schemes.full;
  }

  #enqueue(unit: FlushUnit): void {
    const ranges = `a unit of ${unit.ranges} ranges, at most ${COMMIT_RANGES_MAX} may be committed at once`;
    assert(unit.ranges <= COMMIT_RANGES_MAX, ranges);
    assert(unit.files.size <= COMMIT_FILES_MAX, `a unit of ${unit.files.size} files, at most ${COMMIT_FILES_MAX}`);
    assert(commitBytes(unit) <= COMMIT_BYTES_MAX, `a unit of ${commitBytes(unit)} bytes to commit, at most ${COMMIT_BYTES_MAX}`);
    this.#sink.enqueue(unit);
  }
}

function rangesIn(laid: Laid): number {
  let ranges = 0;
  for (const runs of laid.values()) ranges += runs.length;
  return ranges;
}

/** Whether neighbours of a file lie apart, or much of the buffer is bytes that nobody needs. */
function isScattered(buffer: StripeBuffer, laid: Laid): boolean {
  let bytes = 0;
  for (const runs of laid.values()) {
    for (const { start, end, pieces } of runs) {
      if (pieces.length > 1) return true;
      bytes += end - start;
    }
  }
  return bytes < buffer.used * LIVE_SHARE_MIN;
}

function ridesInLog(laid: Laid): boolean {
  if (bytesIn(laid) > INLINE_FLUSH_MAX_BYTES) return false;
  for (const [file, runs] of laid) {
    for (const { pieces } of runs) if (longestOf(pieces) > INLINE_RANGE_MAX_BYTES) return false;
    if (!inlineFits(file, runs)) return false;
  }
  return true;
}

function longestOf(pieces: readonly Piece[]): number {
  let longest = 0;
  for (const { start, end } of pieces) longest = Math.max(longest, end - start);
  return longest;
}

/** Notes what the file has written to the buffer, so that its pieces there are found without a walk over all that it has. */
function noteRange(buffer: StripeBuffer, file: FileState, start: number, length: number): void {
  let part = buffer.files.get(file);
  if (part === undefined) buffer.files.set(file, (part = { bytes: 0, ranges: [] }));
  part.bytes += length;
  const last = part.ranges[part.ranges.length - 1];
  if (last !== undefined && last.start + last.length === start) {
    last.length += length;
    return;
  }
  part.ranges.push({ start, length });
}

/** Adds the pieces (none: only size and times) to the unit as the file's part of it. */
export function addFile(unit: FlushUnit, file: FileState, pieces: readonly Piece[]): void {
  const sealed: SealedFile = { dropCount: file.dropCount, size: file.attributes.size, ranges: rangesOf(pieces) };
  for (const piece of pieces) {
    piece.unit = unit;
    unit.bytes += piece.end - piece.start;
    if (piece.kind === INLINE) unit.inlineBytes += piece.end - piece.start;
  }
  unit.ranges += pieces.length;
  unit.files.set(file, sealed);
  file.units.push(unit);
  file.sizeDirty = false;
}

function rangesOf(pieces: readonly Piece[]): SealedFile["ranges"] {
  return pieces.map((piece) => ({
    start: piece.start,
    length: piece.end - piece.start,
    sourceOffset: piece.sourceOffset,
    inline: piece.kind === INLINE ? (piece.source as Uint8Array) : null,
  }));
}

function rangesOfRuns(runs: readonly Run[]): { start: number; length: number }[] {
  return runs.map(({ start, end }) => ({ start, length: end - start }));
}

/** What the runs count for as inline ranges. */
function inlineBytesOf(runs: readonly Run[]): number {
  let bytes = 0;
  for (const { start, end } of runs) {
    const rest = (end - start) % INLINE_RANGE_MAX_BYTES;
    bytes += end - start + (rest > 0 && rest < INLINE_RANGE_MIN_BYTES ? INLINE_RANGE_MIN_BYTES - rest : 0);
  }
  return bytes;
}

/** Whether the file may get so much more inline. At the limit what it really has is counted: much of it was overwritten, or has been moved. */
function inlineFits(file: FileState, runs: readonly Run[]): boolean {
  const bytes = inlineBytesOf(runs);
  if (file.inlineBytes + bytes <= INLINE_FILE_MAX_BYTES) return true;
  file.inlineBytes = 0;
  for (const { kind, start, end } of file.pieces.all())
    if (kind === INLINE) file.inlineBytes += Math.max(end - start, INLINE_RANGE_MIN_BYTES);
  return file.inlineBytes + bytes <= INLINE_FILE_MAX_BYTES;
}

function toInline(file: FileState, runs: readonly Run[]): Piece[] {
  file.inlineBytes += inlineBytesOf(runs);
  return runs.flatMap((run) => inlineRun(file, run));
}
