// getattr, setattr, truncation, access times.

import { FsError } from "../errno.ts";
import { timeStamp } from "../clock.ts";
import { FILE_MAX_BYTES } from "../types.ts";
import type { Attributes, InodeId } from "../types.ts";
import type { AttributeChange } from "../messages.ts";
import { acquire, after, call, callNow, flushFile, inTurn } from "./core.ts";
import type { Core } from "./core.ts";
import type { FileState } from "./file-state.ts";
import { shownAttributes } from "./file-state.ts";
import type { AttributesReply, Caller, Result, SetAttributesFields } from "./handlers.ts";
import { ACCESS_TIME_AGE_MAX_MS, ACCESS_TIMES_BATCH_MAX, UNCHECKED_TIMEOUT_MS } from "./limits.ts";
import { HOLE, Piece } from "./pieces.ts";
import { isDoubtful } from "./doubt.ts";
import { lostByData, lostByOwner } from "./set-id.ts";
import { noteTold, overtake } from "./told.ts";

/** Whether a change was made whose answer did not come is asked again after this long. */
const ASK_AGAIN_MS = 1000;

export function getAttributes(core: Core, inode: InodeId): Result<AttributesReply> {
  const mark = core.marks.take();
  const thread = core.asking;
  const attributes = core.expired ? null : core.inodes.attributes(inode);
  return after(attributes ?? leasedAttributes(core, inode), (fresh) => {
    noteSize(core, fresh);
    noteTold(core, inode, thread);
    return { attributes: fresh, attributeTimeoutMs: core.marks.isCurrent(mark) ? core.inodes.timeoutMs(inode) : 0 };
  });
}

/** The kernel is about to hear of the size: a recall gives the program time to take it (coherence.ts). */
function noteSize(core: Core, { inode, size }: Attributes): void {
  const file = core.inodes.file(inode);
  if (file === undefined || file.kernelSize === size) return;
  file.kernelSize = size;
  file.sizeToldMs = core.clock.nowMs();
}

/** The inode's attributes, under a shared lease at least. */
export function leasedAttributes(core: Core, inode: InodeId, mode: "shared" | "exclusive" = "shared"): Result<Attributes> {
  const known = core.inodes.attributes(inode);
  if (known !== null) return known;
  const mark = core.marks.take();
  const held = core.inodes.lease(inode) !== "known";
  const reply = held ? callNow(core, "getAttributes", { inode }) : callNow(core, "acquire", { inode, mode });
  return after(reply, ({ attributes }) => {
    if (!core.marks.isCurrent(mark)) return core.inodes.asKnown(attributes);
    if (!held) core.inodes.granted(inode, mode);
    return core.inodes.learned(attributes);
  });
}

export async function setAttributes(
  core: Core,
  caller: Caller,
  inode: InodeId,
  fields: SetAttributesFields,
): Promise<AttributesReply> {
  const { size, handle: _, ...change } = fields;
  const file = core.inodes.file(inode) ?? core.handles.fileOrNull(fields.handle ?? null)?.file;
  if (size !== undefined && size > FILE_MAX_BYTES)
    throw new FsError("EFBIG", `inode ${inode}: files end at ${FILE_MAX_BYTES} bytes, asked for ${size}`);
  core.changes++;
  const thread = core.asking;
  let attributes: Attributes;
  if (size !== undefined && file !== undefined) attributes = await inTurn(file, () => truncate(core, caller, file, size, change));
  else {
    const wanted: AttributeChange = size === undefined ? change : { mtime: "now", ...change, size };
    const whole = change.clearSetId ? await withLosses(core, caller, inode, wanted) : wanted;
    attributes = await changeAttributes(core, inode, file, thread, whole);
  }
  return { attributes, attributeTimeoutMs: UNCHECKED_TIMEOUT_MS };
}

async function changeAttributes(
  core: Core,
  inode: InodeId,
  file: FileState | undefined,
  thread: number,
  change: AttributeChange,
): Promise<Attributes> {
  const mark = core.marks.take();
  const restore = file === undefined ? () => {} : overrideTimes(core, file, change);
  try {
    const { attributes } = await call(core, "setAttributes", { inode, change });
    return changedAttributes(core, attributes, thread, core.marks.isCurrent(mark));
  } catch (error) {
    restore();
    throw error;
  }
}

/** Set by a program: what writes and reads before it did to the times no longer matters, unless the change fails. Returns what is to be done then. */
function overrideTimes(core: Core, file: FileState, { mtime, atime }: AttributeChange): () => void {
  const { timesDirty, accessTimeDirty } = file;
  const { session } = core.marks;
  if (mtime !== undefined) file.timesDirty = false;
  if (atime !== undefined) file.accessTimeDirty = false;
  return () => {
    if (session !== core.marks.session) return;
    file.timesDirty ||= timesDirty;
    file.accessTimeDirty ||= accessTimeDirty;
  };
}

/** Takes the attributes that came with a change of this mount's, and returns them as they are to be shown. `current`: no recall can have made them old. */
export function changedAttributes(core: Core, attributes: Attributes, thread: number, current: boolean): Attributes {
  core.changes++;
  overtake(core, attributes.inode, thread);
  if (current) return core.inodes.learned(attributes);
  core.inodes.unlearned(attributes.inode);
  return core.inodes.asKnown(attributes);
}

/** What the caller's change of a file's data takes of its set-id bits and capabilities goes now, if anything does. */
export async function dropPrivileges(core: Core, caller: Caller, file: FileState, kill: boolean | null): Promise<void> {
  if (file.lease === "known" || file.attributesOld) await acquire(core, file, "shared");
  const change = lostByData(caller, file.attributes, kill);
  if (change === null) return;
  await changeAttributes(core, file.inode, file, caller.pid, change);
  privilegesLost(core, file.inode);
}

/** The kernel goes by the mode that it has when it runs the file as a program, and no answer but SETATTR's tells it of another. */
export function privilegesLost(core: Core, inode: InodeId): void {
  core.caches?.forgetAttributes?.(inode);
}

/** What becomes of FATTR_KILL_SUIDGID: the kernel sends it with every truncation by an ordinary user, and with every chown(2). */
async function withLosses(core: Core, caller: Caller, inode: InodeId, change: AttributeChange): Promise<AttributeChange> {
  const attributes = await leasedAttributes(core, inode);
  const { clearSetId: _, ...others } = change;
  if (change.uid === undefined && change.gid === undefined) return { ...others, ...lostByData(caller, attributes, true) };
  return { ...change, ...lostByOwner(caller, attributes) };
}

/** Cuts or extends the file and makes the other changes with it; `clearSetId` says that the caller may not keep set-id bits. Runs in the file's turn. */
export async function truncate(
  core: Core,
  caller: Caller,
  file: FileState,
  size: number,
  asked: AttributeChange,
): Promise<Attributes> {
  if (file.lease !== "exclusive" || file.attributesOld) await acquireToTruncate(core, file);
  const { clearSetId: kill, ...others } = asked;
  const lost = lostByData(caller, file.attributes, kill === true);
  const change = lost === null ? others : { ...others, ...lost };
  const before = file.attributes.size;
  if (size > before && Object.keys(change).every((field) => field === "mtime" || field === "ctime"))
    return extend(core, file, size);
  const wanted: AttributeChange = { mtime: "now", ...change, size };
  if (size === 0 && file.dirty) return emptyDirty(core, file, wanted);
  if (file.dirty) await flushFile(core, file);
  return setSize(core, file, size, before, wanted);
}

/** Nothing that was written is thrown away before the namespace has agreed, and nothing of it is committed meanwhile, or it would lie in the empty file. */
async function emptyDirty(core: Core, file: FileState, wanted: AttributeChange): Promise<Attributes> {
  const { session } = core.marks;
  await core.flusher.holdBack(file);
  try {
    if (session !== core.marks.session) throw new FsError("EIO", `truncating inode ${file.inode}: the session was lost`);
    return await setSize(core, file, 0, file.attributes.size, wanted, true);
  } catch (error) {
    if (isDoubtful(error)) await decideEmptied(core, file);
    throw error;
  } finally {
    core.flusher.goOn(file);
  }
}

/** The answer to the truncation did not come. Whether it was done is asked until it is known: the lease is held, so nobody else changes the file. */
async function decideEmptied(core: Core, file: FileState): Promise<void> {
  const { session } = core.marks;
  const before = file.committedSize;
  while (session === core.marks.session && !core.expired) {
    try {
      const { attributes } = await call(core, "getAttributes", { inode: file.inode });
      if (before === 0 || attributes.size > 0 || session !== core.marks.session) return;
      discard(core, file);
      file.timesDirty = false;
      core.inodes.learned(attributes);
      return;
    } catch (error) {
      if (!isDoubtful(error)) return;
      await new Promise<void>((resolve) => core.clock.after(ASK_AGAIN_MS, resolve));
    }
  }
}

/** Makes the size what it is to be, in the namespace and then here. What is beyond it is void; at 0, also what is not committed. `held`: a recall of the file waits for the reply. */
async function setSize(
  core: Core,
  file: FileState,
  size: number,
  before: number,
  change: AttributeChange,
  held = false,
): Promise<Attributes> {
  const { session } = core.marks;
  const mark = core.marks.take();
  const restoreTimes = overrideTimes(core, file, { mtime: "now" });
  const endCut = size < before ? beginCut(file, size) : () => {};
  try {
    const { attributes } = await call(core, "setAttributes", { inode: file.inode, change, ...(held && { held }) });
    core.changes++;
    if (change.clearSetId || change.clearCapability) privilegesLost(core, file.inode);
    // What was done under the session before says nothing of this one.
    if (session !== core.marks.session) return attributes;
    if (size === 0) discard(core, file);
    file.attributes.size = file.kernelSize = file.committedSize = size;
    file.sizeDirty = false;
    const low = Math.min(size, before);
    file.pieces.remove(low, Infinity);
    file.cleanGeneration++;
    file.pieces.put(new Piece(low, FILE_MAX_BYTES, HOLE, null, 0, null));
    if (size === 0) file.inlineBytes = 0;
    if (core.marks.isCurrent(mark)) return core.inodes.learned(attributes);
    core.inodes.unlearned(file.inode);
    return core.inodes.asKnown(attributes);
  } catch (error) {
    restoreTimes();
    throw error;
  } finally {
    endCut();
  }
}

/** As dropData, where nothing of the file is being committed. */
function discard(core: Core, file: FileState): void {
  void dropData(core, file);
}

/** Reads beside it are answered with what was before or is afterwards (read.ts). */
function beginCut(file: FileState, size: number): () => void {
  let end!: () => void;
  file.cut = { size, done: new Promise((resolve) => (end = resolve)) };
  return () => {
    file.cut = null;
    file.cuts++;
    end();
  };
}

/** Recalls do not wait for pages meanwhile, so what they could not drop goes afterwards. Not awaited: the kernel writes dirty ones back only when the truncation is answered. */
async function acquireToTruncate(core: Core, file: FileState): Promise<void> {
  const { recalls } = file;
  file.truncating++;
  try {
    await acquire(core, file, "exclusive");
  } finally {
    file.truncating--;
  }
  if (file.recalls !== recalls) void core.caches?.invalidateInode(file.inode, 0, 0).catch(() => {});
}

/** A larger size needs no bytes: it is kept here like a write and goes with the next commit. */
function extend(core: Core, file: FileState, size: number): Attributes {
  const now = timeStamp(core.clock.dateMs());
  const attributes = file.attributes;
  attributes.size = file.kernelSize = size;
  attributes.mtimeSeconds = attributes.ctimeSeconds = now.seconds;
  attributes.mtimeNanoseconds = attributes.ctimeNanoseconds = now.nanoseconds;
  file.timesDirty = true;
  file.sizeDirty = true;
  core.write.sealFile(file);
  if (file.sizeDirty) core.write.sealAttributes(file);
  return shownAttributes(file);
}

/** Throws away everything that is not committed. Resolves when no commit of it is on its way. */
export async function dropData(core: Core, file: FileState): Promise<void> {
  core.write.drop(file);
  file.pieces.clear();
  file.cleanGeneration++;
  file.sizeDirty = false;
  file.error = null;
  await core.flusher.drop(file);
}

/** relatime: a read renews an access time that is not after the last change, or that is old. */
export function noteRead(core: Core, file: FileState): void {
  if (!accessTimeDue(core, file)) return;
  const attributes = file.attributes;
  const now = timeStamp(core.clock.dateMs());
  attributes.atimeSeconds = now.seconds;
  attributes.atimeNanoseconds = now.nanoseconds;
  file.accessTimeDirty = true;
  core.accessed.set(file.inode, now);
}

/** Whether a read changes the access time. */
export function accessTimeDue(core: Core, file: FileState): boolean {
  if (file.accessTimeDirty || !core.accessTimes) return false;
  const attributes = file.attributes;
  const recent = core.clock.dateMs() - attributes.atimeSeconds * 1000 < ACCESS_TIME_AGE_MAX_MS;
  if (!recent || !accessedAfter(attributes, attributes.mtimeSeconds, attributes.mtimeNanoseconds)) return true;
  return !accessedAfter(attributes, attributes.ctimeSeconds, attributes.ctimeNanoseconds);
}

function accessedAfter(attributes: Attributes, seconds: number, nanoseconds: number): boolean {
  return attributes.atimeSeconds > seconds || (attributes.atimeSeconds === seconds && attributes.atimeNanoseconds > nanoseconds);
}

/** Sends access times that have gathered, many files in one request. A failure loses only them. */
export async function sendAccessTimes(core: Core): Promise<void> {
  while (core.accessed.size > 0) {
    const some = [...core.accessed].slice(0, ACCESS_TIMES_BATCH_MAX);
    const files = [];
    for (const [inode, atime] of some) {
      core.accessed.delete(inode);
      // The namespace counts whoever changes an inode as one who knows it: one that was given up must stay given up.
      if (!core.inodes.knows(inode)) continue;
      const file = core.inodes.file(inode);
      // A program set it, or a commit took it along.
      if (file !== undefined && !file.accessTimeDirty) continue;
      if (file !== undefined) file.accessTimeDirty = false;
      files.push({ inode, extents: [], change: { atime } });
    }
    if (files.length > 0) await call(core, "commit", { files, stripes: [] });
  }
}

/** Drops the data of a file that has neither names nor handles. */
export function abandonFile(core: Core, inode: InodeId): void {
  const file = core.inodes.file(inode)!;
  file.timesDirty = false;
  void dropData(core, file).then(() => {
    file.timesDirty = false;
    core.inodes.settleFile(file);
  });
}
