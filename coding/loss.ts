// Which losses a code survives, by count and by probability; what is said before anything is archived with it.
import type { Code } from "./code.ts";
import { seededRandom } from "./seeded-random.ts";
import { binomial, complement, randomSubset, subsets } from "./subsets.ts";

/** Up to this many sets of lost blocks all are examined; of more, a sample of SAMPLED_SETS. */
export const EXAMINED_LOSSES_MAX = 100_000;
const SAMPLED_SETS = 20_000;
/** Fatal sets listed by number; of more only the count is given. */
export const LISTED_FATAL_MAX = 100;

export interface LossCount {
  /** So many blocks lost. */
  readonly losses: number;
  /** Ways of losing so many. */
  readonly sets: number;
  /** Those of the examined ways after which the data is gone. */
  readonly undecodable: number;
  readonly examined: number;
  readonly sampled: boolean;
  /** The fatal sets (numbers of lost blocks), where all ways were examined and at most LISTED_FATAL_MAX are fatal. */
  readonly fatal: readonly (readonly number[])[] | null;
}

/** One row for each number of losses from 1 to m; losing more is always fatal. Cost: one decodable() for each set examined. */
export function lossCounts(code: Code): LossCount[] {
  const most = code.totalBlocks - code.dataBlocks;
  return Array.from({ length: most }, (_, index) => countLosses(code, index + 1));
}

function countLosses(code: Code, losses: number): LossCount {
  const sets = binomial(code.totalBlocks, losses);
  if (losses <= code.guaranteedLosses) return { losses, sets, undecodable: 0, examined: sets, sampled: false, fatal: [] };
  const isFatal = (lost: readonly number[]) => !code.decodable(complement(code.totalBlocks, lost));
  if (sets > EXAMINED_LOSSES_MAX) {
    const random = seededRandom(losses);
    let undecodable = 0;
    for (let drawn = 0; drawn < SAMPLED_SETS; drawn++)
      if (isFatal(randomSubset(code.totalBlocks, losses, random.below))) undecodable++;
    return { losses, sets, undecodable, examined: SAMPLED_SETS, sampled: true, fatal: null };
  }
  let undecodable = 0;
  const fatal: number[][] = [];
  for (const lost of subsets(code.totalBlocks, losses)) {
    if (!isFatal(lost)) continue;
    if (undecodable++ < LISTED_FATAL_MAX) fatal.push([...lost]);
  }
  return { losses, sets, undecodable, examined: sets, sampled: false, fatal: undecodable <= LISTED_FATAL_MAX ? fatal : null };
}

/** How probable it is that a stripe cannot be read while each block, independently, is unavailable with the given probability. counts: of lossCounts. */
export function lossProbability(code: Code, counts: readonly LossCount[], unavailability: number): number {
  const n = code.totalBlocks;
  let probability = 0;
  for (let losses = 1; losses <= n; losses++) {
    const count = counts.find((row) => row.losses === losses);
    const fatalShare = count ? count.undecodable / count.examined : 1;
    probability += fatalShare * binomial(n, losses) * unavailability ** losses * (1 - unavailability) ** (n - losses);
  }
  return probability;
}
