// A bounded map for decoded records. What it forgets can be read again from the overlay or the table, so forgetting is
// always allowed.
//
// Generations instead of a list in order of use: a hit in the youngest one costs one look-up and no bookkeeping (a Map
// kept in order of use costs a delete and a set on each hit). A new one begins when the youngest has its share of the
// maximum. What is used moves there as it is hit; above the maximum the oldest one's entries go, a few at a time.

const GENERATIONS = 4;
/** Of the maximum. */
const FORGOTTEN_AT_ONCE = 1 / 64;

export class Cache<Key, Value> {
  #young = new Map<Key, Value>();
  /** The younger before the older. */
  readonly #older: Map<Key, Value>[] = [];
  #bytes = 0;
  /** What has come to the young generation. */
  #youngBytes = 0;
  readonly #maximumBytes: number;
  /** While not 0, nothing is forgotten: for a call that needs more at once than the cache would keep. */
  holds = 0;
  /** Not forgotten: what calls under way have asked for, and by how many of them. */
  readonly #pins = new Map<Key, number>();
  readonly #bytesOf: (value: Value) => number;

  /** `bytesOf` a value may only change along with `grew`. */
  constructor(maximumBytes: number, bytesOf: (value: Value) => number) {
    this.#maximumBytes = maximumBytes;
    this.#bytesOf = bytesOf;
  }

  get(key: Key): Value | undefined {
    const value = this.#young.get(key);
    if (value !== undefined) return value;
    for (const generation of this.#older) {
      const found = generation.get(key);
      if (found === undefined) continue;
      generation.delete(key);
      this.#young.set(key, found);
      this.#came(this.#bytesOf(found));
      return found;
    }
    return undefined;
  }

  set(key: Key, value: Value): void {
    const replaced = this.get(key);
    const before = replaced === undefined ? 0 : this.#bytesOf(replaced);
    this.#generationOf(key).set(key, value);
    this.grew(this.#bytesOf(value) - before);
  }

  /** Values that are there already take this many bytes more, or fewer, below 0. */
  grew(bytes: number): void {
    this.#bytes += bytes;
    this.#came(bytes);
    if (this.#bytes > this.#maximumBytes && this.holds === 0) this.#forget();
  }

  delete(key: Key): void {
    const generation = this.#generationOf(key);
    const value = generation.get(key);
    if (value === undefined) return;
    generation.delete(key);
    this.#bytes -= this.#bytesOf(value);
  }

  /** Until the same with -1, the key's value is not forgotten, once it is there. */
  pin(key: Key, difference: 1 | -1): void {
    const count = (this.#pins.get(key) ?? 0) + difference;
    if (count > 0) this.#pins.set(key, count);
    else this.#pins.delete(key);
    if (difference < 0 && this.#bytes > this.#maximumBytes && this.holds === 0) this.#forget();
  }

  get size(): number {
    return this.#older.reduce((sum, generation) => sum + generation.size, this.#young.size);
  }

  /** The one that has the key; the young one where none has. */
  #generationOf(key: Key): Map<Key, Value> {
    if (this.#young.has(key)) return this.#young;
    return this.#older.find((generation) => generation.has(key)) ?? this.#young;
  }

  #came(bytes: number): void {
    this.#youngBytes = Math.max(0, this.#youngBytes + bytes);
    if (this.#youngBytes > this.#maximumBytes / GENERATIONS) this.#begin();
  }

  /** A new generation. Of as many as there may be the last two become one. */
  #begin(): void {
    this.#older.unshift(this.#young);
    this.#young = new Map();
    this.#youngBytes = 0;
    if (this.#older.length <= GENERATIONS) return;
    const oldest = this.#older.pop()!;
    for (const [key, value] of this.#older.pop()!) oldest.set(key, value);
    this.#older.push(oldest);
  }

  /** Some more than necessary: a Map keeps the places of deleted entries for a while, and each walk from its beginning passes over them. */
  #forget(): void {
    const goal = this.#maximumBytes * (1 - FORGOTTEN_AT_ONCE);
    // Each generation once: where all that is left is pinned, it stays.
    for (let generations = this.#older.length; this.#bytes > goal; generations--) {
      if (generations === 0) {
        if (this.#young.size === 0) break;
        this.#begin();
      } else if (generations < 0) return;
      this.#forgetOf(this.#older.pop()!, goal);
    }
    // Nothing is kept: whatever was counted is gone.
    if (this.size === 0) this.#bytes = 0;
  }

  #forgetOf(oldest: Map<Key, Value>, goal: number): void {
    for (const [key, value] of oldest) {
      if (this.#bytes <= goal) break;
      oldest.delete(key);
      if (this.#pins.has(key)) this.#young.set(key, value);
      else this.#bytes -= this.#bytesOf(value);
    }
    if (oldest.size > 0) this.#older.push(oldest);
  }
}
