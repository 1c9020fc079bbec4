// The check of the namespace: walks all records and compares what should agree. It works on a snapshot, so transactions
// may go on meanwhile; what it finds was so at one moment. Takes 79 bytes of memory an inode (check-inodes.ts), some 60 a
// stripe, and some 200 for each name of the largest directory.
//
// Counts are mended by their difference: every transaction changes a count and what it counts alike, so a difference that
// was there at the snapshot is there still.

import { type InodeId, ROOT_INODE, S_IFDIR, S_IFMT, type StripeId } from "../types.ts";
import type { Slice } from "./bytes.ts";
import { type Seen, SeenInodes } from "./check-inodes.ts";
import {
  after,
  describeKey,
  idFrom,
  TAG_CUT,
  TAG_DEAD,
  TAG_DISK,
  TAG_EXTENT,
  TAG_INODE,
  TAG_NAME,
  TAG_ORDER,
  TAG_STRIPE,
  TAG_UNNAMED,
  TAG_XATTR,
} from "./keys.ts";
import type { OverlaySnapshot } from "./overlay.ts";
import {
  decodeExtent,
  decodeInode,
  decodeName,
  decodeOrder,
  decodeStripe,
  HAS_CUT,
  HAS_XATTRS,
  type Inode,
  openValue,
} from "./records.ts";
import { WINDOW_BYTES } from "./state.ts";
import type { Transaction } from "./transaction.ts";

export interface Problem {
  /** What is wrong, for people: names the record, what it says and what it should say. */
  text: string;
  /** A class of problem, for programs. */
  kind: "damaged" | "links" | "entry" | "orphan" | "extent" | "stripe" | "count";
  /** How it can be mended without losing anything; absent where it cannot. */
  mending?: Mending;
}

/** A count that is off by this much. */
export type Mending =
  | { record: "stripe"; id: StripeId; field: "live"; difference: number }
  | { record: "inode"; id: InodeId; field: "linkCount" | "size" | "allocatedBytes"; difference: number };

const PAGE_RECORDS = 4096;
/** Enough to see what happened. */
const PROBLEMS_MAX = 10_000;

/** Names held before their directories' orders are read: short ranges of the table are slow. */
const NAMES_HELD = 16 * 1024;

type Found = Generator<Problem>;

type Visit = (key: string, value: Slice) => Found;

/** Walks one tag. */
async function* walk(overlay: OverlaySnapshot, tag: string, visit: Visit): AsyncGenerator<Problem> {
  yield* walkRange(overlay, tag, after(tag), visit);
}

async function* walkRange(overlay: OverlaySnapshot, from: string, to: string, visit: Visit): AsyncGenerator<Problem> {
  while (from < to) {
    const page = await overlay.scan(from, to, PAGE_RECORDS, (records, bound) => ({ records, bound }));
    from = page.bound;
    for (const { key, value } of page.records) yield* visitSafely(key, value, visit);
  }
}

/** A damaged record is a problem, and the walk goes on. */
function* visitSafely(key: string, value: Slice, visit: Visit): Found {
  try {
    yield* visit(key, value);
  } catch (error) {
    yield { kind: "damaged", text: (error as Error).message };
  }
}

export async function* checkNamespace(overlay: OverlaySnapshot): AsyncGenerator<Problem> {
  let count = 0;
  for await (const problem of new Check(overlay).run()) {
    yield problem;
    if (++count >= PROBLEMS_MAX) return;
  }
}

/** Changes the count by its difference. False where the record is gone or the count would become impossible. */
export function mend(tx: Transaction, mending: Mending): boolean {
  if (mending.record === "stripe") {
    const stripe = tx.stripe(mending.id);
    const live = (stripe?.live ?? 0) + mending.difference;
    if (stripe === null || live < 0) return false;
    tx.editStripe({ ...stripe, live });
    return true;
  }
  const { id, field, difference } = mending;
  const value = (tx.find(id)?.[field] ?? NaN) + difference;
  if (!(value >= 0)) return false;
  tx.edit(id)[field] = value;
  return true;
}

class Check {
  readonly #overlay: OverlaySnapshot;
  readonly #inodes = new SeenInodes();
  readonly #live = new Map<StripeId, number>();
  readonly #blocks = new Map<StripeId, number>();
  readonly #dead = new Set<StripeId>();
  /** Names whose entry in the order is yet to be seen, as `directory/cookie`. */
  readonly #order = new Map<string, string>();

  constructor(overlay: OverlaySnapshot) {
    this.#overlay = overlay;
  }

  async *run(): AsyncGenerator<Problem> {
    const overlay = this.#overlay;
    yield* walk(overlay, TAG_INODE, (key, value) =>
      this.#inode(idFrom(key, 1) as InodeId, decodeInode(openValue(key, value), idFrom(key, 1) as InodeId)),
    );
    yield* walk(overlay, TAG_UNNAMED, (key, value) => this.#unnamed(key, value));
    yield* this.#namesAndOrder();
    yield* walk(overlay, TAG_XATTR, (key, value) => this.#xattr(key, value));
    yield* walk(overlay, TAG_CUT, (key, value) => this.#cut(key, value));
    yield* walk(overlay, TAG_EXTENT, (key, value) => this.#extent(key, value));
    yield* walk(overlay, TAG_DEAD, (key, value) => this.#deadStripe(key, value));
    yield* walk(overlay, TAG_DISK, (key, value) => this.#diskEntry(key, value));
    yield* walk(overlay, TAG_STRIPE, (key, value) => this.#stripe(key, value));
    yield* this.#totals();
  }

  *#inode(id: InodeId, inode: Inode): Found {
    this.#inodes.add(inode, (inode.flags & HAS_CUT) !== 0);
    if (id === ROOT_INODE && inode.parent !== ROOT_INODE)
      yield { kind: "links", text: `the root directory's parent is inode ${inode.parent}` };
  }

  /** Names, and the order of their directories as soon as all names of a directory were seen. */
  async *#namesAndOrder(): AsyncGenerator<Problem> {
    const to = after(TAG_NAME);
    let orderFrom = TAG_ORDER;
    for (let from = TAG_NAME; from < to;) {
      const page = await this.#overlay.scan(from, to, PAGE_RECORDS, (records, bound) => ({ records, bound }));
      from = page.bound;
      for (const { key, value } of page.records) yield* visitSafely(key, value, () => this.#name(key, value));
      if (this.#order.size < NAMES_HELD && from < to) continue;
      // The last directory's names may go on in the next page.
      const orderTo = from < to ? TAG_ORDER + page.records.at(-1)!.key.slice(1, 9) : after(TAG_ORDER);
      yield* walkRange(this.#overlay, orderFrom, orderTo, (key, value) => this.#ordered(key, value));
      orderFrom = orderTo;
    }
  }

  *#unnamed(key: string, value: Slice): Found {
    openValue(key, value);
    const id = idFrom(key, 1) as InodeId;
    const inode = this.#inodes.find(id);
    if (inode === undefined) yield { kind: "orphan", text: `inode ${id} is on the list of unnamed ones and does not exist` };
    else inode.rows.unnamed[inode.row] = 1;
  }

  *#name(key: string, value: Slice): Found {
    const entry = decodeName(openValue(key, value));
    const directory = idFrom(key, 1) as InodeId;
    const name = key.slice(9);
    const above = this.#inodes.find(directory);
    const inode = this.#inodes.find(entry.inode);
    if (above === undefined || (above.rows.mode[above.row] & S_IFMT) !== S_IFDIR)
      yield { kind: "entry", text: `${describeKey(key)}: the directory does not exist` };
    else above.rows.entryBytes[above.row] += name.length + 16;
    this.#order.set(`${directory}/${entry.cookie}`, `${entry.inode} ${entry.type} ${name}`);
    if (inode === undefined) {
      yield { kind: "entry", text: `${describeKey(key)} leads to inode ${entry.inode}, which does not exist` };
      return;
    }
    const { rows, row } = inode;
    rows.names[row]++;
    if ((rows.mode[row] & S_IFMT) !== entry.type)
      yield {
        kind: "entry",
        text: `${describeKey(key)} says type ${entry.type.toString(8)}, inode ${entry.inode} has mode ${rows.mode[row].toString(8)}`,
      };
    if (entry.type !== S_IFDIR) return;
    if (above !== undefined) above.rows.subdirectories[above.row]++;
    if (rows.parent[row] !== directory)
      yield {
        kind: "links",
        text: `directory ${entry.inode} says its parent is ${rows.parent[row]}; its name is in ${directory}`,
      };
  }

  *#ordered(key: string, value: Slice): Found {
    const { inode, type, name } = decodeOrder(openValue(key, value));
    const place = `${idFrom(key, 1)}/${idFrom(key, 9)}`;
    const named = this.#order.get(place);
    this.#order.delete(place);
    if (named !== `${inode} ${type} ${name}`)
      yield {
        kind: "entry",
        text: `${describeKey(key)} says ${JSON.stringify(name)} is inode ${inode}; the name's record says ${named ?? "nothing"}`,
      };
  }

  *#xattr(key: string, value: Slice): Found {
    openValue(key, value);
    const inode = this.#inodes.find(idFrom(key, 1) as InodeId);
    if (inode === undefined || (inode.rows.flags[inode.row] & HAS_XATTRS) === 0)
      yield { kind: "orphan", text: `${describeKey(key)}: the inode does not exist or has no attributes` };
    else inode.rows.xattrs[inode.row]++;
  }

  *#cut(key: string, value: Slice): Found {
    openValue(key, value);
    const id = idFrom(key, 1) as InodeId;
    const inode = this.#inodes.find(id);
    if (inode === undefined || (inode.rows.flags[inode.row] & HAS_CUT) === 0)
      yield { kind: "orphan", text: `inode ${id} is on the list of cuts and has none` };
  }

  #lastInode = 0 as InodeId;
  #lastEnd = 0;

  *#extent(key: string, value: Slice): Found {
    const id = idFrom(key, 1) as InodeId;
    const offset = idFrom(key, 9);
    const extent = decodeExtent(openValue(key, value), offset);
    const end = offset + extent.length;
    if (extent.stripe !== undefined) this.#live.set(extent.stripe, (this.#live.get(extent.stripe) ?? 0) + extent.length);
    const inode = this.#inodes.find(id);
    if (inode === undefined) {
      yield { kind: "extent", text: `${describeKey(key)}: the inode does not exist` };
      return;
    }
    const { rows, row } = inode;
    rows.extentBytes[row] += extent.length;
    if (id === this.#lastInode && offset < this.#lastEnd)
      yield { kind: "extent", text: `${describeKey(key)} begins before the one before it ends (${this.#lastEnd})` };
    if (Math.floor(offset / WINDOW_BYTES) !== Math.floor((end - 1) / WINDOW_BYTES))
      yield { kind: "extent", text: `${describeKey(key)} of ${extent.length} bytes crosses a window` };
    if (end > rows.extentEnd[row])
      yield {
        kind: "extent",
        text: `${describeKey(key)} ends at ${end}, the inode says that none does above ${rows.extentEnd[row]}`,
      };
    const cut = this.#inodes.cut(id);
    const isCut = cut !== undefined && offset >= cut.from && offset < cut.to;
    if (end > rows.size[row] && !isCut && rows.unnamed[row] === 0 && (extent.stripe !== undefined || extent.inline !== undefined))
      yield { kind: "extent", text: `${describeKey(key)} has data to ${end}, the file ends at ${rows.size[row]}` };
    this.#lastInode = id;
    this.#lastEnd = end;
  }

  *#deadStripe(key: string, value: Slice): Found {
    openValue(key, value);
    this.#dead.add(idFrom(key, 1) as StripeId);
  }

  *#diskEntry(key: string, value: Slice): Found {
    openValue(key, value);
    const stripe = idFrom(key, 5) as StripeId;
    this.#blocks.set(stripe, (this.#blocks.get(stripe) ?? 0) + 1);
  }

  *#stripe(key: string, value: Slice): Found {
    const id = idFrom(key, 1) as StripeId;
    const stripe = decodeStripe(openValue(key, value), id);
    const live = this.#live.get(id) ?? 0;
    this.#live.delete(id);
    if (stripe.live !== live)
      yield {
        kind: "count",
        text: `stripe ${id} counts ${stripe.live} live bytes, extents have ${live}`,
        mending: { record: "stripe", id, field: "live", difference: live - stripe.live },
      };
    if (this.#dead.delete(id) !== (stripe.live === 0))
      yield {
        kind: "stripe",
        text: `stripe ${id} has ${stripe.live} live bytes and ${stripe.live === 0 ? "is not" : "is"} on the list of dead ones`,
      };
    const disks = new Set(stripe.disks).size;
    const listed = this.#blocks.get(id) ?? 0;
    this.#blocks.delete(id);
    if (listed !== disks) yield { kind: "stripe", text: `stripe ${id} lies on ${disks} disks, ${listed} disks list it` };
  }

  *#totals(): Found {
    for (const place of this.#order.keys())
      yield { kind: "entry", text: `the name at ${place} (directory/cookie) is missing in the directory's order` };
    for (const id of this.#live.keys()) yield { kind: "stripe", text: `stripe ${id} has extents and no record` };
    for (const id of this.#dead) yield { kind: "stripe", text: `stripe ${id} is on the list of dead ones and has no record` };
    for (const id of this.#blocks.keys()) yield { kind: "stripe", text: `stripe ${id} is listed for disks and has no record` };
    for (const [id, inode] of this.#inodes.all()) yield* this.#inodeTotals(id, inode);
    if (this.#inodes.count !== this.#overlay.inodes)
      yield { kind: "count", text: `there are ${this.#inodes.count} inodes, ${this.#overlay.inodes} are counted` };
  }

  *#inodeTotals(id: InodeId, { rows, row }: Seen): Found {
    const [mode, linkCount, names, flags] = [rows.mode[row], rows.linkCount[row], rows.names[row], rows.flags[row]];
    const [size, entryBytes] = [rows.size[row], rows.entryBytes[row]];
    const [allocatedBytes, extentBytes] = [rows.allocatedBytes[row], rows.extentBytes[row]];
    const [unnamed, xattrs] = [rows.unnamed[row] !== 0, rows.xattrs[row]];
    const isDirectory = (mode & S_IFMT) === S_IFDIR;
    const named = names > 0 || id === ROOT_INODE;
    const links = !isDirectory ? names : named ? 2 + rows.subdirectories[row] : 0;
    if (linkCount !== links)
      yield {
        kind: "links",
        text: `inode ${id} has link count ${linkCount}, it should be ${links}`,
        // Where a name was lost, the count is what is left to tell of it.
        mending: named || unnamed ? { record: "inode", id, field: "linkCount", difference: links - linkCount } : undefined,
      };
    if (isDirectory && names > 1) yield { kind: "links", text: `directory ${id} has ${names} names` };
    if (!named !== unnamed)
      yield {
        kind: "orphan",
        text: `inode ${id} has ${names} names and ${unnamed ? "is" : "is not"} on the list of unnamed ones`,
      };
    if (isDirectory && size !== entryBytes)
      yield {
        kind: "count",
        text: `directory ${id} has size ${size}, its names make ${entryBytes}`,
        mending: { record: "inode", id, field: "size", difference: entryBytes - size },
      };
    if (allocatedBytes !== extentBytes)
      yield {
        kind: "count",
        text: `inode ${id} counts ${allocatedBytes} allocated bytes, its extents have ${extentBytes}`,
        mending: { record: "inode", id, field: "allocatedBytes", difference: extentBytes - allocatedBytes },
      };
    if (((flags & HAS_XATTRS) !== 0) !== xattrs > 0)
      yield { kind: "count", text: `inode ${id} has ${xattrs} attributes, its flags say ${flags}` };
  }
}
