// Finds out from the blocks on the disks what a stripe's record said, where the record is lost. Nothing is changed.
//
// Blocks say which stripe they are of and which of its blocks, not by which scheme. So each scheme that the store writes
// with is tried: all blocks found must be what the scheme makes of the others.

import type { Code } from "../coding/code.ts";
import type { BlockId } from "../storage/blocks.ts";
import { ALIGNMENT_BYTES } from "../storage/directory.ts";
import type { BlockClient } from "./block-client.ts";
import { isCopies, stripeCode } from "./stripe-layout.ts";
import { type DiskId, NO_DISK, type Stripe, STRIPE_DATA_MAX_BYTES } from "./stripe.ts";

/** More blocks than any scheme has, with some on two disks. */
const BLOCKS_MAX = 1024;

interface Found {
  blockBytes: number;
  /** By index: where each good block lies. */
  disks: ReadonlyMap<number, DiskId>;
}

/** The stripe's record; null where too few blocks are left, or it cannot be told by which of the schemes they were made. `end`: bytes of data that it has at least. */
export async function findStripe(
  client: BlockClient,
  id: number,
  end: number,
  schemes: readonly string[],
): Promise<Stripe | null> {
  const found = await goodBlocks(client, id);
  if (found === null) return null;
  const possible: { stripe: Stripe; proven: boolean }[] = [];
  for (const scheme of new Set(schemes)) {
    const stripe = recordOf(stripeCode(scheme), id, found);
    if (stripe === null || stripe.dataBytes < end) continue;
    const fits = await agree(client, stripe, found);
    if (fits !== "no") possible.push({ stripe, proven: fits === "yes" });
  }
  const proven = possible.filter((candidate) => candidate.proven);
  const left = proven.length > 0 ? proven : possible;
  return left.length === 1 ? left[0].stripe : null;
}

/** Null where there are none, or they differ in length. */
async function goodBlocks(client: BlockClient, id: number): Promise<Found | null> {
  const disks = new Map<number, DiskId>();
  const lengths = new Set<number>();
  const before: BlockId | null = id > 1 ? { stripe: id - 1, index: 0xffff } : null;
  for (const { id: disk, state } of client.disks()) {
    if (state === "failed") continue;
    for (const { stripe, index, bytes } of await client.list(disk, before, BLOCKS_MAX)) {
      if (stripe !== id) break;
      if (disks.has(index) || (await client.verify(disk, { stripe, index })) !== "good") continue;
      disks.set(index, disk);
      lengths.add(bytes);
    }
  }
  const [blockBytes] = lengths;
  return lengths.size === 1 ? { blockBytes, disks } : null;
}

/** What the record would be, if it can be: with room for all data that the blocks may hold. */
function recordOf(code: Code, id: number, { blockBytes, disks }: Found): Stripe | null {
  const present = [...disks.keys()];
  if (present.some((index) => index >= code.totalBlocks) || !code.decodable(present)) return null;
  if (code.dataBlocks > 1 && blockBytes % ALIGNMENT_BYTES !== 0) return null;
  return {
    id,
    scheme: code.scheme,
    dataBytes: code.dataBlocks === 1 ? blockBytes : Math.min(code.dataBlocks * blockBytes, STRIPE_DATA_MAX_BYTES),
    blockBytes,
    disks: Array.from({ length: code.totalBlocks }, (_, index) => disks.get(index) ?? NO_DISK),
  };
}

/**
 * Whether the blocks are what the scheme makes of one another: `maybe` where no more are left than it takes to decode. A single
 * block may be a copy or one of a coded stripe's: only where it cannot be the second, or would hold the same bytes, it counts.
 */
async function agree(client: BlockClient, stripe: Stripe, { disks }: Found): Promise<"yes" | "no" | "maybe"> {
  const code = stripeCode(stripe.scheme);
  const present = [...disks.keys()].sort((left, right) => left - right);
  const basis = firstDecodable(code, present);
  const others = present.filter((index) => !basis.includes(index));
  if (others.length === 0) {
    const isDistinct = !isCopies(code) || present[0] === 0 || stripe.blockBytes % ALIGNMENT_BYTES !== 0;
    return isDistinct ? "maybe" : "no";
  }
  const bytes = new Map<number, Uint8Array>();
  for (const index of present) {
    const block = new Uint8Array(stripe.blockBytes);
    await client.retrieve(disks.get(index)!, { stripe: stripe.id, index }, 0, block);
    bytes.set(index, block);
  }
  const made = others.map(() => new Uint8Array(stripe.blockBytes));
  await code.reconstructAsync(new Map(basis.map((index) => [index, bytes.get(index)!])), others, made);
  return others.every((index, at) => Buffer.compare(bytes.get(index)!, made[at]) === 0) ? "yes" : "no";
}

function firstDecodable(code: Code, present: readonly number[]): number[] {
  let count = code.dataBlocks;
  while (!code.decodable(present.slice(0, count))) count++;
  return present.slice(0, count);
}
