// Choosing some of n things: what counting losses and proving a code by rank are made of.

/** Every set of `size` of the numbers 0..count-1, in lexicographic order. The array yielded is the same one each time; copy what is kept. */
export function* subsets(count: number, size: number): Generator<readonly number[]> {
  if (size > count) return;
  const chosen = Array.from({ length: size }, (_, index) => index);
  for (;;) {
    yield chosen;
    let place = size - 1;
    while (place >= 0 && chosen[place] === count - size + place) place--;
    if (place < 0) return;
    chosen[place]++;
    for (let next = place + 1; next < size; next++) chosen[next] = chosen[next - 1] + 1;
  }
}

/** How many sets of `size` there are among `count` things. Exact up to 2^53, above it good to 15 digits. */
export function binomial(count: number, size: number): number {
  if (size < 0 || size > count) return 0;
  let result = 1;
  for (let index = 1; index <= Math.min(size, count - size); index++) {
    result = (result * (count - Math.min(size, count - size) + index)) / index;
  }
  return result < Number.MAX_SAFE_INTEGER ? Math.round(result) : result;
}

/** The numbers 0..count-1 that are not in `chosen`, ascending. */
export function complement(count: number, chosen: readonly number[]): number[] {
  const set = new Set(chosen);
  return Array.from({ length: count }, (_, index) => index).filter((index) => !set.has(index));
}

/** `size` different numbers of 0..count-1, ascending, each set as likely as any other. */
export function randomSubset(count: number, size: number, below: (limit: number) => number): number[] {
  const chosen = new Set<number>();
  // Floyd's sampling: one draw for each number kept.
  for (let limit = count - size + 1; limit <= count; limit++) {
    const drawn = below(limit);
    chosen.add(chosen.has(drawn) ? limit - 1 : drawn);
  }
  return [...chosen].sort((a, b) => a - b);
}
