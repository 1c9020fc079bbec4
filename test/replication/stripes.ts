import assert from "node:assert/strict";
import test from "node:test";
import { parseScheme } from "../../coding/scheme.ts";
import { LocalBlocks } from "../../replication/local-blocks.ts";
import { choosePlaces, dataThatFits } from "../../replication/placement.ts";
import type { DiskStatus } from "../../replication/block-client.ts";
import { type DiskId, NO_DISK, type Stripe } from "../../replication/stripe.ts";
import { StripeStore } from "../../replication/stripes.ts";
import { SimulatedClock } from "../../storage/clock.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { type Cluster, diskOf, makeCluster, randomBytes, readAll } from "./cluster.ts";
import { MemoryBlocks } from "./memory-blocks.ts";
import { forEachSeed } from "../fixture/seeds.ts";

const SCHEMES = ["rs:4+2", "copies:3", "rs:2+1", "copies:1"];

test("a stripe is read as it was written, whole and in parts, for sizes around every boundary", async () => {
  for (const scheme of SCHEMES) {
    const cluster = await makeCluster(6, scheme);
    let id = 1;
    for (const bytes of [1, 4095, 4096, 4097, 16383, 16384, 16385, 100_000]) {
      const data = randomBytes(cluster.random, bytes);
      const stripe = await cluster.stripes.write(id++, scheme, data);
      assert.equal(new Set(stripe.disks).size, parseScheme(scheme).totalBlocks);
      assert.deepEqual(await readAll(cluster, stripe), data);
      for (let turn = 0; turn < 20; turn++) {
        const from = randomBelow(cluster.random, bytes);
        const part = new Uint8Array(1 + randomBelow(cluster.random, bytes - from));
        await cluster.stripes.read(stripe, from, part);
        assert.deepEqual(part, data.subarray(from, from + part.length));
        part.fill(0);
        assert.equal(cluster.stripes.readNow(stripe, from, part), true);
        assert.deepEqual(part, data.subarray(from, from + part.length));
      }
    }
    await cluster.stripes.sync();
    assert.equal(cluster.damages.length, 0);
  }
});

test("blocks have the sizes that the record says, and the last is filled with zeros", async () => {
  const cluster = await makeCluster(6, "rs:4+2");
  const stripe = await cluster.stripes.write(7, "rs:4+2", new Uint8Array(5000).fill(1));
  assert.equal(stripe.blockBytes, 4096);
  const blocks = stripe.disks.map((disk, index) => diskOf(cluster, disk).blocks.get(`7/${index}`)!.bytes);
  assert.ok(blocks.every((block) => block.length === 4096));
  assert.deepEqual([blocks[1][903], blocks[1][904], blocks[2][0], blocks[3][4095]], [1, 0, 0, 0]);
  const copies = await cluster.stripes.write(8, "copies:3", new Uint8Array(5000).fill(1));
  assert.equal(copies.blockBytes, 5000);
});

test("any two of six blocks may be lost or damaged, in every combination", async () => {
  const cluster = await makeCluster(6, "rs:4+2");
  const data = randomBytes(cluster.random, 60_000);
  let id = 1;
  for (let first = 0; first < 6; first++) {
    for (let second = first + 1; second < 6; second++) {
      const stripe = await cluster.stripes.write(id, "rs:4+2", data);
      diskOf(cluster, stripe.disks[first]).damage({ stripe: id, index: first });
      diskOf(cluster, stripe.disks[second]).lose({ stripe: id, index: second });
      cluster.damages.length = 0;
      assert.deepEqual(await readAll(cluster, stripe), data, `${first} and ${second}`);
      const lostData = [first, second].filter((index) => index < 4);
      assert.ok(lostData.every((index) => cluster.damages.some((damage) => damage.index === index)));
      const small = new Uint8Array(100);
      await cluster.stripes.read(stripe, 20_000, small);
      assert.deepEqual(small, data.subarray(20_000, 20_100));
      id++;
    }
  }
});

test("beyond the scheme's tolerance a read is EIO and names stripe and disks", async () => {
  const cluster = await makeCluster(6, "rs:4+2");
  const stripe = await cluster.stripes.write(42, "rs:4+2", randomBytes(cluster.random, 50_000));
  for (const index of [0, 2, 4]) diskOf(cluster, stripe.disks[index]).damage({ stripe: 42, index });
  await assert.rejects(readAll(cluster, stripe), (error: Error & { code: string }) => {
    assert.equal(error.code, "EIO");
    assert.match(error.message, /stripe 42 \(rs:4\+2 on disks/);
    for (const index of [0, 2, 4]) assert.match(error.message, new RegExp(`block ${index} on disk ${stripe.disks[index]}`));
    return true;
  });
  assert.equal(cluster.stripes.readNow(stripe, 0, new Uint8Array(10)), false);
});

test("with failed disks writes go on degraded down to k of them, and are refused below", async () => {
  const cluster = await makeCluster(6, "rs:4+2");
  const data = randomBytes(cluster.random, 30_000);
  for (const [working, id] of [
    [5, 1],
    [4, 2],
  ]) {
    cluster.client.setState(cluster.client.disks().find(({ state }) => state === "active")!.id, "failed", "pulled");
    const stripe = await cluster.stripes.write(id, "rs:4+2", data);
    await cluster.stripes.sync();
    assert.equal(stripe.disks.filter((disk) => disk !== NO_DISK).length, working);
    assert.deepEqual(await readAll(cluster, stripe), data);
    assert.ok(cluster.stripes.space().freeBytes > 0);
  }
  cluster.client.setState(cluster.client.disks().find(({ state }) => state === "active")!.id, "failed", "pulled");
  await assert.rejects(cluster.stripes.write(3, "rs:4+2", data), { code: "EIO", message: /only 3 disks work/ });
  assert.deepEqual(cluster.stripes.space(), { totalBytes: 0, freeBytes: 0 });
});

test("a disk that fails during a write is replaced by another one, and fails as a whole", async () => {
  const cluster = await makeCluster(7, "rs:4+2");
  cluster.disks[3].broken = "EIO";
  for (let id = 1; id <= 20; id++) {
    const data = randomBytes(cluster.random, 20_000);
    const stripe = await cluster.stripes.write(id, "rs:4+2", data);
    assert.equal(new Set(stripe.disks).size, 6);
    assert.ok(!stripe.disks.includes(4 as DiskId));
    assert.deepEqual(await readAll(cluster, stripe), data);
  }
  assert.deepEqual(cluster.failed, [4]);
});

test("a disk that cannot tell its space is asked again, and then failed rather than taken for full", async () => {
  for (const failures of [1, 2]) {
    const disks = Array.from({ length: 6 }, () => new MemoryBlocks());
    const space = disks[2].space.bind(disks[2]);
    let asked = 0;
    disks[2].space = async () => {
      if (++asked <= failures) throw Object.assign(new Error("stat: i/o error"), { code: "EIO" });
      return space();
    };
    const client = new LocalBlocks({
      disks: disks.map((blocks, position) => ({ id: (position + 1) as DiskId, path: "", blocks })),
      clock: new SimulatedClock(),
    });
    await client.start();
    const stripes = new StripeStore({ client, scheme: "rs:4+2" });
    assert.equal(client.disks()[2].state, failures === 1 ? "active" : "failed");
    assert.ok(stripes.space().freeBytes > 0);
    await stripes.write(1, "rs:4+2", new Uint8Array(10_000));
    await client.close();
  }
});

test("full disks are ENOSPC, and nothing of the stripe stays", async () => {
  const cluster = await makeCluster(6, "rs:4+2");
  const data = randomBytes(cluster.random, 40_000);
  for (const disk of cluster.disks) disk.totalBytes = 100_000;
  const written: Stripe[] = [];
  await assert.rejects(
    async () => {
      for (let id = 1; ; id++) written.push(await cluster.stripes.write(id, "rs:4+2", data));
    },
    { code: "ENOSPC" },
  );
  assert.equal(written.length, 8);
  for (const disk of cluster.disks) assert.equal(disk.blocks.size, written.length);
  for (const stripe of written) assert.deepEqual(await readAll(cluster, stripe), data);
  await cluster.stripes.remove(written.splice(0, 4));
  await cluster.stripes.write(99, "rs:4+2", data);
  assert.equal(cluster.failed.length, 0);
});

test("one full disk among others that have space does not degrade a stripe", async () => {
  const cluster = await makeCluster(7, "rs:4+2");
  cluster.disks[2].totalBytes = 0;
  const stripe = await cluster.stripes.write(1, "rs:4+2", randomBytes(cluster.random, 40_000));
  assert.equal(new Set(stripe.disks).size, 6);
  assert.ok(!stripe.disks.includes(3 as DiskId) && !stripe.disks.includes(NO_DISK));
});

test("a sync that fails on one disk is borne, on too many it is EIO", async () => {
  for (const [failing, outcome] of [
    [1, "fine"],
    [2, "fine"],
    [3, "EIO"],
  ] as const) {
    const cluster = await makeCluster(6, "rs:4+2");
    const data = randomBytes(cluster.random, 10_000);
    const stripe = await cluster.stripes.write(1, "rs:4+2", data);
    for (let position = 0; position < failing; position++) cluster.disks[position].failSync = true;
    if (outcome === "fine") {
      await cluster.stripes.sync();
      assert.deepEqual(await readAll(cluster, stripe), data);
    } else await assert.rejects(cluster.stripes.sync(), { code: "EIO", message: /sync stripe 1 / });
    assert.equal(cluster.failed.length, failing);
  }
});

test("what a failed sync lost is not called durable by the next one, until the stripe is removed", async () => {
  const cluster = await makeCluster(12, "rs:4+2");
  const stripe = await cluster.stripes.write(1, "rs:4+2", randomBytes(cluster.random, 10_000));
  for (const disk of stripe.disks.slice(0, 3)) diskOf(cluster, disk).failSync = true;
  const together = await Promise.allSettled([cluster.stripes.sync(), cluster.stripes.sync()]);
  assert.deepEqual(together.map(({ status }) => status), ["rejected", "rejected"]); // prettier-ignore
  await assert.rejects(cluster.stripes.sync(), { code: "EIO" });
  const other = await cluster.stripes.write(2, "rs:4+2", randomBytes(cluster.random, 10_000));
  await cluster.stripes.remove([stripe]);
  await cluster.stripes.sync();
  assert.equal((await readAll(cluster, other)).length, 10_000);
});

test("syncs share the work, and one without writes before it does nothing", async () => {
  const cluster = await makeCluster(6, "rs:4+2");
  await cluster.stripes.sync();
  assert.equal(cluster.disks[0].syncs, 0);
  await Promise.all(Array.from({ length: 10 }, (_, id) => cluster.stripes.write(id + 1, "rs:4+2", new Uint8Array(5000))));
  await Promise.all(Array.from({ length: 10 }, () => cluster.stripes.sync()));
  assert.ok(cluster.disks[0].syncs <= 2, String(cluster.disks[0].syncs));
});

test("a disk that does not answer is passed by readers after a while and failed in the end", async () => {
  const cluster = await makeCluster(6, "rs:4+2");
  const data = randomBytes(cluster.random, 60_000);
  const stripe = await cluster.stripes.write(1, "rs:4+2", data);
  const slow = diskOf(cluster, stripe.disks[1]);
  let release = (): void => {};
  slow.delay = () => new Promise((resolve) => (release = resolve));
  const first = readAll(cluster, stripe);
  await new Promise((resolve) => setImmediate(resolve));
  cluster.clock.advance(600);
  assert.equal(cluster.client.disks()[stripe.disks[1] - 1].slow, true);
  assert.deepEqual(await readAll(cluster, stripe), data);
  assert.equal(cluster.damages.length, 0);
  cluster.clock.advance(30_000);
  assert.deepEqual(cluster.failed, [stripe.disks[1]]);
  assert.deepEqual(await first, data);
  release();
});

test("a disk whose directory is gone is noticed by a read that misses a block, and without any traffic", async () => {
  let cluster = await makeCluster(6, "rs:4+2");
  const data = randomBytes(cluster.random, 60_000);
  const stripe = await cluster.stripes.write(1, "rs:4+2", data);
  const gone = diskOf(cluster, stripe.disks[0]);
  gone.blocks.clear();
  gone.problem = "its directory is gone";
  assert.deepEqual(await readAll(cluster, stripe), data);
  assert.deepEqual(cluster.failed, [stripe.disks[0]]);
  assert.equal(cluster.damages.length, 0, "a failed disk's blocks are no damage of blocks");

  cluster = await makeCluster(6, "rs:4+2");
  cluster.disks[5].problem = "its directory is gone";
  cluster.clock.advance(2000);
  for (let turn = 0; turn < 10; turn++) await null;
  assert.deepEqual(cluster.failed, [6]);
  assert.equal(cluster.client.disks()[5].reason, "its directory is gone");
});

test("states: a draining disk is read but gets nothing, a failed one stays failed, an unopened one is failed", async () => {
  const cluster = await makeCluster(7, "rs:4+2");
  const data = randomBytes(cluster.random, 9000);
  const before = await cluster.stripes.write(1, "rs:4+2", data);
  cluster.client.setState(before.disks[0], "draining");
  for (let id = 2; id < 12; id++) assert.ok(!(await cluster.stripes.write(id, "rs:4+2", data)).disks.includes(before.disks[0]));
  const count = diskOf(cluster, before.disks[0]).calls;
  assert.deepEqual(await readAll(cluster, before), data);
  assert.ok(diskOf(cluster, before.disks[0]).calls > count);
  cluster.client.setState(before.disks[0], "failed");
  assert.throws(() => cluster.client.setState(before.disks[0], "active"), { code: "EINVAL" });
  await cluster.client.add({ id: 50 as DiskId, path: "/gone", blocks: null, reason: "no such directory" });
  await assert.rejects(cluster.client.sync(50 as DiskId), {
    code: "EIO",
    message: /disk 50 \(\/gone\) has failed: no such directory/,
  });
  await assert.rejects(cluster.client.sync(51 as DiskId), { code: "EIO", message: /disk 51 is not known/ });
  await assert.rejects(cluster.client.add({ id: 50 as DiskId, path: "/x", blocks: null }), { code: "EEXIST" });
});

test("disks on one medium do not count its space twice", async () => {
  const cluster = await makeCluster(0, "copies:1");
  const { MemoryBlocks } = await import("./memory-blocks.ts");
  for (let id = 1; id <= 4; id++)
    await cluster.client.add({ id: id as DiskId, path: `/${id}`, blocks: new MemoryBlocks(), medium: "one" });
  assert.deepEqual(cluster.client.disks().map(({ space }) => space.freeBytes), [2.5e8, 2.5e8, 2.5e8, 2.5e8]); // prettier-ignore
  assert.equal(cluster.stripes.space().totalBytes, 1e9);
});

test("whatever is lost, damaged or failing, a read gives the right bytes or EIO, and EIO only beyond tolerance", async () => {
  await forEachSeed(300, 0, async (seed) => {
    const random = seededRandom(seed);
    const scheme = SCHEMES[randomBelow(random, SCHEMES.length)];
    const code = parseScheme(scheme);
    const cluster = await makeCluster(code.totalBlocks + randomBelow(random, 3), scheme, seed);
    for (const disk of cluster.disks) {
      disk.delay = async () => {
        for (let turn = randomBelow(random, 5); turn > 0; turn--) await null;
      };
      if (random() < 0.2) disk.failAt = 1 + randomBelow(random, 20);
    }
    const stripes = await writeSome(cluster, scheme, random);
    await Promise.all(stripes.map((written) => checkWithDamage(cluster, written, random)));
  });
});

async function writeSome(
  cluster: Cluster,
  scheme: string,
  random: () => number,
): Promise<{ stripe: Stripe; data: Uint8Array }[]> {
  const writes = Array.from({ length: 6 }, async (_, position) => {
    const data = randomBytes(random, 1 + randomBelow(random, 40_000));
    try {
      return [{ stripe: await cluster.stripes.write(position + 1, scheme, data), data }];
    } catch (error) {
      assert.equal((error as { code?: string }).code, "EIO");
      return [];
    }
  });
  return (await Promise.all(writes)).flat();
}

async function checkWithDamage(
  cluster: Cluster,
  { stripe, data }: { stripe: Stripe; data: Uint8Array },
  random: () => number,
): Promise<void> {
  stripe.disks.forEach((disk, index) => {
    if (disk === NO_DISK) return;
    if (random() < 0.15) diskOf(cluster, disk).damage({ stripe: stripe.id, index });
    if (random() < 0.15) diskOf(cluster, disk).lose({ stripe: stripe.id, index });
  });
  for (let turn = 0; turn < 4; turn++) {
    const from = randomBelow(random, data.length);
    const part = new Uint8Array(1 + randomBelow(random, data.length - from));
    try {
      await cluster.stripes.read(stripe, from, part);
      assert.deepEqual(part, data.subarray(from, from + part.length));
    } catch (error) {
      assert.equal((error as { code?: string }).code, "EIO", String(error));
      assert.ok(!parseScheme(stripe.scheme).decodable(goodBlocks(cluster, stripe)), `decodable, yet ${(error as Error).message}`);
    }
  }
}

/** Blocks that are whole on disks that work; a planned failure of a single call counts as not there. */
function goodBlocks(cluster: Cluster, stripe: Stripe): number[] {
  return stripe.disks.flatMap((disk, index) => {
    if (disk === NO_DISK || diskOf(cluster, disk).failAt > 0) return [];
    const block = diskOf(cluster, disk).blocks.get(`${stripe.id}/${index}`);
    return block === undefined || block.damaged ? [] : [index];
  });
}

function statuses(rows: [zone: string, node: string, freeBytes: number][]): DiskStatus[] {
  return rows.map(([zone, node, freeBytes], position) => {
    const space = { totalBytes: 1e12, freeBytes, blockBytes: 0, blocks: 0 };
    return { id: (position + 1) as DiskId, path: "", state: "active", space, readErrors: 0, writeErrors: 0, zone, node };
  });
}

test("placement spreads over zones, then nodes, then disks, and never repeats a disk", () => {
  const disks = statuses([["a", "1", 1e9], ["a", "1", 1e9], ["a", "2", 1e9], ["b", "3", 1e9], ["b", "3", 1e9], ["c", "4", 1e9]]); // prettier-ignore
  const random = seededRandom(5);
  for (let turn = 0; turn < 200; turn++) {
    const places = choosePlaces({ disks, count: 4, blockBytes: 1, random });
    assert.equal(new Set(places).size, 4);
    const zones = places.slice(0, 3).map((id) => disks[id - 1].zone).sort(); // prettier-ignore
    assert.deepEqual(zones, ["a", "b", "c"]);
  }
  const [other] = choosePlaces({ disks, count: 1, blockBytes: 1, except: new Set([1, 4, 6] as DiskId[]), random });
  assert.ok([2, 3, 5].includes(other));
  const [ofLeastUsedNode] = choosePlaces({
    disks: disks.slice(0, 3),
    count: 1,
    blockBytes: 1,
    except: new Set([1] as DiskId[]),
    random,
  });
  assert.equal(ofLeastUsedNode, 3);
});

test("placement prefers disks with more space, in proportion, and passes full ones", () => {
  const disks = statuses([["", "", 3e9], ["", "", 1e9], ["", "", 100]]); // prettier-ignore
  const random = seededRandom(6);
  let first = 0;
  for (let turn = 0; turn < 4000; turn++) if (choosePlaces({ disks, count: 1, blockBytes: 4096, random })[0] === 1) first++;
  assert.ok(first > 2850 && first < 3150, String(first));
  assert.equal(choosePlaces({ disks, count: 3, blockBytes: 4096, random }).length, 2);
});

test("the data that fits counts each block of a stripe on another disk", () => {
  assert.equal(dataThatFits([60, 60, 60, 60, 60, 60], 4, 6), 240);
  assert.equal(dataThatFits([10, 10, 1000], 1, 2), 20);
  assert.equal(dataThatFits([100, 0, 0], 1, 2), 0);
});
