// Carries batches (cleaner-batch.ts) to new stripes: of the cleaner, and of what lies inline.
//
// Order of a move: store the new stripe, make it durable, then transactions that change only extents which still are
// what was read (fs/namespace/relocation.ts). A crash before them leaves blocks under a reserved number, which are
// swept; after them the old stripe is dead on record. Moves may go on side by side, also of the same bytes: the later
// one finds them changed.

import type { Stripes } from "../replication/block-client.ts";
import { STRIPE_DATA_MAX_BYTES, type Stripe } from "../replication/stripe.ts";
import type { Batch } from "./cleaner-batch.ts";
import type { Namespace } from "./namespace/namespace.ts";
import type { Source } from "./namespace/relocation.ts";
import type { StripeId } from "./types.ts";

const NUMBERS_PER_RESERVATION = 16;
/** Less than this in one stripe is not worth a coded one. */
export const CODED_FROM_BYTES = 64 * 1024;

export interface BatchMoverOptions {
  namespace: Namespace;
  stripes: Stripes;
  schemes: { full: string; small: string };
}

export class BatchMover {
  readonly #options: BatchMoverOptions;
  #unreserved: StripeId[] = [];
  #moving = 0;
  #failed = false;

  constructor(options: BatchMoverOptions) {
    this.#options = options;
  }

  /** Returns how many bytes lie in the new stripe: not those that changed meanwhile, or could not be read. Rejects where the disks or the namespace refuse; then nothing has moved, or a part. */
  async move(batch: Batch): Promise<number> {
    this.#moving++;
    try {
      return await this.#move(batch);
    } catch (error) {
      this.#failed = true;
      throw error;
    } finally {
      this.#moving--;
      if (this.#failed && this.#moving === 0) this.#release();
    }
  }

  /** Blocks may lie under numbers that were reserved and not used: they are swept. */
  #release(): void {
    this.#failed = false;
    this.#unreserved = [];
    this.#options.namespace.relocation.releaseReserved();
  }

  async #move(batch: Batch): Promise<number> {
    const { namespace, stripes, schemes } = this.#options;
    const data = await this.#read(batch);
    if (batch.items.length === 0) return 0;
    const scheme = data.length >= CODED_FROM_BYTES ? schemes.full : schemes.small;
    const id = await this.#number();
    const stripe = await stripes.write(id, scheme, data);
    await stripes.sync();
    return namespace.relocation.relocate([stripe], batch.movesTo(id));
  }

  async #number(): Promise<StripeId> {
    if (this.#unreserved.length === 0) {
      const first = await this.#options.namespace.relocation.reserve(NUMBERS_PER_RESERVATION);
      for (let index = 0; index < NUMBERS_PER_RESERVATION; index++) this.#unreserved.push((first + index) as StripeId);
    }
    return this.#unreserved.shift()!;
  }

  /** The batch's bytes in order. Items that cannot be read (their stripe is gone by now, or lost) are taken out of it. */
  async #read(batch: Batch): Promise<Uint8Array> {
    const ids = [...new Set(batch.items.flatMap(({ from }) => ("stripe" in from ? [from.stripe] : [])))];
    const records = new Map<StripeId, Stripe>();
    for (const stripe of await this.#options.namespace.stripes.getAll(ids)) records.set(stripe.id, stripe);
    const scratch = new Map<StripeId, Promise<Uint8Array | null>>();
    const wanted = batch.bytesByStripe();
    const into = Buffer.allocUnsafe(batch.bytes);
    const failed = new Set<object>();
    await batch.each(async (item, at) => {
      const target = into.subarray(at, at + item.length);
      if (!(await this.#readItem(item.from, target, records, wanted, scratch))) failed.add(item);
    });
    if (failed.size > 0) return batch.without(failed, into);
    return into;
  }

  async #readItem(
    from: Source,
    into: Uint8Array,
    records: ReadonlyMap<StripeId, Stripe>,
    wanted: ReadonlyMap<StripeId, { pieces: number; bytes: number }>,
    scratch: Map<StripeId, Promise<Uint8Array | null>>,
  ): Promise<boolean> {
    if ("inline" in from) {
      into.set(from.inline);
      return true;
    }
    const stripe = records.get(from.stripe);
    if (stripe === undefined) return false;
    const { pieces, bytes } = wanted.get(from.stripe)!;
    // Many small pieces of one stripe: one large read of all of it is cheaper, and checks each checksum once.
    if (pieces > 8 && bytes * 4 >= stripe.dataBytes) {
      if (!scratch.has(from.stripe)) scratch.set(from.stripe, this.#readWhole(stripe));
      const whole = await scratch.get(from.stripe);
      if (whole === null || whole === undefined) return false;
      into.set(whole.subarray(from.stripeOffset, from.stripeOffset + into.length));
      return true;
    }
    return this.#options.stripes.read(stripe, from.stripeOffset, into).then(
      () => true,
      () => false,
    );
  }

  async #readWhole(stripe: Stripe): Promise<Uint8Array | null> {
    const bytes = Buffer.allocUnsafe(Math.min(stripe.dataBytes, STRIPE_DATA_MAX_BYTES));
    return this.#options.stripes.read(stripe, 0, bytes).then(
      () => bytes,
      () => null,
    );
  }
}
