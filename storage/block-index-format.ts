// Keys and values of the block index (DESIGN.md, "Block index"). Keys sort by stripe, then index. Every value ends
// with the CRC32C of its key and of itself, so a value that moved to another key is refused too.
import { crc32c } from "../native/kernels.ts";
import type { BlockId } from "./blocks.ts";
import { piecesOf, safeInteger, setSafeInteger, viewOf } from "./segment-format.ts";

export const INDEX_VERSION = 1;

/** Where a block lies, and what its bytes must be. */
export interface Entry {
  segment: number;
  /** Of the record (its header) in the segment's file. */
  offset: number;
  length: number;
  sequence: number;
  checksums: Uint32Array;
}

/** What the index knows of a segment: everything before `indexedUpTo` is in the index. */
export interface SegmentSummary {
  indexedUpTo: number;
  records: number;
  /** Of live blocks, without overhead. */
  blockBytes: number;
}

export interface IndexMeta {
  version: number;
  salt: number;
  sequence: number;
}

const BLOCK_PREFIX = 0x62; // "b"
const SEGMENT_PREFIX = 0x73; // "s"
export const META_KEY = Uint8Array.of(0x6d); // "m"

export function blockKey({ stripe, index }: BlockId): Uint8Array {
  const key = new Uint8Array(13);
  const view = viewOf(key);
  key[0] = BLOCK_PREFIX;
  view.setUint32(1, Math.floor(stripe / 2 ** 32));
  view.setUint32(5, stripe >>> 0);
  view.setUint32(9, index);
  return key;
}

export function decodeBlockKey(key: Uint8Array): BlockId {
  const view = viewOf(key);
  return { stripe: view.getUint32(1) * 2 ** 32 + view.getUint32(5), index: view.getUint32(9) };
}

/** From `after` (exclusive) to the end of all blocks. */
export function blockRange(after: BlockId | null): { gte: Uint8Array; lt: Uint8Array } {
  const gte = after === null ? Uint8Array.of(BLOCK_PREFIX) : blockKey({ stripe: after.stripe, index: after.index + 1 });
  return { gte, lt: Uint8Array.of(BLOCK_PREFIX + 1) };
}

export function segmentKey(number: number): Uint8Array {
  const key = new Uint8Array(5);
  key[0] = SEGMENT_PREFIX;
  viewOf(key).setUint32(1, number);
  return key;
}

export function decodeSegmentKey(key: Uint8Array): number {
  return viewOf(key).getUint32(1);
}

export const segmentRange = { gte: Uint8Array.of(SEGMENT_PREFIX), lt: Uint8Array.of(SEGMENT_PREFIX + 1) };

const ENTRY_FIXED_BYTES = 24;

export function encodeEntry(key: Uint8Array, entry: Entry): Uint8Array {
  const pieces = entry.checksums.length;
  const value = new Uint8Array(ENTRY_FIXED_BYTES + 4 * pieces + 4);
  const view = viewOf(value);
  view.setUint32(0, entry.segment, true);
  view.setUint32(4, entry.length, true);
  setSafeInteger(view, 8, entry.offset);
  setSafeInteger(view, 16, entry.sequence);
  for (let piece = 0; piece < pieces; piece++) view.setUint32(ENTRY_FIXED_BYTES + 4 * piece, entry.checksums[piece], true);
  return seal(key, value);
}

/** Null where the value is damaged. */
export function decodeEntry(key: Uint8Array, value: Uint8Array): Entry | null {
  if (value.length < ENTRY_FIXED_BYTES + 4 || !isWhole(key, value)) return null;
  const view = viewOf(value);
  const length = view.getUint32(4, true);
  const pieces = piecesOf(length);
  if (value.length !== ENTRY_FIXED_BYTES + 4 * pieces + 4) return null;
  const checksums = new Uint32Array(pieces);
  for (let piece = 0; piece < pieces; piece++) checksums[piece] = view.getUint32(ENTRY_FIXED_BYTES + 4 * piece, true);
  return { segment: view.getUint32(0, true), length, offset: safeInteger(view, 8), sequence: safeInteger(view, 16), checksums };
}

export function encodeSummary(key: Uint8Array, summary: SegmentSummary): Uint8Array {
  const value = new Uint8Array(28);
  const view = viewOf(value);
  setSafeInteger(view, 0, summary.indexedUpTo);
  setSafeInteger(view, 8, summary.records);
  setSafeInteger(view, 16, summary.blockBytes);
  return seal(key, value);
}

export function decodeSummary(key: Uint8Array, value: Uint8Array): SegmentSummary | null {
  if (value.length !== 28 || !isWhole(key, value)) return null;
  const view = viewOf(value);
  return { indexedUpTo: safeInteger(view, 0), records: safeInteger(view, 8), blockBytes: safeInteger(view, 16) };
}

export function encodeMeta(meta: IndexMeta): Uint8Array {
  const value = new Uint8Array(20);
  const view = viewOf(value);
  view.setUint32(0, meta.version, true);
  view.setUint32(4, meta.salt, true);
  setSafeInteger(view, 8, meta.sequence);
  return seal(META_KEY, value);
}

export function decodeMeta(value: Uint8Array): IndexMeta | null {
  if (value.length !== 20 || !isWhole(META_KEY, value)) return null;
  const view = viewOf(value);
  return { version: view.getUint32(0, true), salt: view.getUint32(4, true), sequence: safeInteger(view, 8) };
}

function seal(key: Uint8Array, value: Uint8Array): Uint8Array {
  const end = value.length - 4;
  viewOf(value).setUint32(end, crc32c(value.subarray(0, end), crc32c(key)), true);
  return value;
}

function isWhole(key: Uint8Array, value: Uint8Array): boolean {
  const end = value.length - 4;
  return viewOf(value).getUint32(end, true) === crc32c(value.subarray(0, end), crc32c(key));
}
