// A bounded map for decoded records. What it forgets can be read again from the overlay or the table, so forgetting is
// always allowed.
//
// Two generations instead of a list in order of use: a hit in the young one costs one look-up and no bookkeeping (a
// Map kept in order of use costs a delete and a set on each hit). When the young one is full it becomes the old one,
// and what is still used moves over as it is hit.

export class Cache<Key, Value> {
  #young = new Map<Key, Value>();
  #old = new Map<Key, Value>();
  #youngBytes = 0;
  readonly #maximumBytes: number;
  /** While not 0, nothing is forgotten: for a call that needs more at once than the cache would keep. */
  holds = 0;
  readonly #bytesOf: (value: Value) => number;

  constructor(maximumBytes: number, bytesOf: (value: Value) => number) {
    this.#maximumBytes = maximumBytes / 2;
    this.#bytesOf = bytesOf;
  }

  get(key: Key): Value | undefined {
    const value = this.#young.get(key);
    if (value !== undefined) return value;
    const old = this.#old.get(key);
    if (old !== undefined) {
      this.#old.delete(key);
      this.set(key, old);
    }
    return old;
  }

  set(key: Key, value: Value): void {
    const replaced = this.#young.get(key);
    this.#young.set(key, value);
    this.grew(this.#bytesOf(value) - (replaced === undefined ? 0 : this.#bytesOf(replaced)));
  }

  /** A value that is there already takes this many bytes more (or fewer, below 0). */
  grew(bytes: number): void {
    this.#youngBytes += bytes;
    if (this.#youngBytes <= this.#maximumBytes || this.holds > 0) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngBytes = 0;
  }

  delete(key: Key): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }
}
