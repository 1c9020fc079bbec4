// Attributes that the kernel was told of a moment ago, and that a change makes old. Linux takes an answer's attributes, and keeps
// them for as long as the answer says, whenever the asking program comes to run: also after another program's change of the
// inode was answered, where that change does not count as one of its attributes (a name made in a directory, an extended
// attribute: fs/fuse/dir.c, fuse_dir_changed). An invalidation does, so one is sent before such a change is answered.

import type { InodeId } from "../types.ts";
import type { Core } from "./core.ts";
import { TOLD_INODES_MAX, TOLD_MS } from "./limits.ts";

/** When each inode's attributes were last told, in ms; the oldest first. */
export type Told = Map<InodeId, number>;

export function noteTold(core: Core, inode: InodeId): void {
  const { told } = core;
  told.delete(inode);
  if (told.size >= TOLD_INODES_MAX) told.delete(told.keys().next().value!);
  told.set(inode, core.clock.now());
}

/** Call when a change of the inode is about to be answered: what was told before it is not to be kept. */
export function overtake(core: Core, inode: InodeId): void {
  const toldMs = core.told.get(inode);
  if (toldMs === undefined) return;
  core.told.delete(inode);
  if (core.clock.now() - toldMs <= TOLD_MS) core.caches?.forgetAttributes?.(inode);
}
