// Finds RapidRAID coefficients for any (n, k), and proves by rank which sets of k blocks do not decode.
//
// Some sets decode with no coefficients at all, because of which parts their nodes have seen: the paper's natural
// dependencies. A determinant that is not the zero polynomial has degree at most k in the coefficients, so over GF(2^16)
// a random draw hits a zero of it with probability k / 65535 at most; a set that fails for all GENERIC_DRAWS draws is
// therefore natural, but for less than one chance in a million. Coefficients that fail for these sets alone cannot be beaten.
import { gf256, gf65536 } from "./field.ts";
import type { Field, Matrix } from "./field.ts";
import { rank, selectRows } from "./matrix.ts";
import { checkRapidRaidShape, rapidRaidMatrix } from "./rapidraid-layout.ts";
import type { RapidRaidCoefficients } from "./rapidraid-layout.ts";
import { seededRandom } from "./seeded-random.ts";
import type { SeededRandom } from "./seeded-random.ts";
import { binomial, randomSubset, subsets } from "./subsets.ts";

/** Up to this many sets of k of n blocks all are examined (about 5 s for each draw); of more, a sample of SAMPLED_SETS. */
export const EXAMINED_SETS_MAX = 200_000;
export const SAMPLED_SETS = 20_000;
/** Sets listed by number in a result; of more only the count is given. */
export const LISTED_SETS_MAX = 100;
const GENERIC_DRAWS = 4;
/** Draws tried in each field before the next larger one. Over GF(2^8) codes of a few hundred sets succeed within this, larger ones hardly ever. */
const DRAWS_MAX = { 8: 64, 16: 16 } as const;

export interface RapidRaidSearchOptions {
  /** The same seed finds the same coefficients. */
  readonly seed?: number;
  /** The fields to try, in this order; default: GF(2^8) where all sets are few, then GF(2^16). */
  readonly bits?: readonly (8 | 16)[];
}

export interface RapidRaidSearchResult {
  readonly coefficients: RapidRaidCoefficients;
  /** Sets of k blocks that do not decode, among those examined. */
  readonly undecodable: number;
  /** Those that no coefficients can decode, among those examined. */
  readonly natural: number;
  /** Sets of k of the n blocks. */
  readonly sets: number;
  readonly examined: number;
  /** True where only a sample was examined: the counts then are of the sample. */
  readonly sampled: boolean;
  /** The undecodable sets (block numbers), where at most LISTED_SETS_MAX. */
  readonly listed: readonly (readonly number[])[] | null;
  readonly draws: number;
}

/** Throws CodingError INVALID_SCHEME for numbers that make no code. Cost: sets examined times k^3, times draws. */
export function searchRapidRaid(
  dataBlocks: number,
  totalBlocks: number,
  options: RapidRaidSearchOptions = {},
): RapidRaidSearchResult {
  checkRapidRaidShape(dataBlocks, totalBlocks);
  const random = seededRandom(options.seed ?? 1);
  const sets = binomial(totalBlocks, dataBlocks);
  const examined = setsToExamine(dataBlocks, totalBlocks, random);
  const natural = naturalSets(dataBlocks, totalBlocks, examined, random);
  const fields = options.bits ?? (sets <= 1000 ? ([8, 16] as const) : ([16] as const));
  let best: { coefficients: RapidRaidCoefficients; failing: readonly (readonly number[])[] } | null = null;
  let draws = 0;
  for (const bits of fields) {
    for (let attempt = 0; attempt < DRAWS_MAX[bits] && best?.failing.length !== natural; attempt++) {
      draws++;
      const coefficients = drawCoefficients(dataBlocks, totalBlocks, bits, random);
      const failing = undecodableSets(coefficients, examined);
      if (!best || failing.length < best.failing.length) best = { coefficients, failing };
    }
  }
  if (!best) throw new RangeError("rapidraid search: no field was given; bits must name 8 or 16");
  const { coefficients, failing } = best;
  const counts = { undecodable: failing.length, natural, sets, examined: examined.length, sampled: examined.length < sets };
  return { coefficients, ...counts, listed: failing.length <= LISTED_SETS_MAX ? failing : null, draws };
}

/** The sets, of those given, of which the blocks do not determine the data. */
export function undecodableSets(
  coefficients: RapidRaidCoefficients,
  sets: readonly (readonly number[])[],
): readonly (readonly number[])[] {
  const field = coefficients.bits === 8 ? gf256 : gf65536;
  const matrix = rapidRaidMatrix(field, coefficients);
  return sets.filter((set) => !fullRank(field, matrix, set));
}

function fullRank(field: Field, matrix: Matrix, blocks: readonly number[]): boolean {
  return rank(field, selectRows(matrix, blocks)) === matrix.columns;
}

function setsToExamine(dataBlocks: number, totalBlocks: number, random: SeededRandom): readonly (readonly number[])[] {
  if (binomial(totalBlocks, dataBlocks) <= EXAMINED_SETS_MAX)
    return Array.from(subsets(totalBlocks, dataBlocks), (set) => [...set]);
  const drawn = Array.from({ length: SAMPLED_SETS }, () => randomSubset(totalBlocks, dataBlocks, random.below));
  return [...new Map(drawn.map((set) => [set.join(), set])).values()];
}

function naturalSets(
  dataBlocks: number,
  totalBlocks: number,
  sets: readonly (readonly number[])[],
  random: SeededRandom,
): number {
  let left = sets;
  for (let draw = 0; draw < GENERIC_DRAWS && left.length > 0; draw++) {
    left = undecodableSets(drawCoefficients(dataBlocks, totalBlocks, 16, random), left);
  }
  return left.length;
}

function drawCoefficients(dataBlocks: number, totalBlocks: number, bits: 8 | 16, random: SeededRandom): RapidRaidCoefficients {
  const draw = (length: number) => Array.from({ length }, () => 1 + random.below((1 << bits) - 1));
  return { dataBlocks, totalBlocks, bits, xi: draw(2 * dataBlocks), psi: draw(2 * dataBlocks - 1) };
}
