// What the check remembers of every inode between its walks: 80 bytes each in typed arrays, where an object takes 300,
// so that checking a million inodes takes 80 MB. Inodes come in ascending order, as they lie in the table.

import { type InodeId, S_IFDIR, S_IFMT } from "../types.ts";
import type { Inode } from "./records.ts";

const ROWS = 4096;

/** One column a field; a row is an inode. */
class Rows {
  count = 0;
  readonly ids = new Float64Array(ROWS);
  readonly mode = new Uint32Array(ROWS);
  readonly linkCount = new Uint32Array(ROWS);
  readonly size = new Float64Array(ROWS);
  readonly allocatedBytes = new Float64Array(ROWS);
  readonly flags = new Uint8Array(ROWS);
  readonly parent = new Float64Array(ROWS);
  readonly extentEnd = new Float64Array(ROWS);
  /** Counted by the walks that follow. */
  readonly names = new Uint32Array(ROWS);
  readonly subdirectories = new Uint32Array(ROWS);
  readonly entryBytes = new Float64Array(ROWS);
  readonly extentBytes = new Float64Array(ROWS);
  readonly xattrs = new Uint32Array(ROWS);
  /** 1: on the list of unnamed inodes. */
  readonly unnamed = new Uint8Array(ROWS);
  /** Of a directory: whether the way up from it was followed (check-tree.ts). */
  readonly followed = new Uint8Array(ROWS);
}

/** An inode's place. */
export interface Seen {
  readonly rows: Rows;
  readonly row: number;
}

/** A large truncate under way. */
export interface SeenCut {
  readonly from: number;
  readonly to: number;
  listed: boolean;
}

/** What extents say of an inode that has no record. */
export interface LostInode {
  extents: number;
  bytes: number;
  end: number;
  names: number;
}

/** What names say of a directory that has no record. */
export interface LostDirectory {
  names: number;
  entryBytes: number;
  subdirectories: number;
  lastCookie: number;
  /** Where its own name is; null for none. */
  parent: InodeId | null;
}

/** Inodes without records that are looked at closely; more are too many to be mended one by one. */
const LOST_MAX = 10_000;

export class SeenInodes {
  readonly #parts: Rows[] = [];
  /** Large truncates under way are few. */
  readonly cuts = new Map<InodeId, SeenCut>();
  /** Those whose records cannot be read: they are not missing, and what belongs to them is nobody else's. */
  readonly damaged = new Set<InodeId>();
  readonly lost = new Map<InodeId, LostInode>();
  readonly lostDirectories = new Map<InodeId, LostDirectory>();
  count = 0;

  /** Ids must ascend. */
  add(inode: Inode, hasCut: boolean): void {
    let rows = this.#parts.at(-1);
    if (rows === undefined || rows.count === ROWS) this.#parts.push((rows = new Rows()));
    const row = rows.count++;
    this.count++;
    rows.ids[row] = inode.inode;
    rows.mode[row] = inode.mode;
    rows.linkCount[row] = inode.linkCount;
    rows.size[row] = inode.size;
    rows.allocatedBytes[row] = inode.allocatedBytes;
    rows.flags[row] = inode.flags;
    rows.parent[row] = inode.parent;
    rows.extentEnd[row] = inode.extentEnd;
    if (hasCut) this.cuts.set(inode.inode, { from: inode.cutFrom, to: inode.cutTo, listed: false });
  }

  /** An extent of an inode that has no record. False where there are too many of these. */
  addLost(id: InodeId, end: number, bytes: number): boolean {
    let lost = this.lost.get(id);
    if (lost === undefined) {
      if (this.lost.size >= LOST_MAX) return false;
      this.lost.set(id, (lost = { extents: 0, bytes: 0, end: 0, names: 0 }));
    }
    lost.extents++;
    lost.bytes += bytes;
    lost.end = Math.max(lost.end, end);
    return true;
  }

  /** A name in a directory that has no record. False where there are too many of these directories. */
  addLostName(directory: InodeId, nameBytes: number, cookie: number, isDirectory: boolean): boolean {
    let lost = this.lostDirectories.get(directory);
    if (lost === undefined) {
      if (this.lostDirectories.size >= LOST_MAX) return false;
      lost = { names: 0, entryBytes: 0, subdirectories: 0, lastCookie: 0, parent: null };
      this.lostDirectories.set(directory, lost);
    }
    lost.names++;
    lost.entryBytes += nameBytes;
    lost.lastCookie = Math.max(lost.lastCookie, cookie);
    if (isDirectory) lost.subdirectories++;
    return true;
  }

  /** O(log n). */
  find(id: InodeId): Seen | undefined {
    const parts = this.#parts;
    const part = lastAtMost(parts.length, (at) => parts[at].ids[0] <= id);
    if (part < 0) return undefined;
    const rows = parts[part];
    const row = lastAtMost(rows.count, (at) => rows.ids[at] <= id);
    return rows.ids[row] === id ? { rows, row } : undefined;
  }

  *all(): Generator<[InodeId, Seen]> {
    for (const rows of this.#parts) for (let row = 0; row < rows.count; row++) yield [rows.ids[row] as InodeId, { rows, row }];
  }
}

export function isDirectoryRow({ rows, row }: Seen): boolean {
  return (rows.mode[row] & S_IFMT) === S_IFDIR;
}

/** The last of 0..count-1 for which it holds, where it holds for a first part of them; -1 for none. */
function lastAtMost(count: number, holds: (at: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
