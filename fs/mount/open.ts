// Opening and closing files.

import type { Attributes, InodeId } from "../types.ts";
import { abandonFile, leasedAttributes, truncate } from "./attributes.ts";
import { acquire, after, inTurn, throwKeptError } from "./core.ts";
import type { Core } from "./core.ts";
import type { FileState } from "./file-state.ts";
import type { Caller, Opened, Result } from "./handlers.ts";
import { givePages } from "./give-pages.ts";
import { HOLE, Piece } from "./pieces.ts";
import { FILE_MAX_BYTES } from "../types.ts";
import { O_APPEND, O_TRUNC } from "./write.ts";

const O_ACCMODE = 3;
const O_RDONLY = 0;

export function openInode(core: Core, caller: Caller, inode: InodeId, flags: number, killSetId: boolean): Result<Opened> {
  const attributes = core.inodes.attributes(inode);
  if (attributes !== null && (flags & O_TRUNC) === 0 && isSettled(core, inode, flags))
    return addHandle(core, core.inodes.open(attributes), flags);
  return after(leasedAttributes(core, inode, leaseFor(flags)), (fresh) => openKnown(core, caller, fresh, flags, killSetId));
}

function leaseFor(flags: number): "shared" | "exclusive" {
  return (flags & O_ACCMODE) === O_RDONLY ? "shared" : "exclusive";
}

/** Whether the lease at hand says all that an open has to know of other mounts' (writers.ts). */
function isSettled(core: Core, inode: InodeId, flags: number): boolean {
  if (core.writers.isElsewhere(inode)) return false;
  return (flags & O_ACCMODE) === O_RDONLY || core.inodes.lease(inode) === "exclusive";
}

/** The inode's state, when it is known whether another mount writes the file, and under the lease that an open with these flags needs: the handle is to be added at once. */
async function settledFile(core: Core, attributes: Attributes, flags: number): Promise<FileState> {
  const file = core.inodes.open(attributes);
  if (isSettled(core, file.inode, flags)) return file;
  try {
    await core.writers.askedAgain(file.inode, () => acquire(core, file, leaseFor(flags)));
  } catch (error) {
    core.inodes.settleFile(file);
    throw error;
  }
  // Whoever had it open may have closed it meanwhile: it would count as idle, and go while it is open.
  return core.inodes.open(file.attributes);
}

/** Opens an inode whose attributes are at hand. */
export async function openKnown(
  core: Core,
  caller: Caller,
  attributes: Attributes,
  flags: number,
  killSetId: boolean,
): Promise<Opened> {
  const file = await settledFile(core, attributes, flags);
  const opened = addHandle(core, file, flags);
  if ((flags & O_TRUNC) === 0) return opened;
  try {
    await inTurn(file, () => truncate(core, caller, file, 0, killSetId ? { clearSetId: true } : {}));
  } catch (error) {
    closeHandle(core, opened.handle);
    throw error;
  }
  return opened;
}

/** Opens a file that was made just now: nothing is in it. */
function openCreated(core: Core, attributes: Attributes, flags: number): Opened {
  const file = core.inodes.open(attributes);
  file.tailCached = false;
  // They come with its writes.
  file.pagesGiven = true;
  file.filled = false;
  if (file.pieces.count === 0) file.pieces.put(new Piece(0, FILE_MAX_BYTES, HOLE, null, 0, null));
  return addHandle(core, file, flags);
}

/** Opens a file that was made just now. Where a recall has overtaken the lease that came with it, another mount may have written it meanwhile. */
export function openNew(core: Core, attributes: Attributes, flags: number): Result<Opened> {
  const { inode } = attributes;
  if (isSettled(core, inode, flags)) return openCreated(core, attributes, flags);
  return settledFile(core, attributes, flags).then((file) => addHandle(core, file, flags));
}

function addHandle(core: Core, file: FileState, flags: number): Opened {
  const writable = (flags & O_ACCMODE) !== O_RDONLY;
  file.handles++;
  if (writable) file.writers++;
  const direct = (flags & O_APPEND) !== 0 || core.writers.isElsewhere(file.inode);
  const opened = { file, flags, writable, direct, readEnd: 0, readRun: 0, lockOwners: null };
  const handle = core.handles.addFile(opened);
  const keepCache = !core.wrongInKernel.has(file.inode);
  if ((flags & O_TRUNC) === 0 && keepCache) givePages(core, opened);
  // The page cache is right: a recall empties it before the lease goes (coherence.ts), only what is left of a session that was lost is not. Appends pass it by: through
  // it the kernel cuts them at a page's end, and another mount's could come in between. So does a file that another mount writes.
  return { handle, keepCache, directIo: direct };
}

export function closeHandle(core: Core, number: number): FileState {
  const { file, writable } = core.handles.removeFile(number);
  file.handles--;
  if (writable && --file.writers === 0) {
    core.write.finishRun(file);
    core.writers.closed(file);
  }
  if (file.handles === 0) {
    if (file.unreachable && file.dirty) abandonFile(core, file.inode);
    else core.inodes.settleFile(file);
  }
  return file;
}

/** close(2) of one descriptor. Waits for nothing; says what went wrong so far. */
export function flushHandle(core: Core, number: number, lockOwner: string): Result<void> {
  const { file, lockOwners } = core.handles.file(number);
  file.endAppend();
  lockOwners?.delete(lockOwner);
  const owners = core.lockOwners.get(file.inode);
  if (owners !== undefined && owners.delete(lockOwner)) {
    if (owners.size === 0) core.lockOwners.delete(file.inode);
    return core.releases.release(file.inode, "posix", lockOwner).then(() => throwKeptError(core, file));
  }
  throwKeptError(core, file);
}
