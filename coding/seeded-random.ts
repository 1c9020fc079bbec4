// Random numbers that a seed repeats exactly, for searches and samples whose result must be reproducible. Not for secrets.

export interface SeededRandom {
  /** A whole number 0..limit-1; limit at most 2^32. */
  below(limit: number): number;
}

/** The generator "mulberry32": a counter with a 32-bit mixing function over it. Its numbers never change, as searches are repeated by seed. */
export function seededRandom(seed: number): SeededRandom {
  let counter = seed >>> 0;
  return {
    below(limit) {
      counter = (counter + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(counter ^ (counter >>> 15), counter | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
    },
  };
}
