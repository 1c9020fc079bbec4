// Operations on names: look-ups, making, linking, removing, renaming. All pass straight to the namespace.

import { FsError } from "../errno.ts";
import { NAME_MAX_BYTES, S_IFREG } from "../types.ts";
import type { Attributes, ByteString, InodeId } from "../types.ts";
import { abandonFile } from "./attributes.ts";
import { call } from "./core.ts";
import type { Core } from "./core.ts";
import type { Caller, Entry, NegativeEntry, Opened } from "./handlers.ts";
import { LEASED_TIMEOUT_MS } from "./limits.ts";
import { openCreated, openKnown } from "./open.ts";

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const O_EXCL = 0o200;

function checkName(name: ByteString): void {
  if (name.length > NAME_MAX_BYTES)
    throw new FsError("ENAMETOOLONG", `a name of ${name.length} bytes; at most ${NAME_MAX_BYTES} are possible`);
}

export async function lookup(core: Core, parent: InodeId, name: ByteString): Promise<Entry | NegativeEntry> {
  checkName(name);
  const recalls = core.recalls;
  const { attributes } = await call(core, "lookup", { parent, name });
  if (recalls !== core.recalls)
    return attributes === null ? { attributes, entryTimeoutMs: 0 } : core.inodes.entry(attributes, null);
  core.inodes.granted(parent, "shared");
  if (attributes === null) return { attributes: null, entryTimeoutMs: LEASED_TIMEOUT_MS };
  return core.inodes.entry(attributes, "shared");
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

async function makeInode(
  core: Core,
  caller: Caller,
  what: NewInode,
): Promise<{ attributes: Attributes; created: boolean; current: boolean }> {
  checkName(what.name);
  const recalls = core.recalls;
  const reply = await call(core, "make", { ...what, uid: caller.uid, gid: caller.gid });
  const current = recalls === core.recalls;
  changed(core, current ? [reply.parent] : [], current ? [] : [reply.parent]);
  return { attributes: reply.attributes, created: reply.created, current };
}

/** Takes the attributes that came with a change: `old` ones, which a recall overtook, are only a reason to forget what was known. */
function changed(core: Core, fresh: readonly Attributes[], old: readonly Attributes[]): void {
  core.changes++;
  for (const attributes of fresh) {
    core.inodes.granted(attributes.inode, "shared");
    core.inodes.learned(attributes);
  }
  for (const attributes of old) core.inodes.unlearned(attributes.inode);
}

export async function make(core: Core, caller: Caller, what: NewInode): Promise<Entry> {
  const { attributes, current } = await makeInode(core, caller, what);
  return core.inodes.entry(attributes, current ? "shared" : null);
}

export async function create(
  core: Core,
  caller: Caller,
  parent: InodeId,
  name: ByteString,
  mode: number,
  flags: number,
  umask: number,
): Promise<{ entry: Entry; opened: Opened }> {
  // prettier-ignore
  const exclusive = (flags & O_EXCL) !== 0;
  const { attributes, created, current } = await makeInode(core, caller, {
    parent,
    name,
    mode: S_IFREG | (mode & 0o7777),
    umask,
    exclusive,
  });
  const entry = core.inodes.entry(attributes, current ? (created ? "exclusive" : "shared") : null);
  if (created) return { entry, opened: openCreated(core, attributes, flags) };
  const opened = await openKnown(core, attributes, flags, false);
  return { entry: { ...entry, attributes: core.inodes.attributes(attributes.inode) ?? entry.attributes }, opened };
}

export async function makeUnnamed(
  core: Core,
  caller: Caller,
  parent: InodeId,
  mode: number,
  flags: number,
  umask: number,
): Promise<{ entry: Entry; opened: Opened }> {
  // prettier-ignore
  const request = { parent, mode: S_IFREG | (mode & 0o7777), umask, uid: caller.uid, gid: caller.gid };
  const { attributes } = await call(core, "makeUnnamed", request);
  const entry = core.inodes.entry(attributes, "exclusive");
  return { entry, opened: openCreated(core, attributes, flags) };
}

export async function link(core: Core, inode: InodeId, parent: InodeId, name: ByteString): Promise<Entry> {
  checkName(name);
  const recalls = core.recalls;
  const reply = await call(core, "link", { inode, parent, name });
  const current = recalls === core.recalls;
  changed(core, current ? [reply.parent] : [], current ? [] : [reply.parent]);
  return core.inodes.entry(reply.attributes, current ? "shared" : null);
}

export async function unlink(core: Core, parent: InodeId, name: ByteString, directory: boolean): Promise<void> {
  checkName(name);
  const recalls = core.recalls;
  const reply = await call(core, "unlink", { parent, name, directory });
  const current = recalls === core.recalls;
  changed(core, current ? [reply.parent, reply.attributes] : [], current ? [] : [reply.parent, reply.attributes]);
  removed(core, reply.attributes);
}

export async function rename(
  core: Core,
  parent: InodeId,
  name: ByteString,
  newParent: InodeId,
  newName: ByteString,
  flags: number,
): Promise<void> {
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
  const recalls = core.recalls;
  const reply = await call(core, "rename", request);
  const touched = [reply.parent, reply.newParent, reply.moved];
  if (reply.replaced !== null) touched.push(reply.replaced);
  if (recalls === core.recalls) changed(core, touched, []);
  else changed(core, [], touched);
  if (reply.replaced !== null) removed(core, reply.replaced);
}

/** An inode lost a name. If that was the last, nobody will read what is not stored yet (unless it is open). */
function removed(core: Core, attributes: Attributes): void {
  const file = core.inodes.file(attributes.inode);
  if (file === undefined) return;
  file.attributes.linkCount = attributes.linkCount;
  if (attributes.linkCount === 0 && file.handles === 0) abandonFile(core, attributes.inode);
}
