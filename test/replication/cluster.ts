// Disks in memory with a stripe store over them, for tests.
import { LocalBlocks } from "../../replication/local-blocks.ts";
import type { DiskId, Stripe } from "../../replication/stripe.ts";
import { type BlockDamage, StripeStore } from "../../replication/stripes.ts";
import { SimulatedClock } from "../../storage/clock.ts";
import { type Random, randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { MemoryBlocks } from "./memory-blocks.ts";

export interface Cluster {
  disks: MemoryBlocks[];
  client: LocalBlocks;
  stripes: StripeStore;
  damages: BlockDamage[];
  failed: DiskId[];
  clock: SimulatedClock;
  random: Random;
}

export async function makeCluster(diskCount: number, scheme: string, seed = 1): Promise<Cluster> {
  const disks = Array.from({ length: diskCount }, () => new MemoryBlocks());
  const random = seededRandom(seed);
  const clock = new SimulatedClock();
  const failed: DiskId[] = [];
  const client = new LocalBlocks({
    disks: disks.map((blocks, position) => ({ id: (position + 1) as DiskId, path: `/disk-${position + 1}`, blocks })),
    clock,
    onDiskFailed: ({ id }) => failed.push(id),
  });
  await client.start();
  const damages: BlockDamage[] = [];
  const stripes = new StripeStore({ client, scheme, random, onDamage: (damage) => damages.push(damage) });
  return { disks, client, stripes, damages, failed, clock, random };
}

export function randomBytes(random: Random, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = randomBelow(random, 256);
  return bytes;
}

export async function readAll({ stripes }: Cluster, stripe: Stripe): Promise<Uint8Array> {
  const into = new Uint8Array(stripe.dataBytes);
  await stripes.read(stripe, 0, into);
  return into;
}

export function diskOf({ disks }: Cluster, id: DiskId): MemoryBlocks {
  return disks[id - 1];
}
