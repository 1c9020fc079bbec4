// Appends records to the two open segments of a disk. Large blocks are written at once and side by side, past the page
// cache and without a copy where the caller's memory is aligned; small ones are gathered into one buffered write.
//
// Order: a place is reserved synchronously, so places follow the order of the calls; writes of the large segment
// end in any order. A record that could not be written leaves nothing that counts: large ones are punched out, a
// failed batch of small ones is cut off with the rest of the segment.
import { crc32cPieces } from "../native/kernels.ts";
import type { AlignedPool } from "./aligned-pool.ts";
import { BlockError, codeOf } from "./block-errors.ts";
import type { Entry } from "./block-index-format.ts";
import { PIECE_BYTES, type BlockId } from "./blocks.ts";
import { ALIGNMENT_BYTES } from "./directory.ts";
import type { SegmentFiles } from "./segment-files.ts";
import {
  encodeDeletions,
  piecesOf,
  RECORD_KIND_BLOCK,
  RECORD_KIND_DELETIONS,
  type Deletion,
  type RecordKind,
  encodeRecordHeader,
  encodeSegmentHeader,
  recordBytes,
  recordHeaderBytes,
  roundUp,
  SEGMENT_HEADER_BYTES,
  type SegmentKind,
} from "./segment-format.ts";
import { Segment } from "./segment.ts";

/** Blocks from this size on go to the large segment. */
export const LARGE_BLOCK_BYTES = 128 * 1024;
export const LARGE_SEGMENT_BYTES = 256 * 1024 * 1024;
export const SMALL_SEGMENT_BYTES = 64 * 1024 * 1024;
/** Even a tiny disk's segment holds one block of the largest size. */
const SEGMENT_MIN_BYTES = 8 * 1024 * 1024;
/** A disk holds at least this many segments, so that one emptied gives a fair share of it back. */
const SEGMENTS_PER_DISK = 32;
/** Space is reserved in steps that grow with the segment: little in a store that stays small, few calls in a big one. */
const GROW_MIN_BYTES = 1024 * 1024;
const GROW_MAX_BYTES = 32 * 1024 * 1024;
/** Small records in one write: IOV_MAX is 1024 and a record takes two vectors. */
const BATCH_RECORDS_MAX = 256;
const BATCH_BYTES_MAX = 4 * 1024 * 1024;

export interface WriterContext {
  files: SegmentFiles;
  salt: number;
  segments: Map<number, Segment>;
  /** Pages for headers and tails; its size bounds the large writes that run at once. */
  pages: AlignedPool;
  /** Buffers for blocks whose memory is not aligned. */
  scratch: AlignedPool;
  space(): Promise<{ totalBytes: number; freeBytes: number }>;
  reserveBytes(totalBytes: number): number;
  /** Makes the names in the segments folder durable. */
  syncNames(): Promise<void>;
  /** Makes what is written to the segment durable. */
  syncSegment(segment: Segment): Promise<void>;
  /** The segment has bytes that await a sync. */
  onWritten(segment: Segment): void;
  /** A sealed segment that holds nothing. */
  onEmpty(segment: Segment): void;
  segmentBytesMax?: number;
}

interface SmallStore {
  kind: RecordKind;
  id: BlockId;
  bytes: Uint8Array;
  checksums: Uint32Array;
  recordBytes: number;
  resolve(entry: Entry): void;
  reject(error: unknown): void;
}

export class SegmentWriter {
  readonly #context: WriterContext;
  #large: Segment | null = null;
  #small: Segment | null = null;
  /** Ended, and perhaps not durable yet. */
  readonly #sealed: Record<SegmentKind, Segment | null> = { large: null, small: null };
  #nextNumber: number;
  #sequence: number;
  #room: Record<SegmentKind, Promise<unknown>> = { large: Promise.resolve(), small: Promise.resolve() };
  readonly #queue: SmallStore[] = [];
  #flushing = false;
  readonly #growing = new Map<Segment, Promise<void>>();
  /** Memory that O_DIRECT refused once. */
  readonly #unaligned = new WeakSet<ArrayBufferLike>();

  constructor(context: WriterContext, nextNumber: number, sequence: number) {
    this.#context = context;
    this.#nextNumber = nextNumber;
    this.#sequence = sequence;
  }

  /** The highest sequence number given out. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Goes on in a segment that was closed in order. */
  adopt(segment: Segment): void {
    segment.sealed = false;
    if (segment.kind === "large") this.#large = segment;
    else this.#small = segment;
  }

  /** Bytes reserved in the open segments and not written yet. */
  get unusedBytes(): number {
    let bytes = 0;
    for (const segment of [this.#large, this.#small])
      if (segment !== null) bytes += Math.max(0, segment.allocated - segment.frontier);
    return bytes;
  }

  get openSmall(): Segment | null {
    return this.#small;
  }

  /** Ends the open small segment, so that it may be compacted. */
  async endSmall(): Promise<void> {
    const segment = this.#small;
    if (segment === null) return;
    this.#small = null;
    await this.#seal(segment);
  }

  /** Returns what is reserved ahead in the open segments. */
  async trim(): Promise<void> {
    for (const segment of [this.#large, this.#small]) if (segment !== null) await this.#trim(segment);
  }

  async #trim(segment: Segment): Promise<void> {
    await this.#growing.get(segment)?.catch(() => undefined);
    if (segment.sealed || this.#growing.has(segment)) return;
    // Stores that come now find no room, and wait for this as they would for growth.
    segment.allocated = segment.frontier;
    const cut = this.#context.files
      .use(segment.name, "buffered", (file) => file.truncate(segment.frontier))
      .catch(() => undefined)
      .finally(() => this.#growing.delete(segment));
    this.#growing.set(segment, cut);
    await cut;
  }

  /** Writes a record. `bytes` stays unchanged until it resolves. Errors: ENOSPC, EIO and others of the disk; nothing is left behind. */
  append(id: BlockId, bytes: Uint8Array, checksums: Uint32Array): Promise<Entry> {
    if (bytes.length >= LARGE_BLOCK_BYTES) return this.#appendLarge(id, bytes, checksums);
    return this.#appendSmall(RECORD_KIND_BLOCK, id, bytes, checksums);
  }

  /** Writes down what is deleted, so that a crash which takes the index's last batches brings nothing back. */
  appendDeletions(deletions: readonly Deletion[]): Promise<Entry> {
    const bytes = encodeDeletions(deletions);
    const checksums = new Uint32Array(piecesOf(bytes.length));
    crc32cPieces(bytes, PIECE_BYTES, checksums);
    return this.#appendSmall(RECORD_KIND_DELETIONS, { stripe: 0, index: 0 }, bytes, checksums);
  }

  #appendSmall(kind: RecordKind, id: BlockId, bytes: Uint8Array, checksums: Uint32Array): Promise<Entry> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ kind, id, bytes, checksums, recordBytes: recordBytes(bytes.length, "small"), resolve, reject });
      if (!this.#flushing) void this.#flushSmall();
    });
  }

  /** Cuts the reserved rest off the open segments. Nothing may be appended afterwards. */
  async close(): Promise<void> {
    for (const segment of [this.#large, this.#small]) if (segment !== null) await this.#seal(segment);
    this.#large = this.#small = null;
  }

  async #appendLarge(id: BlockId, bytes: Uint8Array, checksums: Uint32Array): Promise<Entry> {
    const { pages, files } = this.#context;
    const page = await pages.take();
    try {
      const total = recordBytes(bytes.length, "large");
      const { segment, offset } = await this.#place("large", total);
      const entry: Entry = { segment: segment.number, offset, length: bytes.length, sequence: ++this.#sequence, checksums };
      const header = page.subarray(0, recordHeaderBytes(bytes.length, "large"));
      encodeRecordHeader(
        header,
        { kind: RECORD_KIND_BLOCK, ...id, ...entry },
        { salt: this.#context.salt, segment: segment.number, offset },
      );
      segment.beginWrite();
      try {
        await this.#writeAligned(segment, header, bytes, page.subarray(ALIGNMENT_BYTES), offset);
      } catch (error) {
        segment.unindexed.delete(offset);
        // So that a scan cannot find what the caller was told is not there. Failing that, it is leaked space.
        await files.use(segment.name, "buffered", (file) => file.punch(offset, total)).catch(() => undefined);
        throw error;
      } finally {
        segment.endWrite();
        if (segment.sealed && segment.writing === 0) await this.#cut(segment);
      }
      this.#context.onWritten(segment);
      return entry;
    } finally {
      pages.give(page);
    }
  }

  /** Header, then data, padded to whole pages: from the caller's memory if O_DIRECT takes it, else from a copy. */
  async #writeAligned(segment: Segment, header: Uint8Array, bytes: Uint8Array, tail: Uint8Array, offset: number): Promise<void> {
    const write = (buffers: Uint8Array[]) =>
      this.#context.files.use(segment.name, "direct", (file) => file.write(buffers, offset));
    const whole = bytes.length - (bytes.length % ALIGNMENT_BYTES);
    if (bytes.byteOffset % ALIGNMENT_BYTES === 0 && !this.#unaligned.has(bytes.buffer)) {
      const buffers = [header, bytes.subarray(0, whole)];
      if (whole < bytes.length) buffers.push(padded(tail, bytes.subarray(whole)));
      try {
        return await write(buffers);
      } catch (error) {
        if (codeOf(error) !== "EINVAL") throw error;
        this.#unaligned.add(bytes.buffer);
      }
    }
    const scratch = await this.#context.scratch.take();
    try {
      await write([header, padded(scratch.subarray(0, roundUp(bytes.length, ALIGNMENT_BYTES)), bytes)]);
    } finally {
      this.#context.scratch.give(scratch);
    }
  }

  /** Ends in the same turn in which it finds the queue empty: a store that came between would wait for the next one. */
  async #flushSmall(): Promise<void> {
    this.#flushing = true;
    try {
      // Lets the stores of this turn of the event loop gather.
      await null;
      while (this.#queue.length > 0) await this.#writeSmall(this.#queue.splice(0, this.#batchLength()));
    } finally {
      this.#flushing = false;
    }
  }

  /** How many of the queue go into one write. */
  #batchLength(): number {
    let bytes = 0;
    let count = 0;
    while (
      count < this.#queue.length &&
      count < BATCH_RECORDS_MAX &&
      (count === 0 || bytes + this.#queue[count].recordBytes <= BATCH_BYTES_MAX)
    ) {
      bytes += this.#queue[count++].recordBytes;
    }
    return count;
  }

  async #writeSmall(stores: SmallStore[]): Promise<void> {
    let segment: Segment | null = null;
    let start = 0;
    try {
      const total = stores.reduce((sum, store) => sum + store.recordBytes, 0);
      ({ segment, offset: start } = await this.#place("small", total));
      segment.unindexed.delete(start);
      const { entries, buffers } = this.#encodeSmall(segment, start, stores);
      segment.beginWrite();
      await this.#context.files
        .use(segment.name, "buffered", (file) => file.write(buffers, start))
        .finally(() => segment!.endWrite());
      this.#context.onWritten(segment);
      stores.forEach((store, at) => store.resolve(entries[at]));
    } catch (error) {
      if (segment !== null) await this.#giveUp(segment, start);
      // Many blocks in one batch may fail for want of space where one alone would fit.
      if (codeOf(error) === "ENOSPC" && stores.length > 1) for (const store of stores) await this.#writeSmall([store]);
      else for (const store of stores) store.reject(error);
    }
  }

  /** Entries, and vectors in which the padding behind one block and the header of the next are one piece of a slab. */
  #encodeSmall(segment: Segment, start: number, stores: SmallStore[]): { entries: Entry[]; buffers: Uint8Array[] } {
    const slab = Buffer.alloc(stores.reduce((sum, store) => sum + store.recordBytes - store.bytes.length, 0));
    const entries: Entry[] = [];
    const buffers: Uint8Array[] = [];
    let offset = start;
    let used = 0;
    let pieceStart = 0;
    for (const { kind, id, bytes, checksums, recordBytes: total } of stores) {
      const entry: Entry = { segment: segment.number, offset, length: bytes.length, sequence: ++this.#sequence, checksums };
      const headerBytes = recordHeaderBytes(bytes.length, "small");
      encodeRecordHeader(
        slab.subarray(used, used + headerBytes),
        { kind, ...id, ...entry },
        { salt: this.#context.salt, segment: segment.number, offset },
      );
      used += headerBytes;
      buffers.push(slab.subarray(pieceStart, used), bytes);
      pieceStart = used;
      used += total - headerBytes - bytes.length;
      segment.unindexed.add(offset);
      entries.push(entry);
      offset += total;
    }
    if (used > pieceStart) buffers.push(slab.subarray(pieceStart, used));
    return { entries, buffers };
  }

  /** A batch may be partly written: ends the segment before it. */
  async #giveUp(segment: Segment, start: number): Promise<void> {
    for (const offset of segment.unindexed) if (offset >= start) segment.unindexed.delete(offset);
    segment.frontier = start;
    if (this.#small === segment) this.#small = null;
    await this.#seal(segment);
  }

  /** Reserves a place in the open segment of that kind; waits only where the segment must grow or a new one begin. */
  async #place(kind: SegmentKind, bytes: number): Promise<{ segment: Segment; offset: number }> {
    const open = kind === "large" ? this.#large : this.#small;
    if (open !== null && open.frontier + bytes <= open.allocated) {
      this.#growAhead(open);
      return { segment: open, offset: open.reserve(bytes) };
    }
    const placed = this.#room[kind].then(() => this.#makeRoom(kind, bytes));
    this.#room[kind] = placed.catch(() => undefined);
    return placed;
  }

  async #makeRoom(kind: SegmentKind, bytes: number): Promise<{ segment: Segment; offset: number }> {
    for (;;) {
      const segment = kind === "large" ? this.#large : this.#small;
      if (segment === null) {
        await this.#finishLast(kind);
        await this.#create(kind, bytes);
      } else if (segment.frontier + bytes <= segment.allocated) return { segment, offset: segment.reserve(bytes) };
      else if (segment.frontier + bytes <= segment.limit) await this.#grow(segment, segment.frontier + bytes - segment.allocated);
      else {
        if (kind === "large") this.#large = null;
        else this.#small = null;
        await this.#seal(segment);
      }
    }
  }

  /** A segment begins only when the one before is durable: so only the last one of each kind can hold torn records. */
  async #finishLast(kind: SegmentKind): Promise<void> {
    const last = this.#sealed[kind];
    if (last === null) return;
    await last.idle();
    // It may have been emptied and removed.
    if (this.#context.segments.get(last.number) === last) await this.#context.syncSegment(last);
    if (this.#sealed[kind] === last) this.#sealed[kind] = null;
  }

  async #create(kind: SegmentKind, bytes: number): Promise<Segment> {
    const { files, salt, segments } = this.#context;
    const { totalBytes } = await this.#context.space();
    const limit = segmentLimit(kind, totalBytes, this.#context.segmentBytesMax);
    const segment = new Segment(this.#nextNumber++, kind, Math.max(limit, SEGMENT_HEADER_BYTES + bytes));
    const page = await this.#context.pages.take();
    try {
      await files.create(segment.name);
      await this.#grow(segment, SEGMENT_HEADER_BYTES + bytes);
      const header = page.subarray(0, SEGMENT_HEADER_BYTES);
      encodeSegmentHeader(header, kind, segment.number, salt);
      await files.use(segment.name, "buffered", (file) => file.write([header], 0));
      await this.#context.syncNames();
    } catch (error) {
      await files.remove(segment.name).catch(() => undefined);
      throw error;
    } finally {
      this.#context.pages.give(page);
    }
    segments.set(segment.number, segment);
    this.#context.onWritten(segment);
    if (kind === "large") this.#large = segment;
    else this.#small = segment;
    return segment;
  }

  /** Begins to reserve the next step while the last half of this one is written, so that stores seldom wait for it. */
  #growAhead(segment: Segment): void {
    const step = stepOf(segment);
    if (segment.allocated - segment.frontier > step / 2 || segment.allocated >= segment.limit || this.#growing.has(segment))
      return;
    // The store that needs the space will meet the error itself.
    this.#grow(segment, 0).catch(() => undefined);
  }

  /** One at a time for each segment: who comes while one runs waits for it and looks again. */
  #grow(segment: Segment, required: number): Promise<void> {
    const running = this.#growing.get(segment);
    if (running !== undefined) return running;
    const growing = this.#reserveSpace(segment, required).finally(() => this.#growing.delete(segment));
    this.#growing.set(segment, growing);
    return growing;
  }

  async #reserveSpace(segment: Segment, required: number): Promise<void> {
    const { totalBytes, freeBytes } = await this.#context.space();
    const usable = freeBytes - this.#context.reserveBytes(totalBytes);
    if (usable < required) throw noSpace(this.#context.files.pathOf(segment.name), required, usable);
    const step = Math.min(Math.max(required, stepOf(segment)), segment.limit - segment.allocated);
    const sizes = usable < 4 * step ? [required] : [step, required];
    for (const bytes of sizes) {
      if (bytes <= 0) return;
      try {
        await this.#context.files.use(segment.name, "buffered", (file) => file.allocate(segment.allocated, bytes));
        segment.allocated += bytes;
        return;
      } catch (error) {
        // A failed fallocate(2) may have reserved a part.
        await this.#context.files
          .use(segment.name, "buffered", (file) => file.truncate(segment.allocated))
          .catch(() => undefined);
        if (codeOf(error) !== "ENOSPC" || bytes === required) throw error;
      }
    }
  }

  async #seal(segment: Segment): Promise<void> {
    segment.sealed = true;
    this.#sealed[segment.kind] = segment;
    if (segment.writing === 0) await this.#cut(segment);
  }

  /** Returns the reserved rest. A failure costs space, and a scan of zeros later, no more. */
  async #cut(segment: Segment): Promise<void> {
    try {
      await this.#growing.get(segment)?.catch(() => undefined);
      await this.#context.files.use(segment.name, "buffered", (file) => file.truncate(segment.frontier));
      segment.allocated = segment.frontier;
    } catch {
      // Stays as it is.
    }
    if (segment.retirable) this.#context.onEmpty(segment);
  }
}

/** How far a segment of that kind may grow on a disk of that size. */
export function segmentLimit(kind: SegmentKind, totalBytes: number, segmentBytesMax: number = Infinity): number {
  const usual = Math.min(segmentBytesMax, kind === "large" ? LARGE_SEGMENT_BYTES : SMALL_SEGMENT_BYTES);
  return Math.min(usual, Math.max(SEGMENT_MIN_BYTES, roundUp(totalBytes / SEGMENTS_PER_DISK, GROW_MIN_BYTES)));
}

function stepOf(segment: Segment): number {
  return Math.min(GROW_MAX_BYTES, Math.max(GROW_MIN_BYTES, roundUp(segment.allocated / 2, GROW_MIN_BYTES)));
}

function padded(into: Uint8Array, bytes: Uint8Array): Uint8Array {
  into.set(bytes);
  const end = roundUp(bytes.length, ALIGNMENT_BYTES);
  into.fill(0, bytes.length, end);
  return into.subarray(0, end);
}

function noSpace(file: string, required: number, usable: number): BlockError {
  return new BlockError(
    "ENOSPC",
    `allocate in ${file}: ${Math.max(0, usable)} bytes may be used on the disk, required are ${required}`,
  );
}
