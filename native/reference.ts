// The kernels in plain TypeScript: what every native variant is checked against, and what `CAIRN_KERNELS=typescript`
// runs. Written to be read, not to be fast. Same contract as the addon: see Kernels in native/kernels.ts.
import type { FieldBits, Kernels } from "./kernels.ts";

/** Reduction polynomials by field size: x^8+x^4+x^3+x^2+1 and x^16+x^12+x^3+x+1. In both, x (the number 2) generates all nonzero elements. */
export const POLYNOMIALS: Record<FieldBits, number> = { 8: 0x11d, 16: 0x1100b };

/** exp has twice the length of the group, so that exp[log[a] + log[b]] needs no modulo. log[0] is meaningless. */
export interface FieldTables {
  readonly exp: Uint16Array;
  readonly log: Uint16Array;
}

const tablesByBits = new Map<FieldBits, FieldTables>();

/** Powers and logarithms of x; made at first use (GF(2^16): 384 KiB, about a millisecond). */
export function fieldTables(bits: FieldBits): FieldTables {
  let tables = tablesByBits.get(bits);
  if (!tables) {
    tables = makeTables(bits);
    tablesByBits.set(bits, tables);
  }
  return tables;
}

function makeTables(bits: FieldBits): FieldTables {
  const order = 1 << bits;
  const exp = new Uint16Array(2 * (order - 1));
  const log = new Uint16Array(order);
  let value = 1;
  for (let power = 0; power < order - 1; power++) {
    exp[power] = exp[power + order - 1] = value;
    log[value] = power;
    value <<= 1;
    if (value & order) value ^= POLYNOMIALS[bits];
  }
  return { exp, log };
}

function overlap(a: Uint8Array, b: Uint8Array): boolean {
  return a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.length && b.byteOffset < a.byteOffset + a.length;
}

function sameRange(a: Uint8Array, b: Uint8Array): boolean {
  return a.buffer === b.buffer && a.byteOffset === b.byteOffset && a.length === b.length;
}

function checkPair(operation: string, bits: FieldBits, target: Uint8Array, source: Uint8Array): void {
  checkLength(operation, bits, target.length);
  if (source.length !== target.length) {
    throw new RangeError(
      `${operation}: the source has ${source.length} bytes, the target ${target.length}; they must be of one length`,
    );
  }
  if (overlap(target, source)) throw new RangeError(`${operation}: target and source overlap; they must not`);
}

function checkLength(operation: string, bits: FieldBits, length: number): void {
  if (bits === 16 && length % 2 !== 0) {
    throw new RangeError(`${operation}: a buffer has ${length} bytes; over GF(2^16) it must be a whole number of 2-byte words`);
  }
}

function checkCoefficient(operation: string, bits: FieldBits, coefficient: number): void {
  if (!Number.isInteger(coefficient) || coefficient < 0 || coefficient >= 1 << bits) {
    throw new RangeError(
      `${operation}: coefficient ${coefficient} is not an element of GF(2^${bits}); it must be 0..${(1 << bits) - 1}`,
    );
  }
}

function checkEncode(
  bits: FieldBits,
  coefficients: Uint16Array,
  sources: readonly Uint8Array[],
  targets: readonly Uint8Array[],
): void {
  if (coefficients.length !== sources.length * targets.length) {
    throw new RangeError(
      `encode: ${coefficients.length} coefficients for ${sources.length} sources and ${targets.length} targets; it must be ${sources.length * targets.length}`,
    );
  }
  for (const coefficient of coefficients) checkCoefficient("encode", bits, coefficient);
  const length = targets[0]?.length ?? sources[0]?.length ?? 0;
  checkLength("encode", bits, length);
  for (const buffer of [...sources, ...targets]) {
    if (buffer.length !== length)
      throw new RangeError(`encode: a buffer has ${buffer.length} bytes, another ${length}; they must be of one length`);
  }
  targets.forEach((target, index) => {
    const others = [...sources, ...targets.slice(index + 1)];
    if (others.some((other) => overlap(target, other)))
      throw new RangeError(`encode: target ${index} overlaps another buffer; it must not`);
  });
}

function xorBytes(target: Uint8Array, source: Uint8Array): void {
  for (let at = 0; at < target.length; at++) target[at] ^= source[at];
}

/** target = (add ? target : 0) + coefficient * source, word by word; words of GF(2^16) are little-endian. */
function multiplyWords(bits: FieldBits, target: Uint8Array, source: Uint8Array, coefficient: number, add: boolean): void {
  const { exp, log } = fieldTables(bits);
  const wordBytes = bits / 8;
  for (let at = 0; at < target.length; at += wordBytes) {
    const word = wordBytes === 1 ? source[at] : source[at] | (source[at + 1] << 8);
    const product = word === 0 || coefficient === 0 ? 0 : exp[log[word] + log[coefficient]];
    target[at] = (add ? target[at] : 0) ^ (product & 0xff);
    if (wordBytes === 2) target[at + 1] = (add ? target[at + 1] : 0) ^ (product >> 8);
  }
}

/** Castagnoli's polynomial, bit-reflected. */
const CRC32C_POLYNOMIAL = 0x82f63b78;
let crcTable: Uint32Array | undefined;

function crc32cTable(): Uint32Array {
  if (crcTable) return crcTable;
  const table = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ CRC32C_POLYNOMIAL : value >>> 1;
    table[byte] = value;
  }
  crcTable = table;
  return table;
}

function crc32c(bytes: Uint8Array, seed = 0): number {
  const table = crc32cTable();
  let state = ~seed;
  for (const byte of bytes) state = (state >>> 8) ^ table[(state ^ byte) & 0xff];
  return ~state >>> 0;
}

/** a * b modulo the CRC's polynomial, both reflected: bit 31 is x^0. */
function crcMultiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 31; bit >= 0; bit--) {
    if ((a >>> bit) & 1) product ^= b;
    b = b & 1 ? (b >>> 1) ^ CRC32C_POLYNOMIAL : b >>> 1;
  }
  return product >>> 0;
}

function crc32cCombine(a: number, b: number, lengthB: number): number {
  let shift = 0x80000000; // x^0
  let square = 0x00800000; // x^8: one byte
  for (let length = lengthB; length > 0; length = Math.floor(length / 2)) {
    if (length % 2 === 1) shift = crcMultiply(shift, square);
    square = crcMultiply(square, square);
  }
  return (crcMultiply(a, shift) ^ b) >>> 0;
}

export const typescriptKernels: Kernels = {
  variant: "typescript",
  addInto(target, source) {
    checkPair("addInto", 8, target, source);
    xorBytes(target, source);
  },
  multiplyInto(bits, target, source, coefficient) {
    if (!sameRange(target, source)) checkPair("multiplyInto", bits, target, source);
    checkLength("multiplyInto", bits, target.length);
    checkCoefficient("multiplyInto", bits, coefficient);
    multiplyWords(bits, target, source, coefficient, false);
  },
  multiplyAddInto(bits, target, source, coefficient) {
    checkPair("multiplyAddInto", bits, target, source);
    checkCoefficient("multiplyAddInto", bits, coefficient);
    multiplyWords(bits, target, source, coefficient, true);
  },
  encode(bits, coefficients, sources, targets) {
    checkEncode(bits, coefficients, sources, targets);
    targets.forEach((target, row) => {
      target.fill(0);
      sources.forEach((source, column) => multiplyWords(bits, target, source, coefficients[row * sources.length + column], true));
    });
  },
  encodeAsync(bits, coefficients, sources, targets) {
    return new Promise((resolve) => {
      this.encode(bits, coefficients, sources, targets);
      resolve();
    });
  },
  crc32c,
  crc32cCombine,
  crc32cPieces(bytes, pieceBytes, into) {
    if (!(pieceBytes >= 1)) throw new RangeError(`crc32cPieces: a piece of ${pieceBytes} bytes; it must be at least 1`);
    const pieces = Math.ceil(bytes.length / pieceBytes);
    if (into.length < pieces)
      throw new RangeError(`crc32cPieces: into holds ${into.length} checksums; ${pieces} pieces need as many`);
    for (let piece = 0; piece * pieceBytes < bytes.length; piece++) {
      into[piece] = crc32c(bytes.subarray(piece * pieceBytes, (piece + 1) * pieceBytes));
    }
  },
};
