// What a stage's registers hold and how they are computed: bytes through the kernels, or only lengths, where a model runs
// programs whose bytes do not matter.
import { gf256, gf65536 } from "./field.ts";

/** A piece of a stream. Its length is in bytes. */
export interface Piece {
  readonly length: number;
}

/** All pieces of one call have one length and are different ones. */
export interface Arithmetic<P extends Piece> {
  /** A piece with any content. */
  allocate(length: number): P;
  /** target = source. */
  copy(target: P, source: P): void;
  /** target += source. */
  add(target: P, source: P): void;
  /** target = coefficient * source over GF(2^bits); target and source may be the same. */
  multiply(bits: 8 | 16, target: P, coefficient: number, source: P): void;
  /** target += coefficient * source. */
  multiplyAdd(bits: 8 | 16, target: P, coefficient: number, source: P): void;
}

const fieldOf = (bits: 8 | 16) => (bits === 8 ? gf256 : gf65536);

export const byteArithmetic: Arithmetic<Uint8Array> = {
  allocate: (length) => new Uint8Array(length),
  copy: (target, source) => target.set(source),
  add: (target, source) => gf256.addInto(target, source),
  multiply: (bits, target, coefficient, source) => fieldOf(bits).multiplyInto(target, source, coefficient),
  multiplyAdd: (bits, target, coefficient, source) => fieldOf(bits).multiplyAddInto(target, source, coefficient),
};

/** Pieces without bytes. */
export const symbolicArithmetic: Arithmetic<Piece> = {
  allocate: (length) => ({ length }),
  copy: () => undefined,
  add: () => undefined,
  multiply: () => undefined,
  multiplyAdd: () => undefined,
};
