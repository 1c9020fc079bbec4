// Listing directories: pages of entries fetched with their attributes, handed out as the kernel asks.
//
// Cookies: 0 is the start, 1 follows ".", 2 follows "..", an entry's is the namespace's own + 2.

import { S_IFDIR, S_IFMT } from "../types.ts";
import type { ByteString, InodeId } from "../types.ts";
import type { DirectoryEntry } from "../messages.ts";
import { call } from "./core.ts";
import type { Core } from "./core.ts";
import type { DirectorySink, Entry, Opened } from "./handlers.ts";
import type { DirectoryHandle } from "./handles.ts";
import { DIRECTORY_PAGE_ENTRIES, LEASED_TIMEOUT_MS } from "./limits.ts";

const FIRST_COOKIE = 2;
/** Page size while entries change between the kernel's calls: what is fetched ahead would be thrown away. */
const CHANGING_PAGE_ENTRIES = 64;

export function openDirectory(core: Core, inode: InodeId): Opened {
  const handle = core.handles.addDirectory({ inode, page: [], generation: -1, after: -1, end: false });
  return { handle, cacheDirectory: true, keepCache: true };
}

export async function readDirectory(
  core: Core,
  number: number,
  offset: number,
  plus: boolean,
  sink: DirectorySink,
): Promise<void> {
  const handle = core.handles.directory(number);
  if (offset < 1 && !sink({ name: "." as ByteString, inode: handle.inode, type: typeOf(S_IFDIR), cookie: 1, entry: null }))
    return;
  if (
    offset < FIRST_COOKIE &&
    !sink({ name: ".." as ByteString, inode: await parentOf(core, handle.inode), type: typeOf(S_IFDIR), cookie: 2, entry: null })
  )
    return;
  let after = Math.max(0, offset - FIRST_COOKIE);
  for (;;) {
    const fetched = core.recalls;
    if (!covers(core, handle, after)) await fetchPage(core, handle, after);
    const current = fetched === core.recalls;
    let index = firstAfter(handle.page, after);
    if (index === handle.page.length) return;
    for (; index < handle.page.length; index++) {
      const item = handle.page[index];
      if (!give(core, item, plus, current, sink)) return;
      after = item.cookie;
    }
    if (handle.end) return;
  }
}

async function parentOf(core: Core, inode: InodeId): Promise<InodeId> {
  // A directory that was removed has no parent any more; the kernel shows a number, nothing else.
  return call(core, "parent", { inode }).then(
    (reply) => reply.attributes.inode,
    () => inode,
  );
}

/** Whether the page holds what follows the cookie, as it is now. */
function covers(core: Core, handle: DirectoryHandle, after: number): boolean {
  if (handle.generation !== core.changes || handle.after < 0 || after < handle.after) return false;
  return handle.end || (handle.page.length > 0 && after < handle.page[handle.page.length - 1].cookie);
}

async function fetchPage(core: Core, handle: DirectoryHandle, after: number): Promise<void> {
  const changing = handle.generation >= 0 && handle.generation !== core.changes;
  const limit = changing ? CHANGING_PAGE_ENTRIES : DIRECTORY_PAGE_ENTRIES;
  const generation = core.changes;
  const { entries } = await call(core, "list", { inode: handle.inode, after, limit, attributes: true });
  handle.page = entries;
  handle.after = after;
  handle.end = entries.length < limit;
  handle.generation = generation;
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

function give(core: Core, item: DirectoryEntry, plus: boolean, current: boolean, sink: DirectorySink): boolean {
  const cookie = item.cookie + FIRST_COOKIE;
  const { name, inode, type, attributes } = item;
  if (!plus || attributes === undefined) return sink({ name, inode, type: typeOf(type), cookie, entry: null });
  const timeoutMs = current ? LEASED_TIMEOUT_MS : 0;
  const file = core.inodes.file(inode);
  const shown = file === undefined ? attributes : current ? core.inodes.learned(attributes) : attributes;
  const entry: Entry = { attributes: shown, entryTimeoutMs: timeoutMs, attributeTimeoutMs: timeoutMs };
  if (!sink({ name, inode, type: typeOf(type), cookie, entry })) return false;
  core.inodes.reference(attributes);
  if (current) core.inodes.granted(inode, "shared");
  return true;
}
