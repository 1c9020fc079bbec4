// Operations on names: look-ups, making, linking, removing, renaming. All pass straight to the namespace.

import { FsError } from "../errno.ts";
import { NAME_MAX_BYTES, S_IFDIR, S_IFMT, S_IFREG } from "../types.ts";
import type { Attributes, ByteString, InodeId } from "../types.ts";
import { abandonFile } from "./attributes.ts";
import { after, call, callNow } from "./core.ts";
import type { Core } from "./core.ts";
import type { Caller, Entry, NegativeEntry, Opened, Result } from "./handlers.ts";
import { LEASED_TIMEOUT_MS, UNCHECKED_TIMEOUT_MS } from "./limits.ts";
import { openKnown, openNew } from "./open.ts";
import { noteTold, overtake } from "./told.ts";

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const O_EXCL = 0o200;

function checkName(name: ByteString): void {
  if (name.length > NAME_MAX_BYTES)
    throw new FsError("ENAMETOOLONG", `a name of ${name.length} bytes; at most ${NAME_MAX_BYTES} are possible`);
}

export function lookup(core: Core, parent: InodeId, name: ByteString, thread = core.asking): Result<Entry | NegativeEntry> {
  checkName(name);
  if (name === "." || name === "..") return lookupByHandle(core, parent, name === "..");
  const mark = core.marks.take();
  return after(callNow(core, "lookup", { parent, name }), ({ attributes }) => {
    if (attributes !== null && core.inodes.mayBeForgotten(attributes.inode, mark))
      return core.inodes.forgotten().then(() => lookup(core, parent, name, thread));
    const directory = attributes !== null && isDirectory(attributes);
    const looking = directory ? core.places.lookedUp(core, attributes.inode, parent, name, thread) : null;
    if (looking !== null) return looking.then(() => lookup(core, parent, name, thread));
    if (!core.marks.isCurrent(mark))
      return attributes === null ? { attributes, entryTimeoutMs: 0 } : core.inodes.entry(attributes, null);
    core.inodes.granted(parent, "shared");
    if (attributes === null) return { attributes: null, entryTimeoutMs: LEASED_TIMEOUT_MS };
    // Names are made in directories.
    if (directory) noteTold(core, attributes.inode, thread);
    return core.inodes.entry(attributes, "shared");
  });
}

function isDirectory({ mode }: Attributes): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

/** The inode itself, or the directory above it: the kernel has forgotten what a file handle names (open_by_handle_at(2), an NFS server). A handle is (inode, generation 0): inode numbers are not given again. */
function lookupByHandle(core: Core, inode: InodeId, above: boolean): Result<Entry> {
  const mark = core.marks.take();
  return after(callNow(core, above ? "parent" : "getAttributes", { inode }), ({ attributes }) => {
    if (core.inodes.mayBeForgotten(attributes.inode, mark))
      return core.inodes.forgotten().then(() => lookupByHandle(core, inode, above));
    return core.inodes.entry(attributes, core.marks.isCurrent(mark) ? "shared" : null);
  });
}

export interface Created {
  entry: Entry;
  opened: Opened;
}

export interface NewInode {
  parent: InodeId;
  name: ByteString;
  mode: number;
  umask: number;
  device?: number;
  target?: ByteString;
  exclusive: boolean;
}

interface Made {
  attributes: Attributes;
  created: boolean;
  /** Nothing was recalled since it was asked for: it may be cached. */
  current: boolean;
}

function makeInode(core: Core, caller: Caller, what: NewInode, thread = core.asking): Result<Made> {
  checkName(what.name);
  const mark = core.marks.take();
  const { parent, name, mode, umask, device, target, exclusive } = what;
  const request = { parent, name, mode, umask, device, target, exclusive, uid: caller.uid, gid: caller.gid };
  return after(callNow(core, "make", request), (reply) => {
    if (!reply.created && core.inodes.mayBeForgotten(reply.attributes.inode, mark))
      return core.inodes.forgotten().then(() => makeInode(core, caller, what, thread));
    const current = core.marks.isCurrent(mark);
    changedOne(core, reply.parent, thread, current);
    return { attributes: reply.attributes, created: reply.created, current };
  });
}

/** Takes the attributes that came with a change. Old ones, which a recall overtook, are only a reason to forget what was known. */
function changedOne(core: Core, attributes: Attributes, thread: number, current: boolean): void {
  core.changes++;
  overtake(core, attributes.inode, thread);
  if (!current) return core.inodes.unlearned(attributes.inode);
  core.inodes.granted(attributes.inode, "shared");
  core.inodes.learned(attributes);
}

/** As changedOne, of an inode on which the reply grants nothing: who has no lease on it has none afterwards. */
function changedUnleased(core: Core, attributes: Attributes, thread: number, current: boolean): void {
  core.changes++;
  overtake(core, attributes.inode, thread);
  if (current) core.inodes.learned(attributes);
  else core.inodes.unlearned(attributes.inode);
}

export function make(core: Core, caller: Caller, what: NewInode): Result<Entry> {
  return after(makeInode(core, caller, what), ({ attributes, current }) => {
    if (isDirectory(attributes)) core.places.put(attributes.inode, what.parent, what.name);
    return core.inodes.entry(attributes, current ? "shared" : null);
  });
}

export function create(
  core: Core,
  caller: Caller,
  parent: InodeId,
  name: ByteString,
  mode: number,
  flags: number,
  umask: number,
  killSetId = false,
): Result<Created> {
  // prettier-ignore
  const exclusive = (flags & O_EXCL) !== 0;
  const what = { parent, name, mode: S_IFREG | (mode & 0o7777), umask, exclusive };
  return after(makeInode(core, caller, what), (made) => {
    if (!made.created) return openExisting(core, caller, made, flags, killSetId);
    const entry = core.inodes.entry(made.attributes, made.current ? "exclusive" : null);
    return withOpened(entry, openNew(core, made.attributes, flags));
  });
}

function withOpened(entry: Entry, opened: Result<Opened>): Result<Created> {
  return after(opened, (done) => ({ entry, opened: done }));
}

async function openExisting(
  core: Core,
  caller: Caller,
  { attributes, current }: Made,
  flags: number,
  killSetId: boolean,
): Promise<Created> {
  const entry = core.inodes.entry(attributes, current ? "shared" : null);
  const opened = await openKnown(core, caller, attributes, flags, killSetId);
  const shown = core.inodes.attributes(attributes.inode) ?? entry.attributes;
  return { entry: { ...entry, attributes: shown, attributeTimeoutMs: UNCHECKED_TIMEOUT_MS }, opened };
}

export async function makeUnnamed(
  core: Core,
  caller: Caller,
  parent: InodeId,
  mode: number,
  flags: number,
  umask: number,
): Promise<Created> {
  // prettier-ignore
  const request = { parent, mode: S_IFREG | (mode & 0o7777), umask, uid: caller.uid, gid: caller.gid };
  const mark = core.marks.take();
  const { attributes } = await call(core, "makeUnnamed", request);
  const entry = core.inodes.entry(attributes, core.marks.isCurrent(mark) ? "exclusive" : null);
  return withOpened(entry, openNew(core, attributes, flags));
}

export function link(core: Core, inode: InodeId, parent: InodeId, name: ByteString): Result<Entry> {
  checkName(name);
  const mark = core.marks.take();
  const thread = core.asking;
  return after(callNow(core, "link", { inode, parent, name }), (reply) => {
    const current = core.marks.isCurrent(mark);
    changedOne(core, reply.parent, thread, current);
    if (!current) core.inodes.unlearned(inode);
    const entry = core.inodes.entry(reply.attributes, current ? "shared" : null);
    return { ...entry, attributeTimeoutMs: UNCHECKED_TIMEOUT_MS };
  });
}

export function unlink(core: Core, parent: InodeId, name: ByteString, directory: boolean): Result<void> {
  checkName(name);
  const mark = core.marks.take();
  const thread = core.asking;
  return after(callNow(core, "unlink", { parent, name, directory }), (reply) => {
    const current = core.marks.isCurrent(mark);
    changedOne(core, reply.parent, thread, current);
    changedUnleased(core, reply.attributes, thread, current);
    removed(core, reply.attributes, reply.knownElsewhere);
  });
}

export function rename(
  core: Core,
  parent: InodeId,
  name: ByteString,
  newParent: InodeId,
  newName: ByteString,
  flags: number,
): Result<void> {
  // prettier-ignore
  checkName(name);
  checkName(newName);
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0)
    throw new FsError("EINVAL", `rename flags ${flags} are not supported`);
  const request = {
    parent,
    name,
    newParent,
    newName,
    noReplace: (flags & RENAME_NOREPLACE) !== 0,
    exchange: (flags & RENAME_EXCHANGE) !== 0,
  };
  const mark = core.marks.take();
  const thread = core.asking;
  return after(callNow(core, "rename", request), (reply) => {
    const current = core.marks.isCurrent(mark);
    changedOne(core, reply.parent, thread, current);
    if (newParent !== parent) changedOne(core, reply.newParent, thread, current);
    changedOne(core, reply.moved, thread, current);
    if (isDirectory(reply.moved)) core.places.put(reply.moved.inode, newParent, newName);
    if (reply.replaced === null) return;
    if (request.exchange && isDirectory(reply.replaced)) core.places.put(reply.replaced.inode, parent, name);
    changedUnleased(core, reply.replaced, thread, current);
    removed(core, reply.replaced, reply.knownElsewhere);
  });
}

/** An inode lost a name. If that was the last, nobody will read what is not stored yet (unless it is open, here or elsewhere). */
function removed(core: Core, attributes: Attributes, knownElsewhere = true): void {
  const file = core.inodes.file(attributes.inode);
  if (file === undefined) return;
  file.attributes.linkCount = attributes.linkCount;
  if (attributes.linkCount > 0 || knownElsewhere) return;
  file.unreachable = true;
  if (file.handles === 0) abandonFile(core, attributes.inode);
}
