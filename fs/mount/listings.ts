// Listings that the kernel keeps. What READDIR gives, Linux adds to the directory's cached listing when the asking program
// comes to run: also after an invalidation that came behind the answer, and it compares no times as long as nobody asks for
// the directory's attributes (fs/fuse/readdir.c, fuse_add_dirent_to_cache; without FUSE_AUTO_INVAL_DATA). A program that opens
// the mount's root, or ".", and calls neither fstat nor LOOKUP would go on to see names that another mount has removed.
//
// So what was listed during a recall, or just before one, is dropped once more, when the program must have taken it; until
// then no opendir keeps the listing.

import type { InodeId } from "../types.ts";
import type { Core } from "./core.ts";
import { LISTED_DIRECTORIES_MAX, TOLD_MS } from "./limits.ts";

export interface Listings {
  /** When parts of a directory were given last, the oldest first. */
  readonly givenMs: Map<InodeId, number>;
  /** What the kernel may keep of these may be old. */
  readonly old: Set<InodeId>;
}

/** A part of the directory is about to be given. `current`: no recall can have made it old. */
export function noteListed(core: Core, inode: InodeId, current: boolean): void {
  const { givenMs } = core.listings;
  givenMs.delete(inode);
  if (givenMs.size >= LISTED_DIRECTORIES_MAX) givenMs.delete(givenMs.keys().next().value!);
  givenMs.set(inode, core.clock.nowMs());
  if (!current) dropLater(core, inode);
}

/** Call when the kernel was told to drop what it has of the directory. */
export function dropAgain(core: Core, inode: InodeId): void {
  if (leftMs(core, inode) > 0) dropLater(core, inode);
}

function leftMs({ listings, clock }: Core, inode: InodeId): number {
  return (listings.givenMs.get(inode) ?? -Infinity) + TOLD_MS - clock.nowMs();
}

function dropLater(core: Core, inode: InodeId): void {
  const { caches, listings, clock } = core;
  if (caches === null || listings.old.has(inode)) return;
  listings.old.add(inode);
  const drop = async (): Promise<void> => {
    await caches.invalidateInode(inode, 0, 0).catch(() => {});
    // More of it may have been given meanwhile, to another who had not come to run.
    const left = leftMs(core, inode);
    if (left > 0) clock.after(left, () => void drop());
    else listings.old.delete(inode);
  };
  clock.after(TOLD_MS, () => void drop());
}
