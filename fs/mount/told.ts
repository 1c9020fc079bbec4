// Attributes that the kernel was told of a moment ago, and that a change makes old. Linux takes an answer's attributes, and keeps
// them for as long as the answer says, whenever the asking program comes to run: also after another program's change of the
// inode was answered, where that change does not count as one of its attributes (a name made in a directory, an extended
// attribute: fs/fuse/dir.c, fuse_dir_changed). An invalidation does, so one is sent before such a change is answered.

import type { InodeId } from "../types.ts";
import type { Core } from "./core.ts";
import { TOLD_INODES_MAX, TOLD_MS } from "./limits.ts";

/** Which thread was told of each inode's attributes last, and when, in ms; the oldest first. */
export type Told = Map<InodeId, { thread: number; ms: number }>;

/** In place of a thread: several were told, or it is not known which. No thread has this number. */
export const SEVERAL = -1;

export function noteTold(core: Core, inode: InodeId, thread: number): void {
  const { told } = core;
  const ms = core.clock.nowMs();
  const before = told.get(inode);
  const alone = before === undefined || before.thread === thread || ms - before.ms > TOLD_MS;
  told.delete(inode);
  if (told.size >= TOLD_INODES_MAX) told.delete(told.keys().next().value!);
  told.set(inode, { thread: alone ? thread : SEVERAL, ms });
}

/** Call when a thread's change of the inode is about to be answered: what another was told just before it is not to be kept. Its own last answer it has taken. */
export function overtake(core: Core, inode: InodeId, thread: number): void {
  const told = core.told.get(inode);
  if (told === undefined || told.thread === thread) return;
  core.told.delete(inode);
  if (core.clock.nowMs() - told.ms <= TOLD_MS) core.caches?.forgetAttributes?.(inode);
}
