// The check of the namespace: walks all records and compares what should agree. It works on a snapshot, so transactions
// may go on meanwhile; what it finds was so at one moment. Takes 80 bytes of memory an inode (check-inodes.ts), some 60 a
// stripe, and some 200 for each name of a directory whose names and order differ. What it finds is mended by mend.ts.

import { type InodeId, ROOT_INODE } from "../types.ts";
import type { Slice } from "./bytes.ts";
import { isDirectoryRow, type Seen, SeenInodes } from "./check-inodes.ts";
import { NameCheck } from "./check-names.ts";
import { StripeCheck } from "./check-stripes.ts";
import { findLoops } from "./check-tree.ts";
import { type CheckOptions, damaged, type Found, type Problem, walk } from "./check-walk.ts";
import { after, describeKey, idFrom, PROMISED_KEY, TAG_CUT, TAG_INODE, TAG_UNNAMED, TAG_XATTR } from "./keys.ts";
import { nameOf } from "./lost-files.ts";
import type { Mending } from "./mend.ts";
import type { OverlaySnapshot } from "./overlay.ts";
import { decodeInode, decodeNumber, HAS_CUT, HAS_XATTRS, openValue } from "./records.ts";
import type { ByteString } from "../types.ts";

/** Enough to see what happened; with `--repair` the next check finds the next ones. */
export const PROBLEMS_MAX = 10_000;

export async function* checkNamespace(overlay: OverlaySnapshot, options: CheckOptions = {}): AsyncGenerator<Problem> {
  let count = 0;
  for await (const problem of new Check(overlay, options).run()) {
    yield problem;
    if (++count >= PROBLEMS_MAX) return;
  }
}

class Check {
  readonly #overlay: OverlaySnapshot;
  readonly #inodes = new SeenInodes();
  readonly #names: NameCheck;
  readonly #stripes: StripeCheck;

  constructor(overlay: OverlaySnapshot, options: CheckOptions) {
    this.#overlay = overlay;
    this.#names = new NameCheck(overlay, this.#inodes);
    this.#stripes = new StripeCheck(overlay, this.#inodes, options);
  }

  /** Each walk needs what those before it have seen. */
  async *run(): AsyncGenerator<Problem> {
    const overlay = this.#overlay;
    yield* walk(overlay, TAG_INODE, (key, value) => this.#inode(key, value));
    yield* walk(overlay, TAG_UNNAMED, (key, value) => this.#unnamed(key, value));
    yield* this.#stripes.extents();
    yield* this.#names.run();
    yield* walk(overlay, TAG_XATTR, (key, value) => this.#xattr(key, value));
    yield* walk(overlay, TAG_CUT, (key, value) => this.#cut(key, value));
    yield* this.#stripes.stripes();
    yield* this.#totals();
    yield* this.#promised();
    yield* this.#loops();
    yield* this.#stripes.misplaced();
  }

  /** With the name by which each is in another of its loop. */
  async *#loops(): AsyncGenerator<Problem> {
    for (const { inode, text } of findLoops(this.#inodes)) {
      const place = await nameOf(this.#overlay, inode);
      const mending: Mending | undefined =
        place === null ? undefined : { kind: "loop", inode, directory: place.parent, name: place.name };
      yield { kind: "links", text, inode, mending };
    }
  }

  *#inode(key: string, value: Slice): Found {
    const id = idFrom(key, 1) as InodeId;
    try {
      const inode = decodeInode(openValue(key, value), id);
      this.#inodes.add(inode, (inode.flags & HAS_CUT) !== 0);
      if (id === ROOT_INODE && inode.parent !== ROOT_INODE)
        yield { kind: "links", text: `the root directory's parent is inode ${inode.parent}`, inode: id };
    } catch (error) {
      this.#inodes.damaged.add(id);
      yield damaged(key, error, { inode: id, loses: "inode" });
    }
  }

  *#unnamed(key: string, value: Slice): Found {
    const id = idFrom(key, 1) as InodeId;
    const inode = this.#inodes.find(id);
    if (inode !== undefined) inode.rows.unnamed[inode.row] = 1;
    else if (!this.#inodes.damaged.has(id))
      yield {
        kind: "orphan",
        text: `inode ${id} is on the list of unnamed ones and does not exist`,
        inode: id,
        mending: { kind: "unnamed", inode: id },
      };
    openValue(key, value);
  }

  *#xattr(key: string, value: Slice): Found {
    openValue(key, value);
    const id = idFrom(key, 1) as InodeId;
    const inode = this.#inodes.find(id);
    if (inode !== undefined) inode.rows.xattrs[inode.row]++;
    else if (!this.#inodes.damaged.has(id) && !this.#inodes.lost.has(id))
      yield {
        kind: "orphan",
        text: `${describeKey(key)}: the inode does not exist`,
        inode: id,
        mending: { kind: "attribute", inode: id, name: key.slice(9) as ByteString },
      };
  }

  *#cut(key: string, value: Slice): Found {
    const id = idFrom(key, 1) as InodeId;
    const cut = this.#inodes.cuts.get(id);
    if (cut !== undefined) cut.listed = true;
    else if (!this.#inodes.damaged.has(id))
      yield {
        kind: "orphan",
        text: `inode ${id} is on the list of cuts and has none`,
        inode: id,
        mending: { kind: "cut", inode: id },
      };
    openValue(key, value);
  }

  async *#promised(): AsyncGenerator<Problem> {
    const counted = await this.#overlay.scan(PROMISED_KEY, after(PROMISED_KEY), 1, ([record]) =>
      record === undefined ? 0 : decodeNumber(openValue(PROMISED_KEY, record.value)),
    );
    const difference = this.#stripes.reservedBytes - counted;
    // The rest may be of an extent that cannot be read.
    if (difference === 0 || (difference < 0 && this.#stripes.extentsAreMissing)) return;
    yield {
      kind: "count",
      text: `${this.#stripes.reservedBytes} bytes are reserved, ${counted} are counted as promised`,
      mending: { kind: "promised", difference },
    };
  }

  *#totals(): Found {
    for (const [id, cut] of this.#inodes.cuts)
      if (!cut.listed)
        yield {
          kind: "orphan",
          text: `inode ${id} has a truncate under way and is not on the list of these`,
          inode: id,
          mending: { kind: "cut", inode: id },
        };
    for (const [id, inode] of this.#inodes.all()) yield* inodeTotals(id, inode);
    const counted = this.#overlay.inodes;
    if (this.#inodes.count !== counted)
      yield {
        kind: "count",
        text: `there are ${this.#inodes.count} inodes, ${counted} are counted`,
        mending: { kind: "inodes", difference: this.#inodes.count - counted },
      };
    for (const [id, { extents, bytes, end, names }] of this.#inodes.lost)
      yield {
        kind: "extent",
        text: `inode ${id} does not exist and has ${extents} extents of ${bytes} bytes, and ${names} names`,
        inode: id,
        mending: { kind: "lost", inode: id, size: end, bytes, names },
      };
  }
}

function* inodeTotals(id: InodeId, seen: Seen): Found {
  const { rows, row } = seen;
  const [names, flags] = [rows.names[row], rows.flags[row]];
  const isDirectory = isDirectoryRow(seen);
  const [unnamed, xattrs] = [rows.unnamed[row] !== 0, rows.xattrs[row]];
  const named = names > 0 || id === ROOT_INODE;
  // As it should be with a name, or unlinked and waiting to be freed.
  const isListedRightly = named ? !unnamed : unnamed && rows.linkCount[row] === 0;
  if (!isListedRightly) yield nameless(id, seen, named, unnamed);
  if (named) yield* links(id, seen);
  if (isDirectory && names > 1) yield { kind: "links", text: `directory ${id} has ${names} names`, inode: id };
  if (isDirectory) yield* difference(id, "size", rows.size[row], rows.entryBytes[row]);
  yield* difference(id, "allocatedBytes", rows.allocatedBytes[row], rows.extentBytes[row]);
  if (((flags & HAS_XATTRS) !== 0) !== xattrs > 0)
    yield {
      kind: "count",
      text: `inode ${id} has ${xattrs} attributes, its flags say ${flags}`,
      inode: id,
      mending: { kind: "attributes", inode: id },
    };
}

/**
 * An inode with a name that is on the list of unnamed ones, or one without a name that is not as if unlinked. The last name and the link
 * count go, and the place on the list comes, with one entry of the log. So an inode with link count 0 was unlinked, and
 * belongs on the list; one with a count above has lost a name that nobody removed.
 */
function nameless(id: InodeId, seen: Seen, named: boolean, unnamed: boolean): Problem {
  const { rows, row } = seen;
  const linkCount = rows.linkCount[row];
  const text = `inode ${id} has ${rows.names[row]} names, link count ${linkCount}, and is ${unnamed ? "" : "not "}on the list of unnamed ones`;
  const wasUnlinked = linkCount === 0 && rows.entryBytes[row] === 0;
  if (named || wasUnlinked) return { kind: "orphan", text, inode: id, mending: { kind: "unnamed", inode: id } };
  const links = isDirectoryRow(seen) ? 2 + rows.subdirectories[row] : 1;
  return { kind: "orphan", text, inode: id, mending: { kind: "orphan", inode: id, difference: links - linkCount } };
}

function* links(id: InodeId, seen: Seen): Found {
  const { rows, row } = seen;
  const is = rows.linkCount[row];
  const should = isDirectoryRow(seen) ? 2 + rows.subdirectories[row] : rows.names[row];
  if (is === should) return;
  yield {
    kind: "links",
    text: `inode ${id} has link count ${is}, it should be ${should}`,
    inode: id,
    mending: { kind: "number", inode: id, field: "linkCount", difference: should - is },
  };
}

function* difference(id: InodeId, field: "size" | "allocatedBytes", is: number, should: number): Found {
  if (is === should) return;
  const text =
    field === "size"
      ? `directory ${id} has size ${is}, its names make ${should}`
      : `inode ${id} counts ${is} allocated bytes, its extents have ${should}`;
  yield { kind: "count", text, inode: id, mending: { kind: "number", inode: id, field, difference: should - is } };
}
