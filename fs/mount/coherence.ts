// Giving leases up when the namespace asks for it. See fs/mount/DESIGN.md, "Recalls", for why nothing here can wait for
// itself.
//
// The kernel's locks and what follows from them:
// 1. Dropping pages takes their locks, and pages being READ or written by a WRITE are locked until we answer. Requests
//    that came before the recall are answered first. Those that come during it through the page cache wait for its end,
//    and the pages that they hold (page-locks.ts) are left out of the pass. A pass that is found blocked because one came
//    after it began is left behind, and another goes round the new one.
// 2. Dropping a dirty page waits for the kernel's writeback of it, which is taken under the old lease.
// 3. Dropping a name takes its directory's lock, which the kernel holds during its own CREATE, UNLINK, LOOKUP there. So
//    names are dropped by a new epoch, which takes no lock.

import type { LeaseMode } from "../messages.ts";
import type { ByteString, InodeId } from "../types.ts";
import { dropData } from "./attributes.ts";
import { flushFile } from "./core.ts";
import type { Core } from "./core.ts";
import { forgetClean } from "./extents.ts";
import type { FileState } from "./file-state.ts";
import { codeOf } from "./flush-failure.ts";
import {
  APPEND_GOES_ON_MS, CHANGED_SIZE_TOLD_MS, RECALL_GATE_MS, RECALL_PASS_MAX_MS, RECALL_RETRY_MAX_MS, RECALL_ROUNDS_MAX, UNKNOWN_PAUSE_MAX_MS,
} from "./limits.ts"; // prettier-ignore
import { unwrittenBytes } from "./losses.ts";
import { dropAgain } from "./listings.ts";
import { doubtful, unheld } from "./page-locks.ts";
import type { PageRange } from "./page-locks.ts";

export async function recall(core: Core, inode: InodeId, mode: LeaseMode, names?: readonly ByteString[]): Promise<void> {
  core.marks.recallBegins();
  core.changes++;
  try {
    if (names !== undefined || core.inodes.isDirectory(inode)) await recallDirectory(core, inode, mode, names);
    else await recallFile(core, inode, mode);
  } finally {
    // Not before the answer is on its way: until the namespace has it, it answers this session with what was before. What is
    // asked behind the answer finds it taken (session-server.ts).
    setImmediate(() => core.marks.recallEnds());
  }
}

/** Committed bytes of the files lie elsewhere now. What is being read at the old place still finds it there for a while. */
export function moved(core: Core, inodes: readonly InodeId[]): void {
  for (const inode of inodes) {
    const file = core.inodes.file(inode);
    if (file !== undefined) forgetClean(file);
  }
}

async function recallDirectory(core: Core, inode: InodeId, mode: LeaseMode, names?: readonly ByteString[]): Promise<void> {
  core.inodes.unlearned(inode);
  if (mode === "known") core.inodes.reduced(inode, mode);
  const caches = core.caches;
  if (caches === null) return;
  const attributes = dropPages(core, inode);
  try {
    await caches.incrementEpoch();
  } catch {
    // A kernel before 6.16 has no epochs. Dropping names one by one may wait for a request in that directory, so it is not waited for.
    for (const name of names ?? []) void caches.invalidateEntry(inode, name).catch(() => {});
  }
  await attributes;
  dropAgain(core, inode);
}

async function recallFile(core: Core, inode: InodeId, mode: LeaseMode): Promise<void> {
  const { session } = core.marks;
  const file = core.inodes.file(inode);
  if (file === undefined) return recallClosed(core, inode, mode);
  // A lease granted just before is still on its way through promises: whoever asked takes it and uses it once, or two
  // mounts would take it from each other for ever. No reply that comes now was sent after the recall: the namespace lets
  // nobody acquire while it recalls.
  if (file.acquiring > 0) await new Promise((resolve) => setImmediate(resolve));
  file.recalls++;
  await appendOver(core, file);
  let end!: () => void;
  const recall = (file.recall = new Promise<void>((resolve) => (end = resolve)));
  file.endRecall = end;
  try {
    const before = file.lease;
    await flushQuietly(core, file);
    // With a shared lease left, pages stay right; but a shared mapping may hold dirty ones that we never heard of.
    if (mode === "known" || (before !== "shared" && file.writers > 0)) await dropPagesOf(core, file);
    const tells = (): boolean => file.writers > 0 && !file.toldWriting && session === core.marks.session;
    let written: boolean;
    do {
      // Before the last flush: what is written while we wait, under the lease, must not stay here when that is gone.
      while (tells()) await core.writers.tell(file);
      await placedAll(file);
      written = await flushQuietly(core, file);
    } while (file.placing > 0 || tells());
    // One that outlives its session has nothing to give up: what the file has now is the next session's.
    if (session !== core.marks.session) return;
    if (!written && mode === "known") await loseUnwritten(core, file);
    if (mode === "known") forgetClean(file);
    core.inodes.reduced(inode, mode);
  } finally {
    if (file.recall === recall) file.recall = null;
    file.recallEndedMs = core.clock.nowMs();
    end();
  }
}

/** A file that nobody has open. If it is opened meanwhile, a read of it may hold the page that the pass waits for. */
async function recallClosed(core: Core, inode: InodeId, mode: LeaseMode): Promise<void> {
  const { session } = core.marks;
  core.inodes.reduced(inode, mode);
  if (mode !== "known") return;
  const pages = dropPages(core, inode);
  while (!(await within(core, pages)) && session === core.marks.session)
    if (core.inodes.file(inode) !== undefined) return recallFile(core, inode, mode);
}

/** One append that the kernel cut at a page's end must not be torn apart: its rest, or the end of it, comes next. */
async function appendOver(core: Core, file: FileState): Promise<void> {
  if (!file.appendMayGoOn) return;
  const ended = new Promise<void>((resolve) => file.appendEnded.push(resolve));
  const late = new Promise<void>((resolve) => core.clock.after(APPEND_GOES_ON_MS, resolve));
  await Promise.race([ended, late]);
  file.endAppend();
}

/** Writes that have begun under the lease and wait for room in the buffers. */
async function placedAll(file: FileState): Promise<void> {
  while (file.placing > 0) await new Promise<void>((resolve) => file.placed.push(resolve));
}

/**
 * Writes back. A failure stays with the file: its data is kept and tried again, and the next fsync says so. What the disks
 * refuse only for a moment is waited for, or the other mount would see what was before. False: they refuse for longer.
 */
async function flushQuietly(core: Core, file: FileState): Promise<boolean> {
  let failed = false;
  for (let round = 0; file.dirty && round < RECALL_ROUNDS_MAX; round++) {
    const { error } = file;
    const lost = core.losses.of(file.inode);
    try {
      await flushFile(core, file);
      failed = false;
    } catch (failure) {
      failed = true;
      file.error ??= error ?? codeOf(failure);
      // No program was told.
      if (lost > 0 && core.losses.of(file.inode) === 0) core.losses.add(file.inode, lost);
      core.trace(`recall of inode ${file.inode}: ${String(failure)}`);
      if (!file.dirty || core.clock.nowMs() - core.flusher.failingSinceMs >= RECALL_RETRY_MAX_MS) break;
      await pause(core, RECALL_RETRY_MAX_MS / RECALL_ROUNDS_MAX);
    }
  }
  return !failed || !file.dirty;
}

/** Another mount may write the file from now on: what is stored later than that would lie over its newer bytes. The program is told at its next fsync, write or close. */
async function loseUnwritten(core: Core, file: FileState): Promise<void> {
  const error = file.error ?? "EIO";
  core.trace(`recall of inode ${file.inode}: what was written and cannot be stored is given up (${error})`);
  const { session } = core.marks;
  core.losses.add(file.inode, unwrittenBytes(file));
  await dropData(core, file);
  if (session !== core.marks.session) return;
  file.timesDirty = false;
  file.error = error;
  await dropPages(core, file.inode);
}

/** Drops the inode's attributes, and its pages in the range. An answer that tells the kernel of an inode may not have reached it yet: it is not known until the program that asked runs again. So where we know better, it is told again. */
async function dropPages(core: Core, inode: InodeId, { start, end }: PageRange = WHOLE): Promise<void> {
  if (core.caches === null) return;
  try {
    for (let pauseMs = 1; pauseMs <= UNKNOWN_PAUSE_MAX_MS; pauseMs *= 2) {
      if (await core.caches.invalidateInode(inode, start, end === Infinity ? 0 : Math.max(0, end - start))) return;
      if (!core.inodes.isKnown(inode)) return;
      await pause(core, pauseMs);
    }
  } catch (error) {
    core.trace(`invalidating inode ${inode}: ${String(error)}`);
  }
}

async function dropPagesOf(core: Core, file: FileState): Promise<void> {
  if (core.caches === null) return;
  await sizeTaken(core, file);
  if (!file.filled && file.waitingFills === 0) return dropPages(core, file.inode, NONE);
  for (let round = 0; round < RECALL_ROUNDS_MAX; round++) {
    await appendOver(core, file);
    await placedAll(file);
    while (file.reads > 0) await new Promise<void>((resolve) => file.readsDone.push(resolve));
    const passed = await passedRound(core, file);
    if (passed === "given up") return;
    if (passed === "blocked" || file.reads > 0 || file.placing > 0 || file.appendMayGoOn) continue;
    // Whoever comes now waits for the recall's end.
    file.filled = false;
    return;
  }
  core.trace(`recall of inode ${file.inode}: requests came that held pages in each of ${RECALL_ROUNDS_MAX} rounds`);
}

/** A program that was just told of another size goes on with the one before, if an invalidation overtakes the answer: it gets time to take it. */
async function sizeTaken(core: Core, file: FileState): Promise<void> {
  const left = file.sizeToldMs + CHANGED_SIZE_TOLD_MS - core.clock.nowMs();
  if (left > 0 && left <= CHANGED_SIZE_TOLD_MS) await pause(core, left);
}

/** Drops every page that no waiting request holds. "blocked": perhaps by a request that came meanwhile. */
async function passedRound(core: Core, file: FileState): Promise<"passed" | "blocked" | "given up"> {
  const { heldCount } = file;
  const pages = dropUnheld(core, file, 0, Infinity);
  const edges = dropDoubtful(core, file, 0, Infinity);
  for (let waitedMs = 0; !(await within(core, pages)); waitedMs += RECALL_GATE_MS) {
    if (file.heldCount !== heldCount) return "blocked";
    // The kernel writes no dirty page back while it waits for the answer to a truncation, which waits for a lease.
    if (file.truncating > 0) return "given up";
    if (waitedMs < RECALL_PASS_MAX_MS || file.heldPages.size === 0) continue;
    core.trace(`recall of inode ${file.inode}: pages that nobody was known to hold were locked for ${RECALL_PASS_MAX_MS} ms`);
    return "given up";
  }
  await edges;
  return "passed";
}

/** What the kernel has of a WRITE's range may be older than the write, which waited: drops it before the WRITE is answered. The WRITE holds its pages meanwhile (holdEdges), so no recall waits for this. */
export async function dropWritten(core: Core, file: FileState, offset: number, length: number): Promise<void> {
  if (core.caches === null || !file.filled) return;
  const pages = dropUnheld(core, file, offset, offset + length);
  const edges = dropDoubtful(core, file, offset, offset + length);
  // A page of it may be held by a read that came meanwhile: it is answered with the new bytes.
  for (let waitedMs = 0; waitedMs < RECALL_PASS_MAX_MS && !(await within(core, pages)); waitedMs += RECALL_GATE_MS);
  await edges;
}

function dropUnheld(core: Core, file: FileState, start: number, end: number): Promise<unknown> {
  return Promise.all(unheld(file, start, end).map((range) => dropPages(core, file.inode, range)));
}

/** Pages of which nobody knows whether they are locked. Those that are still there when a later notification has been written, and some time after that, are: nothing old is in them, and they go when the request is answered. */
async function dropDoubtful(core: Core, file: FileState, start: number, end: number): Promise<void> {
  const ranges = doubtful(file, start, end);
  if (ranges.length === 0) return;
  for (const range of ranges) range.dropping ??= dropPages(core, file.inode, range).finally(() => (range.dropping = null));
  const all = Promise.all(ranges.map(({ dropping }) => dropping));
  if (await within(core, all)) return;
  await Promise.race([dropPages(core, file.inode, NONE), pause(core, RECALL_PASS_MAX_MS)]);
  await within(core, all);
  for (const range of ranges) range.certain ||= range.dropping !== null;
}

const WHOLE: PageRange = { start: 0, end: Infinity };
/** The attributes only. */
const NONE: PageRange = { start: -1, end: -1 };

/** Whether the work ended within RECALL_GATE_MS. */
function within(core: Core, work: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve) => {
    const cancel = core.clock.after(RECALL_GATE_MS, () => resolve(false));
    void work.then(() => {
      cancel();
      resolve(true);
    });
  });
}

function pause(core: Core, ms: number): Promise<void> {
  return new Promise((resolve) => core.clock.after(ms, resolve));
}
