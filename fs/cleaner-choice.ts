// Which stripes are worth being rewritten, and which files are scattered. Pure.

import { STRIPE_DATA_MAX_BYTES } from "../replication/stripe.ts";
import type { Extent } from "./messages.ts";
import type { StripeId } from "./types.ts";

export interface StripeCost {
  id: StripeId;
  /** Bytes on the disks. */
  stored: number;
  liveBytes: number;
  /** What the live bytes take in a full stripe of the store's scheme. */
  needed: number;
}

export interface Survey {
  /** Of stripes that may be chosen. */
  costs: readonly StripeCost[];
  /** Of all stripes. */
  storedBytes: number;
  neededBytes: number;
  /** Stripes up to this number may be chosen. */
  settled: number;
}

/** In the background nothing is moved while the disks hold at most this much of what is needed, or waste little. */
const STORED_SHARE_BEGIN = 1.2;
const WASTE_BEGIN_BYTES = 64 * 1024 * 1024;
/** Enough is chosen to get down to this, the emptiest stripes first: they give most for each byte moved. */
const STORED_SHARE_GOAL = 1.1;
const STORED_SHARE_GOAL_THOROUGH = 1.02;
/** A stripe in which this share of the space is needed is never rewritten: it would be moved again and again. */
const USE_MAX = 0.9;
/** Stripes of one pass; further ones come with the next. 40 bytes each while it runs. */
const CHOSEN_MAX = 1 << 18;
const BUCKETS = 50;

export function chooseStripes(survey: Survey, thorough: boolean): { stripes: Set<StripeId>; liveBytes: number } {
  const { costs, storedBytes, neededBytes } = survey;
  const none = { stripes: new Set<StripeId>(), liveBytes: 0 };
  const waste = storedBytes - neededBytes;
  if (!thorough && (waste < WASTE_BEGIN_BYTES || storedBytes < neededBytes * STORED_SHARE_BEGIN)) return none;
  const goal = neededBytes * (thorough ? STORED_SHARE_GOAL_THOROUGH : STORED_SHARE_GOAL);
  const bound = useBound(costs, storedBytes - goal);
  const chosen = costs.filter((cost) => useOf(cost) < bound).slice(0, CHOSEN_MAX);
  return { stripes: new Set(chosen.map(({ id }) => id)), liveBytes: chosen.reduce((sum, { liveBytes }) => sum + liveBytes, 0) };
}

function useOf({ stored, needed }: StripeCost): number {
  return needed / stored;
}

/** The lowest bound such that rewriting all stripes used less gives `excess` bytes back, at most USE_MAX. */
function useBound(costs: readonly StripeCost[], excess: number): number {
  const gains = Array.from({ length: BUCKETS + 1 }, () => 0);
  for (const cost of costs) gains[Math.min(BUCKETS, Math.floor(useOf(cost) * BUCKETS))] += cost.stored - cost.needed;
  let gained = 0;
  for (let bucket = 0; bucket < BUCKETS * USE_MAX; bucket++) {
    if (gained >= excess) return bucket / BUCKETS;
    gained += gains[bucket];
  }
  return USE_MAX;
}

/** Fewer extents than this in a window are no trouble to anybody. */
const SCATTERED_FROM = 32;
/** ... and so many times the number that the window would have in full stripes. */
const SCATTERED_TIMES = 4;

/** Whether a window's extents would become far fewer if they were written anew in order: each run without a gap is one, and a stripe's end may cut it. */
export function isScattered(extents: readonly Extent[]): boolean {
  if (extents.length < SCATTERED_FROM) return false;
  let runs = 0;
  let bytes = 0;
  let end = -1;
  for (const { offset, length } of extents) {
    if (offset !== end) runs++;
    end = offset + length;
    bytes += length;
  }
  return extents.length > SCATTERED_TIMES * (runs + Math.ceil(bytes / STRIPE_DATA_MAX_BYTES) + 1);
}
