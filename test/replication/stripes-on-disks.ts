// Stripes over real block stores on simulated disks: power cuts, rot and lost disks together.
import assert from "node:assert/strict";
import test from "node:test";
import { LocalBlocks } from "../../replication/local-blocks.ts";
import type { DiskId, Stripe } from "../../replication/stripe.ts";
import { StripeStore } from "../../replication/stripes.ts";
import { SimulatedClock } from "../../storage/clock.ts";
import { type Random, randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { TestDisk } from "../storage/segment-disk.ts";
import { randomBytes } from "./cluster.ts";
import { forEachSeed, seedsAreChosen } from "../fixture/seeds.ts";

const DISKS = 6;
const SCHEME = "rs:4+2";

interface Written {
  stripe: Stripe;
  data: Uint8Array;
}

async function openStripes(disks: readonly TestDisk[], random: Random): Promise<{ stripes: StripeStore; client: LocalBlocks }> {
  const opened = await Promise.all(
    disks.map((disk) => disk.open({ segmentBytesMax: 256 * 1024 }).catch((error: Error) => error)),
  );
  const client = new LocalBlocks({
    clock: new SimulatedClock(),
    disks: opened.map((blocks, position) => ({
      id: (position + 1) as DiskId,
      path: `/disk-${position + 1}`,
      blocks: blocks instanceof Error ? null : blocks,
      reason: blocks instanceof Error ? blocks.message : undefined,
    })),
  });
  await client.start();
  return { client, stripes: new StripeStore({ client, scheme: SCHEME, random }) };
}

async function readBack(stripes: StripeStore, { stripe, data }: Written): Promise<void> {
  const into = new Uint8Array(data.length);
  await stripes.read(stripe, 0, into);
  assert.deepEqual(into, data, `stripe ${stripe.id}`);
}

/** Hurts a disk durably: wiped, or dozens of bits flipped anywhere in its segments. */
function hurt(disk: TestDisk, random: Random): void {
  if (random() < 0.3) return disk.directory.wipe();
  for (const name of disk.directory.fileNames().filter((name) => name.startsWith("segments/"))) {
    const { length } = disk.directory.contents(name);
    for (let turn = 0; turn < 40 && length > 0; turn++)
      disk.directory.flip(name, randomBelow(random, length), randomBelow(random, 8));
  }
}

/** Returns how many stripes had been synced. */
async function oneLife(seed: number): Promise<number> {
  const random = seededRandom(seed);
  const disks = await Promise.all(Array.from({ length: DISKS }, (_, position) => TestDisk.create(seed * DISKS + position)));
  const { stripes } = await openStripes(disks, random);
  const written: Written[] = [];
  let synced = 0;
  const work = (async () => {
    for (let id = 1; id <= 12; id++) {
      const data = randomBytes(random, 1 + randomBelow(random, 40_000));
      written.push({ stripe: await stripes.write(id, SCHEME, data), data });
      if (random() < 0.4) {
        const covered = written.length;
        await stripes.sync();
        synced = covered;
      }
    }
  })();
  // The power goes at some turn of the event loop, most often in the middle of something.
  const turns = randomBelow(random, 400);
  for (let turn = 0; turn < turns; turn++) await null;
  const durable = written.slice(0, synced);
  for (const disk of disks) disk.crash(randomBelow(random, 10));
  await work.catch(() => {});

  for (const disk of disks.slice(0, randomBelow(random, 3))) hurt(disk, random);
  const again = await openStripes(disks, random);
  for (const entry of durable) await readBack(again.stripes, entry);
  for (const entry of written.slice(durable.length)) {
    await readBack(again.stripes, entry).catch((error: Error & { code?: string }) =>
      assert.equal(error.code, "EIO", String(error)),
    );
  }
  return durable.length;
}

test("after a power cut and with any two disks wiped or rotten, every synced stripe is read right, and others right or EIO", async () => {
  let durable = 0;
  await forEachSeed(60, 0, async (seed) => void (durable += await oneLife(seed)));
  if (!seedsAreChosen) assert.ok(durable > 100, String(durable));
});

test("a disk that is wiped while it runs is found out, and writes go on without it", async () => {
  const random = seededRandom(4);
  const disks = await Promise.all(Array.from({ length: DISKS }, (_, position) => TestDisk.create(position)));
  const { stripes, client } = await openStripes(disks, random);
  const data = randomBytes(random, 50_000);
  const before = await stripes.write(1, SCHEME, data);
  await stripes.sync();
  disks[2].directory.wipe();
  await Promise.all(client.disks().map(({ id }) => client.locate(id, { stripe: 99, index: 0 })));
  // A read that misses a block makes the client look at the disk; so does its clock.
  await client.retrieve(3 as DiskId, { stripe: 99, index: 0 }, 0, new Uint8Array(1)).catch(() => {});
  assert.equal(client.disks()[2].state, "failed");
  const after = await stripes.write(2, SCHEME, data);
  await stripes.sync();
  await readBack(stripes, { stripe: before, data });
  await readBack(stripes, { stripe: after, data });
  assert.ok(!after.disks.includes(3 as DiskId));
});
