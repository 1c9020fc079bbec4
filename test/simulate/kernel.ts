// A kernel with one FUSE mount, for a world without one: system calls come in, requests go to the handlers, and what
// answers allow to be cached is served from the cache until the mount takes it back. So a missing invalidation shows
// as a stale answer. Requests, their answers and notifications take their time, each by itself, as between threads.
//
// Locks as in the kernel: changes of names hold their directories; writes, truncation and their like hold the inode;
// pages are locked while they are read, or written without being whole. Reads of a file wait for its writes here (they
// do not in Linux), so that a reader never sees bytes of a write that the mount does not have yet.

import { FsError } from "../../fs/errno.ts";
import type { DirectoryItem, Entry, Handlers, KernelCaches, Opened } from "../../fs/mount/handlers.ts";
import type { Attributes, ByteString, InodeId } from "../../fs/types.ts";
import { ROOT_INODE, S_IFDIR, S_IFLNK, S_IFMT } from "../../fs/types.ts";
import { type Content, contentOf } from "./content.ts";
import { type CachedInode, mtimeOf, PAGE_BYTES, truncatePages } from "./kernel-caches.ts";
import { type File, KernelCore, type KernelOptions } from "./kernel-core.ts";
import { KernelData, locksOf } from "./kernel-data.ts";
import { KernelLocks } from "./kernel-locks.ts";

const O_RDWR = 2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

/** In place of the version at which a request was sent: its answer's attributes are taken whatever came meanwhile. */
const UNCHECKED = Infinity;

export class Kernel implements KernelCaches {
  readonly data: KernelData;
  readonly locks: KernelLocks;
  readonly #core: KernelCore;

  constructor(mount: Handlers, options: KernelOptions) {
    this.#core = new KernelCore(mount, options);
    this.data = new KernelData(this.#core);
    this.locks = new KernelLocks(this.#core);
  }

  // ---- What the mount says

  forgetAttributes(inode: InodeId): void {
    const cached = this.#core.cache.inodes.get(inode);
    if (cached === undefined) return;
    cached.version = ++this.#core.cache.version;
    this.#core.cache.dropAttributes(cached);
  }

  async invalidateInode(inode: InodeId, offset: number, length: number): Promise<boolean> {
    await this.#core.pause();
    const cached = this.#core.cache.inodes.get(inode);
    if (cached === undefined) return false;
    cached.version = ++this.#core.cache.version;
    this.#core.cache.dropAttributes(cached);
    if (offset < 0) return true;
    cached.listing = null;
    cached.target = null;
    const last = length === 0 ? Infinity : offset + length - 1;
    for (const number of [...cached.pages.keys()].sort((a, b) => a - b)) {
      if (number * PAGE_BYTES + PAGE_BYTES <= offset || number * PAGE_BYTES > last) continue;
      for (let page = cached.pages.get(number); page !== undefined && page.locked !== null; page = cached.pages.get(number))
        await page.locked;
      cached.pages.delete(number);
    }
    return true;
  }

  async invalidateEntry(parent: InodeId, name: ByteString): Promise<void> {
    await this.#core.pause();
    await this.#core.turns.run([`directory ${parent}`], async () => this.#core.cache.dropName(parent, name));
  }

  notifyDelete(parent: InodeId, _child: InodeId, name: ByteString): Promise<void> {
    return this.invalidateEntry(parent, name);
  }

  async incrementEpoch(): Promise<void> {
    await this.#core.pause();
    this.#core.cache.epoch++;
  }

  // ---- Names

  /** The inode of a name, or null. `fresh`: cached names do not do (LOOKUP_EXCL, LOOKUP_RENAME_TARGET). */
  async lookup(parent: InodeId, name: ByteString, fresh = false): Promise<InodeId | null> {
    const known = this.#core.cache.name(parent, name);
    if (known !== undefined && !(fresh && known === null)) return known;
    const { epoch, version } = this.#core.cache;
    const entry = await this.#core.request(() => this.#core.mount.lookup(this.#core.caller, parent, name));
    if (entry.attributes === null) {
      this.#core.cache.setName(parent, name, null, entry.entryTimeoutMs, epoch);
      return null;
    }
    return this.#take(parent, name, entry as Entry, epoch, version).inode;
  }

  async #lookupLocked(parent: InodeId, name: ByteString, fresh = false): Promise<InodeId | null> {
    return this.#core.turns.run([`directory ${parent}`], () => this.lookup(parent, name, fresh));
  }

  async find(parent: InodeId, name: ByteString): Promise<InodeId | null> {
    return this.#lookupLocked(parent, name);
  }

  #take(parent: InodeId, name: ByteString, entry: Entry, epoch: number, version: number): CachedInode {
    const cached = this.#core.cache.learn(entry.attributes, entry.attributeTimeoutMs, version);
    this.#core.cache.setName(parent, name, cached.inode, entry.entryTimeoutMs, epoch);
    return cached;
  }

  /** fuse_dir_changed() */
  #directoryChanged(inode: InodeId): void {
    const cached = this.#core.cache.inodes.get(inode);
    if (cached === undefined) return;
    this.#core.cache.dropAttributes(cached);
    cached.changes++;
  }

  async make(parent: InodeId, name: ByteString, type: "directory" | "symlink", target = "" as ByteString): Promise<InodeId> {
    return this.#core.turns.run([`directory ${parent}`], async () => {
      if ((await this.lookup(parent, name, true)) !== null) throw new FsError("EEXIST");
      const { epoch } = this.#core.cache;
      const entry = await this.#core.request(() =>
        type === "directory"
          ? this.#core.mount.mkdir(this.#core.caller, parent, name, 0o755, 0)
          : this.#core.mount.symlink(this.#core.caller, parent, name, target),
      );
      this.#directoryChanged(parent);
      return this.#take(parent, name, entry, epoch, UNCHECKED).inode;
    });
  }

  /** open(2). With O_CREAT a symbolic link or directory in the way is refused. */
  async open(parent: InodeId, name: ByteString, flags: number): Promise<File> {
    const exclusive = (flags & O_EXCL) !== 0;
    const found = await this.#core.turns.run([`directory ${parent}`], async () => {
      const inode = await this.lookup(parent, name, exclusive);
      if (inode !== null && (flags & O_CREAT) !== 0 && exclusive) throw new FsError("EEXIST");
      if (inode !== null || (flags & O_CREAT) === 0) return inode;
      const { epoch } = this.#core.cache;
      const { entry, opened } = await this.#core.request(() =>
        this.#core.mount.create(this.#core.caller, parent, name, 0o644, flags, 0),
      );
      this.#directoryChanged(parent);
      const cached = this.#take(parent, name, entry, epoch, UNCHECKED);
      if ((flags & O_TRUNC) !== 0) {
        truncatePages(cached, 0);
        this.#core.cache.changed(cached, 0);
        cached.attributes.size = 0;
      }
      cached.pins++;
      return this.#opened(cached.inode, opened, flags);
    });
    if (found === null) throw new FsError("ENOENT");
    if (typeof found === "object") return found;
    return this.#openFound(found, flags);
  }

  /** open(2) with O_TMPFILE. */
  async openUnnamed(parent: InodeId): Promise<File> {
    const flags = O_RDWR;
    const { version } = this.#core.cache;
    const { entry, opened } = await this.#core.request(() =>
      this.#core.mount.tmpfile(this.#core.caller, parent, 0o644, flags, 0),
    );
    const cached = this.#core.cache.learn(entry.attributes, entry.attributeTimeoutMs, version);
    cached.pins++;
    return { ...this.#opened(cached.inode, opened, flags), linkable: true };
  }

  /** statfs(2). Never cached. */
  async space(): Promise<number> {
    return (await this.#core.request(() => this.#core.mount.statfs(this.#core.caller, ROOT_INODE))).blocks;
  }

  async #openFound(inode: InodeId, flags: number): Promise<File> {
    const cached = this.#pinned(inode);
    try {
      const type = cached.attributes.mode & S_IFMT;
      if (type === S_IFLNK) throw new FsError("ELOOP");
      if (type === S_IFDIR) throw new FsError("EISDIR");
      const open = (): Promise<File> => this.#openHandle(cached, flags);
      return await ((flags & O_TRUNC) !== 0 ? this.#core.turns.run(locksOf(inode), open) : open());
    } catch (error) {
      cached.pins--;
      throw error;
    }
  }

  async #openHandle(cached: CachedInode, flags: number): Promise<File> {
    const wanted = flags & ~(O_CREAT | O_EXCL);
    const opened = await this.#core.request(() => this.#core.mount.open(this.#core.caller, cached.inode, wanted, false));
    if ((flags & O_TRUNC) !== 0) {
      cached.version = ++this.#core.cache.version;
      cached.attributes.size = 0;
      truncatePages(cached, 0);
      this.#core.cache.dropAttributes(cached);
    }
    if (opened.keepCache !== true && opened.directIo !== true) cached.pages.clear();
    return this.#opened(cached.inode, opened, flags);
  }

  #opened(inode: InodeId, { handle, directIo }: Opened, flags: number): File {
    return { inode, handle, owner: this.#core.newOwner(), append: (flags & O_APPEND) !== 0, direct: directIo === true };
  }

  /** What close(2) returns: an error that the flush met, or null. The file is closed in any case. */
  async close(file: File): Promise<string | null> {
    const flush = this.#core.request(() => this.#core.mount.flush(this.#core.caller, file.inode, file.handle, file.owner));
    const error = await flush.then(() => null, errorCode);
    await this.#core.request(() => this.#core.mount.release(this.#core.caller, file.inode, file.handle, file.owner));
    this.unpin(file.inode);
    return error;
  }

  async remove(parent: InodeId, name: ByteString, directory: boolean): Promise<void> {
    await this.#core.turns.run([`directory ${parent}`], async () => {
      const inode = await this.lookup(parent, name);
      if (inode === null) throw new FsError("ENOENT");
      await this.#core.request(() =>
        directory
          ? this.#core.mount.rmdir(this.#core.caller, parent, name)
          : this.#core.mount.unlink(this.#core.caller, parent, name),
      );
      this.#directoryChanged(parent);
      this.#unlinked(inode);
      this.#core.cache.dropName(parent, name);
    });
  }

  /** fuse_entry_unlinked() */
  #unlinked(inode: InodeId): void {
    const cached = this.#core.cache.inodes.get(inode);
    if (cached === undefined) return;
    cached.version = ++this.#core.cache.version;
    this.#core.cache.dropAttributes(cached);
  }

  async rename(parent: InodeId, name: ByteString, newParent: InodeId, newName: ByteString, flags: number): Promise<void> {
    const directories = [...new Set([parent, newParent])].sort((a, b) => a - b).map((inode) => `directory ${inode}`);
    await this.#core.turns.run(directories, async () => {
      const source = await this.lookup(parent, name);
      if (source === null) throw new FsError("ENOENT");
      const target = await this.lookup(newParent, newName, true);
      if (target !== null && (flags & RENAME_NOREPLACE) !== 0) throw new FsError("EEXIST");
      if (target === null && (flags & RENAME_EXCHANGE) !== 0) throw new FsError("ENOENT");
      await this.#core.request(() => this.#core.mount.rename(this.#core.caller, parent, name, newParent, newName, flags));
      this.#directoryChanged(parent);
      this.#directoryChanged(newParent);
      this.#unlinked(source);
      if (target !== null) this.#unlinked(target);
      this.#core.cache.moveName(parent, name, newParent, newName, (flags & RENAME_EXCHANGE) !== 0);
    });
  }

  async link(inode: InodeId, parent: InodeId, name: ByteString): Promise<void> {
    await this.#core.turns.run([`directory ${parent}`], async () => {
      if ((await this.lookup(parent, name, true)) !== null) throw new FsError("EEXIST");
      const { epoch } = this.#core.cache;
      const entry = await this.#core.request(() => this.#core.mount.link(this.#core.caller, inode, parent, name));
      this.#directoryChanged(parent);
      this.#take(parent, name, entry, epoch, UNCHECKED);
    });
  }

  async readLink(inode: InodeId): Promise<ByteString> {
    const cached = this.#core.cache.inodes.get(inode)!;
    if (cached.target !== null) return cached.target;
    const target = await this.#core.request(() => this.#core.mount.readlink(this.#core.caller, inode));
    cached.target = target;
    return target;
  }

  /** All names of a directory, in order, "." and ".." left out. */
  async list(inode: InodeId, plus: boolean, once = true): Promise<Map<ByteString, InodeId>> {
    const cached = this.#core.cache.inodes.get(inode)!;
    // open(2) of the directory checks permissions on fresh attributes.
    await this.attributes(inode);
    const { handle, keepCache, cacheDirectory } = await this.#core.request(() =>
      this.#core.mount.opendir(this.#core.caller, inode, 0),
    );
    if (keepCache !== true) cached.listing = null;
    try {
      const { listing } = cached;
      if (listing !== null && listing.changes === cached.changes && listing.mtime === mtimeOf(cached.attributes))
        return namesOf(listing.items, once);
      const started = { mtime: mtimeOf(cached.attributes), changes: cached.changes, version: cached.version };
      const items = await this.#readDirectory(inode, handle, plus);
      if (cacheDirectory === true && cached.version === started.version)
        cached.listing = { items, mtime: started.mtime, changes: started.changes };
      return namesOf(items, once);
    } finally {
      await this.#core.request(() => this.#core.mount.releasedir(this.#core.caller, inode, handle));
    }
  }

  async #readDirectory(inode: InodeId, handle: number, plus: boolean): Promise<DirectoryItem[]> {
    const items: DirectoryItem[] = [];
    for (;;) {
      const room = 1 + Math.floor(this.#core.random() * 40);
      const some: DirectoryItem[] = [];
      const sink = (item: DirectoryItem): boolean => some.length < room && some.push(item) > 0;
      // iterate_dir() holds the directory's lock for each part, until its entries are taken.
      await this.#core.turns.run([`directory ${inode}`], async () => {
        const { epoch, version } = this.#core.cache;
        await this.#core.request(() =>
          this.#core.mount.readdir(this.#core.caller, inode, handle, items.at(-1)?.cookie ?? 0, plus, sink),
        );
        for (const { name, entry } of some)
          if (entry !== undefined && entry !== null) this.#take(inode, name, entry, epoch, version);
      });
      if (some.length === 0) return items;
      items.push(...some);
    }
  }

  // ---- Attributes

  attributes(inode: InodeId): Promise<Attributes> {
    return this.#core.attributes(inode);
  }

  async changeMode(inode: InodeId, mode: number): Promise<void> {
    await this.#core.turns.run([`file ${inode}`], async () => {
      const cached = this.#core.cache.inodes.get(inode)!;
      const reply = await this.#core.request(() => this.#core.mount.setattr(this.#core.caller, inode, { mode }));
      this.#core.cache.takeAttributes(cached, reply, UNCHECKED);
    });
  }

  async sync(file: File): Promise<void> {
    await this.#core.request(() => this.#core.mount.fsync(this.#core.caller, file.inode, file.handle, false));
  }

  async syncDirectory(inode: InodeId): Promise<void> {
    await this.#core.request(() => this.#core.mount.fsyncdir(this.#core.caller, inode, 0, false));
  }

  /** syncfs(2), as it would be. */
  async syncAll(): Promise<void> {
    await this.#core.request(() => this.#core.mount.syncfs(this.#core.caller, ROOT_INODE));
  }

  // ---- Extended attributes: never cached

  async xattr(inode: InodeId, name: ByteString): Promise<Uint8Array> {
    return this.#core.request(() => this.#core.mount.getxattr(this.#core.caller, inode, name));
  }

  async setXattr(inode: InodeId, name: ByteString, value: Uint8Array): Promise<void> {
    await this.#core.request(() => this.#core.mount.setxattr(this.#core.caller, inode, name, value, 0, false));
    this.#changedAttributes(inode);
  }

  async xattrNames(inode: InodeId): Promise<readonly ByteString[]> {
    return this.#core.request(() => this.#core.mount.listxattr(this.#core.caller, inode));
  }

  async xattrs(inode: InodeId): Promise<Map<ByteString, string>> {
    const values = new Map<ByteString, string>();
    for (const name of await this.xattrNames(inode)) values.set(name, Buffer.from(await this.xattr(inode, name)).toString());
    return values;
  }

  async removeXattr(inode: InodeId, name: ByteString): Promise<void> {
    await this.#core.request(() => this.#core.mount.removexattr(this.#core.caller, inode, name));
    this.#changedAttributes(inode);
  }

  #changedAttributes(inode: InodeId): void {
    const cached = this.#core.cache.inodes.get(inode);
    if (cached !== undefined) this.#core.cache.dropAttributes(cached);
  }

  // ---- References

  pin(inode: InodeId): void {
    const cached = this.#core.cache.inodes.get(inode);
    if (cached !== undefined) cached.pins++;
  }

  unpin(inode: InodeId): void {
    const cached = this.#core.cache.inodes.get(inode);
    if (cached !== undefined) cached.pins--;
  }

  #pinned(inode: InodeId): CachedInode {
    const cached = this.#core.cache.inodes.get(inode)!;
    cached.pins++;
    return cached;
  }

  /** The kernel needs memory: it forgets what nobody uses. Only between system calls. */
  async shrink(): Promise<void> {
    await this.#core.taken();
    for (const { inode, lookups } of this.#core.cache.shrink((inode) => inode === ROOT_INODE || this.#core.random() < 0.3))
      this.#core.mount.forget(inode, lookups);
  }

  /** As the kernel does with an inode that has lost its last name and that nobody has open. Only between system calls. */
  async forgetUnnamed(inode: InodeId): Promise<void> {
    await this.#core.taken();
    for (const { lookups } of this.#core.cache.shrink((other) => other !== inode)) this.#core.mount.forget(inode, lookups);
  }

  async learnRoot(): Promise<void> {
    const { version } = this.#core.cache;
    const reply = await this.#core.request(() => this.#core.mount.getattr(this.#core.caller, ROOT_INODE, null));
    this.#core.cache.learn(reply.attributes, reply.attributeTimeoutMs, version).pins++;
  }

  knows(inode: InodeId): boolean {
    return this.#core.cache.inodes.has(inode);
  }

  /** The whole file, as `cat` reads it. */
  async contents(parent: InodeId, name: ByteString): Promise<Content> {
    const file = await this.open(parent, name, 0);
    const bytes = await this.data.read(file, 0, 2 ** 26);
    await this.close(file);
    return contentOf(bytes);
  }
}

/** Anything that is no refusal is a fault of the simulation or of the mount. */
function errorCode(error: unknown): string {
  const { code } = error as { code?: string };
  if (code === undefined) throw error;
  return code;
}

/** `once`: nothing changed meanwhile, so no name may come twice. */
function namesOf(items: readonly DirectoryItem[], once: boolean): Map<ByteString, InodeId> {
  const names = new Map<ByteString, InodeId>();
  for (const { name, inode } of items) {
    if (name === "." || name === "..") continue;
    if (once && names.has(name)) throw new Error(`the listing has ${JSON.stringify(name)} twice`);
    names.set(name, inode);
  }
  return names;
}
