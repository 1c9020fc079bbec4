// Which sealed units go in one commit request, and the request that they make.

import type { Extent, FileCommit } from "../messages.ts";
import type { InodeId, StripeId } from "../types.ts";
import type { FileState } from "./file-state.ts";
import { commitBytes } from "./flush-unit.ts";
import type { FlushUnit, SealedRange } from "./flush-unit.ts";
import { COMMIT_BYTES_MAX, COMMIT_FILES_MAX, COMMIT_RANGES_MAX } from "./limits.ts";
import { Piece, Pieces, STRIPED } from "./pieces.ts";

export interface SentFile {
  file: FileState;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
}

/** Of the units, in the order of sealing, at most so many that may be committed now: none before an earlier one of one of its files, none of a file that is held back. One always fits (write-buffer.ts, invariant 3). */
export function chooseBatch(units: readonly FlushUnit[], unitsMax: number, heldBack: ReadonlySet<FileState>): FlushUnit[] {
  const batch: FlushUnit[] = [];
  const blocked = new Set(heldBack);
  let ranges = 0;
  let files = 0;
  let bytes = 0;
  for (const unit of units) {
    if (isFree(unit, blocked)) {
      ranges += unit.ranges;
      files += unit.files.size;
      bytes += commitBytes(unit);
      const fits = ranges <= COMMIT_RANGES_MAX && files <= COMMIT_FILES_MAX && bytes <= COMMIT_BYTES_MAX;
      if (batch.length > 0 && (!fits || batch.length >= unitsMax)) break;
      batch.push(unit);
    } else {
      for (const file of unit.files.keys()) blocked.add(file);
    }
  }
  return batch;
}

function isFree(unit: FlushUnit, blocked: ReadonlySet<FileState>): boolean {
  if (unit.stage !== "stored" || unit.error !== null) return false;
  if (blocked.size > 0) for (const file of unit.files.keys()) if (blocked.has(file)) return false;
  return true;
}

/** One FileCommit a file, of all its parts in the batch. */
export function gather(batch: readonly FlushUnit[]): { commits: FileCommit[]; versions: Map<InodeId, SentFile> } {
  const parts = new Map<FileState, { unit: FlushUnit; ranges: SealedRange[]; size: number }[]>();
  for (const unit of batch) {
    for (const [file, sealed] of unit.files) {
      if (sealed.dropCount !== file.dropCount) continue;
      const list = parts.get(file);
      if (list === undefined) parts.set(file, [{ unit, ranges: sealed.ranges, size: sealed.size }]);
      else list.push({ unit, ranges: sealed.ranges, size: sealed.size });
    }
  }
  const commits: FileCommit[] = [];
  const versions = new Map<InodeId, SentFile>();
  for (const [file, list] of parts) {
    const { mtimeSeconds, mtimeNanoseconds, ctimeSeconds, ctimeNanoseconds, atimeSeconds, atimeNanoseconds } = file.attributes;
    const commit: FileCommit = {
      inode: file.inode,
      extents: extentsOf(list),
      sizeAtLeast: Math.max(...list.map((part) => part.size)),
      // Without times of its own the data was written before a program set them: they stay.
      change: {},
    };
    if (file.timesDirty) {
      commit.change = {
        mtime: { seconds: mtimeSeconds, nanoseconds: mtimeNanoseconds },
        ctime: { seconds: ctimeSeconds, nanoseconds: ctimeNanoseconds },
      };
    }
    if (file.accessTimeDirty) {
      commit.change = { ...commit.change, atime: { seconds: atimeSeconds, nanoseconds: atimeNanoseconds } };
      file.accessTimeDirty = false;
    }
    commits.push(commit);
    versions.set(file.inode, { file, mtimeSeconds, mtimeNanoseconds });
  }
  return { commits, versions };
}

function extentsOf(parts: readonly { unit: FlushUnit; ranges: SealedRange[] }[]): Extent[] {
  if (parts.length === 1) return parts[0].ranges.map((range) => extentOf(parts[0].unit, range));
  // Later parts win where they overlap: let an ordered list of pieces work that out.
  const pieces = new Pieces();
  for (const { unit, ranges } of parts) {
    for (const range of ranges) {
      const end = range.start + range.length;
      pieces.put(
        new Piece(range.start, end, STRIPED, range.inline ?? unit.stripe, range.inline === null ? range.sourceOffset : 0, unit),
      );
    }
  }
  return pieces.all().map((piece) => {
    const inline = piece.source instanceof Uint8Array ? piece.source : null;
    const length = piece.end - piece.start;
    const bytes = inline === null ? null : inline.subarray(piece.sourceOffset, piece.sourceOffset + length);
    return extentOf(piece.unit!, { start: piece.start, length, sourceOffset: piece.sourceOffset, inline: bytes });
  });
}

function extentOf(unit: FlushUnit, range: SealedRange): Extent {
  if (range.inline !== null) return { offset: range.start, length: range.length, inline: range.inline };
  return { offset: range.start, length: range.length, stripe: unit.stripe!.id as StripeId, stripeOffset: range.sourceOffset };
}
