// The bytes of the local log's files (DESIGN.md, "Log files"). Shared by local-log.ts, which writes them, and
// log-scan.ts, which reads them. All numbers are little-endian.
//
// File: header of 64 bytes, then records, then zeros.
//   0  8  "CAIRNLOG"
//   8  4  format version, 1
//  12  4  zero
//  16  8  index of the file's first entry
//  24  8  bytes of the file when it was made; it never gets shorter
//  32 28  zero
//  60  4  CRC32C of bytes 0..60
// Record, at a multiple of 8 from the start of the file, zero-padded to a multiple of 8:
//   0  4  CRC32C of bytes 4..24+length
//   4  4  length of the payload
//   8  8  index: an entry's own; for the other kinds that of the last entry before
//  16  4  how many entries before this record's index were not known to be durable when it was written
//  20  4  kind
//  24     payload
import { crc32c } from "../native/kernels.ts";

export const LOG_FORMAT_VERSION = 1;
export const FILE_HEADER_BYTES = 64;
export const RECORD_HEADER_BYTES = 24;
/** 16 MiB. A write batch of the namespace is some kilobytes; this only bounds what a damaged length can ask for. */
export const ENTRY_MAX_BYTES = 16 * 1024 * 1024;

export const recordKinds = {
  entry: 1,
  /** Nothing but what it says about durability; written by close(). */
  mark: 2,
  /** The log ends here for good. */
  seal: 3,
  /** The log goes on in another file, which is durable. */
  continued: 4,
} as const;

export interface LogRecord {
  kind: number;
  index: number;
  /** Every entry up to this index was durable when the record was written. */
  durable: number;
  payload: Uint8Array;
  /** Where the next record begins. */
  next: number;
}

const MAGIC = Buffer.from("CAIRNLOG", "latin1");

export function encodeFileHeader(firstIndex: number, fileBytes: number): Buffer {
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32LE(LOG_FORMAT_VERSION, 8);
  writeIndex(header, firstIndex, 16);
  writeIndex(header, fileBytes, 24);
  header.writeUInt32LE(crc32c(header.subarray(0, 60)), 60);
  return header;
}

/** What the header of a whole file says, or what is wrong with it. */
export function parseFileHeader(file: Buffer): { firstIndex: number; fileBytes: number } | { problem: string } {
  if (file.length < FILE_HEADER_BYTES)
    return { problem: `the file has ${file.length} bytes, its header alone needs ${FILE_HEADER_BYTES}` };
  if (!file.subarray(0, 8).equals(MAGIC)) return { problem: "it does not begin as a log file does" };
  if (file.readUInt32LE(60) !== crc32c(file.subarray(0, 60))) return { problem: "the header's checksum differs" };
  const version = file.readUInt32LE(8);
  if (version !== LOG_FORMAT_VERSION) return { problem: `format version ${version}, this program reads ${LOG_FORMAT_VERSION}` };
  const fileBytes = readIndex(file, 24);
  if (file.length < fileBytes) return { problem: `the file was cut to ${file.length} bytes, it was made with ${fileBytes}` };
  return { firstIndex: readIndex(file, 16), fileBytes };
}

/** Bytes that a record with this payload takes in the file. */
export function recordBytes(payloadBytes: number): number {
  return (RECORD_HEADER_BYTES + payloadBytes + 7) & ~7;
}

/** Writes the header of a record whose payload is elsewhere (or right behind it) into 24 bytes. */
export function encodeRecordHeader(
  into: Buffer,
  at: number,
  kind: number,
  index: number,
  durable: number,
  payload: Uint8Array,
): void {
  into.writeUInt32LE(payload.length, at + 4);
  writeIndex(into, index, at + 8);
  into.writeUInt32LE(Math.min(index - durable, 0xffffffff), at + 16);
  into.writeUInt32LE(kind, at + 20);
  const seed = crc32c(into.subarray(at + 4, at + RECORD_HEADER_BYTES));
  into.writeUInt32LE(payload.length === 0 ? seed : crc32c(payload, seed), at);
}

/** The record at `at`, or null where there is none that is whole. The payload is a view of the file's bytes. */
export function parseRecord(file: Buffer, at: number): LogRecord | null {
  if (at + RECORD_HEADER_BYTES > file.length) return null;
  const kind = file.readUInt32LE(at + 20);
  const length = file.readUInt32LE(at + 4);
  if (kind < recordKinds.entry || kind > recordKinds.continued) return null;
  if (length > ENTRY_MAX_BYTES || at + RECORD_HEADER_BYTES + length > file.length) return null;
  if (file.readUInt32LE(at) !== crc32c(file.subarray(at + 4, at + RECORD_HEADER_BYTES + length))) return null;
  const index = readIndex(file, at + 8);
  const payload = file.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length);
  return { kind, index, durable: index - file.readUInt32LE(at + 16), payload, next: at + recordBytes(length) };
}

/** "0000000000000001.log": sorts as the index does. */
export function logFileName(firstIndex: number): string {
  return `${firstIndex.toString(16).padStart(16, "0")}.log`;
}

export function firstIndexOf(name: string): number | null {
  return /^[0-9a-f]{16}\.log$/.test(name) ? Number.parseInt(name.slice(0, 16), 16) : null;
}

function writeIndex(into: Buffer, index: number, at: number): void {
  into.writeUInt32LE(index >>> 0, at);
  into.writeUInt32LE(Math.floor(index / 0x100000000), at + 4);
}

function readIndex(from: Buffer, at: number): number {
  return from.readUInt32LE(at) + from.readUInt32LE(at + 4) * 0x100000000;
}
