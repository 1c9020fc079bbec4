// The bytes of segment files and of index values (DESIGN.md, "Segments" and "Block index"). Pure: no I/O. All numbers
// are little endian except in index keys, which must sort as numbers do.
import { crc32c } from "../native/kernels.ts";
import { BLOCK_MAX_BYTES, PIECE_BYTES, type BlockId } from "./blocks.ts";

export type SegmentKind = "large" | "small";

export const SEGMENT_VERSION = 1;
/** One page, so that the records of a large segment lie at places that O_DIRECT takes. */
export const SEGMENT_HEADER_BYTES = 4096;
/** "CAIRNSEG" */
const SEGMENT_MAGIC = Buffer.from("CAIRNSEG", "latin1");
const SEGMENT_HEADER_CHECKED_BYTES = 28;

export const RECORD_VERSION = 1;
/** "CBLK" */
const RECORD_MAGIC = 0x4b4c4243;
/** A record holds a block, or says which records (of any segment) were deleted. */
export const RECORD_KIND_BLOCK = 1;
export const RECORD_KIND_DELETIONS = 2;
export type RecordKind = typeof RECORD_KIND_BLOCK | typeof RECORD_KIND_DELETIONS;
const RECORD_FIXED_BYTES = 40;
const RECORD_CHECKSUM_AT = 32;
/** Where in a record the deletion mark lies. Outside of the header's checksum, so that 4 bytes in place delete a block. */
export const DELETION_MARK_AT = 36;
/** "DEAD": any other value than this one means live, so a flipped bit deletes nothing. */
export const DELETION_MARK = 0x44414544;

export const BLOCK_PIECES_MAX = BLOCK_MAX_BYTES / PIECE_BYTES;
/** The longest header before padding; a scanner needs this many bytes at a record's start. */
export const RECORD_HEADER_MAX_BYTES = RECORD_FIXED_BYTES + 4 * BLOCK_PIECES_MAX;

/** Records begin at multiples of this: a page for O_DIRECT, or a cache line so that small records pack. */
export function alignmentOf(kind: SegmentKind): number {
  return kind === "large" ? 4096 : 64;
}

export function roundUp(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

export function piecesOf(length: number): number {
  return Math.ceil(length / PIECE_BYTES);
}

/** Bytes from a record's start to its data. */
export function recordHeaderBytes(length: number, kind: SegmentKind): number {
  return roundUp(RECORD_FIXED_BYTES + 4 * piecesOf(length), alignmentOf(kind));
}

/** Bytes from a record's start to the next one's. */
export function recordBytes(length: number, kind: SegmentKind): number {
  return recordHeaderBytes(length, kind) + roundUp(length, alignmentOf(kind));
}

export function segmentName(number: number, kind: SegmentKind): string {
  return `${String(number).padStart(8, "0")}.${kind}`;
}

export function parseSegmentName(name: string): { number: number; kind: SegmentKind } | null {
  const match = /^(\d{8,10})\.(large|small)$/.exec(name);
  return match === null ? null : { number: Number(match[1]), kind: match[2] as SegmentKind };
}

/** Writes the segment's first page into `into` (SEGMENT_HEADER_BYTES long). `salt` is the disk's, see RecordPlace. */
export function encodeSegmentHeader(into: Uint8Array, kind: SegmentKind, number: number, salt: number): void {
  into.fill(0);
  const view = viewOf(into);
  into.set(SEGMENT_MAGIC, 0);
  view.setUint32(8, SEGMENT_VERSION, true);
  view.setUint32(12, kind === "large" ? 1 : 2, true);
  view.setUint32(16, number, true);
  view.setUint32(20, alignmentOf(kind), true);
  view.setUint32(24, salt, true);
  view.setUint32(28, crc32c(into.subarray(0, SEGMENT_HEADER_CHECKED_BYTES)), true);
}

/** What the first page of a segment says. `blank`: all zeros, as a crash right after the file's birth leaves it. */
export type SegmentHeaderState = "good" | "blank" | "damaged" | "foreign" | { version: number };

export function checkSegmentHeader(bytes: Uint8Array, kind: SegmentKind, number: number, salt: number): SegmentHeaderState {
  if (bytes.length < SEGMENT_HEADER_BYTES) return bytes.every((byte) => byte === 0) ? "blank" : "damaged";
  const view = viewOf(bytes);
  if (!SEGMENT_MAGIC.equals(bytes.subarray(0, 8))) return bytes.every((byte) => byte === 0) ? "blank" : "damaged";
  if (view.getUint32(28, true) !== crc32c(bytes.subarray(0, SEGMENT_HEADER_CHECKED_BYTES))) return "damaged";
  const version = view.getUint32(8, true);
  if (version !== SEGMENT_VERSION) return { version };
  const same =
    view.getUint32(12, true) === (kind === "large" ? 1 : 2) &&
    view.getUint32(16, true) === number &&
    view.getUint32(24, true) === salt;
  return same ? "good" : "foreign";
}

/**
 * Where a record lies. It goes into the header's checksum, so bytes that look like a record but were written elsewhere
 * (a user may well store a segment file in a block) are not taken for one when a scan searches the next good header.
 */
export interface RecordPlace {
  /** Differs from disk to disk (disk-identity.ts saltOf). */
  salt: number;
  segment: number;
  offset: number;
}

export interface RecordHeader extends BlockId {
  kind: RecordKind;
  /** Grows with each record of the disk: of two records of one block the higher one counts. */
  sequence: number;
  length: number;
  /** CRC32C of each piece of PIECE_BYTES of the data. */
  checksums: Uint32Array;
}

const placeBytes = new Uint8Array(16);
const placeView = viewOf(placeBytes);

function headerChecksum(header: Uint8Array, unpaddedBytes: number, place: RecordPlace): number {
  placeView.setUint32(0, place.salt, true);
  placeView.setUint32(4, place.segment, true);
  setSafeInteger(placeView, 8, place.offset);
  const fixed = crc32c(header.subarray(0, RECORD_CHECKSUM_AT), crc32c(placeBytes));
  return crc32c(header.subarray(RECORD_FIXED_BYTES, unpaddedBytes), fixed);
}

/** Writes the header and its padding into `into`, which is recordHeaderBytes() long. */
export function encodeRecordHeader(into: Uint8Array, header: RecordHeader, place: RecordPlace): void {
  const pieces = piecesOf(header.length);
  const unpaddedBytes = RECORD_FIXED_BYTES + 4 * pieces;
  const view = viewOf(into);
  view.setUint32(0, RECORD_MAGIC, true);
  view.setUint8(4, RECORD_VERSION);
  view.setUint8(5, header.kind);
  view.setUint16(6, header.index, true);
  setSafeInteger(view, 8, header.stripe);
  setSafeInteger(view, 16, header.sequence);
  view.setUint32(24, header.length, true);
  view.setUint32(28, PIECE_BYTES, true);
  view.setUint32(DELETION_MARK_AT, 0, true);
  for (let piece = 0; piece < pieces; piece++) view.setUint32(RECORD_FIXED_BYTES + 4 * piece, header.checksums[piece], true);
  into.fill(0, unpaddedBytes);
  view.setUint32(RECORD_CHECKSUM_AT, headerChecksum(into, unpaddedBytes, place), true);
}

/** The header at the start of `bytes`, or null where none begins there (or it is damaged, or of another version). */
export function decodeRecordHeader(bytes: Uint8Array, place: RecordPlace): (RecordHeader & { deleted: boolean }) | null {
  if (bytes.length < RECORD_FIXED_BYTES) return null;
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== RECORD_MAGIC || view.getUint8(4) !== RECORD_VERSION) return null;
  const kind = view.getUint8(5);
  if (kind !== RECORD_KIND_BLOCK && kind !== RECORD_KIND_DELETIONS) return null;
  const length = view.getUint32(24, true);
  if (length === 0 || length > BLOCK_MAX_BYTES || view.getUint32(28, true) !== PIECE_BYTES) return null;
  const pieces = piecesOf(length);
  const unpaddedBytes = RECORD_FIXED_BYTES + 4 * pieces;
  if (bytes.length < unpaddedBytes) return null;
  if (view.getUint32(RECORD_CHECKSUM_AT, true) !== headerChecksum(bytes, unpaddedBytes, place)) return null;
  const checksums = new Uint32Array(pieces);
  for (let piece = 0; piece < pieces; piece++) checksums[piece] = view.getUint32(RECORD_FIXED_BYTES + 4 * piece, true);
  return {
    kind,
    stripe: safeInteger(view, 8),
    index: view.getUint16(6, true),
    sequence: safeInteger(view, 16),
    length,
    checksums,
    deleted: view.getUint32(DELETION_MARK_AT, true) === DELETION_MARK,
  };
}

/** A block whose records up to a sequence number are deleted. */
export interface Deletion {
  id: BlockId;
  sequence: number;
}

const DELETION_BYTES = 24;

/** The data of a record of deletions. */
export function encodeDeletions(deletions: readonly Deletion[]): Uint8Array {
  const bytes = new Uint8Array(deletions.length * DELETION_BYTES);
  const view = viewOf(bytes);
  for (const [at, { id, sequence }] of deletions.entries()) {
    setSafeInteger(view, at * DELETION_BYTES, id.stripe);
    setSafeInteger(view, at * DELETION_BYTES + 8, sequence);
    view.setUint32(at * DELETION_BYTES + 16, id.index, true);
  }
  return bytes;
}

export function decodeDeletions(bytes: Uint8Array): Deletion[] {
  const view = viewOf(bytes);
  return Array.from({ length: Math.floor(bytes.length / DELETION_BYTES) }, (_, at) => ({
    id: { stripe: safeInteger(view, at * DELETION_BYTES), index: view.getUint32(at * DELETION_BYTES + 16, true) },
    sequence: safeInteger(view, at * DELETION_BYTES + 8),
  }));
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Without BigInt, which would cost an allocation a number. */
export function setSafeInteger(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

export function safeInteger(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}
