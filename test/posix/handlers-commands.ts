// The probe's commands (test/posix/native) over Handlers, for the cases that need no kernel.
import { FsError } from "../../fs/errno.ts";
import type { Caller } from "../../fs/mount/handlers.ts";
import type { Attributes, ByteString, InodeId } from "../../fs/types.ts";
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from "../../fs/types.ts";
import { aclBytes, aclText } from "./acl-text.ts";
import type { Place, Walker } from "./handlers-walk.ts";
import { Listing, isDirectory, listDirectory } from "./handlers-walk.ts";

export interface OpenFile {
  inode: InodeId;
  handle: number;
  flags: number;
  position: number;
  directory: Listing | null;
}

/** One process's state. */
export interface State {
  walker: Walker;
  caller: Caller;
  directory: InodeId;
  umask: number;
  files: Map<string, OpenFile>;
  listings: Map<string, Listing>;
}

type Command = (state: State, ...words: string[]) => Promise<string | string[] | number | void>;

const OPEN_FLAGS: Record<string, number> = {
  RDONLY: 0, WRONLY: 1, RDWR: 2, CREAT: 0o100, EXCL: 0o200, TRUNC: 0o1000, APPEND: 0o2000, DIRECT: 0o40000, DSYNC: 0o10000, SYNC: 0o4010000,
  TMPFILE: 0o20200000, NOATIME: 0o1000000,
}; // prettier-ignore
const O_APPEND = 0o2000;
const SENT_NOT = 0o100 | 0o200 | 0o20200000;
const FALLOCATE: Record<string, number> = { KEEP_SIZE: 1, PUNCH_HOLE: 2, COLLAPSE_RANGE: 8, ZERO_RANGE: 16, INSERT_RANGE: 32 };
const RENAME: Record<string, number> = { NOREPLACE: 1, EXCHANGE: 2 };
const XATTR: Record<string, number> = { CREATE: 1, REPLACE: 2 };
const NODE_TYPES: Record<string, number> = { fifo: S_IFIFO, socket: S_IFSOCK, char: S_IFCHR, block: S_IFBLK, file: S_IFREG };
const TYPE_NAMES: Record<number, string> = {
  0o01: "fifo", 0o02: "char", 0o04: "directory", 0o06: "block", 0o10: "file", 0o12: "symlink", 0o14: "socket",
}; // prettier-ignore

function flagsOf(text: string, names: Record<string, number>): number {
  let value = 0;
  for (const name of text.split("|")) {
    if (name !== "0" && !(name in names)) throw new Error(`the in-memory interpreter does not know the flag ${name}`);
    value |= names[name] ?? 0;
  }
  return value;
}

function numberOf(text: string): number {
  const unit = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }[text.at(-1)!] ?? 1;
  return parseInt(text, 10) * unit;
}

function modeOf(text: string | undefined, otherwise: number): number {
  return text === undefined ? otherwise : parseInt(text, 8);
}

function fileOf(state: State, name: string): OpenFile {
  const file = state.files.get(name);
  if (!file) throw new Error(`no descriptor is called ${name}`);
  return file;
}

function listingOf(state: State, name: string): Listing {
  const listing = state.listings.get(name);
  if (!listing) throw new Error(`no directory stream is called ${name}`);
  return listing;
}

/** A new name's directory; its existence is left to the filesystem. */
async function newPlace(state: State, path: string): Promise<Place> {
  return state.walker.walk(state.caller, state.directory, path, false);
}

async function find(state: State, path: string, follow = true): Promise<Attributes> {
  return state.walker.find(state.caller, state.directory, path, follow);
}

function timeText(seconds: number, nanoseconds: number): string {
  return `${seconds}.${String(nanoseconds).padStart(9, "0")}`;
}

function deviceText(device: number): string {
  return `${(device >>> 8) & 0xfff}:${(device & 0xff) | ((device >>> 12) & 0xfff00)}`;
}

const FIELDS: Record<string, (attributes: Attributes) => string | number> = {
  type: (a) => TYPE_NAMES[a.mode >>> 12],
  mode: (a) => (a.mode & 0o7777).toString(8).padStart(4, "0"),
  links: (a) => a.linkCount,
  uid: (a) => a.uid,
  gid: (a) => a.gid,
  size: (a) => a.size,
  blocks: (a) => Math.ceil(a.allocatedBytes / 512),
  inode: (a) => a.inode,
  device: (a) => deviceText(a.device),
  blksize: () => 4096,
  atime: (a) => timeText(a.atimeSeconds, a.atimeNanoseconds),
  mtime: (a) => timeText(a.mtimeSeconds, a.mtimeNanoseconds),
  ctime: (a) => timeText(a.ctimeSeconds, a.ctimeNanoseconds),
};

function fields(attributes: Attributes, names: string[]): string[] {
  return names.length === 0 ? ["ok"] : names.map((name) => String(FIELDS[name](attributes)));
}

/** What open(2) does above a filesystem: create where the name is absent, else open. */
async function openPath(state: State, path: string, flags: number, mode: number): Promise<OpenFile> {
  const { walker, caller } = state;
  const sent = flags & ~SENT_NOT;
  if ((flags & OPEN_FLAGS.TMPFILE) === OPEN_FLAGS.TMPFILE) {
    const { entry, opened } = await walker.handlers.tmpfile(
      caller,
      (await find(state, path)).inode,
      S_IFREG | mode,
      sent,
      state.umask,
    );
    return { inode: walker.refer(entry.attributes).inode, handle: opened.handle, flags, position: 0, directory: null };
  }
  const exclusive = (flags & OPEN_FLAGS.EXCL) !== 0;
  const create = (flags & OPEN_FLAGS.CREAT) !== 0;
  const place = await walker.walk(caller, state.directory, path, !(create && exclusive));
  if (!place.attributes) {
    if (!create) throw new FsError("ENOENT");
    const kept = sent | (exclusive ? OPEN_FLAGS.EXCL : 0);
    const { entry, opened } = await walker.handlers.create(caller, place.parent, place.name, S_IFREG | mode, kept, state.umask);
    return { inode: walker.refer(entry.attributes).inode, handle: opened.handle, flags, position: 0, directory: null };
  }
  if (create && exclusive) throw new FsError("EEXIST");
  return openInode(state, place.attributes, flags);
}

async function openInode(state: State, attributes: Attributes, flags: number): Promise<OpenFile> {
  const { inode } = attributes;
  if (isDirectory(attributes)) {
    if (flags & (3 | OPEN_FLAGS.CREAT | OPEN_FLAGS.TRUNC)) throw new FsError("EISDIR");
    return { inode, handle: 0, flags, position: 0, directory: await Listing.open(state.walker, state.caller, inode) };
  }
  const { handle } = await state.walker.handlers.open(state.caller, inode, flags & ~SENT_NOT, false);
  return { inode, handle, flags, position: 0, directory: null };
}

async function closeFile({ walker, caller }: State, file: OpenFile): Promise<void> {
  if (file.directory) return file.directory.close();
  await walker.handlers.flush(caller, file.inode, file.handle, "01");
  await walker.handlers.release(caller, file.inode, file.handle, null);
}

async function writeAt(state: State, file: OpenFile, text: string, offset: number): Promise<number> {
  const { walker, caller } = state;
  const at = file.flags & O_APPEND ? (await walker.attributes(caller, file.inode)).size : offset;
  return walker.write(caller, file.inode, file.handle, at, text, file.flags & ~SENT_NOT);
}

async function withOpen<T>(
  state: State,
  path: string,
  flags: number,
  mode: number,
  use: (file: OpenFile) => Promise<T>,
): Promise<T> {
  const file = await openPath(state, path, flags, mode);
  try {
    return await use(file);
  } finally {
    await closeFile(state, file);
  }
}

async function changed(state: State, inode: InodeId, change: object): Promise<void> {
  await state.walker.handlers.setattr(state.caller, inode, change);
}

async function setMode(state: State, attributes: Attributes, mode: string): Promise<void> {
  await changed(state, attributes.inode, { mode: (attributes.mode & S_IFMT) | parseInt(mode, 8) });
}

/** chown(2) as the kernel asks for it: without ids nothing, else the set-id bits go where it says so. */
async function setOwner(state: State, inode: InodeId, uid: string, gid: string): Promise<void> {
  const ids = { ...(uid === "-1" ? {} : { uid: Number(uid) }), ...(gid === "-1" ? {} : { gid: Number(gid) }) };
  const clearSetId = !isDirectory(await state.walker.attributes(state.caller, inode));
  await changed(state, inode, clearSetId ? { ...ids, clearSetId } : ids);
}

function timeOf(word: string): { seconds: number; nanoseconds: number } | "now" | undefined {
  if (word === "omit") return undefined;
  if (word === "now") return "now";
  const [seconds, nanoseconds = "0"] = word.split(".");
  return { seconds: Number(seconds), nanoseconds: Number(nanoseconds) };
}

async function setTimes(state: State, inode: InodeId, atime: string, mtime: string): Promise<void> {
  if (atime === "omit" && mtime === "omit") return;
  const times = { atime: timeOf(atime), mtime: timeOf(mtime) };
  await changed(state, inode, Object.fromEntries(Object.entries(times).filter(([, time]) => time !== undefined)));
}

async function truncateInode(state: State, attributes: Attributes, size: string, handle?: number): Promise<void> {
  if (isDirectory(attributes)) throw new FsError("EISDIR");
  await changed(state, attributes.inode, handle === undefined ? { size: numberOf(size) } : { size: numberOf(size), handle });
}

async function renameEntry(state: State, from: string, to: string, flags: number): Promise<void> {
  const [source, target] = [await newPlace(state, from), await newPlace(state, to)];
  if (source.attributes && source.attributes.inode === target.attributes?.inode && !(flags & RENAME.NOREPLACE)) return;
  await state.walker.handlers.rename(state.caller, source.parent, source.name, target.parent, target.name, flags);
}

function orNothing(words: string[]): string[] {
  return words.length ? words.sort() : ["nothing"];
}

async function entryNames(state: State, path: string): Promise<string[]> {
  const attributes = await find(state, path);
  if (!isDirectory(attributes)) throw new FsError("ENOTDIR");
  return (await listDirectory(state.walker, state.caller, attributes.inode)).map((item) => item.name);
}

async function makeMany(state: State, path: string, count: string): Promise<void> {
  for (let i = 0; i < Number(count); i++) await commands.create(state, `${path}/entry-${i}`);
}

async function removeWhileListing(state: State, path: string): Promise<number> {
  const { inode } = await find(state, path);
  const listing = await Listing.open(state.walker, state.caller, inode);
  let removed = 0;
  for (let item = await listing.next(); item; item = await listing.next()) {
    if (item.name === "." || item.name === "..") continue;
    await state.walker.handlers.unlink(state.caller, inode, item.name);
    removed++;
  }
  await listing.close();
  return removed;
}

async function addWhileListing(state: State, path: string, count: string): Promise<number> {
  const listing = await Listing.open(state.walker, state.caller, (await find(state, path)).inode);
  const seen = new Map<string, number>();
  let added = 0;
  for (let item = await listing.next(); item; item = await listing.next()) {
    seen.set(item.name, (seen.get(item.name) ?? 0) + 1);
    if (added < Number(count)) await commands.create(state, `${path}/added-${added++}`);
  }
  await listing.close();
  return Array.from({ length: Number(count) }, (_, i) => seen.get(`entry-${i}`)).filter((times) => times !== 1).length;
}

async function changeWhileListing(state: State, path: string, count: string, how: string): Promise<number | string> {
  const before = Number(count);
  const listing = await Listing.open(state.walker, state.caller, (await find(state, path)).inode);
  const seen = new Map<string, number>();
  let given = 0;
  for (let item = await listing.next(); item; item = await listing.next()) {
    if (item.name === "." || item.name === "..") continue;
    if (given >= 4 * before) return "endless";
    seen.set(item.name, (seen.get(item.name) ?? 0) + 1);
    await changeName(state, path, item.name, how, given++ % before, before);
  }
  await listing.close();
  return Array.from({ length: before }, (_, i) => seen.get(`entry-${i}`)).filter((times) => times !== 1).length;
}

async function changeName(state: State, path: string, name: string, how: string, index: number, count: number): Promise<void> {
  const other = `${path}/entry-${count - 1 - index}`;
  if (how === "rename") {
    await commands.rename(state, `${path}/${name}`, `${path}/T`);
    await commands.rename(state, `${path}/T`, `${path}/${name}`);
  } else if (how === "replace") {
    await commands.create(state, `${path}-spare`);
    await commands.rename(state, `${path}-spare`, other);
  } else if (other !== `${path}/entry-${index}`) await commands.rename2(state, `${path}/entry-${index}`, other, "EXCHANGE");
}

async function inodesAgree(state: State, path: string): Promise<string> {
  for (const item of await listDirectory(state.walker, state.caller, (await find(state, path)).inode)) {
    if ((await find(state, `${path}/${item.name}`, false)).inode !== item.inode) return "no";
  }
  return "yes";
}

async function typesBelow(state: State, path: string): Promise<string[]> {
  const listing = await Listing.open(state.walker, state.caller, (await find(state, path)).inode);
  const items = await listing.rest();
  await listing.close();
  return items.map((item) => `${item.name}:${TYPE_NAMES[item.type]}`).sort();
}

async function nodeAt(state: State, path: string, type: string, mode?: string, major?: string, minor?: string): Promise<void> {
  const place = await newPlace(state, path);
  const [high, low] = [Number(major ?? 0), Number(minor ?? 0)];
  const device = (low & 0xff) | (high << 8) | ((low & ~0xff) << 12);
  const kind = NODE_TYPES[type] | modeOf(mode, 0o644);
  const entry = await state.walker.handlers.mknod(state.caller, place.parent, place.name, kind, device >>> 0, state.umask);
  state.walker.refer(entry.attributes);
}

async function setXattr(state: State, inode: InodeId, name: string, value: string, flags = "0"): Promise<void> {
  const bytes = Uint8Array.from(Buffer.from(value, "latin1"));
  await state.walker.handlers.setxattr(state.caller, inode, name as ByteString, bytes, flagsOf(flags, XATTR), false);
}

async function xattr(state: State, inode: InodeId, name: string): Promise<string> {
  return Buffer.from(await state.walker.handlers.getxattr(state.caller, inode, name as ByteString)).toString("latin1");
}

async function seekTo(state: State, name: string, offset: string, whence: string): Promise<number> {
  const file = fileOf(state, name);
  if (whence === "SET") return (file.position = numberOf(offset));
  if (whence !== "DATA" && whence !== "HOLE") throw new Error(`the in-memory interpreter does not know SEEK_${whence}`);
  return state.walker.handlers.lseek(state.caller, file.inode, file.handle, numberOf(offset), whence === "DATA" ? 3 : 4);
}

async function copyRange(
  state: State,
  from: string,
  fromOffset: string,
  to: string,
  toOffset: string,
  length: string,
): Promise<number> {
  const [source, target] = [fileOf(state, from), fileOf(state, to)];
  const { walker, caller } = state;
  return walker.handlers.copyFileRange(
    caller, source.inode, source.handle, numberOf(fromOffset), target.inode, target.handle, numberOf(toOffset), numberOf(length), 0,
  ); // prettier-ignore
}

async function syncFile(state: State, name: string, dataOnly: boolean): Promise<void> {
  const file = fileOf(state, name);
  if (file.directory) await state.walker.handlers.fsyncdir(state.caller, file.inode, file.handle, dataOnly);
  else await state.walker.handlers.fsync(state.caller, file.inode, file.handle, dataOnly);
}

export const commands: Record<string, Command> = {
  async open(state, name, path, flags, mode) {
    state.files.set(name, await openPath(state, path, flagsOf(flags, OPEN_FLAGS), modeOf(mode, 0o644)));
  },
  async close(state, name) {
    await closeFile(state, fileOf(state, name));
    state.files.delete(name);
  },
  async create(state, path, data = "", mode = "0644") {
    const flags = OPEN_FLAGS.CREAT | OPEN_FLAGS.EXCL | OPEN_FLAGS.WRONLY;
    await withOpen(state, path, flags, modeOf(mode, 0o644), (file) => writeAt(state, file, data, 0));
  },
  content: (state, path) =>
    withOpen(state, path, 0, 0, (file) => state.walker.read(state.caller, file.inode, file.handle, 0, Infinity, 0)),
  overwrite: (state, path, data, offset = "0") =>
    withOpen(state, path, 1, 0, (file) => writeAt(state, file, data, numberOf(offset))),
  async read(state, name, length) {
    const file = fileOf(state, name);
    const text = await state.walker.read(state.caller, file.inode, file.handle, file.position, Number(length), file.flags);
    file.position += text.length;
    return text;
  },
  async pread(state, name, length, offset) {
    const file = fileOf(state, name);
    return state.walker.read(state.caller, file.inode, file.handle, numberOf(offset), Number(length), file.flags);
  },
  async write(state, name, data) {
    const file = fileOf(state, name);
    const wrote = await writeAt(state, file, data, file.position);
    file.position += wrote;
    return wrote;
  },
  pwrite: (state, name, data, offset) => writeAt(state, fileOf(state, name), data, numberOf(offset)),
  seek: seekTo,
  truncate: async (state, path, size) => truncateInode(state, await find(state, path), size),
  async ftruncate(state, name, size) {
    const file = fileOf(state, name);
    await truncateInode(state, await state.walker.attributes(state.caller, file.inode), size, file.handle);
  },
  fsync: (state, name) => syncFile(state, name, false),
  fdatasync: (state, name) => syncFile(state, name, true),
  syncfs: async (state, name) => state.walker.handlers.syncfs(state.caller, fileOf(state, name).inode),
  async fallocate(state, name, mode, offset, length) {
    const file = fileOf(state, name);
    await state.walker.handlers.fallocate(
      state.caller,
      file.inode,
      file.handle,
      numberOf(offset),
      numberOf(length),
      flagsOf(mode, FALLOCATE),
    );
  },
  "copy-range": copyRange,
  stat: async (state, path, ...names) => fields(await find(state, path), names),
  lstat: async (state, path, ...names) => fields(await find(state, path, false), names),
  async fstat(state, name, ...names) {
    const file = fileOf(state, name);
    const handle = file.directory ? null : file.handle;
    return fields((await state.walker.handlers.getattr(state.caller, file.inode, handle)).attributes, names);
  },
  chmod: async (state, path, mode) => setMode(state, await find(state, path), mode),
  fchmod: async (state, name, mode) =>
    setMode(state, await state.walker.attributes(state.caller, fileOf(state, name).inode), mode),
  chown: async (state, path, uid, gid) => setOwner(state, (await find(state, path)).inode, uid, gid),
  lchown: async (state, path, uid, gid) => setOwner(state, (await find(state, path, false)).inode, uid, gid),
  fchown: (state, name, uid, gid) => setOwner(state, fileOf(state, name).inode, uid, gid),
  utimens: async (state, path, atime, mtime) => setTimes(state, (await find(state, path)).inode, atime, mtime),
  lutimens: async (state, path, atime, mtime) => setTimes(state, (await find(state, path, false)).inode, atime, mtime),
  futimens: (state, name, atime, mtime) => setTimes(state, fileOf(state, name).inode, atime, mtime),
  async mkdir(state, path, mode) {
    const place = await newPlace(state, path);
    const entry = await state.walker.handlers.mkdir(state.caller, place.parent, place.name, modeOf(mode, 0o755), state.umask);
    state.walker.refer(entry.attributes);
  },
  mknod: nodeAt,
  async symlink(state, target, path) {
    if (target.length > 4095) throw new FsError("ENAMETOOLONG");
    const place = await newPlace(state, path);
    const entry = await state.walker.handlers.symlink(state.caller, place.parent, place.name, target as ByteString);
    state.walker.refer(entry.attributes);
  },
  async readlink(state, path) {
    const attributes = await find(state, path, false);
    if ((attributes.mode & S_IFMT) !== S_IFLNK) throw new FsError("EINVAL");
    return state.walker.handlers.readlink(state.caller, attributes.inode);
  },
  async unlink(state, path) {
    const place = await newPlace(state, path);
    await state.walker.handlers.unlink(state.caller, place.parent, place.name);
  },
  async rmdir(state, path) {
    const place = await newPlace(state, path);
    await state.walker.handlers.rmdir(state.caller, place.parent, place.name);
  },
  async link(state, from, to) {
    const attributes = await find(state, from, false);
    const place = await newPlace(state, to);
    if (isDirectory(attributes)) throw new FsError("EPERM");
    const entry = await state.walker.handlers.link(state.caller, attributes.inode, place.parent, place.name);
    state.walker.refer(entry.attributes);
  },
  async "link-many"(state, from, directory, count) {
    for (let i = 0; i < Number(count); i++) {
      try {
        await commands.link(state, from, `${directory}/link-${i}`);
      } catch (error) {
        if (error instanceof FsError) return [String(i), error.code];
        throw error;
      }
    }
  },
  async "link-descriptor"(state, name, to) {
    const file = fileOf(state, name);
    if (file.flags & OPEN_FLAGS.EXCL) throw new FsError("ENOENT");
    const place = await newPlace(state, to);
    const entry = await state.walker.handlers.link(state.caller, file.inode, place.parent, place.name);
    state.walker.refer(entry.attributes);
  },
  rename: (state, from, to) => renameEntry(state, from, to, 0),
  rename2: (state, from, to, flags) => renameEntry(state, from, to, flagsOf(flags, RENAME)),
  names: async (state, path) => orNothing(await entryNames(state, path)),
  types: typesBelow,
  async count(state, path) {
    const names = await entryNames(state, path);
    return [String(names.length), "unique", String(new Set(names).size)];
  },
  "inodes-agree": inodesAgree,
  "make-many": makeMany,
  "remove-while-listing": removeWhileListing,
  "add-while-listing": addWhileListing,
  "change-while-listing": changeWhileListing,
  async opendir(state, name, path) {
    state.listings.set(name, await Listing.open(state.walker, state.caller, (await find(state, path)).inode));
  },
  next: async (state, name) => (await listingOf(state, name).next())?.name ?? "end",
  async rest(state, name) {
    const items = await listingOf(state, name).rest();
    return orNothing(items.map((item) => item.name).filter((each) => each !== "." && each !== ".."));
  },
  rewind: async (state, name) => listingOf(state, name).seek(0),
  tell: async (state, name) => listingOf(state, name).position,
  seekdir: async (state, name, position) => listingOf(state, name).seek(Number(position)),
  async closedir(state, name) {
    await listingOf(state, name).close();
    state.listings.delete(name);
  },
  setxattr: async (state, path, name, value, flags) => setXattr(state, (await find(state, path)).inode, name, value, flags),
  getxattr: async (state, path, name) => xattr(state, (await find(state, path)).inode, name),
  "getxattr-size": async (state, path, name) => (await xattr(state, (await find(state, path)).inode, name)).length,
  lsetxattr: async (state, path, name, value) => setXattr(state, (await find(state, path, false)).inode, name, value),
  lgetxattr: async (state, path, name) => xattr(state, (await find(state, path, false)).inode, name),
  fsetxattr: (state, file, name, value) => setXattr(state, fileOf(state, file).inode, name, value),
  fgetxattr: (state, file, name) => xattr(state, fileOf(state, file).inode, name),
  listxattr: async (state, path) =>
    orNothing([...(await state.walker.handlers.listxattr(state.caller, (await find(state, path)).inode))]),
  async removexattr(state, path, name) {
    await state.walker.handlers.removexattr(state.caller, (await find(state, path)).inode, name as ByteString);
  },
  async setacl(state, path, kind, text) {
    const attributes = await find(state, path);
    if (kind === "default" && !isDirectory(attributes)) throw new FsError("EACCES");
    const name = `system.posix_acl_${kind}` as ByteString;
    await state.walker.handlers.setxattr(state.caller, attributes.inode, name, aclBytes(text), 0, false);
  },
  getacl: async (state, path, kind) =>
    aclText(Buffer.from(await xattr(state, (await find(state, path)).inode, `system.posix_acl_${kind}`), "latin1")),
  async umask(state, mask) {
    state.umask = parseInt(mask, 8);
  },
  async now() {
    const now = Date.now();
    return timeText(Math.floor(now / 1000), (now % 1000) * 1e6);
  },
  sleep: (_state, milliseconds) => new Promise((resolve) => setTimeout(resolve, Number(milliseconds))),
  pid: async () => process.pid,
};

/** Closes whatever a process left open. */
export async function closeAll(state: State): Promise<void> {
  for (const listing of state.listings.values()) await listing.close();
  for (const file of state.files.values()) await closeFile(state, file);
  state.listings.clear();
  state.files.clear();
}
