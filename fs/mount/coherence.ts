// Giving leases up when the namespace asks for it. See fs/mount/DESIGN.md, "Recalls", for why nothing here can wait for
// itself.
//
// The kernel's locks and what follows from them:
// 1. Dropping pages takes their locks, and every page being READ or written by a WRITE is locked until we answer. So
//    while pages are dropped, READs and the kernel's own writeback are answered under the old lease, and a pass is
//    repeated until none was. Page WRITEs that wait for a lease themselves are not waited for.
// 2. Dropping a name takes its directory's lock, which the kernel holds during its own CREATE, UNLINK, LOOKUP there. So
//    names are dropped by a new epoch, which takes no lock.

import type { LeaseMode } from "../messages.ts";
import type { ByteString, InodeId } from "../types.ts";
import { flushFile } from "./core.ts";
import type { Core } from "./core.ts";
import { forgetClean } from "./extents.ts";
import type { FileState, RecallGate } from "./file-state.ts";
import { APPEND_GOES_ON_MS, RECALL_GATE_MS, RECALL_ROUNDS_MAX, UNKNOWN_PAUSE_MAX_MS } from "./limits.ts";

export async function recall(core: Core, inode: InodeId, mode: LeaseMode, names?: readonly ByteString[]): Promise<void> {
  core.recalls++;
  core.recalling++;
  core.changes++;
  try {
    if (names !== undefined || core.inodes.isDirectory(inode)) await recallDirectory(core, inode, mode, names);
    else await recallFile(core, inode, mode);
  } finally {
    // Not before the namespace has taken the answer: until then it answers this session with what was before.
    setImmediate(() => {
      core.recalling--;
      core.recalls++;
    });
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
}

async function recallFile(core: Core, inode: InodeId, mode: LeaseMode): Promise<void> {
  const file = core.inodes.file(inode);
  if (file === undefined) {
    core.inodes.reduced(inode, mode);
    if (mode === "known") await dropPages(core, inode);
    return;
  }
  file.recalls++;
  // A lease granted just before is still on its way through promises: let whoever asked use it once, or two writers would
  // take it from each other for ever.
  if (file.acquiring > 0) await new Promise((resolve) => setImmediate(resolve));
  await appendOver(core, file);
  const gate = new Gate(core);
  file.recall = gate;
  try {
    const before = file.lease;
    await flushQuietly(core, file);
    // With a shared lease left, pages stay right; but a shared mapping may hold dirty ones that we never heard of.
    if (mode === "known" || (before === "exclusive" && file.writers > 0)) await dropPagesOf(core, file, gate);
    await placedAll(file);
    gate.close();
    do {
      await placedAll(file);
      await flushQuietly(core, file);
    } while (file.placing > 0);
    if (mode === "known") {
      forgetClean(file);
    }
    core.inodes.reduced(inode, mode);
  } finally {
    file.recall = null;
    gate.end();
  }
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

/** Writes back. A failure stays with the file: its data is kept and tried again, and the next fsync says so. */
async function flushQuietly(core: Core, file: FileState): Promise<void> {
  for (let round = 0; file.dirty && round < RECALL_ROUNDS_MAX; round++) {
    const error = file.error;
    try {
      await flushFile(core, file);
    } catch (failure) {
      file.error ??= error ?? "EIO";
      core.trace(`recall of inode ${file.inode}: ${String(failure)}`);
      return;
    }
  }
}

/** Drops the inode's attributes and pages. An answer that tells the kernel of an inode may not have reached it yet: it is not known until the program that asked runs again. So where we know better, it is told again. */
async function dropPages(core: Core, inode: InodeId): Promise<void> {
  if (core.caches === null) return;
  try {
    for (let pauseMs = 1; pauseMs <= UNKNOWN_PAUSE_MAX_MS; pauseMs *= 2) {
      if (await core.caches.invalidateInode(inode, 0, 0)) return;
      if (!core.inodes.isKnown(inode)) return;
      await new Promise<void>((resolve) => core.clock.after(pauseMs, resolve));
    }
  } catch (error) {
    core.trace(`invalidating inode ${inode}: ${String(error)}`);
  }
}

async function dropPagesOf(core: Core, file: FileState, gate: Gate): Promise<void> {
  if (core.caches === null) return;
  for (let round = 0; round < RECALL_ROUNDS_MAX; round++) {
    await appendOver(core, file);
    await placedAll(file);
    while (file.reads > 0) await new Promise<void>((resolve) => file.readsDone.push(resolve));
    const answered = gate.answered;
    let ended = false;
    const pass = dropPages(core, file.inode).then(() => (ended = true));
    // The kernel locked the pages of a write that waits for the lease which we are giving up, and such a write may come
    // at any moment of the pass: its pages are dropped once it is answered.
    do await Promise.race([pass, gate.pause()]);
    while (!ended && file.waitingWrites === 0);
    if (gate.answered === answered && file.reads === 0 && file.placing === 0 && !file.appendMayGoOn) return;
  }
  core.trace(`recall of inode ${file.inode}: pages were read again in each of ${RECALL_ROUNDS_MAX} rounds`);
}

/** Holds reads back for a moment: if the pass ends first, they came after it and must ask for a new lease; if not, they may be what it waits for. */
class Gate implements RecallGate {
  /** Reads and writes let through under the old lease. */
  answered = 0;
  readonly #core: Core;
  #closed = false;
  #ended = false;
  #waiting: (() => void)[] = [];

  constructor(core: Core) {
    this.#core = core;
  }

  async wait(): Promise<void> {
    if (this.#ended) return;
    if (!this.#closed) await Promise.race([this.over(), this.pause()]);
    if (this.#closed) await this.over();
    if (!this.#ended) this.answered++;
  }

  /** No page is dropped any more: whoever comes now waits for the end, or its pages would stay behind. */
  close(): void {
    this.#closed = true;
  }

  over(): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  pause(): Promise<void> {
    return new Promise((resolve) => this.#core.clock.after(RECALL_GATE_MS, resolve));
  }

  end(): void {
    this.#ended = true;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
