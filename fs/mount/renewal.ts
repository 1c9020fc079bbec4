// The mount goes on under another session: the one before was ended by the server, which may have let others change
// anything since. What was cached is void; what was written and not committed is lost, and so are locks.

import type { InodeId } from "../types.ts";
import { call } from "./core.ts";
import type { Core } from "./core.ts";
import { forgetSession } from "./file-state.ts";
import { unwrittenBytes } from "./losses.ts";

/** Inodes that the kernel, or the namespace, is told of at once: one whose page is just being read waits for that. */
const LANES = 16;
/** What the namespace was not told of is told again after this long. */
const TELL_AGAIN_MS = 1000;

/** Forgets everything. The next write, fsync or close of each file that lost data or a lock (`locked`) gets EIO, once. */
export function renew(core: Core, locked: ReadonlySet<InodeId>): void {
  core.marks.sessionBegins();
  core.changes++;
  for (const file of core.inodes.files()) {
    if (file.dirty) {
      file.error = "EIO";
      core.losses.add(file.inode, unwrittenBytes(file));
    }
    if (locked.has(file.inode)) file.lockLost = true;
    core.write.drop(file);
    forgetSession(file);
  }
  core.flusher.renew();
  core.space.reset();
  core.writers.clear();
  core.accessed.clear();
  core.lockOwners.clear();
  core.flockOwners.clear();
  core.releases.clear();
  const open = openInodes(core);
  void keepKnown(core, open);
  dropCaches(core, [...new Set([...open, ...core.inodes.renew()])], true);
}

/** What programs have open: files first, they may have most to lose. */
function openInodes(core: Core): InodeId[] {
  const open = new Set<InodeId>();
  for (const { inode, handles } of core.inodes.files()) if (handles > 0) open.add(inode);
  for (const inode of core.handles.directoryInodes()) open.add(inode);
  return [...open];
}

/** Tells the new session what is open, before anything else is asked: what loses its last name later must not be freed under those who read it. */
async function keepKnown(core: Core, open: readonly InodeId[]): Promise<void> {
  const { session } = core.marks;
  await inLanes(open, async (inode) => {
    while (session === core.marks.session && !core.expired) {
      try {
        await call(core, "acquire", { inode, mode: "known" });
        const file = core.inodes.file(inode);
        if (file !== undefined) await core.writers.tell(file);
        return;
      } catch (error) {
        // Without a name it was freed with the session before.
        if ((error as { code?: string }).code === "ESTALE") return;
        core.trace(`inode ${inode} is open, and the new session is not told: ${String(error)}`);
        await new Promise<void>((resolve) => core.clock.after(TELL_AGAIN_MS, resolve));
      }
    }
  });
}

/** Programs shall ask the mount for everything: it answers when the session is known to go on. */
export function lapse(core: Core): void {
  core.trace("session: the namespace was not heard of for the time limit; what is cached waits for it");
  const cached: InodeId[] = [];
  for (const { inode, mode } of core.inodes.held()) if (mode !== "known") cached.push(inode);
  dropCaches(core, cached, false);
}

/** Not awaited by anyone: a page that is being read is locked until that read is answered. `wrong`: until it is an inode's turn, no open may keep what the kernel has of it. */
function dropCaches(core: Core, inodes: readonly InodeId[], wrong: boolean): void {
  const { caches, wrongInKernel } = core;
  if (caches === null) return;
  void caches.incrementEpoch().catch(() => {});
  const { session } = core.marks;
  if (wrong) for (const inode of inodes) wrongInKernel.set(inode, session);
  void inLanes(inodes, async (inode) => {
    await caches.invalidateInode(inode, 0, 0).catch(() => {});
    if (wrongInKernel.get(inode) === session) wrongInKernel.delete(inode);
  });
}

/** Does it for all, in their order, LANES at a time. */
async function inLanes(inodes: readonly InodeId[], act: (inode: InodeId) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < inodes.length) await act(inodes[next++]);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}
