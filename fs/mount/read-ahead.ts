// Whole stripes fetched before a sequential reader asks for them, in a few stripe-sized buffers that are reused. Reading a
// whole stripe is the cheapest read there is: every data block once, past the page cache. Replies may point into a
// buffer; it is not reused before they are released.

import type { Stripes } from "../../replication/block-client.ts";
import type { Stripe } from "../../replication/stripe.ts";
import type { AllocateBuffer } from "./buffers.ts";
import {
  READ_BUFFERS_MAX,
  STRIPE_BUFFER_BYTES,
  WALK_READS_MIN,
  WALK_READ_MAX_BYTES,
  WALK_STEP_MAX_BYTES,
  WALK_STRIPE_MIN_BYTES,
  WALKS_MAX,
} from "./limits.ts";

export interface AheadStripe {
  readonly id: number;
  readonly bytes: Uint8Array;
  /** Null once the bytes are there. Never rejects: a stripe that could not be read is simply not here afterwards. */
  loading: Promise<void> | null;
  pins: number;
}

/** Reads that went through a stripe so far. */
interface Walk {
  readonly id: number;
  readonly dataBytes: number;
  /** Where the last one ended, and how many there were. */
  end: number;
  count: number;
}

export class ReadAhead {
  readonly #stripes: Stripes;
  readonly #allocate: AllocateBuffer;
  /** Least recently used first. */
  readonly #entries = new Map<number, AheadStripe>();
  readonly #free: Uint8Array[] = [];
  /** Last begun last. */
  readonly #walks: Walk[] = [];
  #made = 0;

  constructor(stripes: Stripes, allocate: AllocateBuffer) {
    this.#stripes = stripes;
    this.#allocate = allocate;
  }

  /** The stripe if it is here or being read. */
  get(id: number): AheadStripe | undefined {
    const entry = this.#entries.get(id);
    if (entry !== undefined) {
      this.#entries.delete(id);
      this.#entries.set(id, entry);
    }
    return entry;
  }

  has(id: number): boolean {
    return this.#entries.has(id);
  }

  /**
   * As get(), for a small read. Files made together lie in the same stripes and are read together: small reads that go
   * through a stripe from its front to its end, in steps, make it worth fetching whole.
   */
  walked(stripe: Stripe, from: number, length: number): AheadStripe | undefined {
    const ahead = this.get(stripe.id);
    if (length > WALK_READ_MAX_BYTES || stripe.dataBytes < WALK_STRIPE_MIN_BYTES) return ahead;
    if (ahead !== undefined) {
      const walk = this.#walks.find(({ id }) => id === stripe.id);
      if (walk !== undefined) walk.end = Math.max(walk.end, from + length);
      return ahead;
    }
    if (!this.#goesOn(stripe, from, from + length)) return undefined;
    this.fetch(stripe);
    return this.get(stripe.id);
  }

  #goesOn(stripe: Stripe, from: number, to: number): boolean {
    const walks = this.#walks;
    // The same read once more: the bytes were not at hand when the file was opened.
    const again = walks.find(({ id, end }) => id === stripe.id && to === end);
    if (again !== undefined) return again.count >= WALK_READS_MIN;
    const walk = walks.find(({ id, end }) => id === stripe.id && from >= end && from <= end + WALK_STEP_MAX_BYTES);
    if (walk !== undefined) {
      walk.end = to;
      return ++walk.count >= WALK_READS_MIN;
    }
    // The stripe that follows one that was walked through.
    const before = walks.find(({ id, dataBytes, end, count }) => {
      const near = stripe.id > id && stripe.id <= id + WALKS_MAX && from <= WALK_STEP_MAX_BYTES;
      return near && count >= WALK_READS_MIN && end + WALK_STEP_MAX_BYTES >= dataBytes;
    });
    if (walks.length >= WALKS_MAX) walks.shift();
    walks.push({ id: stripe.id, dataBytes: stripe.dataBytes, end: to, count: before === undefined ? 1 : WALK_READS_MIN });
    return before !== undefined;
  }

  /** Begins to read the stripe. Does nothing where it is there, or where every buffer is in use. */
  fetch(stripe: Stripe): void {
    if (this.#entries.has(stripe.id)) return;
    const bytes = this.#buffer();
    if (bytes === null) return;
    const entry: AheadStripe = { id: stripe.id, bytes, loading: null, pins: 0 };
    this.#entries.set(stripe.id, entry);
    entry.loading = this.#load(stripe, entry);
  }

  async #load(stripe: Stripe, entry: AheadStripe): Promise<void> {
    try {
      await this.#stripes.read(stripe, 0, entry.bytes.subarray(0, stripe.dataBytes));
      entry.loading = null;
    } catch {
      // The reader's own attempt will say what is wrong.
      this.#entries.delete(entry.id);
      this.#free.push(entry.bytes);
    }
  }

  #buffer(): Uint8Array | null {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#made < READ_BUFFERS_MAX) {
      this.#made++;
      return this.#allocate(STRIPE_BUFFER_BYTES);
    }
    for (const [id, entry] of this.#entries) {
      if (entry.pins > 0 || entry.loading !== null) continue;
      this.#entries.delete(id);
      return entry.bytes;
    }
    return null;
  }
}
