// Numbers in runs: the first and the last of each, ascending. Requests are mostly answered in their order, so a few runs say
// what hundreds of numbers would: those cost a tenth of a make each time.

import { FsError } from "./errno.ts";

/** first, last, first, last ... */
export type NumberRuns = readonly number[];

export function runsOf(ascending: Iterable<number>): NumberRuns {
  const runs: number[] = [];
  let last = -1;
  for (const number of ascending) {
    if (number === last + 1 && runs.length > 0) runs[runs.length - 1] = number;
    else runs.push(number, number);
    last = number;
  }
  return runs;
}

export function inRuns(runs: NumberRuns, number: number): boolean {
  for (let at = 0; at < runs.length; at += 2) if (number <= runs[at + 1]) return number >= runs[at];
  return false;
}

/** How many numbers. EINVAL where another process sent what are no runs. */
export function countInRuns(runs: NumberRuns): number {
  let count = 0;
  let before = 0;
  for (let at = 0; at < runs.length; at += 2) {
    const [first, last] = [runs[at], runs[at + 1]];
    if (!(first > before && last >= first))
      throw new FsError("EINVAL", `numbers from ${first} to ${last} behind ${before}: runs ascend, with a first and a last each`);
    count += last - first + 1;
    before = last;
  }
  return count;
}
