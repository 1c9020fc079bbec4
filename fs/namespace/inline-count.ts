// Where files have got data in the table lately (inline extents), so that it is moved to a stripe before it becomes much:
// a program that syncs after each small write leaves one after the other there. A note is a hint. What is forgotten, by a
// restart or because too many files are written so, stays where it is until the cleaner finds the file scattered.

import type { InodeId } from "../types.ts";

/** 8 or 16 bytes each. */
const NOTES_MAX = 64 * 1024;
/** What an extent's record costs at least. */
const COUNTED_MIN_BYTES = 1024;

interface Noted {
  bytes: number;
  offsets: number[];
}

export class InlineCount {
  readonly #limitBytes: number;
  readonly #files = new Map<InodeId, Noted>();
  #notes = 0;
  /** Called once when a file has got `limitBytes` since `take`, short extents counted as 1 KiB. Without it nothing is noted. */
  onFull: ((inode: InodeId) => void) | null = null;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** An extent of `length` bytes was put into the table. */
  note(inode: InodeId, offset: number, length: number): void {
    if (this.onFull === null) return;
    let file = this.#files.get(inode);
    if (file === undefined) this.#files.set(inode, (file = { bytes: 0, offsets: [] }));
    const before = file.bytes;
    file.bytes += Math.max(length, COUNTED_MIN_BYTES);
    file.offsets.push(offset);
    if (++this.#notes > NOTES_MAX) this.#forgetOldest();
    if (before < this.#limitBytes && file.bytes >= this.#limitBytes) this.onFull(inode);
  }

  /** Offsets in ascending order at which the file got inline extents since the last call. */
  take(inode: InodeId): number[] {
    const file = this.#files.get(inode);
    if (file === undefined) return [];
    this.#files.delete(inode);
    this.#notes -= file.offsets.length;
    return file.offsets.sort((a, b) => a - b);
  }

  #forgetOldest(): void {
    for (const inode of this.#files.keys()) {
      this.take(inode);
      return;
    }
  }
}
