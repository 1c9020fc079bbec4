// What repair needs of whoever keeps the stripe records (the namespace): walk them, and change where blocks lie.
import type { DiskId, Stripe } from "./stripe.ts";

export interface StripeDirectory {
  /** Stripes with a block on the disk, by id, from the first one above `after`, at most `limit`. With NO_DISK those with a block that is stored nowhere. */
  stripesOn(disk: DiskId, after: number, limit: number): Promise<Stripe[]>;
  /** All stripes, by id, from the first one above `after`, at most `limit`. */
  stripes(after: number, limit: number): Promise<Stripe[]>;
  /** Puts `to` in the place of `from` (they differ in `disks` at most; they may be equal, which only asks). False, and nothing changed, where the stripe is gone or its disks are not those of `from`. Durable when it resolves. */
  commit(from: Stripe, to: Stripe): Promise<boolean>;
}
