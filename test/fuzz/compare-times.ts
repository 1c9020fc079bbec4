// Times cannot be equal on two filesystems, but what moves them must be the same: between two looks at a file, mtime and ctime
// either stay or move, on both.

import type { Replies } from "./twin.ts";

interface Looked {
  store: string[];
  reference: string[];
}

/** By path: what the last look gave. */
export type KnownTimes = Map<string, Looked>;

function relation(before: string, after: string): string {
  return before === after ? "stays" : BigInt(before.replace(".", "")) < BigInt(after.replace(".", "")) ? "moves on" : "goes back";
}

/** Replies are inode, mtime, ctime; compares them with the look before. Returns what differs, or null. */
export function compareTimes(known: KnownTimes, path: string, { store, reference }: Replies): string | null {
  const before = known.get(path);
  known.delete(path);
  if (store.length !== 3 || reference.length !== 3)
    return store.join(" ") === reference.join(" ") ? null : `gave ${store.join(" ")}, ext4 gave ${reference.join(" ")}`;
  known.set(path, { store, reference });
  if (!before || before.store[0] !== store[0] || before.reference[0] !== reference[0]) return null;
  for (const [index, name] of [
    [1, "mtime"],
    [2, "ctime"],
  ] as const) {
    const [here, there] = [relation(before.store[index], store[index]), relation(before.reference[index], reference[index])];
    if (here !== there) return `${name} ${here} (${before.store[index]} to ${store[index]}), on ext4 it ${there}`;
  }
  return null;
}
