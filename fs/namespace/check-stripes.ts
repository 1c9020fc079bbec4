// The part of the check about data: extents, stripes, dead stripes, and the lists of what lies on each disk.

import type { DiskId } from "../../replication/stripe.ts";
import { type InodeId, S_IFMT, S_IFREG, type StripeId } from "../types.ts";
import { RecordDamaged, type Slice } from "./bytes.ts";
import type { Seen, SeenInodes } from "./check-inodes.ts";
import { type CheckOptions, damaged, type Found, type Problem, walk } from "./check-walk.ts";
import { isReserved, windowOf } from "./extents.ts";
import { describeKey, idFrom, TAG_DEAD, TAG_DISK, TAG_EXTENT, TAG_STRIPE } from "./keys.ts";
import type { Mending } from "./mend.ts";
import type { OverlaySnapshot } from "./overlay.ts";
import { decodeExtent, decodeStripe, openValue, type StripeRecord } from "./records.ts";

/** Kept until the counts are compared; with repair the next check finds the next ones. */
const MISPLACED_MAX = 10_000;

export class StripeCheck {
  readonly #overlay: OverlaySnapshot;
  readonly #inodes: SeenInodes;
  readonly #live = new Map<StripeId, number>();
  /** Of each stripe, the sum of the marks of the disks that list it. */
  readonly #listed = new Map<StripeId, number>();
  readonly #disks = new Set<DiskId>();
  readonly #dead = new Set<StripeId>();
  readonly #damaged = new Set<StripeId>();
  readonly #misplaced: Problem[] = [];
  /** Of all extents. */
  reservedBytes = 0;
  /** Some of what stripes count may be in extents that are not there, or cannot be read. */
  #extentsAreMissing: boolean;
  #lastInode = 0 as InodeId;
  #lastEnd = 0;

  constructor(overlay: OverlaySnapshot, inodes: SeenInodes, { extentsAreMissing = false }: CheckOptions) {
    this.#overlay = overlay;
    this.#inodes = inodes;
    this.#extentsAreMissing = extentsAreMissing;
  }

  get extentsAreMissing(): boolean {
    return this.#extentsAreMissing;
  }

  /** Extents where they should not be, after `stripes`: to change them, all counts must be right. */
  misplaced(): readonly Problem[] {
    return this.#misplaced;
  }

  extents(): AsyncGenerator<Problem> {
    return walk(this.#overlay, TAG_EXTENT, (key, value) => this.#readExtent(key, value));
  }

  /** After `extents`. */
  async *stripes(): AsyncGenerator<Problem> {
    yield* walk(this.#overlay, TAG_DEAD, (key, value) => this.#deadStripe(key, value));
    yield* walk(this.#overlay, TAG_DISK, (key, value) => this.#diskEntry(key, value));
    yield* walk(this.#overlay, TAG_STRIPE, (key, value) => this.#stripe(key, value));
    yield* this.#withoutRecord();
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

  async *#withoutRecord(): AsyncGenerator<Problem> {
    if (this.#live.size === 0) return;
    const ends = new Map<StripeId, number>();
    for await (const _ of walk(this.#overlay, TAG_EXTENT, (key, value) => this.#addEnd(ends, key, value))) continue;
    for (const [stripe, live] of this.#live)
      yield {
        kind: "stripe",
        text: `stripe ${stripe} has extents and ${this.#damaged.has(stripe) ? "its record is damaged" : "no record"}`,
        stripe,
        loses: "stripe",
        mending: { kind: "stripe", stripe, live, end: ends.get(stripe) ?? 0 },
      };
  }

  *#addEnd(ends: Map<StripeId, number>, key: string, value: Slice): Found {
    const { stripe, stripeOffset, length } = decodeExtent(openValue(key, value), idFrom(key, 9));
    if (stripe !== undefined && this.#live.has(stripe)) ends.set(stripe, Math.max(ends.get(stripe) ?? 0, stripeOffset! + length));
  }

  *#readExtent(key: string, value: Slice): Found {
    const id = idFrom(key, 1) as InodeId;
    const offset = idFrom(key, 9);
    try {
      const extent = decodeExtent(openValue(key, value), offset);
      if (extent.stripe !== undefined) this.#live.set(extent.stripe, (this.#live.get(extent.stripe) ?? 0) + extent.length);
      if (isReserved(extent)) this.reservedBytes += extent.length;
      yield* this.#extent(key, id, offset, extent.length, extent.stripe !== undefined || extent.inline !== undefined);
    } catch (error) {
      this.#extentsAreMissing = true;
      yield damaged(key, error, { inode: id, loses: "inode" });
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
      this.#place(inode, id, offset, `${describeKey(key)} begins before the one before it ends (${this.#lastEnd})`);
    if (windowOf(offset) !== windowOf(end - 1))
      this.#place(inode, id, offset, `${describeKey(key)} of ${length} bytes crosses a window`);
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
      this.#place(inode, id, offset, `${describeKey(key)} has data to ${end}, the file ends at ${rows.size[row]}`);
    this.#lastEnd = id === this.#lastInode ? Math.max(this.#lastEnd, end) : end;
    this.#lastInode = id;
  }

  #place({ rows, row }: Seen, inode: InodeId, offset: number, text: string): void {
    if (this.#misplaced.length >= MISPLACED_MAX) return;
    const isFile = (rows.mode[row] & S_IFMT) === S_IFREG;
    const mending: Mending | undefined = isFile ? { kind: "extents", inode, window: windowOf(offset) } : undefined;
    this.#misplaced.push({ kind: "extent", text, inode, mending });
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
    const stripe = this.#read(key, value, id);
    if (stripe instanceof RecordDamaged) {
      this.#damaged.add(id);
      yield damaged(key, stripe, { stripe: id });
      return;
    }
    const { live: counted, disks } = stripe;
    const live = this.#live.get(id) ?? 0;
    this.#live.delete(id);
    if (counted !== live) yield this.#wrongCount(id, counted, live);
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

  #read(key: string, value: Slice, id: StripeId): StripeRecord | RecordDamaged {
    try {
      return decodeStripe(openValue(key, value), id);
    } catch (error) {
      if (error instanceof RecordDamaged) return error;
      throw error;
    }
  }

  /** Where an extent cannot be read, what the stripe counts above the others may be its bytes: it must not die for that. */
  #wrongCount(id: StripeId, counted: number, live: number): Problem {
    const mayBeMissing = live < counted && this.#extentsAreMissing;
    return {
      kind: "count",
      text: `stripe ${id} counts ${counted} live bytes, extents have ${live}${mayBeMissing ? "; a damaged extent may have the rest" : ""}`,
      stripe: id,
      mending: mayBeMissing ? undefined : { kind: "live", stripe: id, difference: live - counted },
    };
  }
}

/** Sums of these tell one set of disks from another, in one number for each stripe. */
function markOf(disk: DiskId): number {
  return Math.imul(disk + 1, 0x9e3779b1) >>> 0;
}
