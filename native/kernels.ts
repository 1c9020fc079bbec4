// Arithmetic over buffers: finite fields and CRC32C. The variants compute the same bytes; which one runs is chosen once,
// at first use, by what the CPU and the operating system support, or by the environment variable CAIRN_KERNELS.
import { loadAddon } from "./load.ts";
import { typescriptKernels } from "./reference.ts";

export type FieldBits = 8 | 16;
export const VARIANTS = ["gfni", "avx2", "ssse3", "portable", "typescript"] as const;
export type Variant = (typeof VARIANTS)[number];

/**
 * One variant of the kernels. Buffers of GF(2^8) are bytes; buffers of GF(2^16) are little-endian 16-bit words and have
 * even lengths; either may start anywhere. All buffers of a call are of one length. A target that overlaps another
 * buffer is refused (multiplyInto alone may work in place: the very same range), as is everything else that is wrong,
 * with a RangeError or TypeError naming the operation and before anything is written. A job has at most 1024 buffers.
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

/** What the addon offers; the number is a variant's place in variantNames(), which has null for those this machine lacks. */
interface Addon {
  variantNames(): (Variant | null)[];
  encode(
    variant: number,
    bits: FieldBits,
    coefficients: Uint16Array,
    targetCount: number,
    ...targetsAndSources: readonly Uint8Array[]
  ): void;
  encodeAsync(
    variant: number,
    bits: FieldBits,
    coefficients: Uint16Array,
    targetCount: number,
    ...targetsAndSources: readonly Uint8Array[]
  ): Promise<void>;
  multiply(
    variant: number,
    bits: FieldBits,
    target: Uint8Array,
    source: Uint8Array,
    coefficient: number,
    accumulate: boolean,
  ): void;
  crc32c(variant: number, bytes: Uint8Array, seed: number): number;
  crc32cPieces(variant: number, bytes: Uint8Array, pieceBytes: number, into: Uint32Array): void;
  crc32cCombine(a: number, b: number, lengthB: number): number;
}

/** Jobs that read fewer bytes than this run at once: the hop to another thread and back costs some 12 us, in which a core codes about this much from its cache. */
export const ASYNC_FROM_SOURCE_BYTES = 512 * 1024;

function nativeKernels(addon: Addon, variant: Variant, number: number): Kernels {
  /** A list that is spread at the end of a call costs no copy, two lists do (measured: 15 to 40 ns of 220 to 380). */
  const encode: Kernels["encode"] = (bits, coefficients, sources, targets) => {
    if (targets.length === 1) addon.encode(number, bits, coefficients, 1, targets[0], ...sources);
    else if (targets.length === 2) addon.encode(number, bits, coefficients, 2, targets[0], targets[1], ...sources);
    else addon.encode(number, bits, coefficients, targets.length, ...targets, ...sources);
  };
  return {
    variant,
    addInto(target, source) {
      addon.multiply(number, 8, target, source, 1, true);
    },
    multiplyInto(bits, target, source, coefficient) {
      addon.multiply(number, bits, target, source, coefficient, false);
    },
    multiplyAddInto(bits, target, source, coefficient) {
      addon.multiply(number, bits, target, source, coefficient, true);
    },
    encode,
    async encodeAsync(bits, coefficients, sources, targets) {
      const sourceBytes = sources.length === 0 ? 0 : sources.length * sources[0].length;
      if (sourceBytes >= ASYNC_FROM_SOURCE_BYTES)
        return addon.encodeAsync(number, bits, coefficients, targets.length, ...targets, ...sources);
      encode(bits, coefficients, sources, targets);
    },
    crc32c(bytes, seed = 0) {
      return addon.crc32c(number, bytes, seed);
    },
    crc32cCombine: addon.crc32cCombine,
    crc32cPieces(bytes, pieceBytes, into) {
      addon.crc32cPieces(number, bytes, pieceBytes, into);
    },
  };
}

/** All variants that this machine can run, fastest first; `typescript` is the last. */
export function availableKernels(): Kernels[] {
  const addon = loadAddon<Addon>("kernels");
  const native = addon.variantNames().flatMap((variant, number) => (variant ? [nativeKernels(addon, variant, number)] : []));
  return [...native, typescriptKernels];
}

/** The variant of this name, or the fastest where it is undefined. Throws an error that names what can be had. */
export function selectKernels(name: string | undefined): Kernels {
  if (name === "typescript") return typescriptKernels; // works without the addon
  const available = availableKernels();
  const found = name === undefined || name === "" ? available[0] : available.find(({ variant }) => variant === name);
  if (found) return found;
  const known = (VARIANTS as readonly string[]).includes(name as string) ? "is not supported by this machine" : "is not known";
  throw new Error(
    `kernels: CAIRN_KERNELS=${name} ${known}; it must be one of: ${available.map(({ variant }) => variant).join(", ")}`,
  );
}

let chosen: Kernels | undefined;

/** The kernels of this process. */
export function kernels(): Kernels {
  chosen ??= selectKernels(process.env.CAIRN_KERNELS);
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
