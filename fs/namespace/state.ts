// Decoded records in front of the overlay. Looking something up answers at once (`undefined`: not in memory) or is
// loaded; what is loaded is put here in the same turn in which it was last true.

import type { ByteString, InodeId, StripeId } from "../types.ts";
import type { Extent } from "../messages.ts";
import { Cache } from "./cache.ts";
import { after, id8, idFrom, splitKey, TAG_EXTENT, TAG_INODE, TAG_NAME, TAG_ORDER, TAG_STRIPE, TAG_XATTR } from "./keys.ts";
import type { Overlay, ScannedRecord } from "./overlay.ts";
import { Directory, type Page } from "./directory.ts";
import { denseRange, READ_AHEAD_MAX, ReadAhead } from "./read-ahead.ts";
import {
  decodeExtent,
  decodeInode,
  decodeName,
  decodeOrder,
  decodeStripe,
  Inode,
  type NameEntry,
  openValue,
  type StripeRecord,
} from "./records.ts";
import { RecordDamaged, type Slice } from "./bytes.ts";
import { type ChangedXattrs, StoredXattrs } from "./xattr-set.ts";

/** No extent crosses a multiple of this, so that a window's extents are loaded and changed by themselves: 1024 extents of 4 KiB. A full stripe's data fits in one. */
export const WINDOW_BYTES = 4 * 1024 * 1024;
/** A directory of at most this size (about 2000 names) is loaded whole when one of its names is asked for: 6 ms, and every later look-up, also of absent names, is free. */
const WHOLE_DIRECTORY_BYTES = 64 * 1024;
/** Names kept of one directory; above this all are forgotten. */
const DIRECTORY_NAMES_MAX = 256 * 1024;
/** Records of one scan that must be seen as of one moment (a window, a whole directory, an inode's xattrs). */
const SCAN_MAX = 1 << 20;

/** Extents loaded ahead for files that are likely read next. */
const EXTENTS_AHEAD_MAX = 512;
/** Names loaded ahead of directories that are likely listed next: some 4 ms. */
const NAMES_AHEAD_MAX = 2048;

const NAME_BYTES = 150;

/** The extents of a file that begin in one window, in order. */
export interface Window {
  readonly extents: readonly Extent[];
  /** Sum of the extents' inlineCost: kept up with each change, as a window has up to thousands of them. */
  readonly inlineCost: number;
}

/** Bytes of memory that an extent takes for what it holds inline. */
export function inlineCost({ inline }: Extent): number {
  return inline === undefined ? 0 : 100 + inline.length;
}

/** In memory; by heap snapshots. */
function windowBytes({ extents, inlineCost }: Window): number {
  return 150 + extents.length * 88 + inlineCost;
}

function makeWindow(extents: readonly Extent[]): Window {
  return { extents, inlineCost: extents.reduce((sum, extent) => sum + inlineCost(extent), 0) };
}

/** Attributes of one inode may take up to a MiB, and its names and their overhead as much: those of two such are kept, or each change would load all of them again. */
const XATTRS_MIN_BYTES = 4 * 1024 * 1024;
const XATTR_BYTES = 100;

/** Something that an operation needs and memory lacks. */
export type Miss =
  | { kind: "inode"; inode: InodeId }
  | { kind: "name"; directory: InodeId; name: ByteString }
  | { kind: "directory"; directory: InodeId }
  | { kind: "window"; inode: InodeId; window: number; count: number }
  | { kind: "stripe"; stripe: StripeId }
  | { kind: "page"; directory: InodeId; after: number; limit: number }
  /** Not in memory or table: the background work of a large truncate must first get to `until` (namespace.ts). */
  | { kind: "cut"; inode: InodeId; until: number }
  /** Room for so many bytes: what is deleted must first be released (room.ts). */
  | { kind: "room"; bytes: number }
  | { kind: "xattrs"; inode: InodeId }
  /** Any record, as its bytes (repair). */
  | { kind: "record"; key: string };

/** Pages in use by listings under way. */
const PAGES_MAX = 64;
/** Undecoded records in use by repairs under way. */
const RECORDS_MAX = 64;

function windowKey(inode: InodeId, window: number): string {
  return `${inode}/${window}`;
}

export class State {
  readonly overlay: Overlay;
  /** The sum of all reserved extents (PROMISED_KEY). */
  promisedBytes = 0;
  readonly #inodes: Cache<InodeId, Inode | { absent: true }>;
  readonly #directories: Cache<InodeId, Directory>;
  /** The first window of each file by itself: those of many small files shall not push out what a large one in many pieces has. */
  readonly #firstWindows: Cache<InodeId, Window>;
  readonly #windows: Cache<string, Window>;
  readonly #stripes: Cache<StripeId, StripeRecord | { absent: true }>;
  readonly #xattrs: Cache<InodeId, StoredXattrs>;
  readonly #pages = new Map<InodeId, Page>();
  /** True as long as the overlay's generation is that of their loading: until then it has every later change. */
  readonly #records = new Map<string, { value: Slice | null; generation: number }>();
  readonly #inodesAhead = new ReadAhead();
  readonly #windowsAhead = new ReadAhead();
  readonly #directoriesAhead = new ReadAhead();
  /** What is loaded for the listings that are likely next: of one walk at a time. */
  #following: Promise<void> | null = null;
  /** The inode numbers that are being loaded so: a miss of one waits for them rather than read the same again. */
  #children: { first: number; end: number; loaded: Promise<void> } | null = null;

  constructor(overlay: Overlay, cacheBytes: number) {
    this.overlay = overlay;
    this.#inodes = new Cache(cacheBytes * 0.17, () => 320);
    this.#directories = new Cache(cacheBytes * 0.17, (directory) => 300 + directory.names.size * NAME_BYTES);
    this.#firstWindows = new Cache(cacheBytes * 0.08, windowBytes);
    // All of a file of 1 GiB in pieces of 4 KiB, and what of it lies inline.
    this.#windows = new Cache(cacheBytes * 0.53, windowBytes);
    this.#stripes = new Cache(cacheBytes * 0.04, (stripe) => ("absent" in stripe ? 80 : 240 + stripe.disks.length * 8));
    this.#xattrs = new Cache(
      Math.max(cacheBytes * 0.01, XATTRS_MIN_BYTES),
      ({ size, valueBytes }) => XATTR_BYTES + size * XATTR_BYTES + valueBytes,
    );
  }

  /** From the call until the same with -1, nothing is forgotten. */
  hold(difference: 1 | -1): void {
    for (const cache of [this.#inodes, this.#directories, this.#firstWindows, this.#windows, this.#stripes, this.#xattrs])
      cache.holds += difference;
  }

  /** From the call until the same with -1, what was missed is not forgotten: windows and stripes, of which one call may need more than the caches keep. */
  pin(misses: readonly Miss[], difference: 1 | -1): void {
    for (const miss of misses) {
      if (miss.kind === "stripe") this.#stripes.pin(miss.stripe, difference);
      if (miss.kind !== "window") continue;
      for (let window = miss.window; window < miss.window + miss.count; window++) {
        if (window === 0) this.#firstWindows.pin(miss.inode, difference);
        else this.#windows.pin(windowKey(miss.inode, window), difference);
      }
    }
  }

  // Each of these: the record, null where there is none, undefined where it must be loaded.

  inode(id: InodeId): Inode | null | undefined {
    const cached = this.#inodes.get(id);
    if (cached !== undefined) return cached instanceof Inode ? cached : null;
    const key = TAG_INODE + id8(id);
    const value = this.overlay.peek(key, "");
    return value === undefined ? undefined : this.#keepInode(key, id, value);
  }

  stripe(id: StripeId): StripeRecord | null | undefined {
    const cached = this.#stripes.get(id);
    if (cached !== undefined) return "absent" in cached ? null : cached;
    const key = TAG_STRIPE + id8(id);
    const value = this.overlay.peek(key, "");
    return value === undefined ? undefined : this.#keepStripe(key, id, value);
  }

  name(directory: InodeId, name: ByteString): NameEntry | null | undefined {
    const known = this.#directories.get(directory);
    if (known !== undefined) {
      const entry = known.names.get(name);
      if (entry !== undefined) return entry;
      if (known.complete) return null;
    }
    const prefix = TAG_NAME + id8(directory);
    const value = this.overlay.peek(prefix, name);
    return value === undefined ? undefined : this.#keepName(prefix, directory, name, value);
  }

  /** The directory where all its names are in memory. */
  completeDirectory(directory: InodeId): Directory | undefined {
    const known = this.#directories.get(directory);
    return known?.complete ? known : undefined;
  }

  /** The inode, or the stripe, where it is decoded in memory, whatever the table has. */
  cachedInode(id: InodeId): Inode | undefined {
    const cached = this.#inodes.get(id);
    return cached instanceof Inode ? cached : undefined;
  }

  cachedStripe(id: StripeId): StripeRecord | undefined {
    const cached = this.#stripes.get(id);
    return cached === undefined || "absent" in cached ? undefined : cached;
  }

  window(inode: InodeId, window: number): Window | undefined {
    return window === 0 ? this.#firstWindows.get(inode) : this.#windows.get(windowKey(inode, window));
  }

  page(directory: InodeId, afterCookie: number, limit: number): Page | undefined {
    const page = this.#pages.get(directory);
    return page !== undefined && page.after === afterCookie && page.limit === limit ? page : undefined;
  }

  dropPage(directory: InodeId): void {
    this.#pages.delete(directory);
  }

  xattrs(inode: InodeId): StoredXattrs | undefined {
    return this.#xattrs.get(inode);
  }

  /** A record as its bytes, past what is decoded of it here. */
  record(key: string): Slice | null | undefined {
    const { prefix, rest } = splitKey(key);
    const change = this.overlay.peek(prefix, rest);
    if (change !== undefined) return change;
    const loaded = this.#records.get(key);
    return loaded?.generation === this.overlay.generation ? loaded.value : undefined;
  }

  /** What is known of a directory's names, and of an inode's attributes, is read anew: their records were repaired. */
  forget(id: InodeId): void {
    this.#directories.delete(id);
    this.#pages.delete(id);
    this.#xattrs.delete(id);
  }

  // What a transaction changed.

  setInode(inode: Inode): void {
    this.#inodes.set(inode.inode, inode);
  }

  deleteInode(id: InodeId): void {
    this.#inodes.set(id, { absent: true });
    this.#directories.delete(id);
    this.#xattrs.delete(id);
    this.#firstWindows.delete(id);
  }

  /** A directory made just now: nothing is in it. */
  addDirectory(id: InodeId): void {
    this.#directories.set(id, new Directory(true));
  }

  setName(directory: InodeId, name: ByteString, entry: NameEntry | null): void {
    if (this.#pages.size > 0) this.#pages.delete(directory);
    const known = this.#directories.get(directory);
    if (known === undefined) {
      if (entry !== null) this.#knowName(directory, name, entry);
      return;
    }
    known.lastListed = null;
    // A name that is replaced keeps its cookie and its place in the order; one that is made again has a new one.
    const stays = entry !== null && known.names.get(name)?.cookie === entry.cookie;
    if (known.complete && !stays && known.names.delete(name)) this.#directories.grew(-NAME_BYTES);
    if (entry !== null || !known.complete) this.#knowName(directory, name, entry);
  }

  setWindow(inode: InodeId, number: number, window: Window): void {
    if (number === 0) this.#firstWindows.set(inode, window);
    else this.#windows.set(windowKey(inode, number), window);
  }

  dropWindow(inode: InodeId, window: number): void {
    if (window === 0) this.#firstWindows.delete(inode);
    else this.#windows.delete(windowKey(inode, window));
  }

  setStripe(stripe: StripeRecord): void {
    this.#stripes.set(stripe.id, stripe);
  }

  deleteStripe(id: StripeId): void {
    this.#stripes.set(id, { absent: true });
  }

  setXattrs(inode: InodeId, changed: ChangedXattrs): void {
    // Before it changes: what it took is counted off.
    this.#xattrs.delete(inode);
    this.#xattrs.set(inode, changed.applied());
  }

  #knowName(directory: InodeId, name: ByteString, entry: NameEntry | null): void {
    let known = this.#directories.get(directory);
    if (known === undefined || known.names.size >= DIRECTORY_NAMES_MAX) {
      known = new Directory(false);
      this.#directories.set(directory, known);
    }
    const before = known.names.size;
    known.names.set(name, entry);
    if (known.names.size > before) this.#directories.grew(NAME_BYTES);
  }

  #keepInode(key: string, id: InodeId, value: Slice | null): Inode | null {
    const inode = value === null ? null : decodeInode(openValue(key, value), id);
    this.#inodes.set(id, inode ?? { absent: true });
    return inode;
  }

  #keepStripe(key: string, id: StripeId, value: Slice | null): StripeRecord | null {
    const stripe = value === null ? null : decodeStripe(openValue(key, value), id);
    this.#stripes.set(id, stripe ?? { absent: true });
    return stripe;
  }

  #keepName(prefix: string, directory: InodeId, name: ByteString, value: Slice | null): NameEntry | null {
    const entry = value === null ? null : decodeName(openValue(prefix + name, value));
    this.#knowName(directory, name, entry);
    return entry;
  }

  /** Brings everything missed into memory. */
  async load(misses: readonly Miss[]): Promise<void> {
    const points = misses.filter((miss) => miss.kind === "inode" || miss.kind === "stripe" || miss.kind === "name");
    const ranges = misses.filter(
      (miss) => miss.kind === "directory" || miss.kind === "window" || miss.kind === "xattrs" || miss.kind === "page",
    );
    const jobs = ranges.map((miss) => this.#loadRange(miss));
    for (const miss of misses) if (miss.kind === "record") jobs.push(this.#loadRecord(miss.key));
    if (points.length > 0) jobs.push(this.#loadMissed(points));
    await Promise.all(jobs);
  }

  async #loadMissed(points: Miss[]): Promise<void> {
    let misses = points;
    const coming = this.#children;
    if (
      coming !== null &&
      points.some((miss) => miss.kind === "inode" && miss.inode >= coming.first && miss.inode < coming.end)
    ) {
      await coming.loaded;
      misses = points.filter((miss) => miss.kind !== "inode" || this.#inodes.get(miss.inode) === undefined);
    }
    await this.#loadAhead(misses);
    await this.#loadPoints(misses);
  }

  /** Loads missed inodes together with their neighbours, where there is reason to. */
  async #loadAhead(misses: readonly Miss[]): Promise<void> {
    const ids: InodeId[] = [];
    for (const miss of misses) if (miss.kind === "inode") ids.push(miss.inode);
    if (ids.length === 0) return;
    // Those of one listing, too: a tree of small directories is walked from one to the next.
    const first = Math.min(...ids);
    const count = this.#inodesAhead.missed(first);
    const dense = denseRange(ids);
    if (dense !== null) return this.#loadInodes(first, Math.max(dense.count, count)).catch(passOverDamage);
    if (count > 1) return this.#loadInodes(first, count).catch(passOverDamage);
  }

  #loadInodes(first: number, count: number): Promise<void> {
    return this.overlay.readAhead(TAG_INODE + id8(first), TAG_INODE + id8(first + count), count, (records) => {
      for (const { key, value } of records) {
        const id = idFrom(key, 1) as InodeId;
        if (!this.overlay.hasChanges(key) && this.#inodes.get(id) === undefined) this.#keepInode(key, id, value);
      }
    });
  }

  async #loadPoints(wanted: Miss[]): Promise<void> {
    const misses = wanted.filter((miss) => miss.kind !== "inode" || this.#inodes.get(miss.inode) === undefined);
    if (misses.length === 0) return;
    const keys = misses.map(pointKey);
    await this.overlay.get(keys, (values) => {
      values.forEach((value, index) => {
        const miss = misses[index];
        if (miss.kind === "inode" && this.#inodes.get(miss.inode) === undefined) this.#keepInode(keys[index], miss.inode, value);
        if (miss.kind === "stripe" && this.#stripes.get(miss.stripe) === undefined)
          this.#keepStripe(keys[index], miss.stripe, value);
        if (miss.kind === "name" && this.name(miss.directory, miss.name) === undefined) {
          this.#keepName(TAG_NAME + id8(miss.directory), miss.directory, miss.name, value);
        }
      });
    });
  }

  #loadRecord(key: string): Promise<void> {
    return this.overlay.get([key], ([value]) => {
      if (this.#records.size >= RECORDS_MAX) this.#records.delete(this.#records.keys().next().value!);
      this.#records.set(key, { value, generation: this.overlay.generation });
    });
  }

  #loadRange(miss: Miss): Promise<void> {
    if (miss.kind === "directory") return this.#loadDirectoriesAhead(miss.directory);
    if (miss.kind === "page") return this.#loadPage(miss.directory, miss.after, miss.limit);
    if (miss.kind === "window") return this.#loadWindowsAhead(miss.inode, miss.window, miss.count);
    if (miss.kind === "xattrs") return this.#loadXattrs(miss.inode);
    throw new TypeError(`loadRange: ${miss.kind} is not a range`);
  }

  /** A directory near one that was loaded before is loaded together with those that follow. */
  async #loadDirectoriesAhead(directory: InodeId): Promise<void> {
    const count = this.#directoriesAhead.missed(directory);
    if (count > 1 && !this.overlay.hasChanges(TAG_ORDER + id8(directory))) {
      const loaded = await this.#loadDirectories(directory, count);
      this.#following ??= this.#follow(loaded, directory + count);
    }
    if (count === 1 || this.completeDirectory(directory) === undefined) await this.#loadDirectory(directory);
  }

  /** While the first of these directories is listed: what their names lead to, then the names of the next ones and what they lead to. Nobody depends on it, so it fails silently. */
  async #follow(loaded: LoadedDirectories, end: number): Promise<void> {
    try {
      await this.#loadChildren(loaded.children);
      if (loaded.next >= end) return;
      const { children } = await this.#loadDirectories(loaded.next, end - loaded.next);
      await this.#loadChildren(children);
    } catch {
    } finally {
      this.#following = null;
    }
  }

  /** Resolves when nothing is being loaded that nobody asked for. */
  async settled(): Promise<void> {
    await this.#following;
  }

  async #loadChildren(children: readonly InodeId[]): Promise<void> {
    const range = denseRange(children.filter((id) => this.#inodes.get(id) === undefined));
    if (range === null) return;
    const end = range.first + range.count;
    const load = async (): Promise<void> => {
      for (let first = range.first; first < end; first += READ_AHEAD_MAX)
        await this.#loadInodes(first, Math.min(READ_AHEAD_MAX, end - first));
    };
    // Who waits for it reads what is still missing by itself.
    const loaded = load().catch(() => {});
    this.#children = { first: range.first, end, loaded };
    await loaded;
    this.#children = null;
  }

  /** Those among the inode numbers from `first` on that have names, as far as their names are few. */
  #loadDirectories(first: number, count: number): Promise<LoadedDirectories> {
    const from = TAG_ORDER + id8(first);
    return this.overlay.readAhead(from, TAG_ORDER + id8(first + count), NAMES_AHEAD_MAX, (records, bound) => {
      const loaded: LoadedDirectories = { children: [], next: first + count };
      for (let at = 0; at < records.length;) {
        const prefix = records[at].key.slice(0, 9);
        const id = idFrom(prefix, 1) as InodeId;
        const known = new Directory(true);
        for (; at < records.length && records[at].key.startsWith(prefix); at++) keepOrdered(known, records[at]);
        if (after(prefix) > bound) loaded.next = id;
        else if (!this.overlay.hasChanges(prefix) && this.completeDirectory(id) === undefined) {
          this.#directories.set(id, known);
          for (const entry of known.names.values()) loaded.children.push(entry!.inode);
        }
      }
      return loaded;
    });
  }

  #loadDirectory(directory: InodeId): Promise<void> {
    const prefix = TAG_ORDER + id8(directory);
    return this.overlay.scan(prefix, after(prefix), SCAN_MAX, (records) => {
      const known = new Directory(true);
      for (const record of records) keepOrdered(known, record);
      this.#directories.set(directory, known);
    });
  }

  #loadPage(directory: InodeId, afterCookie: number, limit: number, looked = limit): Promise<void> {
    const prefix = TAG_ORDER + id8(directory);
    return this.overlay.scan(prefix + id8(afterCookie + 1), after(prefix), looked, (records, bound) => {
      const known = this.#directories.get(directory)?.names;
      const entries = records.slice(0, limit).map(({ key, value }) => {
        const { inode, type, name } = decodeOrder(openValue(key, value));
        const entry = { inode, type, cookie: idFrom(key, 9) };
        // Who lists a directory asks for its names next.
        if (known?.get(name) === undefined) this.#knowName(directory, name, entry);
        return { name, entry };
      });
      // Deletes in memory can thin a page of the table out; a page that looks like the end must be the end.
      if (entries.length < limit && bound !== after(prefix)) return this.#loadPage(directory, afterCookie, limit, looked * 2);
      if (this.#pages.size >= PAGES_MAX) this.#pages.delete(this.#pages.keys().next().value!);
      this.#pages.set(directory, { after: afterCookie, limit, entries });
    }) as Promise<void>;
  }

  /** The first windows of small files are loaded together with those of the files that follow. */
  async #loadWindowsAhead(inode: InodeId, first: number, count: number): Promise<void> {
    const files = first === 0 && count === 1 ? this.#windowsAhead.missed(inode) : 1;
    if (files > 1 && !this.overlay.hasChanges(TAG_EXTENT + id8(inode)))
      await this.#loadFirstWindows(inode, files).catch(passOverDamage);
    if (files === 1 || this.window(inode, first) === undefined) await this.#loadWindows(inode, first, count);
  }

  #loadFirstWindows(inode: InodeId, files: number): Promise<void> {
    const from = TAG_EXTENT + id8(inode);
    return this.overlay.readAhead(from, TAG_EXTENT + id8(inode + files), EXTENTS_AHEAD_MAX, (records, bound) => {
      let at = 0;
      while (at < records.length) {
        const prefix = records[at].key.slice(0, 9);
        const extents: Extent[] = [];
        for (; at < records.length && records[at].key.startsWith(prefix); at++) {
          const { key, value } = records[at];
          const offset = idFrom(key, 9);
          if (offset < WINDOW_BYTES) extents.push(decodeExtent(openValue(key, value), offset));
        }
        const id = idFrom(prefix, 1) as InodeId;
        const complete = prefix + id8(WINDOW_BYTES) <= bound;
        if (complete && !this.overlay.hasChanges(prefix) && this.window(id, 0) === undefined)
          this.setWindow(id, 0, makeWindow(extents));
      }
    });
  }

  #loadWindows(inode: InodeId, first: number, count: number): Promise<void> {
    const prefix = TAG_EXTENT + id8(inode);
    return this.overlay.scan(
      prefix + id8(first * WINDOW_BYTES),
      prefix + id8((first + count) * WINDOW_BYTES),
      SCAN_MAX,
      (records) => {
        const windows: Extent[][] = Array.from({ length: count }, () => []);
        for (const { key, value } of records) {
          const offset = idFrom(key, 9);
          windows[Math.floor(offset / WINDOW_BYTES) - first].push(decodeExtent(openValue(key, value), offset));
        }
        windows.forEach((extents, index) => this.setWindow(inode, first + index, makeWindow(extents)));
      },
    );
  }

  #loadXattrs(inode: InodeId): Promise<void> {
    const prefix = TAG_XATTR + id8(inode);
    return this.overlay.scan(prefix, after(prefix), SCAN_MAX, (records) => {
      const xattrs = new StoredXattrs();
      for (const { key, value } of records) {
        const reader = openValue(key, value);
        xattrs.set(key.slice(9) as ByteString, reader.raw(reader.end - reader.at));
      }
      this.#xattrs.set(inode, xattrs);
    });
  }

  /** Whether a directory is loaded whole. */
  isSmall(directory: Inode): boolean {
    return directory.size <= WHOLE_DIRECTORY_BYTES;
  }

  /** What to load for a name of a directory: only that name, or all names where they are few. */
  missOfName(directory: Inode, name: ByteString): Miss {
    return this.isSmall(directory)
      ? { kind: "directory", directory: directory.inode }
      : { kind: "name", directory: directory.inode, name };
  }
}

/** Of what was loaded ahead: who asks for the damaged record itself is told. */
function passOverDamage(error: unknown): void {
  if (!(error instanceof RecordDamaged)) throw error;
}

/** What a range of directories had: the inodes that their names lead to, and the number from which on names are missing. */
interface LoadedDirectories {
  readonly children: InodeId[];
  next: number;
}

function keepOrdered(directory: Directory, { key, value }: ScannedRecord): void {
  const { inode, type, name } = decodeOrder(openValue(key, value));
  directory.names.set(name, { inode, type, cookie: idFrom(key, 9) });
}

function pointKey(miss: Miss): string {
  if (miss.kind === "inode") return TAG_INODE + id8(miss.inode);
  if (miss.kind === "stripe") return TAG_STRIPE + id8(miss.stripe);
  if (miss.kind === "name") return TAG_NAME + id8(miss.directory) + miss.name;
  throw new TypeError(`pointKey: ${miss.kind} is not one record`);
}
