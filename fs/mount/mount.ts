// One mount: the filesystem as the kernel asks for it (handlers.ts), made of a session with the namespace and of stripes.
// This file only connects; what an operation does is in the file of its concept: names, directories, open, attributes, read,
// write, reshape, locks, coherence.
//
// Everything runs on one thread. Between two awaits nothing else happens, and much here relies on it.

import { FsError } from "../errno.ts";
import { systemDatedClock } from "../clock.ts";
import type { DatedClock } from "../clock.ts";
import { S_IFDIR, S_IFLNK, S_IFMT } from "../types.ts";
import type { ByteString, InodeId } from "../types.ts";
import type { HeldLease, Session, SessionEvents } from "../messages.ts";
import type { Stripes } from "../../replication/block-client.ts";
import { changedAttributes, dropPrivileges, getAttributes, noteRead, sendAccessTimes, setAttributes } from "./attributes.ts";
import { BufferPool } from "./buffers.ts";
import type { AllocateBuffer } from "./buffers.ts";
import { moved, recall } from "./coherence.ts";
import { call } from "./core.ts";
import type { Core } from "./core.ts";
import { openDirectory, readDirectory } from "./directories.ts";
import type { FileState } from "./file-state.ts";
import { Flusher } from "./flush.ts";
import type {
  AttributesReply, Caller, DirectorySink, Entry, FileLock, Handlers, KernelCaches, NegativeEntry, Opened, ReadReply, Result, SetAttributesFields, StatfsReply,
} from "./handlers.ts"; // prettier-ignore
import { askFreshness } from "./fresh.ts";
import { Fragments } from "./fragments.ts";
import { Handles } from "./handles.ts";
import { type InodeLimits, Inodes } from "./inodes.ts";
import { Releases } from "./releases.ts";
import { lapse, renew } from "./renewal.ts";
import { Marks } from "./marks.ts";
import { DIRTY_AGE_MAX_MS, TICK_MS, WRITE_BUFFERS_MAX } from "./limits.ts";
import { Losses, unwrittenBytes } from "./losses.ts";
import { noteLockOwner, releaseDescriptionLocks, releaseFlock, setLock, testLock } from "./locks.ts";
import { create, link, lookup, make, makeUnnamed, rename, unlink } from "./names.ts";
import { closeHandle, flushHandle, openInode } from "./open.ts";
import { Places } from "./places.ts";
import { ReadAhead } from "./read-ahead.ts";
import { readFile } from "./read.ts";
import { copyRange, reshape, seek } from "./reshape.ts";
import { makingRoom, Space, sparing } from "./space.ts";
import { statfsOf } from "./statfs.ts";
import { StripeNumbers } from "./stripe-numbers.ts";
import { WriteBuffer } from "./write-buffer.ts";
import type { Schemes } from "./write-buffer.ts";
import { Writers } from "./writers.ts";
import { syncFile, writeFile } from "./write.ts";

const O_NOATIME = 0o1000000;
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
export const PATH_MAX_BYTES = 4096;

export interface MountOptions {
  /** Opens the mount's session; the events are the mount's. */
  openSession(events: SessionEvents): Session | Promise<Session>;
  stripes: Stripes;
  schemes: Schemes;
  clock?: DatedClock;
  /** Page-aligned memory where the disks want it. Plain memory otherwise. */
  allocate?: AllocateBuffer;
  /** relatime (true) or noatime. */
  accessTimes?: boolean;
  /** What differs from limits.ts. */
  inodeLimits?: Partial<InodeLimits>;
  /** Lines about what went wrong in the background. */
  trace?: (text: string) => void;
}

export interface MountCounts {
  openFiles: number;
  openDirectories: number;
  knownInodes: number;
  uncommittedUnits: number;
  bufferedBytes: number;
  buffersTaken: number;
}

export class Mount implements Handlers {
  readonly #core: Core;
  #cancelTick: () => void = () => {};
  #lazyWork: Promise<void> | null = null;
  #destroyed: Promise<void> | null = null;

  private constructor(core: Core) {
    this.#core = core;
    askFreshness(this, core);
    this.#scheduleTick();
  }

  static async open(options: MountOptions): Promise<Mount> {
    let core: Core | null = null;
    const trace = options.trace ?? (() => {});
    const session = await options.openSession({
      // Before the session is there, it holds nothing.
      recall: async (inode, mode, names) => (core === null ? undefined : recall(core, inode, mode, names)),
      repeated: () => core?.marks.replyRepeated(),
      moved: (inodes) => (core === null ? undefined : moved(core, inodes)),
      writtenElsewhere: (inode) => core?.writers.heard(inode),
      held: () => core?.inodes.held() ?? [],
      lapsed: () => void (core !== null && lapse(core)),
      renewed: (locked) => void (core !== null && renew(core, locked)),
      expired: () => void (core !== null && expire(core)),
    });
    core = makeCore(options, session, trace);
    await core.space.fill();
    return new Mount(core);
  }

  /** Gives the mount the kernel's ear. Call before requests arrive. */
  attach(caches: KernelCaches): void {
    this.#core.caches = caches;
  }

  get session(): Session {
    return this.#core.session;
  }

  /** What it believes to hold: never more than the namespace has granted. `open`: programs have it open. */
  *held(): Generator<HeldLease & { open: boolean }> {
    const { inodes } = this.#core;
    for (const { inode, mode } of inodes.held()) yield { inode, mode, open: (inodes.file(inode)?.handles ?? 0) > 0 };
  }

  counts(): MountCounts {
    const { handles, inodes, flusher, write, pool } = this.#core;
    return {
      openFiles: handles.openFiles,
      openDirectories: handles.openDirectories,
      knownInodes: inodes.knownCount,
      uncommittedUnits: flusher.uncommittedUnits,
      bufferedBytes: write.openBytes + flusher.unstoredBytes + flusher.inlineBytes,
      buffersTaken: pool.taken,
    };
  }

  lookup(caller: Caller, parent: InodeId, name: ByteString): Result<Entry | NegativeEntry> {
    this.#core.asking = caller.pid;
    return lookup(this.#core, parent, name);
  }

  forget(inode: InodeId, count: number): void {
    const { inodes, writers, places } = this.#core;
    inodes.forget(inode, count);
    if (inodes.isKnown(inode)) return;
    writers.forget(inode);
    places.forget(inode);
  }

  getattr(caller: Caller, inode: InodeId, _handle: number | null): Result<AttributesReply> {
    this.#core.asking = caller.pid;
    return getAttributes(this.#core, inode);
  }

  setattr(caller: Caller, inode: InodeId, fields: SetAttributesFields): Result<AttributesReply> {
    this.#core.asking = caller.pid;
    return setAttributes(this.#core, caller, inode, fields);
  }

  async readlink(_caller: Caller, inode: InodeId): Promise<ByteString> {
    return (await call(this.#core, "readLink", { inode })).target;
  }

  symlink(caller: Caller, parent: InodeId, name: ByteString, target: ByteString): Result<Entry> {
    this.#core.asking = caller.pid;
    if (target.length >= PATH_MAX_BYTES)
      throw new FsError("ENAMETOOLONG", `a link target of ${target.length} bytes; at most ${PATH_MAX_BYTES - 1}`);
    return make(this.#core, caller, { parent, name, mode: S_IFLNK | 0o777, umask: 0, target, exclusive: true });
  }

  mknod(caller: Caller, parent: InodeId, name: ByteString, mode: number, device: number, umask: number): Result<Entry> {
    this.#core.asking = caller.pid;
    return make(this.#core, caller, { parent, name, mode, umask, device, exclusive: true });
  }

  mkdir(caller: Caller, parent: InodeId, name: ByteString, mode: number, umask: number): Result<Entry> {
    this.#core.asking = caller.pid;
    return make(this.#core, caller, { parent, name, mode: S_IFDIR | (mode & ~S_IFMT), umask, exclusive: true });
  }

  unlink(caller: Caller, parent: InodeId, name: ByteString): Result<void> {
    this.#core.asking = caller.pid;
    return unlink(this.#core, parent, name, false);
  }

  rmdir(caller: Caller, parent: InodeId, name: ByteString): Result<void> {
    this.#core.asking = caller.pid;
    return unlink(this.#core, parent, name, true);
  }

  rename(
    caller: Caller,
    parent: InodeId,
    name: ByteString,
    newParent: InodeId,
    newName: ByteString,
    flags: number,
  ): Result<void> {
    this.#core.asking = caller.pid;
    return rename(this.#core, parent, name, newParent, newName, flags);
  }

  link(caller: Caller, inode: InodeId, newParent: InodeId, newName: ByteString): Result<Entry> {
    this.#core.asking = caller.pid;
    return link(this.#core, inode, newParent, newName);
  }

  open(caller: Caller, inode: InodeId, flags: number, killSetId: boolean): Result<Opened> {
    return openInode(this.#core, caller, inode, flags, killSetId);
  }

  create(
    caller: Caller,
    parent: InodeId,
    name: ByteString,
    mode: number,
    flags: number,
    umask: number,
    killSetId?: boolean,
  ): Result<{ entry: Entry; opened: Opened }> {
    this.#core.asking = caller.pid;
    return create(this.#core, caller, parent, name, mode, flags, umask, killSetId);
  }

  tmpfile(caller: Caller, parent: InodeId, mode: number, flags: number, umask: number): Result<{ entry: Entry; opened: Opened }> {
    this.#core.asking = caller.pid;
    return makeUnnamed(this.#core, caller, parent, mode, flags, umask);
  }

  read(
    _caller: Caller,
    _inode: InodeId,
    handle: number,
    offset: number,
    length: number,
    into: Uint8Array,
    flags: number,
  ): Result<number | ReadReply> {
    const opened = this.#core.handles.file(handle);
    if ((opened.flags & O_NOATIME) === 0) noteRead(this.#core, opened.file);
    return readFile(this.#core, opened, offset, length, into, flags);
  }

  write(
    caller: Caller,
    _inode: InodeId,
    handle: number,
    offset: number,
    data: Uint8Array,
    flags: number,
    killSetId: boolean,
    fromCache: boolean,
  ): Result<number> {
    const core = this.#core;
    const request = {
      handle: core.handles.file(handle),
      session: core.marks.session,
      caller,
      offset,
      data,
      flags,
      killSetId,
      fromCache,
    };
    return writeFile(core, request);
  }

  flush(_caller: Caller, _inode: InodeId, handle: number, lockOwner: string): Result<void> {
    return flushHandle(this.#core, handle, lockOwner);
  }

  release(_caller: Caller, inode: InodeId, handle: number, flockOwner: string | null): Result<void> {
    const locksGone = releaseDescriptionLocks(this.#core, handle);
    closeHandle(this.#core, handle);
    const flockGone = releaseFlock(this.#core, inode, flockOwner);
    return locksGone === undefined ? flockGone : locksGone.then(() => flockGone);
  }

  fsync(_caller: Caller, _inode: InodeId, handle: number, _dataOnly: boolean): Result<void> {
    return syncFile(this.#core, this.#core.handles.file(handle).file);
  }

  opendir(_caller: Caller, inode: InodeId, _flags: number): Result<Opened> {
    return openDirectory(this.#core, inode);
  }

  readdir(caller: Caller, _inode: InodeId, handle: number, offset: number, plus: boolean, sink: DirectorySink): Result<void> {
    this.#core.asking = caller.pid;
    return readDirectory(this.#core, handle, offset, plus, sink);
  }

  releasedir(_caller: Caller, _inode: InodeId, handle: number): Result<void> {
    this.#core.handles.removeDirectory(handle);
  }

  async fsyncdir(_caller: Caller, _inode: InodeId, _handle: number, _dataOnly: boolean): Promise<void> {
    await call(this.#core, "sync", {});
  }

  async statfs(_caller: Caller, _inode: InodeId): Promise<StatfsReply> {
    return statfsOf(await call(this.#core, "statistics", {}));
  }

  async setxattr(
    caller: Caller,
    inode: InodeId,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    clearSetGroupId: boolean,
  ): Promise<void> {
    this.#core.asking = caller.pid;
    // The channel's buffer is valid only until the answer; the namespace keeps the value.
    const request = {
      inode,
      name,
      value: value.slice(),
      create: (flags & XATTR_CREATE) !== 0,
      replace: (flags & XATTR_REPLACE) !== 0,
      clearSetGroupId,
    };
    const mark = this.#core.marks.take();
    const { attributes } = await call(this.#core, "setXattr", request);
    changedAttributes(this.#core, attributes, caller.pid, this.#core.marks.isCurrent(mark));
  }

  async getxattr(_caller: Caller, inode: InodeId, name: ByteString): Promise<Uint8Array> {
    const { value } = await call(this.#core, "getXattr", { inode, name });
    if (value === null) throw new FsError("ENODATA");
    return value;
  }

  async listxattr(caller: Caller, inode: InodeId): Promise<readonly ByteString[]> {
    const { names } = await call(this.#core, "listXattrs", { inode });
    // xattr(7): only a privileged process sees them. The kernel leaves this to the filesystem.
    return caller.uid === 0 ? names : names.filter((name) => !name.startsWith("trusted."));
  }

  async removexattr(caller: Caller, inode: InodeId, name: ByteString): Promise<void> {
    this.#core.asking = caller.pid;
    const mark = this.#core.marks.take();
    const { attributes } = await call(this.#core, "removeXattr", { inode, name });
    changedAttributes(this.#core, attributes, caller.pid, this.#core.marks.isCurrent(mark));
  }

  getlk(_caller: Caller, inode: InodeId, _handle: number, owner: string, lock: FileLock): Result<FileLock> {
    return testLock(this.#core, inode, owner, lock);
  }

  setlk(
    caller: Caller,
    inode: InodeId,
    handle: number,
    owner: string,
    lock: FileLock,
    flock: boolean,
    wait: boolean,
  ): Result<void> {
    if (!flock) noteLockOwner(this.#core, inode, handle, owner, lock);
    return setLock(this.#core, caller, inode, owner, lock, flock, wait);
  }

  async fallocate(caller: Caller, _inode: InodeId, handle: number, offset: number, length: number, mode: number): Promise<void> {
    const { file } = this.#core.handles.file(handle);
    await dropPrivileges(this.#core, caller, file, null);
    await reshape(this.#core, file, offset, length, mode);
  }

  lseek(_caller: Caller, _inode: InodeId, handle: number, offset: number, whence: number): Result<number> {
    return seek(this.#core, this.#core.handles.file(handle), offset, whence);
  }

  async copyFileRange(
    caller: Caller,
    _inode: InodeId,
    handle: number,
    offset: number,
    _toInode: InodeId,
    toHandle: number,
    toOffset: number,
    length: number,
    _flags: number,
  ): Promise<number> {
    // prettier-ignore
    const { handles } = this.#core;
    const [from, to] = [handles.file(handle).file, handles.file(toHandle).file];
    await dropPrivileges(this.#core, caller, to, null);
    return copyRange(this.#core, from, offset, to, toOffset, length);
  }

  async syncfs(_caller: Caller, _inode: InodeId): Promise<void> {
    await this.sync();
  }

  /** Everything written and changed through this mount is durable when it resolves. Throws the first error that a flush met. */
  async sync(): Promise<void> {
    const core = this.#core;
    core.write.sealOlder(Infinity);
    for (const file of core.inodes.files()) if (file.timesDirty && file.units.length === 0) core.write.sealAttributes(file);
    await core.flusher.settleAll();
    if (core.flusher.failure !== null) throw core.flusher.failure;
    await sendAccessTimes(core);
    await call(core, "sync", {});
  }

  /** Writes everything back and gives the session up. UnwrittenError where bytes that programs wrote are lost, now or before, and no program was told. */
  destroy(): Promise<void> {
    this.#destroyed ??= this.#destroy();
    return this.#destroyed;
  }

  async #destroy(): Promise<void> {
    const core = this.#core;
    this.#cancelTick();
    if (this.#lazyWork !== null) await this.#lazyWork;
    let failure: unknown = null;
    try {
      // Where the server is gone, only what would be lost is worth waiting for it.
      const cutOff = core.session.connected === false && ![...core.inodes.files()].some(({ dirty }) => dirty);
      if (!core.expired && !cutOff) await this.sync();
    } catch (error) {
      failure = error;
    }
    core.flusher.stop();
    for (const file of core.inodes.files()) if (unwrittenBytes(file) > 0) core.losses.add(file.inode, unwrittenBytes(file));
    const lost = core.losses.error(failure);
    if (lost !== null) core.trace(`the mount ends: ${lost.message}`);
    try {
      core.releases.clear();
      await core.session.close();
    } catch (error) {
      failure ??= error;
    }
    if (lost !== null || failure !== null) throw lost ?? failure;
  }

  #scheduleTick(): void {
    this.#cancelTick = this.#core.clock.after(TICK_MS, () => {
      this.#tick();
      if (this.#destroyed === null && !this.#core.expired) this.#scheduleTick();
    });
  }

  /** What is done by age. Nothing that waits for the namespace is waited for here: what was written must leave in its time. */
  #tick(): void {
    const core = this.#core;
    try {
      core.write.sealOlder(core.clock.nowMs() - DIRTY_AGE_MAX_MS);
      core.pool.trim();
      core.flusher.commitOlder(core.clock.nowMs() - TICK_MS);
    } catch (error) {
      core.trace(`flushing by age: ${String(error)}`);
    }
    this.#lazyWork ??= this.#workLazily()
      .catch((error: unknown) => core.trace(`lazy work of the mount: ${String(error)}`))
      .finally(() => (this.#lazyWork = null));
  }

  /** Access times, forgets, and how much room there is. */
  async #workLazily(): Promise<void> {
    const core = this.#core;
    // In this order, so that what is about to be forgotten gets its access time.
    await core.writers.sendClosed();
    await sendAccessTimes(core);
    core.inodes.settlePutOff();
    await core.inodes.sendForgets();
    await core.space.tick();
  }
}

function makeCore(options: MountOptions, session: Session, trace: (text: string) => void): Core {
  const { stripes } = options;
  const clock = options.clock ?? systemDatedClock();
  const allocate = options.allocate ?? ((bytes: number) => new Uint8Array(bytes));
  const pool = new BufferPool(WRITE_BUFFERS_MAX, allocate);
  const marks = new Marks();
  const inodes = new Inodes(session, marks, trace, options.inodeLimits);
  const onClean = (file: FileState): void => {
    correctBlocks(core, file);
    inodes.settleFile(file);
  };
  const losses = new Losses();
  const onLost = (file: FileState, bytes: number): void => lost(core, file, bytes);
  const space = new Space({
    session,
    unstoredBytes: () => write.openBytes + flusher.unstoredBytes + flusher.inlineBytes,
    sendForgets: () => inodes.sendForgets(),
    store: () => {
      write.sealOlder(Infinity);
      return flusher.settleAll();
    },
    measure: async () => stripes.measure?.(false),
  });
  const numbers = new StripeNumbers(session);
  const storing = makingRoom(stripes, space);
  const flusher: Flusher = new Flusher({ session, stripes: storing, numbers, pool, clock, onClean, onLost, onError: trace });
  const write: WriteBuffer = new WriteBuffer(pool, clock, sparing(options.schemes, space), flusher);
  const core: Core = {
    session, stripes, clock, caches: null, inodes, handles: new Handles(), pool, write, flusher,
    readAhead: new ReadAhead(stripes, allocate), fragments: new Fragments(stripes, allocate), space, losses, writers: new Writers(session, trace), accessTimes: options.accessTimes ?? true, trace,
    marks, changes: 0, accessed: new Map(), lockOwners: new Map(), flockOwners: new Set(), releases: new Releases({ session, clock, trace }), told: new Map(), places: new Places(), wrongInKernel: new Map(), listings: { givenMs: new Map(), old: new Set() }, asking: 0, expired: false,
  }; // prettier-ignore
  return core;
}

/** The kernel keeps an estimate as long as the lease: it is dropped once the namespace has counted. Attributes alone take no lock, so nothing waits for it. */
function correctBlocks(core: Core, file: FileState): void {
  const told = file.estimatedBytes;
  file.estimatedBytes = -1;
  if (told < 0 || told === file.attributes.allocatedBytes) return;
  void core.caches?.invalidateInode(file.inode, -1, 0).catch(() => {});
}

/** Bytes of the file were given up, and its pieces with them: programs see what the namespace has. */
function lost(core: Core, file: FileState, bytes: number): void {
  core.losses.add(file.inode, bytes);
  core.changes++;
  if (file.openBytes === 0 && file.units.length === 0) {
    file.attributes.size = file.kernelSize = file.committedSize;
    file.sizeDirty = file.timesDirty = false;
  }
  core.inodes.unlearned(file.inode);
  // Not awaited: a page of it may be locked for a request that waits.
  void core.caches?.invalidateInode(file.inode, 0, 0).catch(() => {});
  core.inodes.settleFile(file);
}

/** The session is over: nothing cached is valid, nothing unsynced is kept, every further operation is refused. */
function expire(core: Core): void {
  core.expired = true;
  core.releases.clear();
  core.marks.sessionBegins();
  core.changes++;
  for (const file of core.inodes.files()) {
    if (file.dirty) core.losses.add(file.inode, unwrittenBytes(file));
    core.write.drop(file);
    file.pieces.clear();
    file.cleanGeneration++;
    file.dropCount++;
    file.error = "EIO";
  }
  core.flusher.abandon();
  core.inodes.clear();
  const { caches } = core;
  if (caches === null) return;
  void caches.incrementEpoch().catch(() => {});
  for (const file of core.inodes.files()) void caches.invalidateInode(file.inode, 0, 0).catch(() => {});
}
