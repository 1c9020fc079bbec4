// What memory has of a directory's names.

import type { ByteString } from "../types.ts";
import type { NameEntry } from "./records.ts";

/** Iterators kept for listings that go on. */
const CURSORS_MAX = 16;

/** A part of a directory's listing that is too large to be kept whole; true until a name of the directory changes. */
export interface Page {
  readonly after: number;
  readonly limit: number;
  readonly entries: readonly NamedEntry[];
}

export interface NamedEntry {
  readonly name: ByteString;
  readonly entry: NameEntry;
}

/** What is known of a directory's names. `complete`: what is not in `names` does not exist, and their order is that of the cookies. */
export class Directory {
  readonly names = new Map<ByteString, NameEntry | null>();
  complete: boolean;
  /** The part listed last, until a name changes: an attempt that had to wait for attributes asks for it again. */
  lastListed: Page | null = null;
  /** Where listings stopped: cookie -> an iterator that goes on after it. */
  readonly cursors = new Map<number, IterableIterator<[ByteString, NameEntry | null]>>();

  constructor(complete: boolean) {
    this.complete = complete;
  }

  keepCursor(cookie: number, cursor: IterableIterator<[ByteString, NameEntry | null]>): void {
    if (this.cursors.size >= CURSORS_MAX) this.cursors.delete(this.cursors.keys().next().value!);
    this.cursors.set(cookie, cursor);
  }
}
