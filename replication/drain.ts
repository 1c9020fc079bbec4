// The long walks over stripes: emptying a disk (to remove it, or because it failed), giving blocks to stripes that were
// written degraded, and scrubbing. Each is an async iterable that does a step, then says how far it is: the caller may
// stop between steps, and go on later, also in another process, from the cursor.
import type { Mending, Repairer } from "./repair.ts";
import type { StripeDirectory } from "./stripe-directory.ts";
import { type DiskId, NO_DISK, type Stripe } from "./stripe.ts";

export interface WalkProgress {
  /** Give it to start again behind this step. */
  cursor: number;
  /** Since this walk began. */
  stripes: number;
  mendedBlocks: number;
  mendedBytes: number;
  /** Blocks that no disk could take. */
  unplacedBlocks: number;
  /** Stripes of this step that could not be mended, and why. */
  failed: { stripe: number; reason: string }[];
  failedStripes: number;
}

/** Stripes fetched at once, and mended at once. */
const STRIPES_PER_FETCH = 64;
const STRIPES_AT_ONCE = 4;

/** Moves or rebuilds every block of the disk onto others. The disk is `draining` or `failed` by then, so that it gets no new ones. When the walk ends without failed stripes and unplaced blocks, no stripe has a block there. */
export function evacuate(repairer: Repairer, directory: StripeDirectory, disk: DiskId, after = 0): AsyncGenerator<WalkProgress> {
  return walk((cursor) => directory.stripesOn(disk, cursor, STRIPES_PER_FETCH), (stripe) => repairer.repairStripe(stripe), after); // prettier-ignore
}

/** Finds disks for blocks that degraded writes stored nowhere. */
export function complete(repairer: Repairer, directory: StripeDirectory, after = 0): AsyncGenerator<WalkProgress> {
  return evacuate(repairer, directory, NO_DISK, after);
}

/** Reads and checks every block of every stripe, and mends what is not good. */
export function scrub(repairer: Repairer, directory: StripeDirectory, after = 0): AsyncGenerator<WalkProgress> {
  return walk((cursor) => directory.stripes(cursor, STRIPES_PER_FETCH), (stripe) => repairer.repairStripe(stripe, { verify: true }), after); // prettier-ignore
}

async function* walk(
  fetch: (cursor: number) => Promise<Stripe[]>,
  mend: (stripe: Stripe) => Promise<Mending>,
  after: number,
): AsyncGenerator<WalkProgress> {
  const progress: WalkProgress = {
    cursor: after,
    stripes: 0,
    mendedBlocks: 0,
    mendedBytes: 0,
    unplacedBlocks: 0,
    failed: [],
    failedStripes: 0,
  };
  for (;;) {
    const stripes = await fetch(progress.cursor);
    if (stripes.length === 0) return;
    for (let start = 0; start < stripes.length; start += STRIPES_AT_ONCE) {
      const step = stripes.slice(start, start + STRIPES_AT_ONCE);
      progress.failed = [];
      await Promise.all(step.map((stripe) => mendOne(stripe, mend, progress)));
      progress.cursor = step.at(-1)!.id;
      yield { ...progress };
    }
  }
}

async function mendOne(stripe: Stripe, mend: (stripe: Stripe) => Promise<Mending>, progress: WalkProgress): Promise<void> {
  try {
    const { mended, unplaced } = await mend(stripe);
    progress.mendedBlocks += mended.length;
    progress.mendedBytes += mended.length * stripe.blockBytes;
    progress.unplacedBlocks += unplaced.length;
  } catch (error) {
    progress.failed.push({ stripe: stripe.id, reason: (error as Error).message });
    progress.failedStripes++;
  }
  progress.stripes++;
}
