// The part of the check about data: extents, stripes, dead stripes, and the lists of what lies on each disk.

import type { DiskId } from "../../replication/stripe.ts";
import type { InodeId, StripeId } from "../types.ts";
import type { Slice } from "./bytes.ts";
import type { SeenInodes } from "./check-inodes.ts";
import { type Found, type Problem, walk } from "./check-walk.ts";
import { describeKey, idFrom, TAG_DEAD, TAG_DISK, TAG_EXTENT, TAG_STRIPE } from "./keys.ts";
import type { OverlaySnapshot } from "./overlay.ts";
import { decodeExtent, decodeStripe, openValue } from "./records.ts";
import { WINDOW_BYTES } from "./state.ts";

export class StripeCheck {
  readonly #overlay: OverlaySnapshot;
  readonly #inodes: SeenInodes;
  readonly #live = new Map<StripeId, number>();
  /** Of each stripe, the sum of the marks of the disks that list it. */
  readonly #listed = new Map<StripeId, number>();
  readonly #disks = new Set<DiskId>();
  readonly #dead = new Set<StripeId>();
  #lastInode = 0 as InodeId;
  #lastEnd = 0;

  constructor(overlay: OverlaySnapshot, inodes: SeenInodes) {
    this.#overlay = overlay;
    this.#inodes = inodes;
  }

  extents(): AsyncGenerator<Problem> {
    return walk(this.#overlay, TAG_EXTENT, (key, value) => this.#readExtent(key, value));
  }

  /** After `extents`. */
  async *stripes(): AsyncGenerator<Problem> {
    yield* walk(this.#overlay, TAG_DEAD, (key, value) => this.#deadStripe(key, value));
    yield* walk(this.#overlay, TAG_DISK, (key, value) => this.#diskEntry(key, value));
    yield* walk(this.#overlay, TAG_STRIPE, (key, value) => this.#stripe(key, value));
    for (const stripe of this.#live.keys())
      yield { kind: "stripe", text: `stripe ${stripe} has extents and no record`, stripe, loses: "stripe" };
    for (const stripe of this.#dead)
      yield {
        kind: "stripe",
        text: `stripe ${stripe} is on the list of dead ones and has no record`,
        stripe,
        mending: { kind: "dead", stripe },
      };
    for (const stripe of this.#listed.keys())
      yield {
        kind: "stripe",
        text: `stripe ${stripe} is listed for disks and has no record`,
        stripe,
        mending: { kind: "disks", stripe, listed: [...this.#disks] },
      };
  }

  *#readExtent(key: string, value: Slice): Found {
    const id = idFrom(key, 1) as InodeId;
    const offset = idFrom(key, 9);
    try {
      const extent = decodeExtent(openValue(key, value), offset);
      if (extent.stripe !== undefined) this.#live.set(extent.stripe, (this.#live.get(extent.stripe) ?? 0) + extent.length);
      yield* this.#extent(key, id, offset, extent.length, extent.stripe !== undefined || extent.inline !== undefined);
    } catch (error) {
      yield { kind: "damaged", text: (error as Error).message, inode: id, loses: "inode" };
    }
  }

  *#extent(key: string, id: InodeId, offset: number, length: number, hasData: boolean): Found {
    const end = offset + length;
    const inode = this.#inodes.find(id);
    if (inode === undefined) {
      if (!this.#inodes.damaged.has(id) && !this.#inodes.addLost(id, end, length))
        yield { kind: "extent", text: `${describeKey(key)}: the inode does not exist`, inode: id };
      return;
    }
    const { rows, row } = inode;
    rows.extentBytes[row] += length;
    if (id === this.#lastInode && offset < this.#lastEnd)
      yield {
        kind: "extent",
        text: `${describeKey(key)} begins before the one before it ends (${this.#lastEnd})`,
        inode: id,
      };
    if (Math.floor(offset / WINDOW_BYTES) !== Math.floor((end - 1) / WINDOW_BYTES))
      yield { kind: "extent", text: `${describeKey(key)} of ${length} bytes crosses a window`, inode: id };
    if (end > rows.extentEnd[row])
      yield {
        kind: "extent",
        text: `${describeKey(key)} ends at ${end}, the inode says that none does above ${rows.extentEnd[row]}`,
        inode: id,
        mending: { kind: "extentEnd", inode: id, end },
      };
    const cut = this.#inodes.cuts.get(id);
    const isCut = cut !== undefined && offset >= cut.from && offset < cut.to;
    if (end > rows.size[row] && !isCut && rows.unnamed[row] === 0 && hasData)
      yield { kind: "extent", text: `${describeKey(key)} has data to ${end}, the file ends at ${rows.size[row]}`, inode: id };
    this.#lastInode = id;
    this.#lastEnd = end;
  }

  *#deadStripe(key: string, value: Slice): Found {
    this.#dead.add(idFrom(key, 1) as StripeId);
    openValue(key, value);
  }

  *#diskEntry(key: string, value: Slice): Found {
    const disk = idFrom(`\0\0\0\0${key.slice(1, 5)}`) as DiskId;
    const stripe = idFrom(key, 5) as StripeId;
    this.#disks.add(disk);
    this.#listed.set(stripe, (this.#listed.get(stripe) ?? 0) + markOf(disk));
    openValue(key, value);
  }

  *#stripe(key: string, value: Slice): Found {
    const id = idFrom(key, 1) as StripeId;
    const { live: counted, disks } = decodeStripe(openValue(key, value), id);
    const live = this.#live.get(id) ?? 0;
    this.#live.delete(id);
    if (counted !== live)
      yield {
        kind: "count",
        text: `stripe ${id} counts ${counted} live bytes, extents have ${live}`,
        stripe: id,
        mending: { kind: "live", stripe: id, difference: live - counted },
      };
    if (this.#dead.delete(id) !== (counted === 0))
      yield {
        kind: "stripe",
        text: `stripe ${id} has ${counted} live bytes and ${counted === 0 ? "is not" : "is"} on the list of dead ones`,
        stripe: id,
        mending: { kind: "dead", stripe: id },
      };
    const listed = this.#listed.get(id) ?? 0;
    this.#listed.delete(id);
    if (listed !== [...new Set(disks)].reduce((sum, disk) => sum + markOf(disk), 0))
      yield {
        kind: "stripe",
        text: `stripe ${id} lies on disks ${disks.join(", ")}; the lists of what lies on each disk say otherwise`,
        stripe: id,
        mending: { kind: "disks", stripe: id, listed: [...this.#disks] },
      };
  }
}

/** Sums of these tell one set of disks from another, in one number for each stripe. */
function markOf(disk: DiskId): number {
  return Math.imul(disk + 1, 0x9e3779b1) >>> 0;
}
