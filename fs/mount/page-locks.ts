// Pages that the kernel keeps locked, or may keep locked, until we answer a request that itself waits: for a lease, or
// for the end of a recall. Dropping such a page waits for the answer, so a recall must not wait for it; nor has it to:
//
// 1. A page of a READ has nothing in it before the answer, which comes under the next lease.
// 2. Of a WRITE's pages only those that it does not cover stay locked, and only if they have nothing in them that a
//    program could read (fs/fuse/file.c, fuse_fill_write_pages: a page that is up to date is unlocked at once).
// 3. Pages of the kernel's own writeback hold what a program wrote into its mapping: they are dropped once it is taken.
// 4. A READ of a direct file holds pages only if it is for a mapping of the file.

import type { FileState } from "./file-state.ts";

const PAGE_BYTES = 4096;

/** Whole pages, bytes [start, end). */
export interface PageRange {
  start: number;
  end: number;
}

export interface HeldPages extends PageRange {
  /** Locked for certain, or found to be. Otherwise locked only if there is nothing old in it. */
  certain: boolean;
  /** Being dropped. Asked for once at a time: where it is locked, that lasts until the answer and occupies a thread. */
  dropping: Promise<void> | null;
}

/** The pages of a READ, or of the kernel's writeback. Pass the result to releasePages before the answer. */
export function holdPages(file: FileState, offset: number, length: number, certain: boolean): HeldPages[] {
  return hold(file, [{ start: floor(offset), end: floor(offset + length + PAGE_BYTES - 1), certain, dropping: null }]);
}

/** Whether the range has a whole page: the kernel has the bytes of a WRITE of it in its cache. */
export function fillsPage(offset: number, length: number): boolean {
  return floor(offset + PAGE_BYTES - 1) < floor(offset + length);
}

/** The pages that a WRITE from the page cache covers in part: the first and the last. */
export function holdEdges(file: FileState, offset: number, length: number): HeldPages[] {
  const end = offset + length;
  const starts = new Set<number>();
  if (offset % PAGE_BYTES !== 0) starts.add(floor(offset));
  if (end % PAGE_BYTES !== 0) starts.add(floor(end));
  return hold(
    file,
    [...starts].map((start) => ({ start, end: start + PAGE_BYTES, certain: false, dropping: null })),
  );
}

function hold(file: FileState, held: HeldPages[]): HeldPages[] {
  for (const range of held) file.heldPages.add(range);
  file.heldCount++;
  return held;
}

export function releasePages(file: FileState, held: readonly HeldPages[]): void {
  for (const range of held) file.heldPages.delete(range);
}

/** What of [start, end) nobody holds, in order. `end` may be Infinity. */
export function unheld(file: FileState, start: number, end: number): PageRange[] {
  const free: PageRange[] = [];
  let from = floor(start);
  for (const held of [...file.heldPages].sort((a, b) => a.start - b.start)) {
    if (held.start >= end) break;
    if (held.start > from) free.push({ start: from, end: held.start });
    from = Math.max(from, held.end);
  }
  if (from < end) free.push({ start: from, end });
  return free;
}

/** What in [start, end) may be locked, and may as well be there with old bytes. */
export function doubtful(file: FileState, start: number, end: number): HeldPages[] {
  const held = [...file.heldPages].filter((range) => range.start < end && range.end > start);
  const certain = held.filter((range) => range.certain);
  return held.filter((range) => !range.certain && !certain.some((other) => other.start <= range.start && other.end >= range.end));
}

function floor(offset: number): number {
  return offset - (offset % PAGE_BYTES);
}
