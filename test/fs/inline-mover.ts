// Inline data that has become much goes to stripes behind the programs' backs.
import assert from "node:assert/strict";
import test, { after } from "node:test";
import { EmbeddedStore } from "../../fs/embedded.ts";
import type { Mount } from "../../fs/mount/mount.ts";
import type { Cursor } from "../../fs/namespace/relocation.ts";
import type { InodeId } from "../../fs/types.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { type Cluster, makeCluster } from "../replication/cluster.ts";
import { eventually } from "../fixture/eventually.ts";
import { problems } from "./namespace/memory-log.ts";
import { createFile, type OpenFile, openFile, read, sync, write } from "./mount/program.ts";

const schemes = { full: "rs:4+2", small: "copies:3" };
const KIB = 1024;
const LIMIT = 256 * KIB;
/** More windows than one transaction takes. */
const FILE_BYTES = 136 * 1024 * KIB;

// The store's own timers do not keep a process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

interface Setup {
  store: EmbeddedStore;
  cluster: Cluster;
  mount: Mount;
  trace: string[];
}

async function makeStore(): Promise<Setup> {
  const cluster = await makeCluster(6, schemes.full, 1);
  const log = await LocalLog.open(new SimulatedDirectory({ seed: 1 }));
  const { client, stripes } = cluster;
  const trace: string[] = [];
  const store = await EmbeddedStore.open({
    table: new MemoryTable(), log, stripes, blocks: client, schemes, trace: (line) => trace.push(line), limits: { inlineFileBytes: LIMIT },
  }); // prettier-ignore
  return { store, cluster, mount: await store.openMount(), trace };
}

async function inlineBytes({ store }: Setup, inode: InodeId): Promise<number> {
  let bytes = 0;
  for (let cursor: Cursor = null; ;) {
    const { windows, next } = await store.namespace.relocation.windows(cursor);
    for (const window of windows)
      if (window.inode === inode) for (const { inline } of window.extents) bytes += inline?.length ?? 0;
    if (next === null) return bytes;
    cursor = next;
  }
}

/** A sparse file of FILE_BYTES. */
async function createLarge(mount: Mount): Promise<OpenFile> {
  const file = await createFile(mount, "database");
  await write(file, FILE_BYTES - 1, new Uint8Array(1));
  await sync(file);
  return file;
}

/** Synced writes of 4 KiB at random places; returns what the file holds. */
async function writeSynced(
  file: OpenFile,
  count: number,
  seed: number,
  bytes: Uint8Array = new Uint8Array(FILE_BYTES),
): Promise<Uint8Array> {
  const random = seededRandom(seed);
  for (let index = 0; index < count; index++) {
    const offset = randomBelow(random, FILE_BYTES / (4 * KIB)) * 4 * KIB;
    const piece = new Uint8Array(4 * KIB).fill(1 + randomBelow(random, 255));
    bytes.set(piece, offset);
    await write(file, offset, piece);
    await sync(file);
  }
  return bytes;
}

async function assertHolds(file: OpenFile, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < FILE_BYTES; offset += 1024 * KIB) {
    const found = await read(file, offset, 1024 * KIB);
    assert.equal(Buffer.compare(found, bytes.subarray(offset, offset + found.length)), 0, `at ${offset}`);
  }
}

test("synced small writes to random places of a file end in full stripes, and every byte stays what it was", async () => {
  const setup = await makeStore();
  const file = await createLarge(setup.mount);
  const bytes = await writeSynced(file, 500, 3);
  await eventually("less than the limit is inline", async () => (await inlineBytes(setup, file.inode)) < LIMIT);
  await assertHolds(file, bytes);
  assert.deepEqual(await problems(setup.store.namespace), []);
  const other = await setup.store.openMount();
  await assertHolds(await openFile(other, "database"), bytes);
  await setup.store.close();
});

test("writes that overtake a move are not undone by it", async () => {
  const setup = await makeStore();
  const file = await createLarge(setup.mount);
  const bytes = new Uint8Array(FILE_BYTES);
  const { stripes } = setup.cluster;
  const store = stripes.write.bind(stripes);
  // While the stripe is on its way to the disks, half of what it holds is written anew.
  let held = 0;
  stripes.write = async (...request) => {
    if (held++ === 0) await writeSynced(file, 30, 3, bytes);
    return store(...request);
  };
  await writeSynced(file, LIMIT / (4 * KIB), 3, bytes);
  await eventually("a stripe was stored", () => held > 0);
  await eventually("less than the limit is inline", async () => (await inlineBytes(setup, file.inode)) < LIMIT);
  await assertHolds(file, bytes);
  assert.deepEqual(await problems(setup.store.namespace), []);
  await setup.store.close();
});

test("while disks refuse, synced writes go on, and the next move takes what they left", async () => {
  const setup = await makeStore();
  const file = await createLarge(setup.mount);
  const { stripes } = setup.cluster;
  const store = stripes.write.bind(stripes);
  stripes.write = () => Promise.reject(new Error("the disk is on fire"));
  const bytes = await writeSynced(file, 80, 3);
  await eventually("the move has failed", () => setup.trace.some((line) => line.includes("moving inline data")));
  stripes.write = store;
  await writeSynced(file, 80, 4, bytes);
  await eventually("what came since was moved", async () => (await inlineBytes(setup, file.inode)) < 2 * LIMIT);
  await assertHolds(file, bytes);
  assert.deepEqual(await problems(setup.store.namespace), []);
  await setup.store.close();
});

test("a header that is written and synced again and again stays inline", async () => {
  const setup = await makeStore();
  const file = await createFile(setup.mount, "database");
  await write(file, 100 * KIB, new Uint8Array(1));
  await sync(file);
  const stripes = setup.cluster.disks[0].blocks.size;
  for (let index = 0; index < 200; index++) {
    await write(file, 0, new Uint8Array(4 * KIB).fill(index));
    await sync(file);
  }
  assert.equal(setup.cluster.disks[0].blocks.size, stripes);
  assert.equal((await read(file, 0, 1))[0], 199);
  await setup.store.close();
});
