// Building and taking apart the byte strings of the namespace: log entries and record values. Plain JavaScript on
// purpose: a record is some 60 bytes, for which a call into native code or protobuf costs more than the work.
//
// Numbers are varints: seven bits a byte, lowest first, the eighth set on all but the last byte; at most 2^53-1.

/** Thrown for bytes that no writer of this format can have made; never passed over. */
export class RecordDamaged extends Error {
  readonly code = "EIO";
}

const CRC_TABLE = new Uint32Array(256).map((_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

/** CRC32C (Castagnoli) of bytes[start, end), going on from `seed`. */
export function checksum(bytes: Uint8Array, start: number, end: number, seed = 0): number {
  let crc = ~seed;
  for (let at = start; at < end; at++) crc = CRC_TABLE[(crc ^ bytes[at]) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** CRC32C of a byte string, going on from `seed`. */
export function checksumText(text: string, seed = 0): number {
  let crc = ~seed;
  for (let at = 0; at < text.length; at++) crc = CRC_TABLE[(crc ^ text.charCodeAt(at)) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Part of a buffer: one record's value within a log entry or a table's reply. Never changed once made. */
export interface Slice {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** Grows as needed and is used again for each entry. */
export class ByteWriter {
  bytes = Buffer.allocUnsafeSlow(64 * 1024);
  at = 0;

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    if (this.at + count <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.bytes.length * 2, this.at + count));
    this.bytes.copy(larger, 0, 0, this.at);
    this.bytes = larger;
  }

  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.at++] = value;
  }

  varint(value: number): void {
    this.reserve(8);
    const bytes = this.bytes;
    let at = this.at;
    while (value > 0x7fffffff) {
      bytes[at++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    while (value > 0x7f) {
      bytes[at++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    bytes[at++] = value;
    this.at = at;
  }

  /** A number that may be negative: zigzag, then varint. */
  signed(value: number): void {
    this.varint(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  /** The chars of a byte string, without its length. */
  text(value: string): void {
    this.reserve(value.length);
    const bytes = this.bytes;
    let at = this.at;
    for (let index = 0; index < value.length; index++) bytes[at++] = value.charCodeAt(index);
    this.at = at;
  }

  raw(value: Uint8Array): void {
    this.reserve(value.length);
    this.bytes.set(value, this.at);
    this.at += value.length;
  }

  uint24At(position: number, value: number): void {
    this.bytes[position] = value >>> 16;
    this.bytes[position + 1] = value >>> 8;
    this.bytes[position + 2] = value;
  }

  uint32(value: number): void {
    this.reserve(4);
    const bytes = this.bytes;
    bytes[this.at++] = value >>> 24;
    bytes[this.at++] = value >>> 16;
    bytes[this.at++] = value >>> 8;
    bytes[this.at++] = value;
  }
}

/** Undoes ByteWriter.signed's zigzag. */
export function fromZigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

/** Also of a Uint8Array, without a Buffer around it. */
const { latin1Slice } = Buffer.prototype;

/** All bytes as a byte string. */
export function byteString(bytes: Uint8Array): string {
  return latin1Slice.call(bytes, 0, bytes.length);
}

/** Reads what ByteWriter wrote, within [start, end). Throws RecordDamaged naming `what` where the bytes end too early. */
export class ByteReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  /** Said only where something is wrong: a description takes longer than the reading. */
  readonly #what: () => string;

  constructor(bytes: Uint8Array, start: number, end: number, what: () => string) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    this.#what = what;
  }

  fail(why: string): never {
    throw new RecordDamaged(`namespace: ${this.#what()} is damaged: ${why} at byte ${this.at}`);
  }

  byte(): number {
    if (this.at >= this.end) this.fail("it ends too early");
    return this.bytes[this.at++];
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 8; count++) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value <= Number.MAX_SAFE_INTEGER ? value : this.fail("a number is above 2^53-1");
      scale *= 128;
    }
    return this.fail("a number is longer than 8 bytes");
  }

  /** So many varints, one after another. In one loop: 20 calls of varint() are 20 copies of it to the compiler, which took longer over them than 5,000 records do. */
  varints(into: number[], count: number): void {
    const { bytes, end } = this;
    let at = this.at;
    for (let index = 0; index < count; index++) {
      let value = 0;
      let scale = 1;
      let byte = 0x80;
      for (let length = 0; byte >= 0x80; length++) {
        if (at >= end || length === 8) return this.#refuseVarint(at, length);
        byte = bytes[at++];
        value += (byte & 0x7f) * scale;
        scale *= 128;
      }
      if (value > Number.MAX_SAFE_INTEGER) this.fail("a number is above 2^53-1");
      into[index] = value;
    }
    this.at = at;
  }

  #refuseVarint(at: number, length: number): never {
    this.at = at;
    return this.fail(length === 8 ? "a number is longer than 8 bytes" : "it ends too early");
  }

  signed(): number {
    return fromZigzag(this.varint());
  }

  uint24(): number {
    return (this.byte() << 16) | (this.byte() << 8) | this.byte();
  }

  text(length: number): string {
    if (length === 0) return "";
    if (this.at + length > this.end) this.fail(`${length} bytes are wanted and ${this.end - this.at} are left`);
    this.at += length;
    return latin1Slice.call(this.bytes, this.at - length, this.at);
  }

  raw(length: number): Uint8Array {
    if (this.at + length > this.end) this.fail(`${length} bytes are wanted and ${this.end - this.at} are left`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  done(): void {
    if (this.at !== this.end) this.fail(`${this.end - this.at} bytes are left over`);
  }
}
