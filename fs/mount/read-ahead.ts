// Whole stripes fetched before a sequential reader asks for them, in a few stripe-sized buffers that are reused. Reading a
// whole stripe is the cheapest read there is: every data block once, past the page cache. Replies may point into a
// buffer; it is not reused before they are released.

import type { Stripes } from "../../replication/block-client.ts";
import type { Stripe } from "../../replication/stripe.ts";
import type { AllocateBuffer } from "./buffers.ts";
import { READ_BUFFERS_MAX, STRIPE_BUFFER_BYTES } from "./limits.ts";

export interface AheadStripe {
  readonly id: number;
  readonly bytes: Uint8Array;
  /** Null once the bytes are there. Never rejects: a stripe that could not be read is simply not here afterwards. */
  loading: Promise<void> | null;
  pins: number;
}

export class ReadAhead {
  readonly #stripes: Stripes;
  readonly #allocate: AllocateBuffer;
  /** Least recently used first. */
  readonly #entries = new Map<number, AheadStripe>();
  readonly #free: Uint8Array[] = [];
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
