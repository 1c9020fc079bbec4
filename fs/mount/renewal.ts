// The mount goes on under another session: the one before was ended by the server, which may have let others change
// anything since. What was cached is void; what was written and not committed is lost, and so are locks.

import type { InodeId } from "../types.ts";
import type { Core } from "./core.ts";
import type { KernelCaches, Result } from "./handlers.ts";

/** Inodes that the kernel is told of at once: one whose page is just being read waits for that. */
const LANES = 16;

/** Forgets everything. The next write, fsync or close of each file that lost data or a lock (`locked`) gets EIO, once. */
export function renew(core: Core, locked: ReadonlySet<InodeId>): void {
  core.recalls++;
  core.changes++;
  for (const file of core.inodes.files()) {
    if (file.dirty) file.error = "EIO";
    if (locked.has(file.inode)) file.lockLost = true;
    core.write.drop(file);
    file.pieces.clear();
    file.inlineBytes = 0;
    file.cleanGeneration++;
    file.dropCount++;
    file.sizeDirty = false;
    file.timesDirty = false;
    file.accessTimeDirty = false;
    file.endAppend();
  }
  core.flusher.renew();
  core.accessed.clear();
  core.lockOwners.clear();
  core.flockOwners.clear();
  const cached = core.inodes.renew();
  if (core.caches !== null) void dropCaches(core.caches, cached);
}

/** Programs shall ask the mount for everything: it answers when the session is known to go on. */
export function lapse(core: Core): void {
  core.trace("session: the namespace was not heard of for the time limit; what is cached waits for it");
  const cached: InodeId[] = [];
  for (const { inode, mode } of core.inodes.held()) if (mode !== "known") cached.push(inode);
  if (core.caches !== null) void dropCaches(core.caches, cached);
}

/** Answers from what is cached under leases, once they are known to be held. */
export function whileFresh<T>(core: Core, answer: () => Result<T>): Result<T> {
  const { session } = core;
  if (session.fresh !== false) return answer();
  return session.contact!().then(answer);
}

/** Not awaited by anyone: a page that is being read is locked until that read is answered. */
async function dropCaches(caches: KernelCaches, inodes: InodeId[]): Promise<void> {
  await caches.incrementEpoch().catch(() => {});
  const lane = async (): Promise<void> => {
    for (let inode = inodes.pop(); inode !== undefined; inode = inodes.pop())
      await caches.invalidateInode(inode, 0, 0).catch(() => {});
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}
