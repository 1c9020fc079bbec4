// A log entry: what one transaction changed, as puts and deletes of whole records, and which operation it came from.
// Applying it takes no understanding of the records, and applying it twice is the same as once. DESIGN.md has the bytes.

import { ByteReader, ByteWriter, checksum, RecordDamaged, type Slice } from "./bytes.ts";
import { CHECKSUM_BYTES } from "./records.ts";

export const ENTRY_FORMAT = 1;
const PUT = 1;
const DELETE = 2;

/** What an entry came from; the position is the number in the entry. Append only. */
export const ENTRY_KINDS = [
  "none", "create-store", "setAttributes", "make", "makeUnnamed", "link", "unlink", "rename", "setXattr", "removeXattr",
  "reserveStripes", "commit", "reshape", "share", "free", "cut", "remove-stripes", "replace-disks", "session", "ids", "repair", "relocate",
] as const; // prettier-ignore
export type EntryKind = (typeof ENTRY_KINDS)[number];

/** Largest entry: the log takes 16 MiB. A transaction that would need more is refused (EMSGSIZE) and has changed nothing; background work is cut into pieces far below. */
export const ENTRY_MAX_BYTES = 15 * 1024 * 1024;

export interface EntryRecord {
  key: string;
  /** null: the record is deleted. */
  value: Slice | null;
}

/** Writes one entry after another into a buffer that it keeps; `finish` copies the entry out. */
export class EntryWriter extends ByteWriter {
  #keyStart = 0;
  #lengthAt = 0;

  start(kind: EntryKind, session: number): void {
    this.at = 0;
    this.byte(ENTRY_FORMAT);
    this.byte(ENTRY_KINDS.indexOf(kind));
    this.varint(session);
  }

  #key(verb: number, prefix: string, rest: string): void {
    this.byte(verb);
    this.varint(prefix.length + rest.length);
    this.#keyStart = this.at;
    this.text(prefix);
    this.text(rest);
  }

  delete(prefix: string, rest: string): void {
    this.#key(DELETE, prefix, rest);
  }

  /** Opens a put: the payload is written next, then `endPut` is called. */
  beginPut(prefix: string, rest: string): void {
    this.#key(PUT, prefix, rest);
    this.#lengthAt = this.at;
    this.reserve(3);
    this.at += 3;
  }

  /** Ends the put; returns where its value starts (it ends at `at`). */
  endPut(): number {
    const valueStart = this.#lengthAt + 3;
    const crc = checksum(this.bytes, valueStart, this.at, checksum(this.bytes, this.#keyStart, this.#lengthAt));
    this.uint32(crc);
    this.uint24At(this.#lengthAt, this.at - valueStart);
    return valueStart;
  }

  /** The entry, in memory of its own. */
  finish(): Buffer {
    const entry = Buffer.allocUnsafe(this.at);
    this.bytes.copy(entry, 0, 0, this.at);
    return entry;
  }
}

/** Takes an entry apart. Throws RecordDamaged naming `what` on anything that no EntryWriter wrote, and on newer formats. */
export function decodeEntry(bytes: Uint8Array, what: string): { kind: EntryKind; session: number; records: EntryRecord[] } {
  const reader = new ByteReader(bytes, 0, bytes.length, () => what);
  const format = reader.byte();
  if (format !== ENTRY_FORMAT) {
    throw new RecordDamaged(
      `namespace: ${what} has format ${format}, this version reads ${ENTRY_FORMAT}; start the newer version that wrote it`,
    );
  }
  const kind = ENTRY_KINDS[reader.byte()] ?? reader.fail("its kind is unknown");
  const session = reader.varint();
  const records: EntryRecord[] = [];
  while (reader.at < reader.end) {
    const verb = reader.byte();
    if (verb !== PUT && verb !== DELETE) reader.fail(`verb ${verb} is unknown`);
    const key = reader.text(reader.varint());
    if (verb === DELETE) records.push({ key, value: null });
    else {
      const length = reader.uint24();
      if (length < CHECKSUM_BYTES) reader.fail(`a value has ${length} bytes`);
      const start = reader.at;
      reader.raw(length);
      records.push({ key, value: { bytes, start, end: start + length } });
    }
  }
  return { kind, session, records };
}
