// The part of the check about the tree of directories as a whole: from each there is a way up to the root.

import { type InodeId, ROOT_INODE } from "../types.ts";
import { isDirectoryRow, type Seen, type SeenInodes } from "./check-inodes.ts";

const UNDER_WAY = 1;
const DONE = 2;

/** Directories that lie, by way of others, within themselves: no path leads to them. Ways that end at one without a name are no loop. */
export function* findLoops(inodes: SeenInodes): Generator<{ inode: InodeId; text: string }> {
  for (const [id, seen] of inodes.all()) {
    if (!isDirectoryRow(seen) || seen.rows.followed[seen.row] !== 0) continue;
    const way: Seen[] = [];
    let at = id;
    let here: Seen | undefined = seen;
    while (here !== undefined && here.rows.followed[here.row] === 0) {
      here.rows.followed[here.row] = UNDER_WAY;
      way.push(here);
      if (at === ROOT_INODE || here.rows.names[here.row] === 0) break;
      at = here.rows.parent[here.row] as InodeId;
      here = inodes.find(at);
      if (here?.rows.followed[here.row] === UNDER_WAY)
        yield { inode: at, text: `directory ${at} lies within itself: no path leads to it` };
    }
    for (const { rows, row } of way) rows.followed[row] = DONE;
  }
}
