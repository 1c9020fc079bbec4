// Arithmetic over buffers: finite fields and CRC32C. The variants compute the same bytes; which one runs is chosen once,
// at first use, by what the CPU and the operating system support, or by the environment variable CAIRN_KERNELS.
import { typescriptKernels } from "./reference.ts";

export type FieldBits = 8 | 16;
export const VARIANTS = ["gfni", "avx2", "ssse3", "portable", "typescript"] as const;
export type Variant = (typeof VARIANTS)[number];

/**
 * One variant of the kernels. Buffers of GF(2^8) are bytes; buffers of GF(2^16) are little-endian 16-bit words and have
 * even lengths; either may start anywhere. All buffers of a call are of one length. A target that overlaps another
 * buffer is refused (multiplyInto alone may work in place: the very same range), as is everything else that is wrong,
 * with a RangeError or TypeError naming the operation and before anything is written.
 */
export interface Kernels {
  readonly variant: Variant;
  /** target ^= source: addition in every field of characteristic 2. */
  addInto(target: Uint8Array, source: Uint8Array): void;
  /** target = coefficient * source. */
  multiplyInto(bits: FieldBits, target: Uint8Array, source: Uint8Array, coefficient: number): void;
  /** target += coefficient * source. */
  multiplyAddInto(bits: FieldBits, target: Uint8Array, source: Uint8Array, coefficient: number): void;
  /** targets[row] = sum over column of coefficients[row * sources.length + column] * sources[column], in one pass over the sources. */
  encode(bits: FieldBits, coefficients: Uint16Array, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): void;
  /** As encode; large jobs run off the main thread. The buffers must stay untouched until it resolves. */
  encodeAsync(
    bits: FieldBits,
    coefficients: Uint16Array,
    sources: readonly Uint8Array[],
    targets: readonly Uint8Array[],
  ): Promise<void>;
  /** CRC32C (RFC 3720) of the bytes; with the seed crc32c(a) the checksum of a followed by bytes. */
  crc32c(bytes: Uint8Array, seed?: number): number;
  /** The checksum of A followed by B from a = crc32c(A), b = crc32c(B) and B's length. */
  crc32cCombine(a: number, b: number, lengthB: number): number;
  /** into[i] = crc32c of the i-th piece of pieceBytes; the last may be shorter. into must hold them all. */
  crc32cPieces(bytes: Uint8Array, pieceBytes: number, into: Uint32Array): void;
}

let chosen: Kernels | undefined;

/** The kernels of this process. */
export function kernels(): Kernels {
  chosen ??= typescriptKernels;
  return chosen;
}

export function crc32c(bytes: Uint8Array, seed = 0): number {
  return kernels().crc32c(bytes, seed);
}

export function crc32cCombine(a: number, b: number, lengthB: number): number {
  return kernels().crc32cCombine(a, b, lengthB);
}

export function crc32cPieces(bytes: Uint8Array, pieceBytes: number, into: Uint32Array): void {
  kernels().crc32cPieces(bytes, pieceBytes, into);
}
