// Reads blocks out of segments and checks every piece that it touches. Reads straight into the caller's memory where
// that covers whole pieces, else into a pooled buffer. Large reads of large blocks go past the page cache: filling it
// costs more than the read (facts: 2.6 CPU-s per GB of fresh page cache).
import { crc32cPieces } from "../native/kernels.ts";
import type { AlignedPool } from "./aligned-pool.ts";
import { codeOf } from "./block-errors.ts";
import type { Entry } from "./block-index-format.ts";
import { PIECE_BYTES } from "./blocks.ts";
import { ALIGNMENT_BYTES } from "./directory.ts";
import type { SegmentFiles } from "./segment-files.ts";
import { BLOCK_PIECES_MAX, decodeRecordHeader, recordHeaderBytes, roundUp, type RecordPlace } from "./segment-format.ts";
import type { Segment } from "./segment.ts";

/** Reads of at least this much go past the page cache where the record lies on whole pages. */
export const DIRECT_READ_BYTES = 128 * 1024;
/** Data of one read into a scratch buffer; 64 pieces. */
const SCRATCH_DATA_BYTES = 1024 * 1024;
/** Data, and what lies around it on its first and last page. */
export const READ_SCRATCH_BYTES = SCRATCH_DATA_BYTES + 2 * ALIGNMENT_BYTES;

const checksums = new Uint32Array(BLOCK_PIECES_MAX);

/** Position of the first piece that differs from its checksum, or -1. `bytes` begins at piece `first` of the block. */
export function wrongPiece(entry: Entry, first: number, bytes: Uint8Array): number {
  const count = Math.ceil(bytes.length / PIECE_BYTES);
  crc32cPieces(bytes, PIECE_BYTES, checksums.subarray(0, count));
  for (let piece = 0; piece < count; piece++) if (checksums[piece] !== entry.checksums[first + piece]) return first + piece;
  return -1;
}

export function dataOffsetOf(segment: Segment, entry: Entry): number {
  return entry.offset + recordHeaderBytes(entry.length, segment.kind);
}

export class BlockReader {
  readonly #files: SegmentFiles;
  readonly #scratch: AlignedPool;
  readonly #nowScratch = new Uint8Array(8 * PIECE_BYTES);
  /** Memory that O_DIRECT refused once. */
  readonly #unaligned = new WeakSet<ArrayBufferLike>();

  /** The pool's buffers have READ_SCRATCH_BYTES or more. */
  constructor(files: SegmentFiles, scratch: AlignedPool) {
    this.#files = files;
    this.#scratch = scratch;
  }

  /** Fills `into` from the block's byte `offset`. Returns -1, or the first piece that differs from its checksum. Errors of the disk come through. */
  async read(segment: Segment, entry: Entry, offset: number, into: Uint8Array): Promise<number> {
    const end = offset + into.length;
    if (offset % PIECE_BYTES === 0 && (end % PIECE_BYTES === 0 || end === entry.length)) {
      await this.#fill(segment, dataOffsetOf(segment, entry) + offset, into);
      return wrongPiece(entry, offset / PIECE_BYTES, into);
    }
    const scratch = await this.#scratch.take();
    try {
      for (let position = offset; position < end;) {
        const first = Math.floor(position / PIECE_BYTES);
        const from = first * PIECE_BYTES;
        const to = Math.min(roundUp(end, PIECE_BYTES), entry.length, from + SCRATCH_DATA_BYTES);
        const data = scratch.subarray(0, to - from);
        await this.#fill(segment, dataOffsetOf(segment, entry) + from, data);
        const wrong = wrongPiece(entry, first, data);
        if (wrong >= 0) return wrong;
        into.set(data.subarray(position - from, Math.min(end, to) - from), position - offset);
        position = to;
      }
      return -1;
    } finally {
      this.#scratch.give(scratch);
    }
  }

  /** As read, but only from the page cache of an open file: null where it would have to wait. */
  readNow(segment: Segment, entry: Entry, offset: number, into: Uint8Array): number | null {
    const file = this.#files.now(segment.name);
    if (file === null) return null;
    const end = offset + into.length;
    const first = Math.floor(offset / PIECE_BYTES);
    const from = first * PIECE_BYTES;
    const to = Math.min(roundUp(end, PIECE_BYTES), entry.length);
    const whole = from === offset && to === end;
    // A read with RWF_NOWAIT that misses starts a readahead into the page cache, which a direct read then does again.
    if (to - from >= DIRECT_READ_BYTES && segment.kind === "large") return null;
    if (!whole && to - from > this.#nowScratch.length) return null;
    const data = whole ? into : this.#nowScratch.subarray(0, to - from);
    const position = dataOffsetOf(segment, entry) + from;
    if (file.readNow(data, position) !== data.length) return null;
    const wrong = wrongPiece(entry, first, data);
    if (wrong < 0 && !whole) into.set(data.subarray(offset - from, end - from));
    return wrong;
  }

  /** Reads header and data past the page cache. */
  async verify(segment: Segment, entry: Entry, place: RecordPlace): Promise<"good" | "erased" | "damaged"> {
    const scratch = await this.#scratch.take();
    try {
      const headerBytes = dataOffsetOf(segment, entry) - entry.offset;
      const state = headerState(await this.#readDirect(segment, entry.offset, headerBytes, scratch), entry, place);
      if (state !== "good") return state;
      for (let from = 0; from < entry.length; from += SCRATCH_DATA_BYTES) {
        const bytes = Math.min(SCRATCH_DATA_BYTES, entry.length - from);
        const data = await this.#readDirect(segment, entry.offset + headerBytes + from, bytes, scratch);
        if (data.length < bytes || wrongPiece(entry, from / PIECE_BYTES, data) >= 0) return "damaged";
      }
      return "good";
    } finally {
      this.#scratch.give(scratch);
    }
  }

  /** Whether the record was deleted (marked, or punched out) although the index has it. */
  async header(segment: Segment, entry: Entry, place: RecordPlace): Promise<"good" | "erased" | "damaged"> {
    const bytes = new Uint8Array(dataOffsetOf(segment, entry) - entry.offset);
    const read = await this.#files.use(segment.name, "buffered", (file) => file.read(bytes, entry.offset));
    return headerState(bytes.subarray(0, read), entry, place);
  }

  async #fill(segment: Segment, position: number, into: Uint8Array): Promise<void> {
    const aligned =
      position % ALIGNMENT_BYTES === 0 && into.length % ALIGNMENT_BYTES === 0 && into.byteOffset % ALIGNMENT_BYTES === 0;
    if (aligned && into.length >= DIRECT_READ_BYTES && !this.#unaligned.has(into.buffer)) {
      try {
        const read = await this.#files.use(segment.name, "direct", (file) => file.read(into, position));
        into.fill(0, read);
        return;
      } catch (error) {
        if (codeOf(error) !== "EINVAL") throw error;
        this.#unaligned.add(into.buffer);
      }
    }
    const read = await this.#files.use(segment.name, "buffered", (file) => file.read(into, position));
    // A file that is too short is damage like any other: the checksums will say so.
    into.fill(0, read);
  }

  async #readDirect(segment: Segment, position: number, bytes: number, scratch: Uint8Array): Promise<Uint8Array> {
    const start = position - (position % ALIGNMENT_BYTES);
    const pages = scratch.subarray(0, roundUp(position + bytes - start, ALIGNMENT_BYTES));
    const read = await this.#files.use(segment.name, "direct", (file) => file.read(pages, start));
    return pages.subarray(position - start, Math.max(position - start, Math.min(read, position - start + bytes)));
  }
}

function headerState(bytes: Uint8Array, entry: Entry, place: RecordPlace): "good" | "erased" | "damaged" {
  const header = decodeRecordHeader(bytes, place);
  if (header === null) return bytes.every((byte) => byte === 0) ? "erased" : "damaged";
  if (header.deleted) return "erased";
  return header.sequence === entry.sequence ? "good" : "damaged";
}
