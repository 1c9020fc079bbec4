import assert from "node:assert/strict";
import test from "node:test";
import { findStripe } from "../../replication/find-stripe.ts";
import { stripeCode } from "../../replication/stripe-layout.ts";
import { NO_DISK, type Stripe } from "../../replication/stripe.ts";
import { randomBelow } from "../../storage/seeded-random.ts";
import { type Cluster, diskOf, makeCluster, randomBytes, readAll } from "./cluster.ts";

const SCHEMES = ["rs:4+2", "copies:3"];

function lose(cluster: Cluster, stripe: Stripe, index: number): void {
  diskOf(cluster, stripe.disks[index]).blocks.delete(`${stripe.id}/${index}`);
}

const find = ({ client }: Cluster, { id }: Stripe, end: number): Promise<Stripe | null> => findStripe(client, id, end, SCHEMES);

test("a stripe is found from its blocks, with as many lost or damaged as its scheme survives, and reads as before", async () => {
  const cluster = await makeCluster(7, "rs:4+2");
  const { random } = cluster;
  for (let id = 1; id <= 40; id++) {
    const scheme = SCHEMES[id % 2];
    const data = randomBytes(random, 1 + randomBelow(random, 60_000));
    await cluster.stripes.write(2 * id - 1, "copies:3", randomBytes(random, 4096));
    const stripe = await cluster.stripes.write(2 * id, scheme, data);
    const gone = new Set(Array.from({ length: randomBelow(random, 3) }, () => randomBelow(random, stripe.disks.length)));
    if (scheme === "copies:3" && gone.size === 2 && !gone.has(0)) gone.clear();
    for (const index of gone) {
      if (random() < 0.5) lose(cluster, stripe, index);
      else diskOf(cluster, stripe.disks[index]).blocks.get(`${stripe.id}/${index}`)!.damaged = true;
    }
    const found = await find(cluster, stripe, data.length);
    assert.ok(found, `stripe ${id} of ${scheme} without ${[...gone].join()}`);
    assert.equal(found.scheme, scheme);
    assert.deepEqual(
      found.disks,
      stripe.disks.map((disk, index) => (gone.has(index) ? NO_DISK : disk)),
    );
    assert.ok(found.dataBytes >= data.length && found.dataBytes <= stripeCode(scheme).dataBlocks * found.blockBytes);
    assert.equal(Buffer.compare((await readAll(cluster, found)).subarray(0, data.length), data), 0);
  }
});

test("a stripe is not guessed: where too few blocks are left, where its extents do not fit, where two schemes would do", async () => {
  const cluster = await makeCluster(7, "rs:4+2");
  const { random, stripes } = cluster;
  const coded = await stripes.write(1, "rs:4+2", randomBytes(random, 16_384));
  assert.equal(await find(cluster, coded, 16_385), null, "its extents reach further than its blocks");
  for (const index of [0, 2, 3]) lose(cluster, coded, index);
  assert.equal(await find(cluster, coded, 4096), null, "three blocks are left, which four are needed of");
  for (const index of [4, 5]) lose(cluster, coded, index);
  assert.equal(await find(cluster, coded, 4096), null, "one block is left, which is no copy");

  const copied = await stripes.write(2, "copies:3", randomBytes(random, 4096));
  for (const index of [1, 2]) lose(cluster, copied, index);
  assert.equal((await find(cluster, copied, 4096))?.scheme, "copies:3");

  const empty = await stripes.write(3, "rs:2+1", new Uint8Array(8192));
  assert.equal(
    await findStripe(cluster.client, empty.id, 4096, ["rs:2+1", "copies:3"]),
    null,
    "all blocks are the same under both",
  );
  assert.equal((await findStripe(cluster.client, empty.id, 8192, ["rs:2+1", "copies:3"]))?.scheme, "rs:2+1");
  assert.equal(await findStripe(cluster.client, 99, 1, SCHEMES), null, "there is no such stripe");
});

test("blocks that are not of one stripe are not taken for one", async () => {
  const cluster = await makeCluster(7, "rs:4+2");
  const stripe = await cluster.stripes.write(5, "rs:4+2", randomBytes(cluster.random, 20_000));
  const block = diskOf(cluster, stripe.disks[1]).blocks.get("5/1")!;
  block.bytes = randomBytes(cluster.random, block.bytes.length);
  assert.equal(await find(cluster, stripe, 20_000), null);
});
