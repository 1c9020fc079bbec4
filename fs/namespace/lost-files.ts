// Which files have bytes in stripes that are lost, where in them, and what they are called. It walks all extents and all
// names of a snapshot once: for the rare case that something is lost.

import { type ByteString, type InodeId, ROOT_INODE, type StripeId } from "../types.ts";
import { after, id8, idFrom, TAG_EXTENT, TAG_INODE, TAG_NAME } from "./keys.ts";
import type { OverlaySnapshot, ScannedRecord } from "./overlay.ts";
import { decodeExtent, decodeInode, decodeName, openValue } from "./records.ts";

/** Bytes [from, to). */
export interface Range {
  from: number;
  to: number;
}

export interface LostFile {
  inode: InodeId;
  /** Its names (the first PATHS_MAX), sorted, each from the root directory on; none for a file that was removed and is open. A directory that cannot be followed up to the root begins with `inode NUMBER`. */
  paths: ByteString[];
  /** Ranges of the file, ascending, neighbours joined; at most RANGES_MAX. */
  ranges: Range[];
}

/** What is lost: of each stripe these ranges, and these inodes as a whole. */
export interface Loss {
  stripes: ReadonlyMap<StripeId, readonly Range[]>;
  inodes: ReadonlySet<InodeId>;
}

/** Files named at most; the first ones by number. */
export const LOST_FILES_MAX = 10_000;
const RANGES_MAX = 1000;
const PATHS_MAX = 16;
const PAGE_RECORDS = 4096;
/** Directories deep; more is a loop. */
const DEPTH_MAX = 4096;

/** The files, by number. */
export async function findLostFiles(overlay: OverlaySnapshot, loss: Loss): Promise<LostFile[]> {
  const files = new Map<InodeId, LostFile>();
  for (const inode of loss.inodes) if (files.size < LOST_FILES_MAX) files.set(inode, { inode, paths: [], ranges: [] });
  if (loss.stripes.size > 0) await walk(overlay, TAG_EXTENT, (record) => addRanges(record, loss, files));
  await nameFiles(overlay, files);
  return [...files.values()].sort((left, right) => left.inode - right.inode);
}

/** Damaged records were reported by the check: here they are passed over. */
async function walk(overlay: OverlaySnapshot, prefix: string, visit: (record: ScannedRecord) => void): Promise<void> {
  const to = after(prefix);
  for (let from = prefix; from < to;)
    from = await overlay.scan(from, to, PAGE_RECORDS, (records, bound) => {
      for (const record of records) {
        try {
          visit(record);
        } catch {
          continue;
        }
      }
      return bound;
    });
}

function addRanges({ key, value }: ScannedRecord, { stripes }: Loss, files: Map<InodeId, LostFile>): void {
  const inode = idFrom(key, 1) as InodeId;
  const offset = idFrom(key, 9);
  const { stripe, stripeOffset, length } = decodeExtent(openValue(key, value), offset);
  const lost = stripe === undefined ? undefined : stripes.get(stripe);
  if (lost === undefined) return;
  for (const { from, to } of lost) {
    const begin = Math.max(from, stripeOffset!);
    const end = Math.min(to, stripeOffset! + length);
    if (begin < end) addRange(files, inode, offset + begin - stripeOffset!, offset + end - stripeOffset!);
  }
}

/** Extents come in order, so a range continues the last one or follows it. */
function addRange(files: Map<InodeId, LostFile>, inode: InodeId, from: number, to: number): void {
  let file = files.get(inode);
  if (file === undefined) {
    if (files.size >= LOST_FILES_MAX) return;
    files.set(inode, (file = { inode, paths: [], ranges: [] }));
  }
  const last = file.ranges.at(-1);
  if (last !== undefined && last.to === from) last.to = to;
  else if (file.ranges.length < RANGES_MAX) file.ranges.push({ from, to });
}

async function nameFiles(overlay: OverlaySnapshot, files: Map<InodeId, LostFile>): Promise<void> {
  if (files.size === 0) return;
  const found: { file: LostFile; directory: InodeId; name: string }[] = [];
  await walk(overlay, TAG_NAME, ({ key, value }) => {
    const file = files.get(decodeName(openValue(key, value)).inode);
    if (file !== undefined) found.push({ file, directory: idFrom(key, 1) as InodeId, name: key.slice(9) });
  });
  const above = new Map<InodeId, string>([[ROOT_INODE, ""]]);
  for (const { file, directory, name } of found)
    if (file.paths.length < PATHS_MAX) file.paths.push(`${await pathOf(overlay, directory, above)}/${name}` as ByteString);
  for (const file of files.values()) {
    if (file.inode === ROOT_INODE) file.paths.push("/" as ByteString);
    file.paths.sort();
  }
}

/** The directory's path, without a slash at its end; `known` has those found before. */
async function pathOf(overlay: OverlaySnapshot, directory: InodeId, known: Map<InodeId, string>): Promise<string> {
  const way: { directory: InodeId; name: string }[] = [];
  let at = directory;
  for (; !known.has(at) && way.length < DEPTH_MAX;) {
    const step = await nameOf(overlay, at);
    if (step === null) break;
    way.push({ directory: at, name: step.name });
    at = step.parent;
  }
  let path = known.get(at) ?? `inode ${at}`;
  for (const { directory: below, name } of way.reverse()) known.set(below, (path = `${path}/${name}`));
  return path;
}

/** Where the directory's name is. O(names of its parent). */
export async function nameOf(
  overlay: OverlaySnapshot,
  directory: InodeId,
): Promise<{ parent: InodeId; name: ByteString } | null> {
  let parent: InodeId | null = null;
  await walk(overlay, TAG_INODE + id8(directory), ({ key, value }) => {
    parent = decodeInode(openValue(key, value), directory).parent;
  });
  if (parent === null) return null;
  let name: ByteString | null = null;
  await walk(overlay, TAG_NAME + id8(parent), ({ key, value }) => {
    if (decodeName(openValue(key, value)).inode === directory) name = key.slice(9) as ByteString;
  });
  return name === null ? null : { parent, name };
}
