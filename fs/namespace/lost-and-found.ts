// The directory where the check's mending puts what has no place of its own any more, as ext4 and XFS do.

import { type ByteString, type InodeId, ROOT_INODE, S_IFDIR } from "../types.ts";
import { id8, TAG_UNNAMED } from "./keys.ts";
import { addName, isDirectory, make, removeName, touchChanged } from "./names.ts";
import { type Inode, LINKABLE } from "./records.ts";
import type { Services } from "./services.ts";
import type { Transaction } from "./transaction.ts";

export const LOST_AND_FOUND = "lost+found" as ByteString;
/** Other files may be called so already. */
export const NAMES_TRIED_MAX = 100;
/** Directories deep; more is a loop that this one only leads to. */
const DEPTH_MAX = 4096;

/** Makes LOST_AND_FOUND where it is not there. False where another file is called so. An entry of kind `make`, so that the inode is counted. */
export function makeLostAndFound(tx: Transaction, services: Services): boolean {
  const root = tx.directory(ROOT_INODE);
  const entry = tx.name(root, LOST_AND_FOUND);
  if (entry !== null) return entry.type === S_IFDIR;
  tx.changesUnasked(ROOT_INODE, [LOST_AND_FOUND]);
  const { uid, gid } = root;
  const request = { parent: ROOT_INODE, name: LOST_AND_FOUND, mode: S_IFDIR | 0o700, umask: 0, uid, gid, exclusive: true };
  make(tx, request, services);
  return true;
}

/** The directory, where there is one. */
export function lostAndFound(tx: Transaction): Inode | null {
  const found = tx.name(tx.directory(ROOT_INODE), LOST_AND_FOUND);
  return found?.type === S_IFDIR ? tx.directory(found.inode) : null;
}

/** Gives an inode without a name one, and with it a link count that was off by `difference`. */
export function linkOrphan(tx: Transaction, id: InodeId, difference: number, services: Services): boolean {
  const inode = tx.find(id);
  const directory = lostAndFound(tx);
  if (inode === null || directory === null || !(inode.linkCount + difference > 0)) return false;
  const name = freeName(tx, directory, `inode-${id}`, id);
  if (name === null) return false;
  tx.changesUnasked(directory.inode, [name]);
  tx.changesUnasked(id);
  const changed = tx.edit(id);
  changed.linkCount += difference;
  changed.flags &= ~LINKABLE;
  place(tx, changed, directory, name);
  tx.raw(TAG_UNNAMED + id8(id), "", null);
  services.becomesNamed(tx, id);
  return true;
}

/** Moves a directory that lies within itself here, so that there is a way to it, and to all that lies in it. */
export function cutLoop(tx: Transaction, id: InodeId, parent: InodeId, name: ByteString): boolean {
  if (!liesWithinItself(tx, id)) return true;
  const above = tx.find(parent);
  const entry = above === null ? null : tx.name(above, name);
  const directory = lostAndFound(tx);
  if (entry?.inode !== id || directory === null) return false;
  const newName = freeName(tx, directory, `inode-${id}`);
  if (newName === null) return false;
  tx.changesUnasked(parent, [name]);
  tx.changesUnasked(directory.inode, [newName]);
  tx.changesUnasked(id);
  const left = tx.edit(parent);
  removeName(tx, left, name, entry);
  left.linkCount--;
  place(tx, tx.edit(id), directory, newName);
  return true;
}

function place(tx: Transaction, inode: Inode, directory: Inode, name: ByteString): void {
  const above = tx.edit(directory.inode);
  touchChanged(tx, inode);
  addName(tx, above, name, inode);
  if (!isDirectory(inode.mode)) return;
  inode.parent = above.inode;
  above.linkCount++;
}

function liesWithinItself(tx: Transaction, id: InodeId): boolean {
  let at = id;
  for (let depth = 0; depth < DEPTH_MAX && at !== ROOT_INODE; depth++) {
    const inode = tx.find(at);
    if (inode === null) return false;
    at = inode.parent;
    if (at === id) return true;
  }
  return false;
}

/** `base`, or that with a further number; null where none is free, or where that is `inode`'s name already. */
export function freeName(tx: Transaction, directory: Inode, base: string, inode?: InodeId): ByteString | null {
  for (let attempt = 0; attempt < NAMES_TRIED_MAX; attempt++) {
    const name = `${base}${attempt === 0 ? "" : `.${attempt}`}` as ByteString;
    const entry = tx.name(directory, name);
    if (entry === null) return name;
    if (entry.inode === inode) return null;
  }
  return null;
}
