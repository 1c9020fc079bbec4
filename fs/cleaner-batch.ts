// What the cleaner puts into one new stripe: ranges of files, in the order in which they will lie there.

import { STRIPE_DATA_MAX_BYTES } from "../replication/stripe.ts";
import type { Extent } from "./messages.ts";
import { type Move, MOVES_MAX, type Source } from "./namespace/relocation.ts";
import type { InodeId, StripeId } from "./types.ts";

interface Item {
  inode: InodeId;
  offset: number;
  length: number;
  from: Source;
  /** In the new stripe. */
  at: number;
}

/** Reads under way at once: enough to keep six disks busy, few beside a program's own. */
const READS_AT_ONCE = 8;

export class Batch {
  items: Item[] = [];
  bytes = 0;
  /** Places of ranges that are in the batch already: files that share them go on sharing. */
  readonly #known = new Map<string, number>();
  readonly #shared: Item[] = [];

  get full(): boolean {
    return this.bytes >= STRIPE_DATA_MAX_BYTES || this.items.length + this.#shared.length >= MOVES_MAX;
  }

  /** Takes as much of the extent as there is room for; returns the rest, or null. */
  add(inode: InodeId, extent: Extent): Extent | null {
    const length = Math.min(extent.length, STRIPE_DATA_MAX_BYTES - this.bytes);
    const { offset, stripe, stripeOffset, inline } = extent;
    const from: Source = stripe === undefined ? { inline: inline!.subarray(0, length) } : { stripe, stripeOffset: stripeOffset! };
    const key = stripe === undefined ? "" : `${stripe}/${stripeOffset}/${length}`;
    const known = key === "" ? undefined : this.#known.get(key);
    if (known !== undefined) this.#shared.push({ inode, offset, length, from, at: known });
    else {
      this.items.push({ inode, offset, length, from, at: this.bytes });
      if (key !== "") this.#known.set(key, this.bytes);
      this.bytes += length;
    }
    if (length === extent.length) return null;
    const rest = { offset: offset + length, length: extent.length - length };
    if (stripe === undefined) return { ...rest, inline: inline!.subarray(length) };
    return { ...rest, stripe, stripeOffset: stripeOffset! + length };
  }

  bytesByStripe(): Map<StripeId, { pieces: number; bytes: number }> {
    const found = new Map<StripeId, { pieces: number; bytes: number }>();
    for (const { from, length } of this.items) {
      if (!("stripe" in from)) continue;
      const entry = found.get(from.stripe) ?? { pieces: 0, bytes: 0 };
      found.set(from.stripe, { pieces: entry.pieces + 1, bytes: entry.bytes + length });
    }
    return found;
  }

  /** Runs the action for each item, some at a time. */
  async each(action: (item: Item, at: number) => Promise<void>): Promise<void> {
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < this.items.length) {
        const item = this.items[next++];
        await action(item, item.at);
      }
    };
    await Promise.all(Array.from({ length: READS_AT_ONCE }, worker));
  }

  /** Takes items out (and those that share their place); the others move together, their bytes within `bytes` too. */
  without(failed: ReadonlySet<object>, bytes: Uint8Array): Uint8Array {
    const places = new Map<number, number>();
    let used = 0;
    const kept = this.items.filter((item) => !failed.has(item));
    for (const item of kept) {
      bytes.copyWithin(used, item.at, item.at + item.length);
      places.set(item.at, used);
      used += item.length;
    }
    for (const item of kept) item.at = places.get(item.at)!;
    this.items = kept;
    const shared = this.#shared.splice(0).filter(({ at }) => places.has(at));
    for (const item of shared) this.#shared.push({ ...item, at: places.get(item.at)! });
    this.bytes = used;
    return bytes.subarray(0, used);
  }

  movesTo(stripe: StripeId): Move[] {
    return [...this.items, ...this.#shared].map(({ inode, offset, length, from, at }) => ({
      inode,
      offset,
      length,
      from,
      to: { stripe, stripeOffset: at },
    }));
  }
}
