// fcntl and flock locks: all of them live with the namespace, so that they exclude across mounts.

import { FsError } from "../errno.ts";
import type { InodeId } from "../types.ts";
import type { ByteLock } from "../messages.ts";
import { call } from "./core.ts";
import type { Core } from "./core.ts";
import type { Caller, FileLock } from "./handlers.ts";

let lastTicket = 0;

export async function testLock(core: Core, inode: InodeId, owner: string, lock: FileLock): Promise<FileLock> {
  const { conflict } = await call(core, "testLock", { inode, lock: { ...lock, kind: "posix", owner } });
  if (conflict === null) return { ...lock, type: "unlock" };
  return { type: conflict.type, start: conflict.start, end: conflict.end, pid: conflict.pid };
}

export async function setLock(
  core: Core,
  caller: Caller,
  inode: InodeId,
  owner: string,
  lock: FileLock,
  flock: boolean,
  wait: boolean,
): Promise<void> {
  // prettier-ignore
  const request: ByteLock = { ...lock, kind: flock ? "flock" : "posix", owner };
  if (lock.type !== "unlock") {
    const released = core.releases.beforeLock(inode, request.kind, owner);
    // Without a wait the owner is noted at once: its close may be the next request.
    if (released !== undefined) await released;
    noteOwner(core, inode, owner, flock);
  }
  const ticket = ++lastTicket;
  if (!wait || lock.type === "unlock") {
    await call(core, "lock", { inode, lock: request, wait: false, ticket });
    return;
  }
  const { signal } = caller;
  if (signal.aborted) throw new FsError("EINTR", "waiting for a lock: interrupted");
  const cancel = (): void => void call(core, "cancelLock", { ticket }).catch(() => {});
  signal.addEventListener("abort", cancel, { once: true });
  try {
    await call(core, "lock", { inode, lock: request, wait: true, ticket });
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

/** So that only a close of an owner that has locks needs a request. */
function noteOwner(core: Core, inode: InodeId, owner: string, flock: boolean): void {
  if (flock) {
    core.flockOwners.add(owner);
    return;
  }
  const owners = core.lockOwners.get(inode);
  if (owners === undefined) core.lockOwners.set(inode, new Set([owner]));
  else owners.add(owner);
}

/** The last close of an open file gives its flock lock back. */
export function releaseFlock(core: Core, inode: InodeId, owner: string | null): Promise<void> | undefined {
  if (owner === null || !core.flockOwners.delete(owner)) return undefined;
  return core.releases.release(inode, "flock", owner);
}

/** Remembers through which open file an owner takes byte-range locks. */
export function noteLockOwner(core: Core, inode: InodeId, handle: number, owner: string, lock: FileLock): void {
  const opened = core.handles.fileOrNull(handle);
  if (lock.type === "unlock" || opened === null || opened.file.inode !== inode) return;
  opened.lockOwners ??= new Set();
  opened.lockOwners.add(owner);
}

/** The last close of an open file gives back the byte-range locks that belong to it: the kernel sends no unlock for them. */
export function releaseDescriptionLocks(core: Core, handle: number): Promise<void> | undefined {
  const opened = core.handles.fileOrNull(handle);
  if (opened === null || opened.lockOwners === null || opened.lockOwners.size === 0) return undefined;
  const { inode } = opened.file;
  const released = [...opened.lockOwners].map((owner) => {
    core.lockOwners.get(inode)?.delete(owner);
    return core.releases.release(inode, "posix", owner);
  });
  return Promise.all(released).then(() => {});
}
