import { mulberry32 } from "../native/mulberry32.ts";

/** Numbers in [0, 1), the same ones for the same seed. Not for secrets. */
export type Random = () => number;

export function seededRandom(seed: number): Random {
  const next = mulberry32(seed);
  return () => next() / 4294967296;
}

/** An integer in [0, below). */
export function randomBelow(random: Random, below: number): number {
  return Math.floor(random() * below);
}
