import assert from "node:assert/strict";
import test from "node:test";
import { complete, evacuate, scrub, type WalkProgress } from "../../replication/drain.ts";
import { Repairer } from "../../replication/repair.ts";
import type { StripeDirectory } from "../../replication/stripe-directory.ts";
import { type DiskId, NO_DISK, type Stripe } from "../../replication/stripe.ts";
import { TaskPace, Throttle } from "../../replication/throttle.ts";
import { SimulatedClock } from "../../storage/clock.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { type Cluster, diskOf, makeCluster, randomBytes, readAll } from "./cluster.ts";
import { MemoryBlocks } from "./memory-blocks.ts";

/** Stripe records in memory. */
class Records implements StripeDirectory {
  readonly stripeById = new Map<number, Stripe>();
  /** What happens right before a commit. */
  beforeCommit = (): void => {};

  async stripesOn(disk: DiskId, after: number, limit: number): Promise<Stripe[]> {
    return (await this.stripes(after, Infinity)).filter(({ disks }) => disks.includes(disk)).slice(0, limit);
  }

  async stripes(after: number, limit: number): Promise<Stripe[]> {
    return [...this.stripeById.values()].filter(({ id }) => id > after).sort((a, b) => a.id - b.id).slice(0, limit); // prettier-ignore
  }

  async commit(from: Stripe, to: Stripe): Promise<boolean> {
    if (from !== to) this.beforeCommit();
    const known = this.stripeById.get(from.id);
    if (known === undefined || known.disks.join() !== from.disks.join()) return false;
    this.stripeById.set(to.id, to);
    return true;
  }
}

interface Store extends Cluster {
  records: Records;
  repairer: Repairer;
  contents: Map<number, Uint8Array>;
}

async function makeStore(diskCount: number, stripeCount: number, scheme = "rs:4+2"): Promise<Store> {
  const cluster = await makeCluster(diskCount, scheme);
  const records = new Records();
  const repairer = new Repairer({
    client: cluster.client,
    directory: records,
    throttle: new Throttle(cluster.clock),
    random: cluster.random,
  });
  const contents = new Map<number, Uint8Array>();
  for (let id = 1; id <= stripeCount; id++) {
    const data = randomBytes(cluster.random, 1 + randomBelow(cluster.random, 30_000));
    contents.set(id, data);
    records.stripeById.set(id, await cluster.stripes.write(id, scheme, data));
  }
  return { ...cluster, records, repairer, contents };
}

async function lastOf(walk: AsyncIterable<WalkProgress>): Promise<WalkProgress> {
  let last: WalkProgress | null = null;
  for await (const progress of walk) last = progress;
  assert.ok(last !== null);
  return last;
}

/** Every stripe has all its blocks, each where its record says, on distinct working disks, and there are no others. */
async function checkWhole(store: Store): Promise<void> {
  let blocks = 0;
  for (const stripe of store.records.stripeById.values()) {
    assert.deepEqual(await readAll(store, stripe), store.contents.get(stripe.id));
    assert.equal(new Set(stripe.disks).size, stripe.disks.length);
    for (const [index, disk] of stripe.disks.entries()) {
      assert.equal(await store.repairer.inspect(stripe, index, true), "good", `stripe ${stripe.id} block ${index} disk ${disk}`);
      blocks++;
    }
  }
  const kept = store.client.disks().filter(({ state }) => state !== "failed").map(({ id }) => diskOf(store, id).blocks.size); // prettier-ignore
  assert.equal(kept.reduce((sum, count) => sum + count, 0), blocks); // prettier-ignore
}

async function addDisk(store: Store): Promise<DiskId> {
  const blocks = new MemoryBlocks();
  store.disks.push(blocks);
  const id = store.disks.length as DiskId;
  await store.client.add({ id, path: `/disk-${id}`, blocks });
  return id;
}

test("a stripe with nothing wrong is left alone", async () => {
  const store = await makeStore(6, 1);
  const stripe = store.records.stripeById.get(1)!;
  const mending = await store.repairer.repairStripe(stripe, { verify: true });
  assert.deepEqual(mending, { stripe, mended: [], unplaced: [], superseded: false });
});

test("scrub finds and mends every damaged and missing block in its place, whatever the scheme", async () => {
  for (const [scheme, blocks, tolerance] of [
    ["rs:4+2", 6, 2],
    ["copies:3", 3, 2],
    ["rs:2+1", 3, 1],
  ] as const) {
    const store = await makeStore(6, 30, scheme);
    const random = seededRandom(9);
    let hurt = 0;
    for (const stripe of store.records.stripeById.values()) {
      const indexes = new Set(Array.from({ length: tolerance }, () => randomBelow(random, blocks)));
      for (const index of indexes) {
        hurt++;
        if (random() < 0.5) diskOf(store, stripe.disks[index]).damage({ stripe: stripe.id, index });
        else diskOf(store, stripe.disks[index]).lose({ stripe: stripe.id, index });
      }
    }
    const progress = await lastOf(scrub(store.repairer, store.records));
    assert.equal(progress.stripes, 30);
    assert.equal(progress.mendedBlocks, hurt);
    assert.equal(progress.failedStripes, 0);
    await checkWhole(store);
  }
});

test("a stripe beyond repair is reported and does not stop the walk", async () => {
  const store = await makeStore(6, 10);
  const stripe = store.records.stripeById.get(4)!;
  for (const index of [0, 1, 5]) diskOf(store, stripe.disks[index]).damage({ stripe: 4, index });
  const steps: WalkProgress[] = [];
  for await (const progress of scrub(store.repairer, store.records)) steps.push(progress);
  const failed = steps.flatMap((step) => step.failed);
  assert.equal(failed.length, 1);
  assert.equal(failed[0].stripe, 4);
  assert.match(failed[0].reason, /3 of 6 blocks are gone, 2 can be: block 0 on disk \d is damaged/);
  assert.equal(steps.at(-1)!.stripes, 10);
});

test("a draining disk is emptied onto the others, with its blocks moved, and a failed one is rebuilt", async () => {
  for (const state of ["draining", "failed"] as const) {
    const store = await makeStore(7, 25);
    store.client.setState(3 as DiskId, state);
    const progress = await lastOf(evacuate(store.repairer, store.records, 3 as DiskId));
    assert.equal(progress.unplacedBlocks, 0);
    assert.ok(progress.mendedBlocks > 10);
    assert.deepEqual(await store.records.stripesOn(3 as DiskId, 0, 10), []);
    if (state === "draining") assert.equal(diskOf(store, 3 as DiskId).blocks.size, 0);
    await checkWhole(store);
  }
});

test("a replaced disk: the new one has a new id, and gets the blocks of the failed one", async () => {
  const store = await makeStore(6, 20);
  store.client.setState(2 as DiskId, "failed", "pulled");
  const first = await lastOf(evacuate(store.repairer, store.records, 2 as DiskId));
  assert.equal(first.unplacedBlocks, 20, "no disk is left that has none of the stripe");
  assert.equal((await addDisk(store)) as number, 7);
  const progress = await lastOf(evacuate(store.repairer, store.records, 2 as DiskId));
  assert.equal(progress.mendedBlocks, 20);
  assert.equal(store.disks[6].blocks.size, 20);
  await checkWhole(store);
});

test("stripes that were written degraded are completed when there are disks again", async () => {
  const store = await makeStore(6, 0);
  store.client.setState(1 as DiskId, "failed");
  const data = randomBytes(store.random, 20_000);
  const stripe = await store.stripes.write(1, "rs:4+2", data);
  assert.ok(stripe.disks.includes(NO_DISK));
  store.records.stripeById.set(1, stripe);
  store.contents.set(1, data);
  await addDisk(store);
  const progress = await lastOf(complete(store.repairer, store.records));
  assert.equal(progress.mendedBlocks, 1);
  assert.deepEqual(await store.records.stripesOn(NO_DISK, 0, 10), []);
  await checkWhole(store);
});

test("a walk stopped anywhere goes on from its cursor", async () => {
  const store = await makeStore(7, 40);
  store.client.setState(5 as DiskId, "draining");
  let cursor = 0;
  let steps = 0;
  for (;;) {
    const walk = evacuate(store.repairer, store.records, 5 as DiskId, cursor);
    const { value, done } = await walk.next();
    await walk.return(undefined);
    if (done) break;
    cursor = value.cursor;
    steps++;
  }
  assert.ok(steps > 5);
  await checkWhole(store);
});

test("a stripe that is removed or changed while it is mended stays as others left it, without stray blocks", async () => {
  const store = await makeStore(8, 1);
  const stripe = store.records.stripeById.get(1)!;
  store.client.setState(stripe.disks[0], "draining");
  store.records.beforeCommit = () => store.records.stripeById.delete(1);
  const mending = await store.repairer.repairStripe(stripe);
  assert.equal(mending.superseded, true);
  await store.stripes.remove([stripe]);
  assert.ok(store.disks.every((disk) => disk.blocks.size === 0));
});

test("a repair from an old record leaves the blocks alone that another has moved meanwhile", async () => {
  const store = await makeStore(7, 1);
  const old = store.records.stripeById.get(1)!;
  store.client.setState(old.disks[2], "draining");
  const moved = await store.repairer.repairStripe(old);
  assert.deepEqual(moved.mended, [2]);
  assert.deepEqual(await store.repairer.repairStripe(old, { verify: true }), {
    stripe: old,
    mended: [],
    unplaced: [],
    superseded: true,
  });
  await checkWhole(store);
});

test("whatever disk call fails once during an evacuation, no data is lost and a second walk ends it", async () => {
  for (let call = 1; call < 40; call++) {
    const store = await makeStore(8, 6);
    store.client.setState(1 as DiskId, "draining");
    const victim = store.disks[1 + (call % 7)];
    victim.failAt = victim.calls + Math.ceil(call / 7);
    await runAll(evacuate(store.repairer, store.records, 1 as DiskId)).catch(() => {});
    victim.failAt = 0;
    for (const { id, state } of store.client.disks()) {
      if (state !== "active") await runAll(evacuate(store.repairer, store.records, id));
    }
    await checkWhole(store);
  }
});

test("the throttle holds its rate", async () => {
  const clock = new SimulatedClock();
  const throttle = new Throttle(clock, 1000);
  let spent = 0;
  const work = (async () => {
    for (let turn = 0; turn < 20; turn++) {
      await throttle.spend(100);
      spent += 100;
    }
  })();
  for (let turn = 0; turn < 100; turn++) await null;
  assert.equal(spent, 300, "a burst of a quarter second, and what is begun then");
  for (let step = 0; step < 10; step++) {
    clock.advance(100);
    for (let turn = 0; turn < 10; turn++) await null;
  }
  assert.equal(spent, 1300);
  clock.advance(2000);
  throttle.bytesPerSecond = Infinity;
  await work;
});

/** Lets all that can go on without time passing go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test("repair at a rate moves so many bytes a second, another task at its own; once its signal aborts it waits no more", async () => {
  const store = await makeStore(7, 40);
  store.client.setState(3 as DiskId, "draining");
  const clock = new SimulatedClock();
  const ending = new AbortController();
  const pace = new TaskPace(clock, new Throttle(clock), ending.signal);
  pace.setRate(10_000);
  const moved = { bytes: 0 };
  const spend = pace.spend.bind(pace);
  pace.spend = async (bytes) => {
    await spend(bytes);
    moved.bytes += bytes;
  };
  let ended = false;
  const work = runAll(evacuate(store.repairer.at(pace), store.records, 3 as DiskId)).then(() => (ended = true));
  await settle();
  // What is at work at once may each begin one block more than the rate allows.
  const most = 4 * 6 * 7_500;
  for (let second = 1; second <= 5; second++) {
    for (let step = 0; step < 10; step++) {
      clock.advance(100);
      await settle();
    }
    assert.ok(moved.bytes <= second * 10_000 + 2_500 + most, `${moved.bytes} in ${second} s`);
    assert.ok(!ended);
  }
  assert.ok(moved.bytes > 0);
  assert.ok(clock.waiting > 0);
  // The same repairer without a limit mends other stripes meanwhile.
  const waiting = store.records.stripeById.get(40)!;
  assert.equal((await store.repairer.repairStripe(waiting)).superseded, false);
  ending.abort();
  await work;
  assert.equal(clock.waiting, 0);
  assert.deepEqual(await store.records.stripesOn(3 as DiskId, 0, 10), []);
  await checkWhole(store);
});

async function runAll(walk: AsyncGenerator<WalkProgress>): Promise<void> {
  while (!(await walk.next()).done);
}
