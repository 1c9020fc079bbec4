// The data of files in a simulated kernel: its page cache, as fs/fuse/file.c of Linux 6.18 fills, writes and drops it.

import type { InodeId } from "../../fs/types.ts";
import { type CachedInode, PAGE_BYTES, pagesOf, truncatePages } from "./kernel-caches.ts";
import type { File, KernelCore } from "./kernel-core.ts";

const O_RDWR = 2;
const O_APPEND = 0o2000;
/** A request carries at most so much. */
const REQUEST_BYTES = 1024 * 1024;
export const PUNCH = 3;
export const ZERO = 16;
export const ZERO_KEEP_SIZE = 17;
export const ALLOCATE = 0;
/** Linux passes these two on to no FUSE filesystem yet; the mount and the namespace can do them. */
export const COLLAPSE = 8;
export const INSERT = 32;

/** Bytes of a write through the page cache are in its pages before the mount has them: nobody reads meanwhile. A direct write changes no page. */
function dataOf(inode: InodeId): string {
  return `data ${inode}`;
}

/** What changes a file and its pages holds. */
export function locksOf(inode: InodeId): string[] {
  return [`file ${inode}`, dataOf(inode)];
}

export class KernelData {
  readonly #core: KernelCore;

  constructor(core: KernelCore) {
    this.#core = core;
  }

  async read(file: File, offset: number, length: number): Promise<Uint8Array> {
    return file.direct ? this.#readDirect(file, offset, length) : this.#readCached(file, offset, length);
  }

  /** fuse_direct_io(): one request after another until one is short. No lock, no page, and the size as the mount knows it. */
  async #readDirect(file: File, offset: number, length: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (let done = 0; done < length;) {
      const into = new Uint8Array(Math.min(length - done, REQUEST_BYTES));
      const read = await this.#request(file, offset + done, into);
      parts.push(into.subarray(0, read));
      done += read;
      if (read < into.length) break;
    }
    return parts.length === 1 ? parts[0] : new Uint8Array(Buffer.concat(parts));
  }

  /** One READ. Returns how many bytes there were. */
  #request(file: File, offset: number, into: Uint8Array): Promise<number> {
    const { mount, caller } = this.#core;
    return this.#core.request(async () => {
      const read = await mount.read(caller, file.inode, file.handle, offset, into.length, into, 0);
      if (typeof read === "number") return read;
      const bytes = Buffer.concat(read.buffers);
      read.release?.();
      into.set(bytes);
      return bytes.length;
    });
  }

  async #readCached(file: File, offset: number, length: number): Promise<Uint8Array> {
    return this.#core.turns.run([dataOf(file.inode)], async () => {
      const cached = this.#core.cache.inodes.get(file.inode)!;
      if (offset + length > cached.attributes.size) await this.#core.attributes(file.inode);
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
    const most = this.#core.random() < 0.5 ? 1 : 32;
    let count = 1;
    while (count < most && first + count <= lastOfFile && !cached.pages.has(first + count)) count++;
    let unlock!: () => void;
    const locked = new Promise<void>((resolve) => (unlock = resolve));
    const into = new Uint8Array(count * PAGE_BYTES);
    const pages = Array.from({ length: count }, (_, index) => ({
      bytes: into.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES),
      locked: locked as Promise<void> | null,
    }));
    pages.forEach((page, index) => cached.pages.set(first + index, page));
    try {
      const version = this.#core.cache.version;
      const reply = await this.#request(file, first * PAGE_BYTES, into);
      into.fill(0, reply);
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
    const appends = append || file.append;
    return file.direct ? this.#writeDirect(file, offset, data, appends) : this.#writeCached(file, offset, data, appends);
  }

  /** fuse_direct_write_iter(): behind the end that the kernel knows, with the inode locked; the pages of that range go first. */
  async #writeDirect(file: File, offset: number, data: Uint8Array, append: boolean): Promise<number> {
    return this.#core.turns.run([`file ${file.inode}`], async () => {
      const { mount, caller, cache } = this.#core;
      const cached = cache.inodes.get(file.inode)!;
      const position = append ? cached.attributes.size : offset;
      const flags = O_RDWR | (append ? O_APPEND : 0);
      await this.#dropUnlocked(cached, pagesOf(position, data.length));
      let done = 0;
      while (done < data.length) {
        const part = data.subarray(done, done + REQUEST_BYTES);
        const at = position + done;
        const written = await this.#core.request(() =>
          mount.write(caller, file.inode, file.handle, at, part, flags, false, false),
        );
        done += written;
        if (written < part.length) break;
      }
      cache.changed(cached, position + done);
      return done;
    });
  }

  /** invalidate_inode_pages2_range() */
  async #dropUnlocked(cached: CachedInode, numbers: readonly number[]): Promise<void> {
    for (const number of numbers) {
      for (let page = cached.pages.get(number); page !== undefined && page.locked !== null; page = cached.pages.get(number))
        await page.locked;
      cached.pages.delete(number);
    }
  }

  async #writeCached(file: File, offset: number, data: Uint8Array, append: boolean): Promise<number> {
    return this.#core.turns.run(locksOf(file.inode), async () => {
      const cached = this.#core.cache.inodes.get(file.inode)!;
      const position = append ? cached.attributes.size : offset;
      const { pages, unlock } = await this.#fillPages(cached, position, data);
      const flags = O_RDWR | (append ? O_APPEND : 0);
      try {
        const written = await this.#core.request(() =>
          this.#core.mount.write(this.#core.caller, file.inode, file.handle, position, data, flags, false, false),
        );
        this.#core.cache.changed(cached, position + written);
        if (written < data.length) dropPages(cached, pages);
        return written;
      } catch (error) {
        dropPages(cached, pages);
        this.#core.cache.dropAttributes(cached);
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
    await this.#core.turns.run(locksOf(file.inode), async () => {
      const cached = this.#core.cache.inodes.get(file.inode)!;
      await this.#core.request(() =>
        this.#core.mount.fallocate(this.#core.caller, file.inode, file.handle, offset, length, mode),
      );
      if (mode === COLLAPSE || mode === INSERT) return this.#shifted(cached, offset, mode === COLLAPSE ? -length : length);
      if (mode !== PUNCH && mode !== ZERO_KEEP_SIZE) this.#core.cache.changed(cached, offset + length);
      if (mode !== ALLOCATE) zeroPages(cached, offset, length);
      this.#core.cache.dropAttributes(cached);
    });
  }

  /** What follows the offset lies elsewhere now. */
  #shifted(cached: CachedInode, offset: number, byBytes: number): void {
    this.#core.cache.changed(cached, 0);
    cached.attributes.size = Math.max(0, cached.attributes.size + byBytes);
    for (const number of [...cached.pages.keys()]) if (number * PAGE_BYTES >= offset) cached.pages.delete(number);
  }

  async copy(from: File, fromOffset: number, to: File, toOffset: number, length: number): Promise<number> {
    return this.#core.turns.run(locksOf(to.inode), async () => {
      const cached = this.#core.cache.inodes.get(to.inode)!;
      const copied = await this.#core.request(() =>
        this.#core.mount.copyFileRange(
          this.#core.caller,
          from.inode,
          from.handle,
          fromOffset,
          to.inode,
          to.handle,
          toOffset,
          length,
          0,
        ),
      );
      dropPages(cached, pagesOf(toOffset, copied));
      this.#core.cache.changed(cached, copied === 0 ? 0 : toOffset + copied);
      return copied;
    });
  }

  async truncate(file: File, size: number): Promise<void> {
    await this.#core.turns.run(locksOf(file.inode), async () => {
      const cached = this.#core.cache.inodes.get(file.inode)!;
      const reply = await this.#core.request(() =>
        this.#core.mount.setattr(this.#core.caller, file.inode, { size, handle: file.handle }),
      );
      cached.version = ++this.#core.cache.version;
      cached.attributes = { ...reply.attributes };
      cached.untilMs = this.#core.clock.nowMs() + reply.attributeTimeoutMs;
      truncatePages(cached, size);
    });
  }
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
