// The cleaner over a whole store in memory: what it gives back, and that nobody notices.
import assert from "node:assert/strict";
import test, { after } from "node:test";
import { EmbeddedStore } from "../../fs/embedded.ts";
import type { Mount } from "../../fs/mount/mount.ts";
import type { Cursor } from "../../fs/namespace/relocation.ts";
import type { InodeId } from "../../fs/types.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { randomBelow, seededRandom, type Random } from "../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { type Cluster, makeCluster } from "../replication/cluster.ts";
import { caller } from "./mount/doubles.ts";
import { newFiles, readStep, runSteps } from "./mount/model.ts";
import { problems } from "./namespace/memory-log.ts";
import { close, createFile, openFile, read, sync, write } from "./mount/program.ts";

const schemes = { full: "rs:4+2", small: "copies:3" };
const FACTOR = 1.5;

// The store's own timers do not keep a process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

interface Cleaned {
  store: EmbeddedStore;
  cluster: Cluster;
  mount: Mount;
}

async function makeStore(seed = 1): Promise<Cleaned> {
  const cluster = await makeCluster(6, schemes.full, seed);
  const log = await LocalLog.open(new SimulatedDirectory({ seed }));
  const { client, stripes } = cluster;
  const limits = { deadStripeGraceMs: 0 };
  const store = await EmbeddedStore.open({ table: new MemoryTable(), log, stripes, blocks: client, schemes, limits });
  return { store, cluster, mount: await store.openMount() };
}

function storedBytes({ cluster }: Cleaned): number {
  let bytes = 0;
  for (const disk of cluster.disks) for (const block of disk.blocks.values()) bytes += block.bytes.length;
  return bytes;
}

/** Extents of the file as the namespace has them. */
async function extentsOf({ store }: Cleaned, inode: InodeId): Promise<number> {
  let count = 0;
  for (let cursor: Cursor = null; ;) {
    const { windows, next } = await store.namespace.relocation.windows(cursor);
    for (const window of windows) if (window.inode === inode) count += window.extents.length;
    if (next === null) return count;
    cursor = next;
  }
}

/** Everything that is known to be dead is gone from the disks. */
async function settle({ store }: Cleaned): Promise<void> {
  for (;;) {
    const more = await store.namespace.tick();
    const { deadStripes, unnamedInodes } = store.namespace.status();
    if (!more && deadStripes === 0 && unnamedInodes === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function randomData(random: Random, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 64) bytes[at] = randomBelow(random, 256);
  return bytes;
}

test("after random overwrites and removals the disks hold what lives, times the scheme's factor, and little more", async () => {
  const cleaned = await makeStore();
  const { store, mount } = cleaned;
  const random = seededRandom(7);
  const size = 8_000_000;
  const contents: Uint8Array[] = [];
  for (let index = 0; index < 4; index++) {
    const file = await createFile(mount, `file-${index}`);
    const bytes = randomData(random, size);
    await write(file, 0, bytes);
    await sync(file);
    for (let round = 0; round < 400; round++) {
      const offset = randomBelow(random, size - 20_000);
      const piece = randomData(random, 1 + randomBelow(random, 20_000));
      bytes.set(piece, offset);
      await write(file, offset, piece);
      if (round % 40 === 0) await sync(file);
    }
    await close(file);
    contents.push(bytes);
  }
  await mount.sync();
  const gone = await openFile(mount, "file-1");
  await close(gone);
  await mount.unlink(caller, 1 as InodeId, "file-1" as never);
  mount.forget(gone.inode, 1000);
  await mount.sync();
  await settle(cleaned);
  const needed = 3 * size * FACTOR;
  assert.ok(storedBytes(cleaned) > needed * 1.3, `${storedBytes(cleaned)} of ${needed}: nothing to clean`);
  await store.cleaner.run({ thorough: true });
  await settle(cleaned);
  assert.ok(storedBytes(cleaned) < needed * 1.1, `${storedBytes(cleaned)} bytes are stored for ${needed}`);
  assert.deepEqual(await problems(cleaned.store.namespace), []);
  const { movedBytes } = store.cleaner.report();
  await store.cleaner.run({ thorough: true });
  assert.equal(store.cleaner.report().movedBytes, movedBytes, "a second pass has nothing to do");
  for (const [index, bytes] of contents.entries()) {
    if (index === 1) continue;
    // The mount was told that places it knew are no longer right.
    assert.ok(Buffer.compare(await read(await openFile(mount, `file-${index}`), 0, size), bytes) === 0, `file-${index}`);
  }
  assert.deepEqual(cleaned.cluster.damages, [], "nobody read a stripe that was removed");
  await store.close();
});

test("a scattered file becomes full stripes, also what lies in the table; one with holes is left as it is", async () => {
  const cleaned = await makeStore();
  const { store, mount } = cleaned;
  const scattered = await createFile(mount, "scattered");
  const holes = await createFile(mount, "holes");
  const bytes = randomData(seededRandom(3), 400_000);
  for (let round = 0; round < 100; round++) {
    const at = ((round * 37) % 100) * 4000;
    await write(scattered, at, bytes.subarray(at, at + 4000));
    await sync(scattered);
    await write(holes, round * 100_000, bytes.subarray(at, at + 4000));
    await sync(holes);
  }
  await close(scattered);
  await close(holes);
  assert.ok((await extentsOf(cleaned, scattered.inode)) > 50);
  await store.cleaner.run({ thorough: true });
  await settle(cleaned);
  assert.equal(await extentsOf(cleaned, scattered.inode), 1);
  const count = await extentsOf(cleaned, holes.inode);
  await store.cleaner.run({ thorough: true });
  assert.equal(await extentsOf(cleaned, holes.inode), count);
  assert.deepEqual(await problems(cleaned.store.namespace), []);
  const again = await store.openMount();
  assert.deepEqual(Buffer.from(await read(await openFile(again, "scattered"), 0, 400_000)), Buffer.from(bytes));
  await store.close();
});

test("many small files share full stripes afterwards", async () => {
  const cleaned = await makeStore();
  const { store, mount } = cleaned;
  const random = seededRandom(5);
  const contents = Array.from({ length: 60 }, () => randomData(random, 10_000 + randomBelow(random, 30_000)));
  for (const [index, bytes] of contents.entries()) {
    const file = await createFile(mount, `small-${index}`);
    await write(file, 0, bytes);
    await sync(file);
    await close(file);
  }
  const live = contents.reduce((sum, { length }) => sum + length, 0);
  assert.ok(storedBytes(cleaned) >= 3 * live);
  await store.cleaner.run({ thorough: true });
  await settle(cleaned);
  assert.ok(storedBytes(cleaned) < live * FACTOR * 1.1);
  for (const [index, bytes] of contents.entries())
    assert.ok(Buffer.compare(await read(await openFile(mount, `small-${index}`), 0, bytes.length), bytes) === 0);
  await store.close();
});

test("ranges that files share are shared afterwards too", async () => {
  const cleaned = await makeStore();
  const { store, mount } = cleaned;
  const bytes = randomData(seededRandom(9), 4_000_000);
  const original = await createFile(mount, "original");
  await write(original, 0, bytes);
  await sync(original);
  const copy = await createFile(mount, "copy");
  await mount.copyFileRange(caller, original.inode, original.handle, 0, copy.inode, copy.handle, 0, 500_000, 0);
  // What lives of the stripe is the first part, twice.
  await mount.setattr(caller, original.inode, { size: 500_000, handle: original.handle });
  await mount.sync();
  await store.cleaner.run({ thorough: true });
  await settle(cleaned);
  assert.ok(storedBytes(cleaned) < 500_000 * FACTOR * 1.1, `${storedBytes(cleaned)}`);
  for (const file of [original, copy]) assert.ok(Buffer.compare(await read(file, 0, 500_000), bytes.subarray(0, 500_000)) === 0);
  assert.deepEqual(await problems(cleaned.store.namespace), []);
  await store.close();
});

for (const seed of [21, 22, 23]) {
  test(`programs that read, write, cut and copy while the cleaner runs see an array of bytes, seed ${seed}`, async () => {
    const cleaned = await makeStore(seed);
    const { store, mount } = cleaned;
    const options = { files: 3, steps: 700, maximumBytes: 3_000_000, random: seededRandom(seed) };
    const list = await newFiles(mount, options);
    let working = true;
    let passes = 0;
    const cleaning = (async () => {
      for (; working; passes++) {
        await store.cleaner.run({ thorough: true });
        await store.namespace.tick();
        await new Promise(setImmediate);
      }
    })();
    await runSteps(mount, list, options).finally(() => (working = false));
    await cleaning;
    assert.ok(passes > 1);
    await store.closeMount(mount);
    await store.cleaner.run({ thorough: true });
    await settle(cleaned);
    assert.deepEqual(await problems(cleaned.store.namespace), []);
    const again = await store.openMount();
    for (const model of list) {
      model.file = await openFile(again, model.name);
      await readStep(model, 0, options.maximumBytes);
    }
    await store.close();
  });
}

test("whatever call to a disk fails while the cleaner runs, nothing is lost", async () => {
  for (let failAt = 1; failAt < 200; failAt += 7) {
    const cleaned = await makeStore(failAt);
    const { store, mount, cluster } = cleaned;
    const bytes = randomData(seededRandom(failAt), 1_000_000);
    const file = await createFile(mount, "file");
    await write(file, 0, bytes);
    await sync(file);
    for (let at = 0; at < 60; at++) {
      bytes.fill(at, at * 10_000, at * 10_000 + 5000);
      await write(file, at * 10_000, bytes.subarray(at * 10_000, at * 10_000 + 5000));
      if (at % 3 === 0) await sync(file);
    }
    await sync(file);
    for (const [index, disk] of cluster.disks.entries()) if (index % 3 === 0) disk.failAt = disk.calls + failAt;
    await store.cleaner.run({ thorough: true }).catch(() => {});
    await store.namespace.tick();
    for (const disk of cluster.disks) disk.failAt = 0;
    await store.cleaner.run({ thorough: true }).catch(() => {});
    await store.namespace.tick();
    assert.deepEqual(await problems(cleaned.store.namespace), [], `call ${failAt}`);
    const again = await store.openMount();
    assert.ok(Buffer.compare(await read(await openFile(again, "file"), 0, bytes.length), bytes) === 0, `call ${failAt}`);
    await store.close();
  }
});

test("a paused cleaner begins nothing, and a pass that is cancelled ends between two steps", async () => {
  const cleaned = await makeStore();
  const { store } = cleaned;
  store.cleaner.pause();
  assert.equal(store.cleaner.report().state, "paused");
  store.cleaner.resume();
  assert.equal(store.cleaner.report().state, "idle");
  const abort = new AbortController();
  abort.abort(new Error("cancelled"));
  const file = await createFile(cleaned.mount, "file");
  await write(file, 0, new Uint8Array(1_000_000).fill(1));
  await sync(file);
  await assert.rejects(store.cleaner.run({ thorough: true, signal: abort.signal }), /cancelled/);
  assert.equal(store.cleaner.report().error, "cancelled");
  await store.close();
});
