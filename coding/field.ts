// The finite fields of the codes, GF(2^8) and GF(2^16): arithmetic on single elements (tables; for matrices), and on
// whole buffers (kernels; for data). Elements are the numbers 0..order-1, whose bits are a polynomial's coefficients.
// A buffer over GF(2^16) is a sequence of little-endian 16-bit words and so has an even length.
import { kernels } from "../native/kernels.ts";
import type { FieldBits, Kernels } from "../native/kernels.ts";
import { fieldTables, POLYNOMIALS } from "../native/reference.ts";

/** A rectangle of field elements, row by row: element (row, column) is values[row * columns + column]. Its algebra is in matrix.ts. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly values: Uint16Array;
}

export interface Field {
  readonly bits: FieldBits;
  /** Number of elements: 2^bits. */
  readonly order: number;
  readonly wordBytes: 1 | 2;
  /** The reduction polynomial, its highest bit included. */
  readonly polynomial: number;
  /** Addition, which is also subtraction. */
  add(a: number, b: number): number;
  multiply(a: number, b: number): number;
  /** Throws RangeError for b = 0. */
  divide(a: number, b: number): number;
  /** Throws RangeError for 0. */
  inverse(a: number): number;
  /** x^power; power may be any integer. x (the number 2) generates all nonzero elements. */
  exp(power: number): number;
  /** The power of x that a is, 0..order-2. Throws RangeError for 0. */
  log(a: number): number;

  // On buffers, all of one length. Overlapping ones are refused, but for multiplyInto on the very same range.
  /** target += source. */
  addInto(target: Uint8Array, source: Uint8Array): void;
  /** target = coefficient * source. */
  multiplyInto(target: Uint8Array, source: Uint8Array, coefficient: number): void;
  /** target += coefficient * source. */
  multiplyAddInto(target: Uint8Array, source: Uint8Array, coefficient: number): void;
  /** targets = matrix * sources, in one pass over the sources: matrix.rows targets, matrix.columns sources. Overwrites the targets. */
  encode(matrix: Matrix, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): void;
  /** As encode, off the main thread where the job is large enough to be worth the hop. Buffers must stay untouched until it resolves. */
  encodeAsync(matrix: Matrix, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): Promise<void>;
}

class BinaryField implements Field {
  readonly bits: FieldBits;
  readonly order: number;
  readonly wordBytes: 1 | 2;
  readonly polynomial: number;
  readonly #exp: Uint16Array;
  readonly #log: Uint16Array;
  readonly #kernels: () => Kernels;

  constructor(bits: FieldBits, chooseKernels: () => Kernels) {
    this.bits = bits;
    this.order = 1 << bits;
    this.wordBytes = bits === 8 ? 1 : 2;
    this.polynomial = POLYNOMIALS[bits];
    const { exp, log } = fieldTables(bits);
    this.#exp = exp;
    this.#log = log;
    this.#kernels = chooseKernels;
  }

  add(a: number, b: number): number {
    return a ^ b;
  }

  multiply(a: number, b: number): number {
    return a === 0 || b === 0 ? 0 : this.#exp[this.#log[a] + this.#log[b]];
  }

  divide(a: number, b: number): number {
    return this.multiply(a, this.inverse(b));
  }

  inverse(a: number): number {
    return this.#exp[this.order - 1 - this.log(a)];
  }

  exp(power: number): number {
    const group = this.order - 1;
    return this.#exp[((power % group) + group) % group];
  }

  log(a: number): number {
    if (a === 0) throw new RangeError(`GF(2^${this.bits}): 0 has no inverse and no logarithm`);
    return this.#log[a];
  }

  addInto(target: Uint8Array, source: Uint8Array): void {
    this.#kernels().addInto(target, source);
  }

  multiplyInto(target: Uint8Array, source: Uint8Array, coefficient: number): void {
    this.#kernels().multiplyInto(this.bits, target, source, coefficient);
  }

  multiplyAddInto(target: Uint8Array, source: Uint8Array, coefficient: number): void {
    this.#kernels().multiplyAddInto(this.bits, target, source, coefficient);
  }

  encode(matrix: Matrix, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): void {
    checkShape(matrix, sources, targets);
    this.#kernels().encode(this.bits, matrix.values, sources, targets);
  }

  encodeAsync(matrix: Matrix, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): Promise<void> {
    checkShape(matrix, sources, targets);
    return this.#kernels().encodeAsync(this.bits, matrix.values, sources, targets);
  }
}

function checkShape(matrix: Matrix, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): void {
  if (matrix.columns === sources.length && matrix.rows === targets.length) return;
  throw new RangeError(
    `encode: a matrix of ${matrix.rows} x ${matrix.columns} was given ${sources.length} sources and ${targets.length} targets; it needs ${matrix.columns} and ${matrix.rows}`,
  );
}

/** A field whose buffers are computed by certain kernels; for tests and benchmarks. */
export function fieldWith(bits: FieldBits, chooseKernels: () => Kernels): Field {
  return new BinaryField(bits, chooseKernels);
}

/** GF(2^8), polynomial 0x11D. */
export const gf256: Field = fieldWith(8, kernels);
/** GF(2^16), polynomial 0x1100B. */
export const gf65536: Field = fieldWith(16, kernels);
