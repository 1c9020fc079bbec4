// Walks a segment file from record to record. Where no good header is, it searches the next one at the segment's
// alignment, so one damaged record hides no other. Zeros (unwritten space, punched records) are passed in silence.
import type { Entry } from "./block-index-format.ts";
import type { BlockId } from "./blocks.ts";
import { wrongPiece } from "./block-reader.ts";
import type { SegmentFiles } from "./segment-files.ts";
import {
  decodeDeletions,
  decodeRecordHeader,
  type Deletion,
  RECORD_KIND_DELETIONS,
  recordBytes,
  recordHeaderBytes,
  RECORD_HEADER_MAX_BYTES,
} from "./segment-format.ts";
import type { Segment } from "./segment.ts";

export type ScanStep =
  /** `whole` is true where the data was asked to be checked and agrees, or was not asked for. */
  | { kind: "record"; id: BlockId; entry: Entry; deleted: boolean; whole: boolean; end: number }
  /** What was deleted, in this segment or another one. Its data is always checked. */
  | { kind: "deletions"; deletions: Deletion[]; sequence: number; end: number }
  /** Bytes that are neither zeros nor a record. */
  | { kind: "garbage"; offset: number; bytes: number };

/** As many bytes as the longest record, so the data of a record is always checked in one piece. */
const WINDOW_BYTES = 5 * 1024 * 1024;

/** Memory for one scan at a time. */
export function scanWindow(): Uint8Array {
  return new Uint8Array(WINDOW_BYTES);
}

export interface ScanOptions {
  from: number;
  to: number;
  /** Read and check the data of live records, not only their headers. */
  checkData: boolean;
  window: Uint8Array;
  salt: number;
}

/** Steps in file order. Errors of the disk come through. */
export async function* scanSegment(
  files: SegmentFiles,
  segment: Segment,
  { from, to, checkData, window, salt }: ScanOptions,
): AsyncGenerator<ScanStep> {
  let windowStart = from;
  let windowEnd = from;
  let position = from;
  let garbageFrom = -1;
  /** The bytes from `position` on, at least `bytes` of them where the file has them. */
  const need = async (bytes: number, readahead: number): Promise<Uint8Array> => {
    if (position < windowStart || Math.min(position + bytes, to) > windowEnd) {
      windowStart = position;
      const wanted = Math.min(Math.max(bytes, readahead), to - position, window.length);
      windowEnd =
        position + (await files.use(segment.name, "buffered", (file) => file.read(window.subarray(0, wanted), position)));
    }
    return window.subarray(position - windowStart, windowEnd - windowStart);
  };
  while (position < to) {
    // Headers only: read little, for each lies far from the next one. Otherwise everything is needed anyway.
    const bytes = await need(RECORD_HEADER_MAX_BYTES, checkData || garbageFrom >= 0 ? 1024 * 1024 : 16 * 1024);
    if (bytes.length === 0) break;
    const zeros = zeroBytes(bytes, segment.alignment);
    const header = zeros > 0 ? null : decodeRecordHeader(bytes, { salt, segment: segment.number, offset: position });
    const total = header === null ? 0 : recordBytes(header.length, segment.kind);
    if (header === null || position + recordHeaderBytes(header.length, segment.kind) + header.length > to) {
      if (zeros === 0 && garbageFrom < 0) garbageFrom = position;
      if (zeros > 0 && garbageFrom >= 0) {
        yield { kind: "garbage", offset: garbageFrom, bytes: position - garbageFrom };
        garbageFrom = -1;
      }
      position += Math.max(zeros, segment.alignment);
      continue;
    }
    if (garbageFrom >= 0) {
      yield { kind: "garbage", offset: garbageFrom, bytes: position - garbageFrom };
      garbageFrom = -1;
    }
    const { kind, stripe, index, deleted, length, sequence, checksums } = header;
    const entry: Entry = { segment: segment.number, offset: position, length, sequence, checksums };
    let whole = true;
    const isDeletions = kind === RECORD_KIND_DELETIONS;
    if (isDeletions || (checkData && !deleted)) {
      const record = await need(total, isDeletions ? 0 : WINDOW_BYTES);
      const dataAt = recordHeaderBytes(length, segment.kind);
      const data = record.subarray(dataAt, dataAt + length);
      whole = data.length === length && wrongPiece(entry, 0, data) < 0;
      if (isDeletions && whole) {
        yield { kind: "deletions", deletions: decodeDeletions(data), sequence, end: position + total };
        position += total;
        continue;
      }
    }
    yield { kind: "record", id: { stripe, index }, entry, deleted, whole, end: position + total };
    position += total;
  }
  if (garbageFrom >= 0) yield { kind: "garbage", offset: garbageFrom, bytes: Math.min(position, to) - garbageFrom };
}

/** Zero bytes at the start, in whole steps of `alignment` (a last part counts as one). */
function zeroBytes(bytes: Uint8Array, alignment: number): number {
  let at = 0;
  const whole = bytes.length - (bytes.length % 8);
  if (bytes.byteOffset % 8 === 0) {
    const words = new Float64Array(bytes.buffer, bytes.byteOffset, whole / 8);
    let word = 0;
    // -0 and 0 are equal as floats, so a word of 0x80 and seven zeros would pass: look at the last byte as well.
    while (word < words.length && words[word] === 0 && bytes[word * 8 + 7] === 0) word++;
    at = word * 8;
  }
  while (at < bytes.length && bytes[at] === 0) at++;
  return at === bytes.length ? at : at - (at % alignment);
}
