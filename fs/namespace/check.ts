// The check of the namespace: walks all records and compares what should agree. It works on a snapshot, so transactions
// may go on meanwhile; what it finds was so at one moment. Takes some 300 bytes of memory an inode.
//
// Counts are mended by their difference: every transaction changes a count and what it counts alike, so a difference that
// was there at the snapshot is there still.

import { type InodeId, ROOT_INODE, S_IFDIR, S_IFMT, type StripeId } from "../types.ts";
import type { Slice } from "./bytes.ts";
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

interface Seen {
  mode: number;
  linkCount: number;
  size: number;
  allocatedBytes: number;
  flags: number;
  parent: InodeId;
  extentEnd: number;
  cutFrom: number;
  cutTo: number;
  names: number;
  subdirectories: number;
  entryBytes: number;
  extentBytes: number;
  xattrs: number;
  unnamed: boolean;
}

type Found = Generator<Problem>;

/** Walks one tag; a damaged record is a problem and the walk goes on. */
async function* walk(
  overlay: OverlaySnapshot,
  tag: string,
  visit: (key: string, value: Slice) => Found,
): AsyncGenerator<Problem> {
  const to = after(tag);
  for (let from = tag; from < to;) {
    const page = await overlay.scan(from, to, PAGE_RECORDS, (records, bound) => ({ records, bound }));
    from = page.bound;
    for (const { key, value } of page.records) {
      try {
        yield* visit(key, value);
      } catch (error) {
        yield { kind: "damaged", text: (error as Error).message };
      }
    }
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
  readonly #inodes = new Map<InodeId, Seen>();
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
    yield* walk(overlay, TAG_NAME, (key, value) => this.#name(key, value));
    yield* walk(overlay, TAG_ORDER, (key, value) => this.#ordered(key, value));
    yield* walk(overlay, TAG_XATTR, (key, value) => this.#xattr(key, value));
    yield* walk(overlay, TAG_CUT, (key, value) => this.#cut(key, value));
    yield* walk(overlay, TAG_EXTENT, (key, value) => this.#extent(key, value));
    yield* walk(overlay, TAG_DEAD, (key, value) => this.#deadStripe(key, value));
    yield* walk(overlay, TAG_DISK, (key, value) => this.#diskEntry(key, value));
    yield* walk(overlay, TAG_STRIPE, (key, value) => this.#stripe(key, value));
    yield* this.#totals();
  }

  *#inode(id: InodeId, inode: Inode): Found {
    const { mode, linkCount, size, allocatedBytes, flags, parent, extentEnd, cutFrom, cutTo } = inode;
    this.#inodes.set(id, { mode, linkCount, size, allocatedBytes, flags, parent, extentEnd, cutFrom, cutTo, names: 0, subdirectories: 0, entryBytes: 0, extentBytes: 0, xattrs: 0, unnamed: false }); // prettier-ignore
    if (id === ROOT_INODE && parent !== ROOT_INODE)
      yield { kind: "links", text: `the root directory's parent is inode ${parent}` };
  }

  *#unnamed(key: string, value: Slice): Found {
    openValue(key, value);
    const id = idFrom(key, 1) as InodeId;
    const inode = this.#inodes.get(id);
    if (inode === undefined) yield { kind: "orphan", text: `inode ${id} is on the list of unnamed ones and does not exist` };
    else inode.unnamed = true;
  }

  *#name(key: string, value: Slice): Found {
    const entry = decodeName(openValue(key, value));
    const directory = idFrom(key, 1) as InodeId;
    const name = key.slice(9);
    const above = this.#inodes.get(directory);
    const inode = this.#inodes.get(entry.inode);
    if (above === undefined || (above.mode & S_IFMT) !== S_IFDIR)
      yield { kind: "entry", text: `${describeKey(key)}: the directory does not exist` };
    else above.entryBytes += name.length + 16;
    this.#order.set(`${directory}/${entry.cookie}`, `${entry.inode} ${entry.type} ${name}`);
    if (inode === undefined) {
      yield { kind: "entry", text: `${describeKey(key)} leads to inode ${entry.inode}, which does not exist` };
      return;
    }
    inode.names++;
    if ((inode.mode & S_IFMT) !== entry.type)
      yield {
        kind: "entry",
        text: `${describeKey(key)} says type ${entry.type.toString(8)}, inode ${entry.inode} has mode ${inode.mode.toString(8)}`,
      };
    if (entry.type !== S_IFDIR) return;
    if (above !== undefined) above.subdirectories++;
    if (inode.parent !== directory)
      yield { kind: "links", text: `directory ${entry.inode} says its parent is ${inode.parent}; its name is in ${directory}` };
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
    const inode = this.#inodes.get(idFrom(key, 1) as InodeId);
    if (inode === undefined || (inode.flags & HAS_XATTRS) === 0)
      yield { kind: "orphan", text: `${describeKey(key)}: the inode does not exist or has no attributes` };
    else inode.xattrs++;
  }

  *#cut(key: string, value: Slice): Found {
    openValue(key, value);
    const id = idFrom(key, 1) as InodeId;
    const inode = this.#inodes.get(id);
    if (inode === undefined || (inode.flags & HAS_CUT) === 0)
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
    const inode = this.#inodes.get(id);
    if (inode === undefined) {
      yield { kind: "extent", text: `${describeKey(key)}: the inode does not exist` };
      return;
    }
    inode.extentBytes += extent.length;
    if (id === this.#lastInode && offset < this.#lastEnd)
      yield { kind: "extent", text: `${describeKey(key)} begins before the one before it ends (${this.#lastEnd})` };
    if (Math.floor(offset / WINDOW_BYTES) !== Math.floor((end - 1) / WINDOW_BYTES))
      yield { kind: "extent", text: `${describeKey(key)} of ${extent.length} bytes crosses a window` };
    if (end > inode.extentEnd)
      yield {
        kind: "extent",
        text: `${describeKey(key)} ends at ${end}, the inode says that none does above ${inode.extentEnd}`,
      };
    const cut = (inode.flags & HAS_CUT) !== 0 && offset >= inode.cutFrom && offset < inode.cutTo;
    if (end > inode.size && !cut && !inode.unnamed && (extent.stripe !== undefined || extent.inline !== undefined))
      yield { kind: "extent", text: `${describeKey(key)} has data to ${end}, the file ends at ${inode.size}` };
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
    for (const [id, inode] of this.#inodes) yield* this.#inodeTotals(id, inode);
    if (this.#inodes.size !== this.#overlay.inodes)
      yield { kind: "count", text: `there are ${this.#inodes.size} inodes, ${this.#overlay.inodes} are counted` };
  }

  *#inodeTotals(id: InodeId, inode: Seen): Found {
    const isDirectory = (inode.mode & S_IFMT) === S_IFDIR;
    const named = inode.names > 0 || id === ROOT_INODE;
    const links = !isDirectory ? inode.names : named ? 2 + inode.subdirectories : 0;
    if (inode.linkCount !== links)
      yield {
        kind: "links",
        text: `inode ${id} has link count ${inode.linkCount}, it should be ${links}`,
        mending: { record: "inode", id, field: "linkCount", difference: links - inode.linkCount },
      };
    if (isDirectory && inode.names > 1) yield { kind: "links", text: `directory ${id} has ${inode.names} names` };
    if (!named !== inode.unnamed)
      yield {
        kind: "orphan",
        text: `inode ${id} has ${inode.names} names and ${inode.unnamed ? "is" : "is not"} on the list of unnamed ones`,
      };
    if (isDirectory && inode.size !== inode.entryBytes)
      yield {
        kind: "count",
        text: `directory ${id} has size ${inode.size}, its names make ${inode.entryBytes}`,
        mending: { record: "inode", id, field: "size", difference: inode.entryBytes - inode.size },
      };
    if (inode.allocatedBytes !== inode.extentBytes)
      yield {
        kind: "count",
        text: `inode ${id} counts ${inode.allocatedBytes} allocated bytes, its extents have ${inode.extentBytes}`,
        mending: { record: "inode", id, field: "allocatedBytes", difference: inode.extentBytes - inode.allocatedBytes },
      };
    if (((inode.flags & HAS_XATTRS) !== 0) !== inode.xattrs > 0)
      yield { kind: "count", text: `inode ${id} has ${inode.xattrs} attributes, its flags say ${inode.flags}` };
  }
}
