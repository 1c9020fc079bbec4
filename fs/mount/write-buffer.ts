// Where written bytes wait: they are copied once, from the channel's buffer to the end of a stripe-sized buffer, and
// the file's pieces point there. A buffer that is full is sealed and becomes one stripe as it is; so small writes of
// any files pack themselves. A file written in long runs gets buffers of its own.
//
// Order (what a crash may leave is a file's state at some moment): units are sealed in the order of writing. A file's
// bytes in the shared buffer are older than those in its own, so sealing its own seals the shared one first; and
// bytes in the shared buffer are changed in place only while the file has no buffer of its own.

import type { Clock } from "../../storage/clock.ts";
import { BufferPool, newStripeBuffer } from "./buffers.ts";
import type { StripeBuffer } from "./buffers.ts";
import type { FileState } from "./file-state.ts";
import { newUnit, piecesOfUnit } from "./flush-unit.ts";
import type { FlushUnit, SealedFile } from "./flush-unit.ts";
import {
  CODED_FROM_BYTES, INLINE_FILE_MAX_BYTES, INLINE_FLUSH_MAX_BYTES, INLINE_RANGE_MAX_BYTES, INLINE_RANGE_MIN_BYTES, LIVE_SHARE_MIN, OWN_BUFFERS_MAX, OWN_BUFFER_FROM_BYTES,
  SHARED_RANGES_MAX, STRIPE_BUFFER_BYTES,
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

const ALIGNED_FROM_BYTES = 16 * 1024;

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
      if (buffer.used === STRIPE_BUFFER_BYTES || buffer.ranges >= SHARED_RANGES_MAX) this.#seal(buffer);
    }
    return done;
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
    this.#own.add(buffer);
    file.ownBuffer = buffer;
    return buffer;
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
    pieces.put(new Piece(offset, offset + length, BUFFERED, buffer, at, null));
  }

  /** Everything written to the file so far is on its way to the namespace after this: see file.units. */
  sealFile(file: FileState): void {
    const shared = this.#shared;
    if (shared !== null && shared.files.has(file)) {
      if (file.ownBuffer !== null || !this.#takeOut(file, shared)) this.#seal(shared);
    }
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
    this.#sink.enqueue(unit);
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
    let bytes = 0;
    let longest = 0;
    for (const piece of pieces) {
      bytes += piece.end - piece.start;
      longest = Math.max(longest, piece.end - piece.start);
    }
    const kept = inlineBytesOf(rangesOf(pieces));
    const inline = longest <= INLINE_RANGE_MAX_BYTES && bytes <= INLINE_FLUSH_MAX_BYTES && inlineFits(file, kept);
    if (!inline && (bytes >= CODED_FROM_BYTES || shared.files.size === 1 || file.openBytes > CODED_FROM_BYTES)) return false;
    const unit = newUnit(++this.#sequence, this.#clock.nowMs());
    if (inline) {
      toInline(pieces);
      file.inlineBytes += kept;
    } else this.#toSmallBuffer(unit, pieces);
    addFile(unit, file, pieces);
    this.#leave(file, shared);
    this.#sink.enqueue(unit);
    return true;
  }

  #leave(file: FileState, shared: StripeBuffer): void {
    file.openBytes -= shared.files.get(file)?.bytes ?? 0;
    shared.files.delete(file);
    if (shared.files.size === 0) {
      // Nobody's bytes are left in it: start it over.
      shared.used = 0;
      shared.ranges = 0;
      shared.since = this.#clock.nowMs();
    }
  }

  #toSmallBuffer(unit: FlushUnit, pieces: readonly Piece[]): void {
    let bytes = 0;
    for (const piece of pieces) bytes += piece.end - piece.start;
    const buffer = newStripeBuffer(new Uint8Array(bytes), null, false, this.#clock.nowMs());
    for (const piece of pieces) {
      const source = piece.source as StripeBuffer;
      const length = piece.end - piece.start;
      buffer.bytes.set(source.bytes.subarray(piece.sourceOffset, piece.sourceOffset + length), buffer.used);
      piece.source = buffer;
      piece.sourceOffset = buffer.used;
      buffer.used += length;
    }
    buffer.sealed = true;
    unit.buffer = buffer;
    unit.stage = "sealed";
    unit.scheme = bytes < CODED_FROM_BYTES ? this.#schemes.small : this.#schemes.full;
  }

  #seal(buffer: StripeBuffer): void {
    const owner = buffer.owner;
    if (owner !== null) {
      if (this.#shared !== null && this.#shared.files.has(owner)) this.#seal(this.#shared);
      owner.ownBuffer = null;
      this.#own.delete(buffer);
    } else {
      this.#shared = null;
    }
    buffer.sealed = true;
    const unit = newUnit(++this.#sequence, this.#clock.nowMs());
    unit.buffer = buffer;
    unit.stage = "sealed";
    let longest = 0;
    for (const [file, part] of buffer.files) {
      file.openBytes -= part.bytes;
      const pieces = piecesIn(file, buffer);
      for (const piece of pieces) longest = Math.max(longest, piece.end - piece.start);
      addFile(unit, file, pieces);
    }
    buffer.files.clear();
    if (longest <= INLINE_RANGE_MAX_BYTES && unit.bytes <= INLINE_FLUSH_MAX_BYTES && allFit(unit)) this.#sealInline(unit, buffer);
    else {
      if (unit.bytes < buffer.used * LIVE_SHARE_MIN) compact(unit, buffer);
      unit.scheme = unit.bytes < CODED_FROM_BYTES ? this.#schemes.small : this.#schemes.full;
    }
    this.#sink.enqueue(unit);
  }

  /** All of it is little: it rides in the log. */
  #sealInline(unit: FlushUnit, buffer: StripeBuffer): void {
    for (const [file, sealed] of unit.files) {
      const pieces = piecesOfUnit(file, unit, sealed.ranges);
      toInline(pieces);
      sealed.ranges = rangesOf(pieces);
      file.inlineBytes += inlineBytesOf(sealed.ranges);
    }
    unit.buffer = null;
    unit.stage = "stored";
    this.#sink.release(buffer);
  }
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
  buffer.ranges++;
}

/** The file's pieces in the open buffer, in the file's order. */
function piecesIn(file: FileState, buffer: StripeBuffer): Piece[] {
  const part = buffer.files.get(file);
  return part === undefined ? [] : file.pieces.within(part.ranges, (piece) => piece.source === buffer);
}

/** Adds the pieces (none: only size and times) to the unit as the file's part of it. */
export function addFile(unit: FlushUnit, file: FileState, pieces: readonly Piece[]): void {
  const sealed: SealedFile = { dropCount: file.dropCount, size: sizeToSeal(file, pieces), ranges: rangesOf(pieces) };
  for (const piece of pieces) {
    piece.unit = unit;
    unit.bytes += piece.end - piece.start;
  }
  unit.ranges += pieces.length;
  unit.files.set(file, sealed);
  file.units.push(unit);
  file.sizeDirty = false;
}

/** The file's size, without bytes that come later, with its own buffer: a mount that dies between would leave zeros in their place. */
function sizeToSeal(file: FileState, pieces: readonly Piece[]): number {
  if (file.ownBuffer === null) return file.attributes.size;
  const before = file.units.at(-1)?.files.get(file)?.size ?? file.committedSize;
  return Math.min(file.attributes.size, Math.max(before, pieces.at(-1)?.end ?? 0));
}

function rangesOf(pieces: readonly Piece[]): SealedFile["ranges"] {
  return pieces.map((piece) => ({
    start: piece.start,
    length: piece.end - piece.start,
    sourceOffset: piece.sourceOffset,
    inline: piece.kind === INLINE ? (piece.source as Uint8Array) : null,
  }));
}

/** What the ranges count for as inline ones. */
function inlineBytesOf(ranges: SealedFile["ranges"]): number {
  let bytes = 0;
  for (const { length } of ranges) bytes += Math.max(length, INLINE_RANGE_MIN_BYTES);
  return bytes;
}

/** Whether the file may get so much more inline. At the limit what it really has is counted: much of it was overwritten, or has been moved. */
function inlineFits(file: FileState, bytes: number): boolean {
  if (file.inlineBytes + bytes <= INLINE_FILE_MAX_BYTES) return true;
  file.inlineBytes = 0;
  for (const { kind, start, end } of file.pieces.all())
    if (kind === INLINE) file.inlineBytes += Math.max(end - start, INLINE_RANGE_MIN_BYTES);
  return file.inlineBytes + bytes <= INLINE_FILE_MAX_BYTES;
}

function allFit(unit: FlushUnit): boolean {
  for (const [file, { ranges }] of unit.files) if (!inlineFits(file, inlineBytesOf(ranges))) return false;
  return true;
}

function toInline(pieces: readonly Piece[]): void {
  for (const piece of pieces) {
    const source = (piece.source as StripeBuffer).bytes;
    piece.kind = INLINE;
    piece.source = source.slice(piece.sourceOffset, piece.sourceOffset + (piece.end - piece.start));
    piece.sourceOffset = 0;
  }
}

/** Moves the live ranges of a sealed buffer to its front, in the order in which they lie. */
function compact(unit: FlushUnit, buffer: StripeBuffer): void {
  const parts: { piece: Piece; range: SealedFile["ranges"][number] }[] = [];
  for (const [file, sealed] of unit.files) {
    let index = 0;
    for (const piece of piecesOfUnit(file, unit, sealed.ranges)) parts.push({ piece, range: sealed.ranges[index++] });
  }
  parts.sort((a, b) => a.piece.sourceOffset - b.piece.sourceOffset);
  let used = 0;
  for (const { piece, range } of parts) {
    buffer.bytes.copyWithin(used, piece.sourceOffset, piece.sourceOffset + range.length);
    piece.sourceOffset = used;
    range.sourceOffset = used;
    used += range.length;
  }
  buffer.used = used;
}
