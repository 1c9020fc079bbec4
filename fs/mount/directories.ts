// Listing directories: pages of entries fetched with their attributes, handed out as the kernel asks.
//
// Cookies: 0 is the start, 1 follows ".", 2 follows "..", an entry's is the namespace's own + 2.
//
// A listing ends at the newest cookie that there was when it began (opendir, rewinddir). Names made meanwhile have newer
// ones: a program that renames what it lists would never come to an end. A name that is replaced, or exchanged with
// another, keeps its cookie, so that what is there all the time is never missed.

import { S_IFDIR, S_IFMT } from "../types.ts";
import type { ByteString, InodeId } from "../types.ts";
import type { DirectoryEntry } from "../messages.ts";
import { after, callNow } from "./core.ts";
import type { Core } from "./core.ts";
import type { DirectorySink, Entry, Opened, Result } from "./handlers.ts";
import type { DirectoryHandle } from "./handles.ts";
import { noteListed } from "./listings.ts";
import { DIRECTORY_PAGE_ENTRIES, LEASED_TIMEOUT_MS } from "./limits.ts";
import { noteTold, SEVERAL } from "./told.ts";

const FIRST_COOKIE = 2;
/** The listing has not asked for a page yet, which says where it is to end. */
const BEGINS = -1;
/** Page size while entries change between the kernel's calls: what is fetched ahead would be thrown away. */
const CHANGING_PAGE_ENTRIES = 64;

export function openDirectory(core: Core, inode: InodeId): Opened {
  const handle = core.handles.addDirectory({
    inode,
    page: [],
    mark: 0,
    generation: -1,
    after: -1,
    plus: false,
    end: false,
    pageNewest: 0,
    newest: BEGINS,
  });
  return { handle, cacheDirectory: true, keepCache: !core.wrongInKernel.has(inode) && !core.listings.old.has(inode) };
}

/** Answered at once where the handle's page has what is asked for. */
export function readDirectory(core: Core, number: number, offset: number, plus: boolean, sink: DirectorySink): Result<void> {
  const handle = core.handles.directory(number);
  if (offset < 1) handle.newest = BEGINS;
  if (offset < 1 && !sink({ name: "." as ByteString, inode: handle.inode, type: typeOf(S_IFDIR), cookie: 1, entry: null }))
    return;
  if (offset >= FIRST_COOKIE) return giveFrom(core, handle, offset - FIRST_COOKIE, plus, sink);
  return after(parentOf(core, handle.inode), (inode) => {
    if (sink({ name: ".." as ByteString, inode, type: typeOf(S_IFDIR), cookie: 2, entry: null }))
      return giveFrom(core, handle, 0, plus, sink);
  });
}

/** A directory that was removed has no parent any more; the kernel shows a number, nothing else. */
function parentOf(core: Core, inode: InodeId): Result<InodeId> {
  try {
    const reply = callNow(core, "parent", { inode });
    if (!(reply instanceof Promise)) return reply.attributes.inode;
    return reply.then(
      ({ attributes }) => attributes.inode,
      () => inode,
    );
  } catch {
    return inode;
  }
}

function giveFrom(core: Core, handle: DirectoryHandle, from: number, plus: boolean, sink: DirectorySink): Result<void> {
  for (let position = from; ;) {
    const mark = core.marks.take();
    const fetched = covers(core, handle, position, plus) ? undefined : fetchPage(core, handle, position, plus);
    if (fetched instanceof Promise) {
      const at = position;
      return fetched.then(() => {
        const next = givePage(core, handle, at, plus, core.marks.isCurrent(mark), sink);
        return next < 0 ? ended(core, handle, next) : giveFrom(core, handle, next, plus, sink);
      });
    }
    position = givePage(core, handle, position, plus, core.marks.isCurrent(mark), sink);
    if (position < 0) return ended(core, handle, position);
  }
}

/** The kernel takes the end of one listing for the directory's, and keeps it so for others, who began later: not where newer names follow. */
function ended(core: Core, { inode }: DirectoryHandle, how: number): Result<void> {
  if (how !== NEWER || core.caches === null) return;
  const failed = (error: unknown): void => core.trace(`dropping the listing of directory ${inode}: ${String(error)}`);
  return core.caches.invalidateInode(inode, 0, 0).then(() => {}, failed);
}

/** In place of a cookie to go on after: the sink is full, or nothing follows; or only names follow that are newer than the listing. */
const OVER = -1;
const NEWER = -2;

/** Gives what the page has; returns the cookie to go on after, or OVER or NEWER. */
function givePage(
  core: Core,
  handle: DirectoryHandle,
  from: number,
  plus: boolean,
  current: boolean,
  sink: DirectorySink,
): number {
  const { page, end } = handle;
  noteListed(core, handle.inode, current);
  if (handle.newest === BEGINS) handle.newest = handle.pageNewest;
  let position = from;
  let index = firstAfter(page, from);
  if (index === page.length) return OVER;
  for (; index < page.length; index++) {
    const item = page[index];
    if (item.cookie > handle.newest) return NEWER;
    if (!give(core, handle, item, plus, current, sink)) return OVER;
    position = item.cookie;
  }
  return end ? OVER : position;
}

/** Whether the page holds what follows the cookie, as it is now. */
function covers(core: Core, handle: DirectoryHandle, position: number, plus: boolean): boolean {
  if (handle.generation !== core.changes || handle.after < 0 || position < handle.after || (plus && !handle.plus)) return false;
  return handle.end || (handle.page.length > 0 && position < handle.page[handle.page.length - 1].cookie);
}

function fetchPage(core: Core, handle: DirectoryHandle, position: number, plus: boolean): Result<void> {
  const changing = handle.generation >= 0 && handle.generation !== core.changes;
  const limit = changing ? CHANGING_PAGE_ENTRIES : DIRECTORY_PAGE_ENTRIES;
  const generation = core.changes;
  const mark = core.marks.take();
  const request = { inode: handle.inode, after: position, limit, attributes: plus };
  return after(callNow(core, "list", request), ({ entries, newestCookie }) => {
    handle.page = entries;
    handle.mark = mark;
    handle.pageNewest = newestCookie;
    handle.after = position;
    handle.plus = plus;
    handle.end = entries.length < limit;
    // What came beside a recall may be of before the change: good for this answer, and no other.
    handle.generation = core.marks.isCurrent(mark) ? generation : -1;
  });
}

/** readdir(3)'s d_type of a mode. */
function typeOf(mode: number): number {
  return (mode & S_IFMT) >>> 12;
}

function firstAfter(page: readonly DirectoryEntry[], after: number): number {
  let low = 0;
  let high = page.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (page[middle].cookie <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}

function give(
  core: Core,
  handle: DirectoryHandle,
  item: DirectoryEntry,
  plus: boolean,
  current: boolean,
  sink: DirectorySink,
): boolean {
  const cookie = item.cookie + FIRST_COOKIE;
  const { name, inode, type, attributes } = item;
  // The kernel looks up by itself what comes without attributes.
  const bare = !plus || attributes === undefined || core.inodes.mayBeForgotten(inode, handle.mark);
  if (bare) return sink({ name, inode, type: typeOf(type), cookie, entry: null });
  const timeoutMs = current ? LEASED_TIMEOUT_MS : 0;
  const file = core.inodes.file(inode);
  const shown = file === undefined ? attributes : current ? core.inodes.learned(attributes) : core.inodes.asKnown(attributes);
  const entry: Entry = { attributes: shown, entryTimeoutMs: timeoutMs, attributeTimeoutMs: timeoutMs };
  if (!sink({ name, inode, type: typeOf(type), cookie, entry })) return false;
  core.inodes.reference(attributes);
  if (typeOf(type) === typeOf(S_IFDIR)) {
    noteTold(core, inode, SEVERAL);
    core.places.putNew(inode, handle.inode, name);
  }
  if (current) core.inodes.granted(inode, "shared");
  return true;
}
