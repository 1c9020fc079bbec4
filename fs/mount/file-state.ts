// What the mount holds of one inode that is open, has unwritten data, or was used recently.

import { S_IFDIR, S_IFMT } from "../types.ts";
import type { Attributes, InodeId } from "../types.ts";
import type { ErrnoName } from "../errno.ts";
import type { LeaseMode } from "../messages.ts";
import type { StripeBuffer } from "./buffers.ts";
import type { FlushUnit } from "./flush-unit.ts";
import type { HeldPages } from "./page-locks.ts";
import { Pieces } from "./pieces.ts";

export class FileState {
  readonly inode: InodeId;
  /** As a program sees them: the namespace's, with what is only known here (size and times of unflushed writes) put over. */
  attributes: Attributes;
  /** What is not size and times may have changed: the namespace is to be asked before a program sees them. */
  attributesOld = false;
  /** The namespace's own size, as last heard. */
  committedSize: number;
  readonly pieces = new Pieces();
  lease: LeaseMode;
  /** It has no name, and no other mount knows it: what is not written yet is needed only as long as it is open here. */
  unreachable = false;
  /** Open handles. */
  handles = 0;
  writers = 0;
  /** The namespace was told that there are some (writers.ts). */
  toldWriting = false;
  /** Flush units that are not committed, oldest first. */
  readonly units: FlushUnit[] = [];
  /** The buffer that only this file writes to. */
  ownBuffer: StripeBuffer | null = null;
  /** Bytes in open buffers (upper bound: overwritten ones count until sealed). */
  openBytes = 0;
  /** Size differs from the namespace's and no unit says so yet. */
  sizeDirty = false;
  /** mtime and ctime were set by writes here. */
  timesDirty = false;
  accessTimeDirty = false;
  /** The last append ended with a page: the kernel may have cut one write(2) there and send the rest next, before anything else. */
  appendMayGoOn = false;
  readonly appendEnded: (() => void)[] = [];
  /** The kernel may have the last page in its cache, with zeros behind the end: a direct write there leaves them. */
  tailCached = true;
  /** The kernel was given the file's pages, and has them unless it needed the memory. */
  pagesGiven = false;
  /** The kernel may have pages of it: it was read, or whole pages were written, since a recall dropped them all. */
  filled = true;
  /** Writes of whole pages, which the kernel has filled, that wait for a lease or a recall. */
  waitingFills = 0;
  /** Writes that hold the lease and wait for something else before they place their bytes: it must not go meanwhile. */
  placing = 0;
  readonly placed: (() => void)[] = [];
  /** Goes up when everything not committed is thrown away. */
  dropCount = 0;
  /** Goes up when clean pieces are dropped: what was being asked for before is then old. */
  cleanGeneration = 0;
  /** A failed flush's error, until a program was told. */
  error: ErrnoName | null = null;
  /** A program's lock was lost with a session; told as EIO, once, whatever becomes of the data. */
  lockLost = false;
  /** The last write's end, to see sequential runs. */
  writeEnd = -1;
  writeRun = 0;
  /** Bytes of inline pieces, short ones counted as INLINE_RANGE_MIN_BYTES, for INLINE_FILE_MAX_BYTES. */
  inlineBytes = 0;
  /** Changes of the file that must not overlap (truncate, punch, copy, recall). */
  tail: Promise<void> | null = null;
  /** Set while the lease is being given up; resolves when it is. */
  recall: Promise<void> | null = null;
  /** Resolves it. */
  endRecall: () => void = () => {};
  /** Recalls that there were. */
  recalls = 0;
  /** Leases being asked for. */
  acquiring = 0;
  /** Pages that the kernel holds locked for requests which wait for a lease or for a recall (page-locks.ts). */
  readonly heldPages = new Set<HeldPages>();
  /** Goes up with each such request. */
  heldCount = 0;
  /** Truncations that wait for a lease: until they are answered, the kernel writes nothing back. */
  truncating = 0;
  /** A truncation to this size is on its way to the namespace: whether bytes behind it are still there is not known until it is done. */
  cut: { size: number; done: Promise<void> } | null = null;
  /** Truncations that made the file smaller. */
  cuts = 0;
  recallEndedMs = -Infinity;
  /** The size that the kernel has been told, or has made itself; and when it was told one that another mount had made. */
  kernelSize: number;
  /** Allocated bytes as programs were told while data was on its way: an estimate. -1: they were told the namespace's. */
  estimatedBytes = -1;
  sizeToldMs = -Infinity;
  /** Page reads being answered. */
  reads = 0;
  readsDone: (() => void)[] = [];

  constructor(attributes: Attributes, lease: LeaseMode) {
    this.inode = attributes.inode;
    this.attributes = { ...attributes };
    this.committedSize = attributes.size;
    this.kernelSize = attributes.size;
    this.lease = lease;
  }

  /** The write(2) whose part may have been cut off is over. */
  endAppend(): void {
    if (!this.appendMayGoOn) return;
    this.appendMayGoOn = false;
    for (const resolve of this.appendEnded.splice(0)) resolve();
  }

  endPlacing(): void {
    if (--this.placing === 0) for (const resolve of this.placed.splice(0)) resolve();
  }

  get dirty(): boolean {
    return this.openBytes > 0 || this.units.length > 0 || this.sizeDirty || this.timesDirty;
  }

  get isDirectory(): boolean {
    return (this.attributes.mode & S_IFMT) === S_IFDIR;
  }
}

/** Whether a recall, a change, a request that waits, or a read is under way in the file. */
export function goesOn(file: FileState): boolean {
  const changes = file.recall !== null || file.acquiring > 0 || file.tail !== null || file.placing > 0;
  return changes || file.reads > 0 || file.heldPages.size > 0;
}

/** The session is over: what it knew of the file is void, and what it had of it is lost. The caller has thrown away what lies in open buffers. */
export function forgetSession(file: FileState): void {
  // A recall that hangs is why sessions end. Under the next one nobody waits for it.
  file.recall = null;
  file.endRecall();
  file.pieces.clear();
  file.inlineBytes = 0;
  file.cleanGeneration++;
  file.dropCount++;
  file.attributes.size = file.committedSize;
  file.attributesOld = true;
  file.unreachable = false;
  file.sizeDirty = false;
  file.timesDirty = false;
  file.accessTimeDirty = false;
  file.pagesGiven = false;
  file.toldWriting = false;
  file.endAppend();
}

/** Takes the namespace's attributes, keeping what only this mount knows. Returns the merged ones. */
export function mergeAttributes(file: FileState, fresh: Attributes): Attributes {
  file.committedSize = fresh.size;
  file.attributes = mergedAttributes(file, fresh);
  file.attributesOld = false;
  return file.attributes;
}

/** The namespace's attributes with what only this mount knows put over. */
export function mergedAttributes(file: FileState, fresh: Attributes): Attributes {
  const own = file.attributes;
  const merged = { ...fresh };
  const pending = file.openBytes > 0 || file.units.length > 0;
  if (file.sizeDirty || pending) merged.size = Math.max(own.size, fresh.size);
  if (file.timesDirty) {
    merged.mtimeSeconds = own.mtimeSeconds;
    merged.mtimeNanoseconds = own.mtimeNanoseconds;
    if (later(own, fresh)) {
      merged.ctimeSeconds = own.ctimeSeconds;
      merged.ctimeNanoseconds = own.ctimeNanoseconds;
    }
  }
  if (file.accessTimeDirty) {
    merged.atimeSeconds = own.atimeSeconds;
    merged.atimeNanoseconds = own.atimeNanoseconds;
  }
  return merged;
}

function later(a: Attributes, b: Attributes): boolean {
  return a.ctimeSeconds > b.ctimeSeconds || (a.ctimeSeconds === b.ctimeSeconds && a.ctimeNanoseconds > b.ctimeNanoseconds);
}

/** Attributes as stat shows them: blocks of data that is still on its way are counted as if they were there. */
export function shownAttributes(file: FileState): Attributes {
  let uncommitted = file.openBytes;
  for (const unit of file.units) uncommitted += unit.files.size === 1 ? unit.bytes : 0;
  if (uncommitted === 0 && file.units.length === 0) return file.attributes;
  const room = Math.ceil(file.attributes.size / 4096) * 4096 - file.attributes.allocatedBytes;
  const extra = Math.max(0, Math.min(Math.ceil(Math.max(uncommitted, 512) / 4096) * 4096, room));
  file.estimatedBytes = file.attributes.allocatedBytes + extra;
  return { ...file.attributes, allocatedBytes: file.estimatedBytes };
}
