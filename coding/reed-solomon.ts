// `rs:k+m`: systematic Reed-Solomon over GF(2^8). Blocks 0..k-1 are the data, blocks k..k+m-1 the Cauchy matrix of
// matrix.ts times the data; any k blocks give back everything. Works on any ranges of blocks, the same range of each.
import { checkBlockNumbers, checkCount, checkOneLength, CodingError } from "./code.ts";
import type { Code } from "./code.ts";
import { gf256 } from "./field.ts";
import type { Field, Matrix } from "./field.ts";
import { cauchy, express, identity, selectRows, stack } from "./matrix.ts";

/** Elements of GF(2^8): each block has its own in the Cauchy matrix. */
export const REED_SOLOMON_BLOCKS_MAX = 256;
/** Decoding matrices kept by a code, least recently used ones given up first: at 255+1 blocks at most 20 MiB, at 11+5 at most 30 KiB. */
const CACHED_MATRICES_MAX = 256;
/** verify() computes parity in pieces of this size, which stay in the second-level cache. */
const VERIFY_PIECE_BYTES = 32 * 1024;

/** A job of the field: targets = matrix * sources. */
interface Job {
  matrix: Matrix;
  sources: readonly Uint8Array[];
  targets: readonly Uint8Array[];
}

/** A pattern of losses: the blocks used, the blocks missing, and the matrix that makes these out of those. */
interface Pattern {
  used: readonly number[];
  missing: readonly number[];
  matrix: Matrix;
}

export class ReedSolomon implements Code {
  readonly scheme: string;
  readonly dataBlocks: number;
  readonly totalBlocks: number;
  readonly systematic = true;
  readonly guaranteedLosses: number;
  readonly storageFactor: number;
  /** The parity rows: parity = parityMatrix * data. */
  readonly parityMatrix: Matrix;
  /** All rows: blocks = blockMatrix * data. */
  readonly blockMatrix: Matrix;
  readonly #field: Field;
  /** In the order of their last use. */
  readonly #decodingMatrices = new Map<string, Matrix>();
  /** What reconstruct used last. Most calls follow one with the same losses. */
  #last: Pattern = { used: [], missing: [], matrix: identity(0) };

  /** field: GF(2^8), with other kernels for tests and benchmarks. Throws CodingError INVALID_SCHEME for numbers that make no code. */
  constructor(dataBlocks: number, parityBlocks: number, field: Field = gf256) {
    this.scheme = `rs:${dataBlocks}+${parityBlocks}`;
    const valid = [dataBlocks, parityBlocks].every((count) => Number.isInteger(count) && count >= 1);
    if (!valid || dataBlocks + parityBlocks > REED_SOLOMON_BLOCKS_MAX) {
      throw new CodingError(
        "INVALID_SCHEME",
        `${this.scheme}: data and parity blocks must be at least 1 each and at most ${REED_SOLOMON_BLOCKS_MAX} together`,
      );
    }
    this.dataBlocks = dataBlocks;
    this.totalBlocks = dataBlocks + parityBlocks;
    this.guaranteedLosses = parityBlocks;
    this.storageFactor = this.totalBlocks / dataBlocks;
    this.#field = field;
    this.parityMatrix = cauchy(field, dataBlocks, parityBlocks);
    this.blockMatrix = stack(identity(dataBlocks), this.parityMatrix);
  }

  decodable(present: readonly number[]): boolean {
    checkBlockNumbers(this, present);
    return new Set(present).size >= this.dataBlocks;
  }

  /** Where decoding is needed, earlier blocks of `present` are preferred, so the caller may order them by nearness. */
  plan(present: readonly number[], wanted: readonly number[]): number[] | null {
    checkBlockNumbers(this, present);
    checkBlockNumbers(this, wanted);
    const there = new Set(present);
    const asked = new Set(wanted);
    const direct = [...asked].filter((block) => there.has(block));
    if (direct.length === asked.size && asked.size <= this.dataBlocks) return direct;
    if (there.size < this.dataBlocks) return null;
    const others = [...there].filter((block) => !asked.has(block));
    return [...direct, ...others].slice(0, this.dataBlocks);
  }

  encode(data: readonly Uint8Array[], into: readonly Uint8Array[]): void {
    this.#checkEncode(data, into);
    this.#field.encode(this.parityMatrix, data, into);
  }

  encodeAsync(data: readonly Uint8Array[], into: readonly Uint8Array[]): Promise<void> {
    this.#checkEncode(data, into);
    return this.#field.encodeAsync(this.parityMatrix, data, into);
  }

  #checkEncode(data: readonly Uint8Array[], into: readonly Uint8Array[]): void {
    checkCount(this.scheme, "data blocks", data.length, this.dataBlocks);
    checkCount(this.scheme, "parity blocks", into.length, this.guaranteedLosses);
  }

  /** Of more than k blocks present, the first k are read. */
  reconstruct(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void {
    const job = this.#repeated(present, wanted, into) ?? this.#prepare(present, wanted, into);
    if (job) this.#field.encode(job.matrix, job.sources, job.targets);
  }

  async reconstructAsync(
    present: ReadonlyMap<number, Uint8Array>,
    wanted: readonly number[],
    into: readonly Uint8Array[],
  ): Promise<void> {
    const job = this.#repeated(present, wanted, into) ?? this.#prepare(present, wanted, into);
    if (job) await this.#field.encodeAsync(job.matrix, job.sources, job.targets);
  }

  decode(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void {
    this.reconstruct(present, wanted, into);
  }

  /** blocks: all of them. Returns the numbers of the parity blocks that differ from what the data blocks give; none where all is well. Which block is the wrong one only its checksum tells. */
  verify(blocks: readonly Uint8Array[]): number[] {
    checkCount(this.scheme, "blocks", blocks.length, this.totalBlocks);
    checkOneLength(this.scheme, blocks);
    const differing = new Set<number>();
    const { length } = blocks[0];
    const scratch = Array.from({ length: this.guaranteedLosses }, () => new Uint8Array(Math.min(length, VERIFY_PIECE_BYTES)));
    for (let start = 0; start < length; start += VERIFY_PIECE_BYTES) {
      const pieces = blocks.map((block) => block.subarray(start, start + VERIFY_PIECE_BYTES));
      const parity = scratch.map((buffer) => buffer.subarray(0, pieces[0].length));
      this.encode(pieces.slice(0, this.dataBlocks), parity);
      parity.forEach((expected, row) => {
        if (Buffer.compare(expected, pieces[this.dataBlocks + row]) !== 0) differing.add(this.dataBlocks + row);
      });
    }
    return [...differing].sort((a, b) => a - b);
  }

  /** The job where exactly the blocks of the last one are present and missing again, else null. Takes 65 ns where #prepare takes 114 (rs:4+2), which counts for small blocks. */
  #repeated(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): Job | null {
    const { used, missing, matrix } = this.#last;
    const count = missing.length;
    if (count === 0 || wanted.length !== count || into.length !== count || present.size !== used.length) return null;
    const { length } = into[0];
    for (let index = 0; index < count; index++) {
      if (wanted[index] !== missing[index] || into[index].length !== length) return null;
    }
    const sources: Uint8Array[] = [];
    for (let index = 0; index < used.length; index++) {
      const bytes = present.get(used[index]);
      if (bytes === undefined || bytes.length !== length) return null;
      sources.push(bytes);
    }
    return { matrix, sources, targets: into };
  }

  /** Copies what is present, and returns how the rest is computed. Plain loops, and no list but those of buffers while the pattern of losses stays the same: small blocks are rebuilt within a microsecond. */
  #prepare(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): Job | null {
    checkCount(this.scheme, "buffers for wanted blocks", into.length, wanted.length);
    let length = into.length > 0 ? into[0].length : -1;
    let { used, missing, matrix } = this.#last;
    let same = true;
    const sources: Uint8Array[] = [];
    const buffers = present.values(); // beside the keys: pairs of both cost twice as much
    for (const block of present.keys()) {
      const bytes = buffers.next().value as Uint8Array;
      if (length < 0) length = bytes.length;
      if (!this.#isBlock(block) || bytes.length !== length) this.#refuse(present, wanted, into);
      if (sources.length === this.dataBlocks) continue;
      same &&= used[sources.length] === block;
      sources.push(bytes);
    }
    const targets: Uint8Array[] = [];
    for (let index = 0; index < wanted.length; index++) {
      if (!this.#isBlock(wanted[index]) || into[index].length !== length) this.#refuse(present, wanted, into);
      if (present.has(wanted[index])) continue;
      same &&= missing[targets.length] === wanted[index];
      targets.push(into[index]);
    }
    if (targets.length > 0 && sources.length < this.dataBlocks) throw this.#undecodable(present, wanted);
    if (targets.length < wanted.length) copyPresent(present, wanted, into);
    if (targets.length === 0) return null;
    if (!same || targets.length !== missing.length) {
      used = [...present.keys()].slice(0, this.dataBlocks);
      missing = wanted.filter((block) => !present.has(block));
      matrix = this.#decodingMatrix(used, missing);
      this.#last = { used, missing, matrix };
    }
    return { matrix, sources, targets };
  }

  #isBlock(block: number): boolean {
    return Number.isInteger(block) && block >= 0 && block < this.totalBlocks;
  }

  /** Says what is wrong with the arguments. */
  #refuse(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void {
    checkBlockNumbers(this, present.keys());
    checkBlockNumbers(this, wanted);
    checkOneLength(this.scheme, [...present.values(), ...into]);
  }

  #undecodable(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[]): CodingError {
    const missing = wanted.filter((block) => !present.has(block));
    const given = present.size === 0 ? "none" : [...present.keys()].join(", ");
    return new CodingError(
      "UNDECODABLE",
      `${this.scheme}: cannot reconstruct block ${missing.join(", ")}: ${present.size} other blocks were given (${given}); ${this.dataBlocks} are needed`,
    );
  }

  /** The matrix that makes the missing blocks out of the used ones. */
  #decodingMatrix(used: readonly number[], missing: readonly number[]): Matrix {
    const key = String.fromCharCode(...used, REED_SOLOMON_BLOCKS_MAX, ...missing); // quicker to make than decimal numbers
    let matrix = this.#decodingMatrices.get(key);
    if (matrix) {
      this.#decodingMatrices.delete(key);
    } else {
      matrix = express(this.#field, selectRows(this.blockMatrix, used), selectRows(this.blockMatrix, missing)) ?? undefined;
      if (!matrix)
        throw new Error(`${this.scheme}: blocks ${used.join()} do not give ${missing.join()}, which a Cauchy matrix rules out`);
      if (this.#decodingMatrices.size >= CACHED_MATRICES_MAX) {
        this.#decodingMatrices.delete(this.#decodingMatrices.keys().next().value as string);
      }
    }
    this.#decodingMatrices.set(key, matrix);
    return matrix;
  }
}

function copyPresent(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void {
  wanted.forEach((block, index) => {
    const bytes = present.get(block);
    if (bytes) into[index].set(bytes);
  });
}
