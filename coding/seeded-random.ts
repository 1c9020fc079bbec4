// Random numbers that a seed repeats exactly, for searches and samples whose result must be reproducible. Not for secrets.

import { mulberry32 } from "../native/mulberry32.ts";

export interface SeededRandom {
  /** A whole number 0..limit-1; limit at most 2^32. */
  below(limit: number): number;
}

export function seededRandom(seed: number): SeededRandom {
  const next = mulberry32(seed);
  return { below: (limit) => Math.floor((next() / 2 ** 32) * limit) };
}
