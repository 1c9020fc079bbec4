// What operations may use besides their transaction. Effects in memory are registered with the transaction and happen
// only if it commits.

import type { SessionId, StripeId, InodeId } from "../types.ts";
import type { Extent, Statistics } from "../messages.ts";
import type { Hold } from "./room.ts";
import type { Transaction } from "./transaction.ts";

export interface Services {
  allocateInode(tx: Transaction): InodeId;
  /** The first of `count` stripe numbers in a row, reserved for the transaction's session, or the server itself where it has none. */
  reserveStripes(tx: Transaction, count: number): StripeId;
  /** Whether the session may make this stripe part of a file: it has reserved the number and not used it. */
  isReserved(session: SessionId, stripe: StripeId): boolean;
  useReserved(tx: Transaction, session: SessionId, stripes: readonly StripeId[]): void;
  /** A dead stripe whose blocks are being removed from the disks right now: it cannot come to life again. */
  isBeingRemoved(stripe: StripeId): boolean;
  /** ENOSPC where the store has no room for a record. */
  checkSpace(tx: Transaction): void;
  /** ENOSPC where there is no room for what the transaction promises to reserved ranges; `hold` is room that was set aside for it. */
  checkPromise(tx: Transaction, hold: Hold | null): void;
  countInodes(tx: Transaction, difference: number): void;
  becomesUnnamed(tx: Transaction, inode: InodeId): void;
  becomesNamed(tx: Transaction, inode: InodeId): void;
  /** A large truncate of this inode has work left. */
  becomesCut(tx: Transaction, inode: InodeId): void;
  /** The inode got these extents inline. */
  becomesInline(tx: Transaction, inode: InodeId, extents: readonly Extent[]): void;
  statistics(): Statistics;
}
