// The generator "mulberry32": a counter with a 32-bit mixing function over it. Not for secrets. It is here because every
// other part may use what is in native/. Its numbers never change: searches and tests are repeated by seed.

/** Whole numbers 0..2^32-1, the same ones for the same seed. */
export function mulberry32(seed: number): () => number {
  let counter = seed >>> 0;
  return () => {
    counter = (counter + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(counter ^ (counter >>> 15), counter | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}
