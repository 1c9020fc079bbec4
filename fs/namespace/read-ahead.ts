// How much is loaded along with a record that memory lacks. Inodes made together have numbers near each other and are
// used together (a tree that was unpacked, a directory that was filled), and a range of the table costs a third of as
// many single reads. So a miss a little above an earlier one loads what follows it as well, twice as much each time.

/** A miss this far above an earlier one, at most, goes on with it: files dealt out to 50 directories in turn are 50 apart. */
const NEAR = 256;
const FIRST_COUNT = 64;
/** Numbers whose records are loaded at once: some 3 ms. */
export const READ_AHEAD_MAX = 1024;
/** Walks that go on beside each other. */
const WALKS_MAX = 16;

interface Walk {
  /** The last miss. */
  at: number;
  /** How many numbers from there on were loaded. */
  count: number;
}

export class ReadAhead {
  readonly #walks: Walk[] = [];

  /** How many numbers from the missed one on are to be loaded: 1 where nothing tells of a walk. */
  missed(id: number): number {
    const walks = this.#walks;
    const index = walks.findIndex((walk) => id > walk.at && id <= walk.at + walk.count + NEAR);
    if (index < 0) {
      if (walks.length >= WALKS_MAX) walks.shift();
      walks.push({ at: id, count: 1 });
      return 1;
    }
    const [walk] = walks.splice(index, 1);
    walk.count = walk.count === 1 ? FIRST_COUNT : Math.min(walk.count * 2, READ_AHEAD_MAX);
    walk.at = id;
    walks.push(walk);
    return walk.count;
  }
}

/** The range that holds all the ids where a scan of it is cheaper than reading each, or null. */
export function denseRange(ids: readonly number[]): { first: number; count: number } | null {
  if (ids.length < 8) return null;
  let first = Infinity;
  let last = 0;
  for (const id of ids) {
    if (id < first) first = id;
    if (id > last) last = id;
  }
  const count = last - first + 1;
  return count <= ids.length * 3 ? { first, count } : null;
}
