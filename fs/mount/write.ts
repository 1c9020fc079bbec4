// Writing: into the write buffer, under an exclusive lease. Usually answered at once.

import { FsError } from "../errno.ts";
import { FILE_MAX_BYTES } from "../types.ts";
import { timeStamp } from "../clock.ts";
import { acquire, call, flushFile, throwKeptError } from "./core.ts";
import type { Core } from "./core.ts";
import { learnExtents } from "./extents.ts";
import type { FileState } from "./file-state.ts";
import type { Caller, Result } from "./handlers.ts";
import { lostByData } from "./set-id.ts";
import { dropPrivileges } from "./attributes.ts";
import type { FileHandle } from "./handles.ts";
import { dropWritten } from "./coherence.ts";
import { RECALL_FRESH_MS, ROOM_ROUNDS_MAX, TAIL_ROUNDS_MAX } from "./limits.ts";
import { fillsPage, holdEdges, holdPages, releasePages } from "./page-locks.ts";
import type { HeldPages } from "./page-locks.ts";
import { UNWRITTEN } from "./pieces.ts";
import { MAX_PAGES } from "./protocol-init.ts";

export const O_APPEND = 0o2000;
export const O_TRUNC = 0o1000;
export const O_DIRECT = 0o40000;
const O_DSYNC = 0o10000;
/** Linux ends a WRITE from its page cache with the first page that it does not have whole (fs/fuse/file.c, fuse_fill_write_pages). */
const PAGE_BYTES = 4096;
/** A direct WRITE has up to MAX_PAGES pages of the program's memory, the first and last perhaps in part: this much is never cut. */
const DIRECT_UNCUT_BYTES = (MAX_PAGES - 1) * PAGE_BYTES;

export interface WriteRequest {
  handle: FileHandle;
  /** The session (marks.ts) that the mount had when the request came. */
  session: number;
  offset: number;
  data: Uint8Array;
  flags: number;
  caller: Caller;
  killSetId: boolean;
  fromCache: boolean;
}

export function writeFile(core: Core, request: WriteRequest): Result<number> {
  const { file } = request.handle;
  if (request.data.length === 0) return 0;
  if (request.offset + request.data.length > FILE_MAX_BYTES) throw tooBig(file);
  if (file.error !== null || file.lockLost) throwKeptError(core, file);
  // What cannot go on its way is not taken: while attempts fail, nothing makes room.
  if (core.flusher.crowded && core.flusher.failure !== null) throw core.flusher.failure;
  // While the lease is being given up, the kernel's own writeback must still get in: the recall waits for its pages.
  const mayWrite = file.lease === "exclusive" && (file.recall === null || request.fromCache);
  const waits = !mayWrite || (file.tail !== null && file.recall === null) || losesPrivileges(file, request);
  if (waits || late(core, request) || misplaced(request) || !hasRoom(core, request)) return prepareAndWrite(core, request);
  return writeOwned(core, request);
}

/** An append whose place the kernel did not know: it has filled its pages as if the file ended where it last heard. */
function misplaced({ handle, offset, flags, fromCache }: WriteRequest): boolean {
  return (flags & O_APPEND) !== 0 && !handle.direct && !fromCache && offset !== handle.file.attributes.size;
}

/** The kernel puts a write's bytes into its pages before it sends them: so soon after a recall, they may have been dropped and read back as they were. */
function late(core: Core, { handle, fromCache }: WriteRequest): boolean {
  if (handle.direct || fromCache) return false;
  const sinceMs = core.clock.nowMs() - handle.file.recallEndedMs;
  return sinceMs >= 0 && sinceMs < RECALL_FRESH_MS;
}

function tooBig(file: FileState): FsError {
  return new FsError("EFBIG", `inode ${file.inode}: files end at ${FILE_MAX_BYTES} bytes`);
}

/** The writer may not keep the file's set-id bits, or it has capabilities; or that is not known any more. */
function losesPrivileges(file: FileState, { caller, killSetId, fromCache }: WriteRequest): boolean {
  return !fromCache && (file.attributesOld || lostByData(caller, file.attributes, killSetId) !== null);
}

async function prepareAndWrite(core: Core, request: WriteRequest): Promise<number> {
  const { file, direct } = request.handle;
  const { offset, data, fromCache } = request;
  let held: HeldPages[] = [];
  if (fromCache) held = holdPages(file, offset, data.length, true);
  else if (!direct) held = holdEdges(file, offset, data.length);
  const fills = !direct && fillsPage(offset, data.length) ? 1 : 0;
  file.waitingFills += fills;
  try {
    await admittedWithRoom(core, request);
    const end = (request.flags & O_APPEND) !== 0 ? file.attributes.size : offset;
    // Nothing is awaited between the lease and the write.
    const written = await writeOwned(core, request);
    // The kernel had the bytes in its pages before: a recall may have dropped them, and a read brought them back as they were.
    if (!direct && !fromCache) await dropWritten(core, file, Math.min(offset, end), Math.abs(end - offset) + data.length);
    return written;
  } finally {
    file.waitingFills -= fills;
    releasePages(file, held);
  }
}

/** As admittedToWrite, and the bytes are taken from what was granted, or lie in ranges that are reserved. ENOSPC. */
async function admittedWithRoom(core: Core, request: WriteRequest): Promise<void> {
  for (let round = 0; round < ROOM_ROUNDS_MAX; round++) {
    await admittedToWrite(core, request);
    if (hasRoom(core, request)) return;
    await lookForRoom(core, request);
  }
  throw new FsError("ENOSPC", `writing ${request.data.length} bytes: others took the room ${ROOM_ROUNDS_MAX} times`);
}

/** Takes the write's bytes. Those that fall into reserved ranges were taken when these were. */
function hasRoom(core: Core, request: WriteRequest): boolean {
  const { length } = request.data;
  const { space } = core;
  if (space.take(length)) return true;
  if (request.fromCache) {
    space.takeAnyway(length);
    return true;
  }
  const offset = placeOf(request);
  const reserved = request.handle.file.pieces.bytesOf(UNWRITTEN, offset, offset + length);
  return reserved > 0 && space.take(length - reserved);
}

function placeOf({ handle, offset, flags, fromCache }: WriteRequest): number {
  return (flags & O_APPEND) !== 0 && !fromCache ? handle.file.attributes.size : offset;
}

/** After this it is known what of the write's range is reserved, or room for what is not was granted. ENOSPC where it is not there. */
async function lookForRoom(core: Core, request: WriteRequest): Promise<void> {
  const { file } = request.handle;
  const { length } = request.data;
  const offset = placeOf(request);
  const missing = (): number => length - file.pieces.bytesOf(UNWRITTEN, offset, offset + length);
  if (core.space.scarce) {
    const before = missing();
    await learnExtents(core, file, offset, offset + length);
    if (missing() < before) return;
  }
  try {
    await core.space.obtain(missing());
  } catch (error) {
    const before = missing();
    await learnExtents(core, file, offset, offset + length);
    if (missing() === before) throw error;
  }
}

/** Waits until nothing else goes on in the file and it is held exclusively. */
async function admittedToWrite(core: Core, request: WriteRequest): Promise<void> {
  const { file } = request.handle;
  for (let cleared = false; ; cleared = true) {
    await admitted(file);
    if (file.lease !== "exclusive") await acquire(core, file, "exclusive");
    if (cleared || !losesPrivileges(file, request)) return;
    await dropPrivileges(core, request.caller, file, request.killSetId);
  }
}

/** Waits while a recall or another change of the file goes on. */
async function admitted(file: FileState): Promise<void> {
  while (file.recall !== null || file.tail !== null) {
    // The rest of an append that the kernel cut: the recall waits for it.
    if (file.recall !== null && file.appendMayGoOn && file.lease === "exclusive") return;
    await (file.recall ?? turn(file));
  }
}

/** Truncations and copies may wait for a recall: it must not wait for this write's pages, nor the write for them. */
async function turn(file: FileState): Promise<void> {
  while (file.tail !== null && file.recall === null) await file.tail;
}

/** Writes under the lease that is held now. */
function writeOwned(core: Core, request: WriteRequest): Result<number> {
  return staleTail(core, request) ? writeBehindTail(core, request) : writeHeld(core, request);
}

/** A direct write behind the end changes no page of the kernel's: a last page there would go on to show zeros. */
function staleTail(core: Core, request: WriteRequest): boolean {
  const { file, direct } = request.handle;
  if (!direct || request.fromCache || !file.tailCached || core.caches === null) return false;
  return (request.flags & O_APPEND) !== 0 || request.offset + request.data.length > file.attributes.size;
}

/** A write that hung while the session was replaced must not be made: others may have been told since that the lock or lease it was made under is gone. */
function checkSession(core: Core, { handle, session }: WriteRequest): void {
  if (session === core.marks.session) return;
  throw new FsError(
    "EIO",
    `write to inode ${handle.file.inode}: its session was over before it was made, ${core.session.id} goes on`,
  );
}

/** Drops the last page before the size grows: until then no program looks behind the end. The kernel locks no page for a direct write, so this may be awaited. */
async function writeBehindTail(core: Core, request: WriteRequest): Promise<number> {
  const { file } = request.handle;
  for (let round = 0; staleTail(core, request) && round < TAIL_ROUNDS_MAX; round++) {
    file.tailCached = false;
    const from = file.attributes.size - (file.attributes.size % PAGE_BYTES);
    await core.caches?.invalidateInode(file.inode, from, 0);
  }
  // No recall waits for this: a read that waits for the recall may hold the page. So the lease may have gone meanwhile.
  const mayWrite = file.lease === "exclusive" && file.recall === null && file.tail === null;
  return mayWrite ? writeHeld(core, request) : prepareAndWrite(core, request);
}

function writeHeld(core: Core, request: WriteRequest): Result<number> {
  const { handle, data } = request;
  const file = handle.file;
  checkSession(core, request);
  let offset = request.offset;
  if (!handle.direct && fillsPage(offset, data.length)) file.filled = true;
  if (!request.fromCache) file.endAppend();
  if ((request.flags & O_APPEND) !== 0 && !request.fromCache) {
    file.appendMayGoOn = handle.direct ? data.length > DIRECT_UNCUT_BYTES : (offset + data.length) % PAGE_BYTES === 0;
    const end = file.attributes.size;
    // The bytes go to another place than the kernel thinks: what it has of both is wrong, and goes before it is answered.
    if (end !== offset && !handle.direct) file.filled = true;
    offset = end;
    if (offset + data.length > FILE_MAX_BYTES) throw tooBig(file);
  }
  const placed = core.write.place(file, offset, data);
  file.kernelSize = Math.max(file.kernelSize, offset + data.length);
  noteWritten(core, file);
  if (placed === data.length && !core.flusher.crowded && (request.flags & O_DSYNC) === 0) return data.length;
  return finishWrite(core, request, offset, placed);
}

/** The times that a write brings with it. */
function noteWritten(core: Core, file: FileState): void {
  const attributes = file.attributes;
  const now = timeStamp(core.clock.dateMs());
  attributes.mtimeSeconds = now.seconds;
  attributes.mtimeNanoseconds = now.nanoseconds;
  attributes.ctimeSeconds = now.seconds;
  attributes.ctimeNanoseconds = now.nanoseconds;
  file.timesDirty = true;
  core.changes++;
}

async function finishWrite(core: Core, request: WriteRequest, offset: number, placed: number): Promise<number> {
  const { handle, data } = request;
  const file = handle.file;
  if (placed < data.length) placed = await placeRest(core, request, offset, placed);
  while (core.flusher.crowded && core.flusher.failure === null) await core.flusher.progress();
  if ((request.flags & O_DSYNC) !== 0) await syncFile(core, file);
  return placed;
}

/** Places the rest as buffers become free. The lease stays as long. */
async function placeRest(core: Core, request: WriteRequest, offset: number, placed: number): Promise<number> {
  const { data } = request;
  const { file } = request.handle;
  file.placing++;
  const rest = data.length - placed;
  core.space.waitingBytes += rest;
  try {
    while (placed < data.length) {
      if (core.flusher.failure !== null && core.pool.available === 0) {
        if (placed > 0) break;
        throwKeptError(core, file);
        throw core.flusher.failure;
      }
      await core.write.more(file);
      checkSession(core, request);
      if (file.lease !== "exclusive")
        throw new FsError("EIO", `write to inode ${file.inode}: the session ended before all of it was taken`);
      placed += core.write.place(file, offset + placed, data.subarray(placed));
      noteWritten(core, file);
    }
    return placed;
  } finally {
    core.space.waitingBytes -= rest;
    file.endPlacing();
  }
}

/** fsync(2): the file's data, whoever wrote it, and everything that the namespace was told before are durable when it resolves. */
export async function syncFile(core: Core, file: FileState): Promise<void> {
  // Only who holds the file exclusively has data that the namespace lacks: with a lease of our own nobody else does.
  if (file.lease === "known") await acquire(core, file, "shared");
  await flushFile(core, file);
  await call(core, "sync", {});
}
