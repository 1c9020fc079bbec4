// `rapidraid:k+m`: the code that a pipeline over two overlapped replicas computes (rapidraid-layout.ts). Not systematic:
// every block is a mixture of parts, so reading decodes, and repairing is a combination of surviving blocks. Almost any k
// blocks decode; which do not, the coefficients determine. Blocks over GF(2^16) have even lengths, as have ranges of them.
import { checkBlockNumbers, checkCount, checkOneLength, CodingError } from "./code.ts";
import type { Code } from "./code.ts";
import { gf256, gf65536 } from "./field.ts";
import type { Field, Matrix } from "./field.ts";
import { express, identity, independentRows, rank, selectRows, stack } from "./matrix.ts";
import { SHIPPED, shippedCoefficients } from "./rapidraid-coefficients.ts";
import { checkRapidRaidShape, rapidRaidMatrix } from "./rapidraid-layout.ts";
import type { RapidRaidCoefficients } from "./rapidraid-layout.ts";
import { smallestSpan } from "./span.ts";
import { binomial, subsets } from "./subsets.ts";

/** Plans and matrices kept by a code: at 64 blocks at most 2 MiB. */
const CACHED_PLANS_MAX = 256;
/** Sets examined at most to prove the guaranteed losses of coefficients that are not shipped. */
const PROVED_SETS_MAX = 200_000;

interface DecodingPlan {
  sources: readonly number[];
  /** wanted = matrix * sources. */
  matrix: Matrix;
}

export class RapidRaid implements Code {
  readonly scheme: string;
  readonly dataBlocks: number;
  readonly totalBlocks: number;
  readonly systematic = false;
  /** Proved by rank over all sets; where these are more than PROVED_SETS_MAX, as far as was proved. */
  readonly guaranteedLosses: number;
  readonly storageFactor: number;
  readonly coefficients: RapidRaidCoefficients;
  readonly field: Field;
  /** All rows: blocks = blockMatrix * parts. */
  readonly blockMatrix: Matrix;
  readonly #rowsAndParts: Matrix;
  readonly #plans = new Map<string, DecodingPlan | null>();

  constructor(coefficients: RapidRaidCoefficients & { readonly guaranteedLosses?: number }) {
    const { dataBlocks, totalBlocks, bits } = coefficients;
    this.scheme = `rapidraid:${dataBlocks}+${totalBlocks - dataBlocks}`;
    this.dataBlocks = dataBlocks;
    this.totalBlocks = totalBlocks;
    this.storageFactor = totalBlocks / dataBlocks;
    this.coefficients = coefficients;
    this.field = bits === 8 ? gf256 : gf65536;
    this.blockMatrix = rapidRaidMatrix(this.field, coefficients);
    this.#rowsAndParts = stack(this.blockMatrix, identity(dataBlocks));
    this.guaranteedLosses = coefficients.guaranteedLosses ?? this.#provedLosses();
  }

  decodable(present: readonly number[]): boolean {
    checkBlockNumbers(this, present);
    return rank(this.field, selectRows(this.blockMatrix, [...new Set(present)])) === this.dataBlocks;
  }

  /** Up to 16 blocks the fewest that do; of larger codes a set from which no block can be left out. Earlier blocks of `present` are preferred. */
  plan(present: readonly number[], wanted: readonly number[]): number[] | null {
    checkBlockNumbers(this, present);
    checkBlockNumbers(this, wanted);
    return this.#plan(present, wanted)?.sources.slice() ?? null;
  }

  /** As plan, for the data parts of these numbers 0..k-1: the blocks to read in order to decode them. */
  planParts(present: readonly number[], parts: readonly number[]): number[] | null {
    checkBlockNumbers(this, present);
    this.#checkParts(parts);
    return this.#plan(present, this.#partRows(parts))?.sources.slice() ?? null;
  }

  encode(data: readonly Uint8Array[], into: readonly Uint8Array[]): void {
    this.#checkEncode(data, into);
    this.field.encode(this.blockMatrix, data, into);
  }

  async encodeAsync(data: readonly Uint8Array[], into: readonly Uint8Array[]): Promise<void> {
    this.#checkEncode(data, into);
    await this.field.encodeAsync(this.blockMatrix, data, into);
  }

  reconstruct(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void {
    checkBlockNumbers(this, wanted);
    const { matrix, sources } = this.#prepare(present, wanted, wanted, into, "block");
    this.field.encode(matrix, sources, into);
  }

  async reconstructAsync(
    present: ReadonlyMap<number, Uint8Array>,
    wanted: readonly number[],
    into: readonly Uint8Array[],
  ): Promise<void> {
    checkBlockNumbers(this, wanted);
    const { matrix, sources } = this.#prepare(present, wanted, wanted, into, "block");
    await this.field.encodeAsync(matrix, sources, into);
  }

  decode(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void {
    this.#checkParts(wanted);
    const { matrix, sources } = this.#prepare(present, wanted, this.#partRows(wanted), into, "part");
    this.field.encode(matrix, sources, into);
  }

  #checkEncode(data: readonly Uint8Array[], into: readonly Uint8Array[]): void {
    checkCount(this.scheme, "data parts", data.length, this.dataBlocks);
    checkCount(this.scheme, "blocks", into.length, this.totalBlocks);
    this.#checkLengths([...data, ...into]);
  }

  #checkLengths(buffers: readonly Uint8Array[]): void {
    checkOneLength(this.scheme, buffers);
    const length = buffers.length > 0 ? buffers[0].length : 0;
    if (length % this.field.wordBytes === 0) return;
    throw new CodingError("INVALID_ARGUMENT", `${this.scheme}: blocks of ${length} bytes; over GF(2^16) a length must be even`);
  }

  #checkParts(parts: readonly number[]): void {
    const bad = parts.find((part) => !Number.isInteger(part) || part < 0 || part >= this.dataBlocks);
    if (bad === undefined) return;
    throw new CodingError("INVALID_ARGUMENT", `${this.scheme}: there is no part ${bad}; parts are 0..${this.dataBlocks - 1}`);
  }

  #partRows(parts: readonly number[]): number[] {
    return parts.map((part) => this.totalBlocks + part);
  }

  #prepare(
    present: ReadonlyMap<number, Uint8Array>,
    wanted: readonly number[],
    rows: readonly number[],
    into: readonly Uint8Array[],
    what: "block" | "part",
  ): { matrix: Matrix; sources: Uint8Array[] } {
    checkBlockNumbers(this, present.keys());
    checkCount(this.scheme, `buffers for wanted ${what}s`, into.length, wanted.length);
    this.#checkLengths([...present.values(), ...into]);
    const given = [...present.keys()];
    const plan = this.#plan(given, rows);
    if (plan) return { matrix: plan.matrix, sources: plan.sources.map((block) => present.get(block) as Uint8Array) };
    throw new CodingError(
      "UNDECODABLE",
      `${this.scheme}: cannot compute ${what} ${wanted.join(", ")} from ${given.length === 0 ? "no blocks" : `blocks ${given.join(", ")}`}: ` +
        `they have rank ${rank(this.field, selectRows(this.blockMatrix, given))}; ${this.dataBlocks} always suffices`,
    );
  }

  /** rows: of the block matrix, and after it of the identity. */
  #plan(present: readonly number[], rows: readonly number[]): DecodingPlan | null {
    const key = `${present.join()};${rows.join()}`;
    let plan = this.#plans.get(key);
    if (plan !== undefined) {
      this.#plans.delete(key);
    } else {
      plan = this.#makePlan([...new Set(present)], rows);
      if (this.#plans.size >= CACHED_PLANS_MAX) this.#plans.delete(this.#plans.keys().next().value as string);
    }
    this.#plans.set(key, plan);
    return plan;
  }

  #makePlan(present: readonly number[], rows: readonly number[]): DecodingPlan | null {
    const sources = smallestSpan(this.field, this.#rowsAndParts, present, rows);
    if (!sources) return null;
    const matrix = express(this.field, selectRows(this.blockMatrix, sources), selectRows(this.#rowsAndParts, rows));
    if (!matrix) throw new Error(`${this.scheme}: blocks ${sources.join()} were found to span ${rows.join()}, and do not`);
    return { sources, matrix };
  }

  #provedLosses(): number {
    let proved = 0;
    for (let losses = 1; losses <= this.totalBlocks - this.dataBlocks; losses++) {
      const survivors = this.totalBlocks - losses;
      if (binomial(this.totalBlocks, survivors) > PROVED_SETS_MAX) break;
      for (const set of subsets(this.totalBlocks, survivors)) {
        if (independentRows(this.field, selectRows(this.blockMatrix, set)).length < this.dataBlocks) return proved;
      }
      proved = losses;
    }
    return proved;
  }
}

/** The code with the shipped coefficients. Throws CodingError INVALID_SCHEME where none are shipped. */
export function rapidRaid(dataBlocks: number, parityBlocks: number): RapidRaid {
  checkRapidRaidShape(dataBlocks, dataBlocks + parityBlocks);
  const coefficients = shippedCoefficients(dataBlocks, dataBlocks + parityBlocks);
  if (coefficients) return new RapidRaid(coefficients);
  const available = SHIPPED.map((row) => `${row.dataBlocks}+${row.totalBlocks - row.dataBlocks}`);
  throw new CodingError(
    "INVALID_SCHEME",
    `rapidraid:${dataBlocks}+${parityBlocks}: no coefficients are shipped for it; there are some for ${available.join(", ")} ` +
      `(cairn code search rapidraid:${dataBlocks}+${parityBlocks} finds others)`,
  );
}
