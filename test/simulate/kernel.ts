// A kernel with one FUSE mount, for a world without one: system calls come in, requests go to the handlers, and what
// answers allow to be cached is served from the cache until the mount takes it back. So a missing invalidation shows
// as a stale answer. Requests, their answers and notifications take their time, each by itself, as between threads.
//
// Locks as in the kernel: changes of names hold their directories; writes, truncation and their like hold the inode;
// pages are locked while they are read, or written without being whole. Reads of a file wait for its writes here (they
// do not in Linux), so that a reader never sees bytes of a write that the mount does not have yet.

import { FsError } from "../../fs/errno.ts";
import type { Caller, DirectoryItem, Entry, FileLock, Handlers, KernelCaches } from "../../fs/mount/handlers.ts";
import type { Attributes, ByteString, InodeId } from "../../fs/types.ts";
import { ROOT_INODE, S_IFDIR, S_IFLNK, S_IFMT } from "../../fs/types.ts";
import type { Random } from "../../storage/seeded-random.ts";
import type { MachineClock } from "./clock.ts";
import { type CachedInode, KernelCache, mtimeOf, PAGE_BYTES, pagesOf, truncatePages } from "./kernel-caches.ts";
import { type Content, contentOf } from "./content.ts";
import { Turns } from "./turns.ts";

const O_RDWR = 2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
export const PUNCH = 3;
export const ZERO = 16;
export const ZERO_KEEP_SIZE = 17;
export const ALLOCATE = 0;

export interface File {
  readonly inode: InodeId;
  readonly handle: number;
  readonly owner: string;
}

/** In place of the version at which a request was sent: its answer's attributes are taken whatever came meanwhile. */
const UNCHECKED = Infinity;

export class Kernel implements KernelCaches {
  readonly #mount: Handlers;
  readonly #clock: MachineClock;
  readonly #random: Random;
  readonly #cache: KernelCache;
  readonly #turns = new Turns();
  readonly #name: string;
  #owners = 0;
  readonly #caller: Caller = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal };

  /** `name`: no other kernel of the world has it. */
  constructor(mount: Handlers, clock: MachineClock, random: Random, name: string) {
    this.#name = name;
    this.#mount = mount;
    this.#clock = clock;
    this.#random = random;
    this.#cache = new KernelCache(() => clock.nowMs());
  }

  // ---- What the mount says

  async invalidateInode(inode: InodeId, offset: number, length: number): Promise<boolean> {
    await this.#pause();
    const cached = this.#cache.inodes.get(inode);
    if (cached === undefined) return false;
    cached.version = ++this.#cache.version;
    this.#cache.dropAttributes(cached);
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
    await this.#pause();
    await this.#turns.run([`directory ${parent}`], async () => this.#cache.dropName(parent, name));
  }

  notifyDelete(parent: InodeId, _child: InodeId, name: ByteString): Promise<void> {
    return this.invalidateEntry(parent, name);
  }

  async incrementEpoch(): Promise<void> {
    await this.#pause();
    this.#cache.epoch++;
  }

  // ---- Names

  /** The inode of a name, or null. `fresh`: cached names do not do (LOOKUP_EXCL, LOOKUP_RENAME_TARGET). */
  async lookup(parent: InodeId, name: ByteString, fresh = false): Promise<InodeId | null> {
    const known = this.#cache.name(parent, name);
    if (known !== undefined && !(fresh && known === null)) return known;
    const { epoch, version } = this.#cache;
    const entry = await this.#request(() => this.#mount.lookup(this.#caller, parent, name));
    if (entry.attributes === null) {
      this.#cache.setName(parent, name, null, entry.entryTimeoutMs, epoch);
      return null;
    }
    return this.#take(parent, name, entry as Entry, epoch, version).inode;
  }

  async #lookupLocked(parent: InodeId, name: ByteString, fresh = false): Promise<InodeId | null> {
    return this.#turns.run([`directory ${parent}`], () => this.lookup(parent, name, fresh));
  }

  async find(parent: InodeId, name: ByteString): Promise<InodeId | null> {
    return this.#lookupLocked(parent, name);
  }

  #take(parent: InodeId, name: ByteString, entry: Entry, epoch: number, version: number): CachedInode {
    const cached = this.#cache.learn(entry.attributes, entry.attributeTimeoutMs, version);
    this.#cache.setName(parent, name, cached.inode, entry.entryTimeoutMs, epoch);
    return cached;
  }

  /** fuse_dir_changed() */
  #directoryChanged(inode: InodeId): void {
    const cached = this.#cache.inodes.get(inode);
    if (cached === undefined) return;
    this.#cache.dropAttributes(cached);
    cached.changes++;
  }

  async make(parent: InodeId, name: ByteString, type: "directory" | "symlink", target = "" as ByteString): Promise<InodeId> {
    return this.#turns.run([`directory ${parent}`], async () => {
      if ((await this.lookup(parent, name, true)) !== null) throw new FsError("EEXIST");
      const { epoch } = this.#cache;
      const entry = await this.#request(() =>
        type === "directory"
          ? this.#mount.mkdir(this.#caller, parent, name, 0o755, 0)
          : this.#mount.symlink(this.#caller, parent, name, target),
      );
      this.#directoryChanged(parent);
      return this.#take(parent, name, entry, epoch, UNCHECKED).inode;
    });
  }

  /** open(2). With O_CREAT a symbolic link or directory in the way is refused. */
  async open(parent: InodeId, name: ByteString, flags: number): Promise<File> {
    const exclusive = (flags & O_EXCL) !== 0;
    const found = await this.#turns.run([`directory ${parent}`], async () => {
      const inode = await this.lookup(parent, name, exclusive);
      if (inode !== null && (flags & O_CREAT) !== 0 && exclusive) throw new FsError("EEXIST");
      if (inode !== null || (flags & O_CREAT) === 0) return inode;
      const { epoch } = this.#cache;
      const { entry, opened } = await this.#request(() => this.#mount.create(this.#caller, parent, name, 0o644, flags, 0));
      this.#directoryChanged(parent);
      const cached = this.#take(parent, name, entry, epoch, UNCHECKED);
      if ((flags & O_TRUNC) !== 0) {
        truncatePages(cached, 0);
        this.#cache.changed(cached, 0);
        cached.attributes.size = 0;
      }
      cached.pins++;
      return { inode: cached.inode, handle: opened.handle, owner: this.#newOwner() };
    });
    if (found === null) throw new FsError("ENOENT");
    if (typeof found === "object") return found;
    return this.#openFound(found, flags);
  }

  async #openFound(inode: InodeId, flags: number): Promise<File> {
    const cached = this.#pinned(inode);
    try {
      const type = cached.attributes.mode & S_IFMT;
      if (type === S_IFLNK) throw new FsError("ELOOP");
      if (type === S_IFDIR) throw new FsError("EISDIR");
      const open = (): Promise<File> => this.#openHandle(cached, flags);
      return await ((flags & O_TRUNC) !== 0 ? this.#turns.run([`file ${inode}`], open) : open());
    } catch (error) {
      cached.pins--;
      throw error;
    }
  }

  async #openHandle(cached: CachedInode, flags: number): Promise<File> {
    const wanted = flags & ~(O_CREAT | O_EXCL);
    const opened = await this.#request(() => this.#mount.open(this.#caller, cached.inode, wanted, false));
    if ((flags & O_TRUNC) !== 0) {
      cached.version = ++this.#cache.version;
      cached.attributes.size = 0;
      truncatePages(cached, 0);
      this.#cache.dropAttributes(cached);
    }
    if (opened.keepCache !== true) cached.pages.clear();
    return { inode: cached.inode, handle: opened.handle, owner: this.#newOwner() };
  }

  #newOwner(): string {
    return `owner-${this.#name}-${++this.#owners}`;
  }

  async close(file: File): Promise<void> {
    const flush = this.#request(() => this.#mount.flush(this.#caller, file.inode, file.handle, file.owner));
    await flush.catch(() => {});
    await this.#request(() => this.#mount.release(this.#caller, file.inode, file.handle, file.owner));
    this.unpin(file.inode);
  }

  async remove(parent: InodeId, name: ByteString, directory: boolean): Promise<void> {
    await this.#turns.run([`directory ${parent}`], async () => {
      const inode = await this.lookup(parent, name);
      if (inode === null) throw new FsError("ENOENT");
      await this.#request(() =>
        directory ? this.#mount.rmdir(this.#caller, parent, name) : this.#mount.unlink(this.#caller, parent, name),
      );
      this.#directoryChanged(parent);
      this.#unlinked(inode);
      this.#cache.dropName(parent, name);
    });
  }

  /** fuse_entry_unlinked() */
  #unlinked(inode: InodeId): void {
    const cached = this.#cache.inodes.get(inode);
    if (cached === undefined) return;
    cached.version = ++this.#cache.version;
    this.#cache.dropAttributes(cached);
  }

  async rename(parent: InodeId, name: ByteString, newParent: InodeId, newName: ByteString, flags: number): Promise<void> {
    const directories = [...new Set([parent, newParent])].sort((a, b) => a - b).map((inode) => `directory ${inode}`);
    await this.#turns.run(directories, async () => {
      const source = await this.lookup(parent, name);
      if (source === null) throw new FsError("ENOENT");
      const target = await this.lookup(newParent, newName, true);
      if (target !== null && (flags & RENAME_NOREPLACE) !== 0) throw new FsError("EEXIST");
      if (target === null && (flags & RENAME_EXCHANGE) !== 0) throw new FsError("ENOENT");
      await this.#request(() => this.#mount.rename(this.#caller, parent, name, newParent, newName, flags));
      this.#directoryChanged(parent);
      this.#directoryChanged(newParent);
      this.#unlinked(source);
      if (target !== null) this.#unlinked(target);
      this.#cache.moveName(parent, name, newParent, newName, (flags & RENAME_EXCHANGE) !== 0);
    });
  }

  async link(inode: InodeId, parent: InodeId, name: ByteString): Promise<void> {
    await this.#turns.run([`directory ${parent}`], async () => {
      if ((await this.lookup(parent, name, true)) !== null) throw new FsError("EEXIST");
      const { epoch } = this.#cache;
      const entry = await this.#request(() => this.#mount.link(this.#caller, inode, parent, name));
      this.#directoryChanged(parent);
      this.#take(parent, name, entry, epoch, UNCHECKED);
    });
  }

  async readLink(inode: InodeId): Promise<ByteString> {
    const cached = this.#cache.inodes.get(inode)!;
    if (cached.target !== null) return cached.target;
    const target = await this.#request(() => this.#mount.readlink(this.#caller, inode));
    cached.target = target;
    return target;
  }

  /** All names of a directory, in order, "." and ".." left out. */
  async list(inode: InodeId, plus: boolean, once = true): Promise<Map<ByteString, InodeId>> {
    const cached = this.#cache.inodes.get(inode)!;
    // open(2) of the directory checks permissions on fresh attributes.
    await this.attributes(inode);
    const { handle, keepCache, cacheDirectory } = await this.#request(() => this.#mount.opendir(this.#caller, inode, 0));
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
      await this.#request(() => this.#mount.releasedir(this.#caller, inode, handle));
    }
  }

  async #readDirectory(inode: InodeId, handle: number, plus: boolean): Promise<DirectoryItem[]> {
    const items: DirectoryItem[] = [];
    for (;;) {
      const room = 1 + Math.floor(this.#random() * 40);
      const some: DirectoryItem[] = [];
      const sink = (item: DirectoryItem): boolean => some.length < room && some.push(item) > 0;
      // iterate_dir() holds the directory's lock for each part, until its entries are taken.
      await this.#turns.run([`directory ${inode}`], async () => {
        const { epoch, version } = this.#cache;
        await this.#request(() => this.#mount.readdir(this.#caller, inode, handle, items.at(-1)?.cookie ?? 0, plus, sink));
        for (const { name, entry } of some)
          if (entry !== undefined && entry !== null) this.#take(inode, name, entry, epoch, version);
      });
      if (some.length === 0) return items;
      items.push(...some);
    }
  }

  // ---- Attributes

  async attributes(inode: InodeId): Promise<Attributes> {
    const cached = this.#cache.inodes.get(inode)!;
    if (this.#cache.attributesFresh(cached)) return cached.attributes;
    const { version } = this.#cache;
    const reply = await this.#request(() => this.#mount.getattr(this.#caller, inode, null));
    this.#cache.takeAttributes(cached, reply, version);
    return reply.attributes;
  }

  async truncate(file: File, size: number): Promise<void> {
    await this.#turns.run([`file ${file.inode}`], async () => {
      const cached = this.#cache.inodes.get(file.inode)!;
      const reply = await this.#request(() => this.#mount.setattr(this.#caller, file.inode, { size, handle: file.handle }));
      cached.version = ++this.#cache.version;
      cached.attributes = { ...reply.attributes };
      cached.untilMs = this.#clock.nowMs() + reply.attributeTimeoutMs;
      truncatePages(cached, size);
    });
  }

  async changeMode(inode: InodeId, mode: number): Promise<void> {
    await this.#turns.run([`file ${inode}`], async () => {
      const cached = this.#cache.inodes.get(inode)!;
      const reply = await this.#request(() => this.#mount.setattr(this.#caller, inode, { mode }));
      this.#cache.takeAttributes(cached, reply, UNCHECKED);
    });
  }

  // ---- Data

  async read(file: File, offset: number, length: number): Promise<Uint8Array> {
    return this.#turns.run([`file ${file.inode}`], async () => {
      const cached = this.#cache.inodes.get(file.inode)!;
      if (offset + length > cached.attributes.size) await this.attributes(file.inode);
      const end = Math.min(offset + length, cached.attributes.size);
      if (end <= offset) return new Uint8Array(0);
      const into = new Uint8Array(end - offset);
      for (const number of pagesOf(offset, end - offset)) {
        const bytes = await this.#page(cached, file, number);
        const start = number * PAGE_BYTES;
        const from = Math.max(offset, start);
        const to = Math.min(end, start + PAGE_BYTES);
        into.set(bytes.subarray(from - start, to - start), from - offset);
      }
      // The size may have been learned to be smaller meanwhile (a short read, an answer to a stat).
      return into.subarray(0, Math.max(0, Math.min(into.length, cached.attributes.size - offset)));
    });
  }

  async #page(cached: CachedInode, file: File, number: number): Promise<Uint8Array> {
    for (;;) {
      const page = cached.pages.get(number);
      if (page === undefined) return this.#readPages(cached, file, number);
      if (page.locked === null) return page.bytes;
      await page.locked;
    }
  }

  /** Reads the page and some after it, as readahead does. */
  async #readPages(cached: CachedInode, file: File, first: number): Promise<Uint8Array> {
    const lastOfFile = Math.floor((cached.attributes.size - 1) / PAGE_BYTES);
    const most = this.#random() < 0.5 ? 1 : 32;
    let count = 1;
    while (count < most && first + count <= lastOfFile && !cached.pages.has(first + count)) count++;
    let unlock!: () => void;
    const locked = new Promise<void>((resolve) => (unlock = resolve));
    const pages = Array.from({ length: count }, () => ({
      bytes: new Uint8Array(PAGE_BYTES),
      locked: locked as Promise<void> | null,
    }));
    pages.forEach((page, index) => cached.pages.set(first + index, page));
    try {
      const version = this.#cache.version;
      const into = new Uint8Array(count * PAGE_BYTES);
      const reply = await this.#request(async () => {
        const read = await this.#mount.read(this.#caller, file.inode, file.handle, first * PAGE_BYTES, into.length, into, 0);
        if (typeof read === "number") return read;
        const bytes = Buffer.concat(read.buffers);
        read.release?.();
        into.set(bytes);
        return bytes.length;
      });
      into.fill(0, reply);
      pages.forEach((page, index) => page.bytes.set(into.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES)));
      // fuse_short_read(): the end of the file is there, if nothing has changed since.
      if (reply < into.length && cached.version <= version && first * PAGE_BYTES + reply < cached.attributes.size)
        cached.attributes.size = first * PAGE_BYTES + reply;
    } catch (error) {
      pages.forEach((page, index) => cached.pages.get(first + index) === page && cached.pages.delete(first + index));
      throw error;
    } finally {
      for (const page of pages) page.locked = null;
      unlock();
    }
    return pages[0].bytes;
  }

  /** Returns the number of bytes taken. */
  async write(file: File, offset: number, data: Uint8Array, append: boolean): Promise<number> {
    return this.#turns.run([`file ${file.inode}`], async () => {
      const cached = this.#cache.inodes.get(file.inode)!;
      const position = append ? cached.attributes.size : offset;
      const { pages, unlock } = await this.#fillPages(cached, position, data);
      const flags = O_RDWR | (append ? O_APPEND : 0);
      try {
        const written = await this.#request(() =>
          this.#mount.write(this.#caller, file.inode, file.handle, position, data, flags, false, false),
        );
        this.#cache.changed(cached, position + written);
        if (written < data.length) dropPages(cached, pages);
        return written;
      } catch (error) {
        dropPages(cached, pages);
        this.#cache.dropAttributes(cached);
        throw error;
      } finally {
        unlock();
      }
    });
  }

  /** fuse_fill_write_pages(): pages that are whole afterwards are unlocked, others go when the write is done. */
  async #fillPages(cached: CachedInode, position: number, data: Uint8Array): Promise<{ pages: number[]; unlock: () => void }> {
    const numbers = pagesOf(position, data.length);
    let end!: () => void;
    const locked = new Promise<void>((resolve) => (end = resolve));
    const partial: number[] = [];
    for (const number of numbers) {
      for (let page = cached.pages.get(number); page !== undefined && page.locked !== null; page = cached.pages.get(number))
        await page.locked;
      const start = number * PAGE_BYTES;
      const from = Math.max(position, start);
      const to = Math.min(position + data.length, start + PAGE_BYTES);
      let page = cached.pages.get(number);
      if (page === undefined) {
        page = { bytes: new Uint8Array(PAGE_BYTES), locked: to - from < PAGE_BYTES ? locked : null };
        cached.pages.set(number, page);
        if (page.locked !== null) partial.push(number);
      }
      page.bytes.set(data.subarray(from - position, to - position), from - start);
    }
    const unlock = (): void => {
      dropPages(cached, partial);
      end();
    };
    return { pages: numbers, unlock };
  }

  async fallocate(file: File, offset: number, length: number, mode: number): Promise<void> {
    await this.#turns.run([`file ${file.inode}`], async () => {
      const cached = this.#cache.inodes.get(file.inode)!;
      await this.#request(() => this.#mount.fallocate(this.#caller, file.inode, file.handle, offset, length, mode));
      if (mode !== PUNCH && mode !== ZERO_KEEP_SIZE) this.#cache.changed(cached, offset + length);
      if (mode !== ALLOCATE) zeroPages(cached, offset, length);
      this.#cache.dropAttributes(cached);
    });
  }

  async copy(from: File, fromOffset: number, to: File, toOffset: number, length: number): Promise<number> {
    return this.#turns.run([`file ${to.inode}`], async () => {
      const cached = this.#cache.inodes.get(to.inode)!;
      const copied = await this.#request(() =>
        this.#mount.copyFileRange(this.#caller, from.inode, from.handle, fromOffset, to.inode, to.handle, toOffset, length, 0),
      );
      dropPages(cached, pagesOf(toOffset, copied));
      this.#cache.changed(cached, copied === 0 ? 0 : toOffset + copied);
      return copied;
    });
  }

  async sync(file: File): Promise<void> {
    await this.#request(() => this.#mount.fsync(this.#caller, file.inode, file.handle, false));
  }

  async syncDirectory(inode: InodeId): Promise<void> {
    await this.#request(() => this.#mount.fsyncdir(this.#caller, inode, 0, false));
  }

  /** syncfs(2), as it would be. */
  async syncAll(): Promise<void> {
    await this.#request(() => this.#mount.syncfs(this.#caller, ROOT_INODE));
  }

  // ---- Extended attributes and locks: never cached

  async xattr(inode: InodeId, name: ByteString): Promise<Uint8Array> {
    return this.#request(() => this.#mount.getxattr(this.#caller, inode, name));
  }

  async setXattr(inode: InodeId, name: ByteString, value: Uint8Array): Promise<void> {
    await this.#request(() => this.#mount.setxattr(this.#caller, inode, name, value, 0, false));
    this.#changedAttributes(inode);
  }

  async xattrs(inode: InodeId): Promise<Map<ByteString, string>> {
    const values = new Map<ByteString, string>();
    for (const name of await this.#request(() => this.#mount.listxattr(this.#caller, inode)))
      values.set(name, Buffer.from(await this.xattr(inode, name)).toString());
    return values;
  }

  async removeXattr(inode: InodeId, name: ByteString): Promise<void> {
    await this.#request(() => this.#mount.removexattr(this.#caller, inode, name));
    this.#changedAttributes(inode);
  }

  #changedAttributes(inode: InodeId): void {
    const cached = this.#cache.inodes.get(inode);
    if (cached !== undefined) this.#cache.dropAttributes(cached);
  }

  async lock(file: File, lock: FileLock): Promise<void> {
    await this.#request(() => this.#mount.setlk(this.#caller, file.inode, file.handle, file.owner, lock, false, false));
  }

  // ---- References

  pin(inode: InodeId): void {
    const cached = this.#cache.inodes.get(inode);
    if (cached !== undefined) cached.pins++;
  }

  unpin(inode: InodeId): void {
    const cached = this.#cache.inodes.get(inode);
    if (cached !== undefined) cached.pins--;
  }

  #pinned(inode: InodeId): CachedInode {
    const cached = this.#cache.inodes.get(inode)!;
    cached.pins++;
    return cached;
  }

  /** The kernel needs memory: it forgets what nobody uses. Only between system calls. */
  shrink(): void {
    for (const { inode, lookups } of this.#cache.shrink((inode) => inode === ROOT_INODE || this.#random() < 0.3))
      this.#mount.forget(inode, lookups);
  }

  async learnRoot(): Promise<void> {
    const { version } = this.#cache;
    const reply = await this.#request(() => this.#mount.getattr(this.#caller, ROOT_INODE, null));
    this.#cache.learn(reply.attributes, reply.attributeTimeoutMs, version).pins++;
  }

  knows(inode: InodeId): boolean {
    return this.#cache.inodes.has(inode);
  }

  /** The whole file, as `cat` reads it. */
  async contents(parent: InodeId, name: ByteString): Promise<Content> {
    const file = await this.open(parent, name, 0);
    const bytes = await this.read(file, 0, 2 ** 26);
    await this.close(file);
    return contentOf(bytes);
  }

  /** A request waits to be received, and its answer for its thread to run. */
  async #request<T>(handle: () => T | Promise<T>): Promise<T> {
    await this.#pause();
    try {
      const result = await handle();
      await this.#pause();
      return result;
    } catch (error) {
      await this.#pause();
      throw error;
    }
  }

  async #pause(): Promise<void> {
    const choice = this.#random();
    if (choice < 0.6) return;
    await this.#clock.sleep(choice < 0.98 ? 0.3 * this.#random() : 10 * this.#random());
  }
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

function dropPages(cached: CachedInode, numbers: readonly number[]): void {
  for (const number of numbers) cached.pages.delete(number);
}

function zeroPages(cached: CachedInode, offset: number, length: number): void {
  for (const number of pagesOf(offset, length)) {
    const page = cached.pages.get(number);
    if (page === undefined) continue;
    const start = number * PAGE_BYTES;
    page.bytes.fill(0, Math.max(0, offset - start), Math.min(PAGE_BYTES, offset + length - start));
  }
}
