// What the simulated kernel remembers of one mount's answers: names, attributes, pages, listings, link targets; and
// for how long. As fs/fuse/{dir,inode,file,readdir}.c of Linux 6.18 do it: an answer is dropped that an invalidation
// or a change of one's own overtook (attr_version, epoch), and what is there is used until it runs out or is dropped.

import type { AttributesReply, DirectoryItem } from "../../fs/mount/handlers.ts";
import type { Attributes, ByteString, InodeId } from "../../fs/types.ts";
import { S_IFMT, S_IFREG } from "../../fs/types.ts";

export const PAGE_BYTES = 4096;

interface CachedName {
  /** null: there is no such name. */
  inode: InodeId | null;
  untilMs: number;
  epoch: number;
}

/** Bytes of a page; null while it is being read or filled: a lock. */
interface Page {
  bytes: Uint8Array;
  locked: Promise<void> | null;
}

export interface CachedInode {
  readonly inode: InodeId;
  attributes: Attributes;
  untilMs: number;
  /** Changes and invalidations so far: fi->attr_version. */
  version: number;
  lookups: number;
  /** Users that keep it from being forgotten: open files, directories in use. */
  pins: number;
  readonly pages: Map<number, Page>;
  /** A whole directory, as last listed, and the mtime that it was listed at. */
  listing: { items: DirectoryItem[]; mtime: string; changes: number } | null;
  /** Changes of the directory made here: i_version. */
  changes: number;
  target: ByteString | null;
}

export class KernelCache {
  readonly inodes = new Map<InodeId, CachedInode>();
  readonly #names = new Map<InodeId, Map<ByteString, CachedName>>();
  epoch = 0;
  /** fc->attr_version */
  version = 0;
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** undefined: must be asked for. */
  name(parent: InodeId, name: ByteString): InodeId | null | undefined {
    const cached = this.#names.get(parent)?.get(name);
    if (cached === undefined || cached.epoch !== this.epoch || cached.untilMs <= this.#now()) return undefined;
    if (cached.inode !== null && !this.inodes.has(cached.inode)) return undefined;
    return cached.inode;
  }

  setName(parent: InodeId, name: ByteString, inode: InodeId | null, timeoutMs: number, epoch: number): void {
    let names = this.#names.get(parent);
    if (names === undefined) this.#names.set(parent, (names = new Map()));
    names.set(name, { inode, untilMs: this.#now() + timeoutMs, epoch });
  }

  dropName(parent: InodeId, name: ByteString): void {
    this.#names.get(parent)?.delete(name);
  }

  /** d_move(): the entry keeps its time and epoch under its new name. */
  moveName(parent: InodeId, name: ByteString, newParent: InodeId, newName: ByteString, exchange: boolean): void {
    const moved = this.#names.get(parent)?.get(name);
    const other = this.#names.get(newParent)?.get(newName);
    this.dropName(parent, name);
    this.dropName(newParent, newName);
    if (moved !== undefined) this.#put(newParent, newName, moved);
    if (exchange && other !== undefined) this.#put(parent, name, other);
  }

  #put(parent: InodeId, name: ByteString, entry: CachedName): void {
    let names = this.#names.get(parent);
    if (names === undefined) this.#names.set(parent, (names = new Map()));
    names.set(name, entry);
  }

  /** Takes an entry of a reply: one more look-up of the inode. `version`: that of the cache when the request was sent. */
  learn(attributes: Attributes, timeoutMs: number, version: number): CachedInode {
    const { inode } = attributes;
    let cached = this.inodes.get(inode);
    if (cached === undefined) {
      cached = {
        inode,
        attributes: { ...attributes },
        untilMs: this.#now() + timeoutMs,
        version: 0,
        lookups: 0,
        pins: 0,
        pages: new Map(),
        listing: null,
        changes: 0,
        target: null,
      };
      this.inodes.set(inode, cached);
    } else this.takeAttributes(cached, { attributes, attributeTimeoutMs: timeoutMs }, version);
    cached.lookups++;
    return cached;
  }

  /** fuse_change_attributes() */
  takeAttributes(cached: CachedInode, reply: AttributesReply, version: number): void {
    if (cached.version > version) return;
    const { attributes } = reply;
    const oldSize = cached.attributes.size;
    cached.version = ++this.version;
    cached.attributes = { ...attributes };
    cached.untilMs = this.#now() + reply.attributeTimeoutMs;
    if ((attributes.mode & S_IFMT) === S_IFREG && attributes.size < oldSize) truncatePages(cached, attributes.size);
  }

  attributesFresh(cached: CachedInode): boolean {
    return cached.untilMs > this.#now();
  }

  /** fuse_invalidate_attr() */
  dropAttributes(cached: CachedInode): void {
    cached.untilMs = 0;
  }

  /** fuse_write_update_attr(): the kernel has made the file's size its own business. */
  changed(cached: CachedInode, sizeAtLeast: number): void {
    cached.version = ++this.version;
    if (sizeAtLeast > cached.attributes.size) cached.attributes.size = sizeAtLeast;
    this.dropAttributes(cached);
  }

  /** Under memory pressure: inodes that nobody uses. Returns them with their look-up counts. */
  shrink(keep: (inode: InodeId) => boolean): { inode: InodeId; lookups: number }[] {
    const gone: { inode: InodeId; lookups: number }[] = [];
    for (const cached of this.inodes.values()) {
      if (cached.pins > 0 || cached.lookups === 0 || keep(cached.inode)) continue;
      this.inodes.delete(cached.inode);
      this.#names.delete(cached.inode);
      gone.push({ inode: cached.inode, lookups: cached.lookups });
    }
    return gone;
  }
}

/** truncate_pagecache(): pages behind the end go, and the rest of the last one is zeros. */
export function truncatePages(cached: CachedInode, size: number): void {
  for (const [number, page] of cached.pages) {
    const start = number * PAGE_BYTES;
    if (start >= size) cached.pages.delete(number);
    else if (start + PAGE_BYTES > size) page.bytes.fill(0, size - start);
  }
}

export function pagesOf(offset: number, length: number): number[] {
  if (length <= 0) return [];
  const first = Math.floor(offset / PAGE_BYTES);
  const last = Math.floor((offset + length - 1) / PAGE_BYTES);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

export function mtimeOf({ mtimeSeconds, mtimeNanoseconds }: Attributes): string {
  return `${mtimeSeconds}.${mtimeNanoseconds}`;
}
