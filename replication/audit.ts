// Compares stripe records with what lies on the disks, both ways, while both change: what looks wrong is looked at again
// later, and only what is wrong then too is a problem. A block that is stored before its record is committed, or removed
// before its record goes, is therefore none.
import { type Clock, sleep } from "../storage/clock.ts";
import type { BlockId } from "../storage/blocks.ts";
import type { BlockClient } from "./block-client.ts";
import type { BlockState, Repairer } from "./repair.ts";
import { stripeCode } from "./stripe-layout.ts";
import { type DiskId, NO_DISK, type Stripe } from "./stripe.ts";

export interface AuditDirectory {
  /** Those of the stripes that there are. `live` 0: dead, and its blocks are being removed. */
  getAll(ids: readonly number[]): Promise<(Stripe & { live: number })[]>;
  /** Stripes by id, from the first one above `after`, at most `limit`. */
  stripes(after: number, limit: number): Promise<(Stripe & { live: number })[]>;
  /** Blocks may be there before a record is. */
  isReserved(id: number): boolean;
}

/** A stripe whose blocks are not all there: missing, not as they were written, or on no working disk. `unreadable`: more than its code survives. */
export interface StripeProblem {
  kind: "missing" | "damaged" | "lost" | "unreadable";
  stripe: Stripe;
  /** Indexes of the blocks. */
  bad: number[];
  text: string;
}

/** A block without a record (`ownerless`), or on another disk than its stripe's record says (`misplaced`). */
export interface StrayBlock {
  kind: "ownerless" | "misplaced";
  disk: DiskId;
  id: BlockId;
  bytes: number;
  text: string;
}

export interface AuditOptions {
  client: BlockClient;
  directory: AuditDirectory;
  repairer: Repairer;
  clock: Clock;
  /** Read and check every block, rather than only ask whether it is there. */
  verify: boolean;
  /** Told how many blocks were looked at since the last time. */
  onBlocks?: (count: number) => void;
  signal?: AbortSignal;
}

const STRIPES_PER_FETCH = 256;
const STRIPES_AT_ONCE = 8;
const LIST_BLOCKS = 1024;
/** A block's way from the disk to its record, or back, takes less: a commit follows its stores within seconds. */
const LOOK_AGAIN_AFTER_MS = 1500;
/** Suspects kept for a second look; with more the walk makes it at once and goes on. */
const SUSPECTS_MAX = 4096;

/** Every stripe has all its blocks. */
export async function* auditStripes(options: AuditOptions): AsyncGenerator<StripeProblem> {
  const { directory, onBlocks, signal } = options;
  let suspects: number[] = [];
  for (let after = 0; ;) {
    const stripes = await directory.stripes(after, STRIPES_PER_FETCH);
    for (let start = 0; start < stripes.length; start += STRIPES_AT_ONCE) {
      signal?.throwIfAborted();
      const step = stripes.slice(start, start + STRIPES_AT_ONCE);
      const states = await Promise.all(step.map((stripe) => inspectAll(options, stripe)));
      step.forEach((stripe, index) => {
        onBlocks?.(stripe.disks.length);
        if (stripe.live > 0 && states[index].some(isBad)) suspects.push(stripe.id);
      });
    }
    if (stripes.length === 0 || suspects.length >= SUSPECTS_MAX) {
      if (suspects.length > 0) yield* lookAgainAtStripes(options, suspects);
      suspects = [];
    }
    if (stripes.length === 0) return;
    after = stripes.at(-1)!.id;
  }
}

async function inspectAll({ repairer, verify }: AuditOptions, stripe: Stripe): Promise<BlockState[]> {
  return Promise.all(stripe.disks.map((_, index) => repairer.inspect(stripe, index, verify)));
}

function isBad(state: BlockState): boolean {
  return state !== "good" && state !== "leaving";
}

async function* lookAgainAtStripes(options: AuditOptions, ids: readonly number[]): AsyncGenerator<StripeProblem> {
  await sleep(options.clock, LOOK_AGAIN_AFTER_MS);
  for (const id of ids) {
    options.signal?.throwIfAborted();
    const [stripe] = await options.directory.getAll([id]);
    if (stripe === undefined || stripe.live === 0) continue;
    const states = await inspectAll(options, stripe);
    if (!states.some(isBad)) continue;
    // It may have died, or its blocks have moved, while they were looked at.
    const [now] = await options.directory.getAll([id]);
    if (now === undefined || now.live === 0 || now.disks.some((disk, index) => disk !== stripe.disks[index])) continue;
    yield problemOf(stripe, states);
  }
}

function problemOf(stripe: Stripe, states: readonly BlockState[]): StripeProblem {
  const bad = states.flatMap((state, index) => (isBad(state) ? [{ state, index }] : []));
  const parts = bad.map(({ state, index }) => {
    const disk = stripe.disks[index];
    if (disk === NO_DISK) return `block ${index} is stored nowhere`;
    return `block ${index} on disk ${disk} is ${state === "lost" ? "lost with its disk" : state}`;
  });
  const present = states.flatMap((state, index) => (isBad(state) ? [] : [index]));
  const readable = stripeCode(stripe.scheme).decodable(present);
  const first = bad[0].state as "missing" | "damaged" | "lost";
  const kind = readable ? first : "unreadable";
  return {
    kind,
    stripe,
    bad: bad.map(({ index }) => index),
    text: `stripe ${stripe.id} (${stripe.scheme})${readable ? "" : " cannot be read"}: ${parts.join("; ")}`,
  };
}

interface Suspect extends BlockId {
  bytes: number;
}

/** Every block of the disk belongs to a stripe that has it there. */
export async function* auditDisk(options: AuditOptions, disk: DiskId): AsyncGenerator<StrayBlock> {
  const { client, onBlocks, signal } = options;
  let suspects: Suspect[] = [];
  let after: BlockId | null = null;
  for (;;) {
    signal?.throwIfAborted();
    const found: Suspect[] = await client.list(disk, after, LIST_BLOCKS);
    onBlocks?.(found.length);
    suspects.push(...(await withoutOwner(options, disk, found)).map(({ block }) => block));
    if (found.length === 0 || suspects.length >= SUSPECTS_MAX) {
      if (suspects.length > 0) yield* lookAgainAtBlocks(options, disk, suspects);
      suspects = [];
    }
    if (found.length === 0) return;
    const { stripe, index } = found.at(-1)!;
    after = { stripe, index };
  }
}

async function withoutOwner(
  { directory }: AuditOptions,
  disk: DiskId,
  blocks: readonly Suspect[],
): Promise<{ block: Suspect; owner: Stripe | null }[]> {
  if (blocks.length === 0) return [];
  const owners = new Map<number, Stripe>();
  for (const stripe of await directory.getAll([...new Set(blocks.map(({ stripe }) => stripe))])) owners.set(stripe.id, stripe);
  const alone: { block: Suspect; owner: Stripe | null }[] = [];
  for (const block of blocks) {
    const owner = owners.get(block.stripe) ?? null;
    if (owner !== null ? owner.disks[block.index] !== disk : !directory.isReserved(block.stripe)) alone.push({ block, owner });
  }
  return alone;
}

async function* lookAgainAtBlocks(options: AuditOptions, disk: DiskId, suspects: readonly Suspect[]): AsyncGenerator<StrayBlock> {
  await sleep(options.clock, LOOK_AGAIN_AFTER_MS);
  for (const { block, owner } of await withoutOwner(options, disk, suspects)) {
    options.signal?.throwIfAborted();
    const { stripe, index, bytes } = block;
    if (options.repairer.isBusy(stripe)) continue;
    if ((await options.client.locate(disk, { stripe, index })) === null) continue;
    const place = `disk ${disk}: block ${index} of stripe ${stripe} (${bytes} bytes)`;
    if (owner === null) {
      yield { kind: "ownerless", disk, id: { stripe, index }, bytes, text: `${place} belongs to no stripe` };
    } else {
      const where = owner.disks[index] === undefined ? "has no such block" : `has it on disk ${owner.disks[index]}`;
      yield { kind: "misplaced", disk, id: { stripe, index }, bytes, text: `${place}: the stripe ${where}` };
    }
  }
}

/** Removes a block that the audit found to be nobody's, if it still is. */
export async function removeStray(options: AuditOptions, problem: StrayBlock): Promise<boolean> {
  const { disk, id, bytes } = problem;
  return options.repairer.exclusively(id.stripe, async () => {
    if ((await withoutOwner(options, disk, [{ ...id, bytes }])).length === 0) return false;
    await options.client.delete(disk, [id]);
    return true;
  });
}
