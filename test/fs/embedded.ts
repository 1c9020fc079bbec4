import assert from "node:assert/strict";
import test, { after } from "node:test";
import { EmbeddedStore } from "../../fs/embedded.ts";
import type { Mount } from "../../fs/mount/mount.ts";
import { ROOT_INODE } from "../../fs/types.ts";
import type { ByteString } from "../../fs/types.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { seededRandom } from "../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { caller, MemoryStripes } from "./mount/doubles.ts";
import { newFiles, readStep, runSteps } from "./mount/model.ts";
import { attributes, close, createFile, openFile, read, sync, truncate, write } from "./mount/program.ts";

// The store's own timers keep no process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const schemes = { full: "rs:4+2", small: "copies:3" };

async function newStore(): Promise<EmbeddedStore> {
  const log = await LocalLog.open(new SimulatedDirectory({ seed: 1 }));
  return EmbeddedStore.open({ table: new MemoryTable(), log, stripes: new MemoryStripes(), schemes });
}

for (const seed of [11, 12]) {
  test(`random data operations over the real namespace agree with an array of bytes, seed ${seed}`, async () => {
    const store = await newStore();
    const mount = await store.openMount();
    const options = { files: 3, steps: 1000, maximumBytes: 3_000_000, random: seededRandom(seed) };
    const list = await newFiles(mount, options);
    await runSteps(mount, list, options);
    await store.closeMount(mount);
    const again = await store.openMount();
    for (const model of list) {
      model.file = await openFile(again, model.name);
      await readStep(model, 0, options.maximumBytes);
    }
    await store.close();
  });
}

async function twoMounts(): Promise<{ store: EmbeddedStore; a: Mount; b: Mount }> {
  const store = await newStore();
  return { store, a: await store.openMount(), b: await store.openMount() };
}

test("what one mount writes, the other reads at once, without opening the file again", async () => {
  const { store, a, b } = await twoMounts();
  const ours = await createFile(a, "shared");
  const theirs = await openFile(b, "shared");
  for (let round = 0; round < 50; round++) {
    const [writer, reader] = round % 2 === 0 ? [ours, theirs] : [theirs, ours];
    const data = new Uint8Array(3000).fill(round + 1);
    await write(writer, round * 1000, data);
    assert.equal((await attributes(reader)).size, round * 1000 + 3000);
    assert.deepEqual(await read(reader, round * 1000, 3000), data);
  }
  await store.close();
});

test("appends of two mounts at once interleave whole records", async () => {
  const { store, a, b } = await twoMounts();
  const ours = await createFile(a, "log");
  const theirs = await openFile(b, "log");
  const append = async (file: typeof ours, value: number): Promise<void> => {
    for (let round = 0; round < 40; round++) await write(file, 0, new Uint8Array(100).fill(value), 2 | 0o2000);
  };
  await Promise.all([append(ours, 1), append(theirs, 2)]);
  const bytes = await read(ours, 0, 10_000);
  assert.equal(bytes.length, 8000);
  const records = Array.from({ length: 80 }, (_, index) => bytes.subarray(index * 100, index * 100 + 100));
  assert(records.every((record) => record.every((byte) => byte === record[0])));
  assert.equal(records.filter((record) => record[0] === 1).length, 40);
  await store.close();
});

test("random data operations through two mounts in turn agree with an array of bytes", async () => {
  const { store, a, b } = await twoMounts();
  const options = { files: 2, steps: 25, maximumBytes: 300_000, random: seededRandom(5) };
  const list = await newFiles(a, options);
  for (let turn = 0; turn < 40; turn++) {
    const mount = turn % 2 === 0 ? a : b;
    for (const model of list) model.file = await openFile(mount, model.name);
    await runSteps(mount, list, options);
    for (const model of list) await close(model.file);
  }
  await store.close();
});

test("names made and removed on one mount are seen by the other at once, also where it knew that they were absent", async () => {
  const { store, a, b } = await twoMounts();
  const name = "now" as ByteString;
  assert.equal((await b.lookup(caller, ROOT_INODE, name)).attributes, null);
  const file = await createFile(a, name);
  assert.equal((await b.lookup(caller, ROOT_INODE, name)).attributes?.inode, file.inode);
  await a.unlink(caller, ROOT_INODE, name);
  assert.equal((await b.lookup(caller, ROOT_INODE, name)).attributes, null);
  await store.close();
});

test("a file is truncated on one mount while the other has unwritten data of it", async () => {
  const { store, a, b } = await twoMounts();
  const ours = await createFile(a, "cut");
  const theirs = await openFile(b, "cut");
  await write(ours, 0, new Uint8Array(100_000).fill(1));
  await truncate(theirs, 10);
  assert.equal((await attributes(ours)).size, 10);
  assert.deepEqual(await read(ours, 0, 100), new Uint8Array(10).fill(1));
  await sync(ours);
  await store.close();
});

test("the session of a mount that does not answer a recall is ended; the mount sees what others wrote meanwhile, and goes on", async () => {
  const store = await newStore();
  const a = await store.openMount({ session: { limitMs: 50 } });
  const b = await store.openMount();
  const ours = await createFile(a, "stuck");
  await write(ours, 0, new Uint8Array(10).fill(1));
  // The kernel of a stopped mount answers no notification.
  a.attach({
    invalidateInode: () => new Promise(() => {}),
    invalidateEntry: () => new Promise(() => {}),
    notifyDelete: () => new Promise(() => {}),
    incrementEpoch: () => new Promise(() => {}),
  });
  const theirs = await openFile(b, "stuck");
  await write(theirs, 0, new Uint8Array(10).fill(2));
  assert.deepEqual(await read(theirs, 0, 10), new Uint8Array(10).fill(2));
  assert.deepEqual(await read(ours, 0, 10), new Uint8Array(10).fill(2));
  await write(ours, 0, new Uint8Array(5).fill(3));
  await sync(ours);
  const both = new Uint8Array(10).fill(3, 0, 5).fill(2, 5);
  assert.deepEqual(await read(ours, 0, 10), both);
  await store.close();
});

for (const how of ["removes", "replaces"] as const) {
  test(`a mount that ${how} a file that another one is writing sees what that one writes afterwards`, async () => {
    const { store, a, b } = await twoMounts();
    const seen = await createFile(a, "file");
    await createFile(a, "other");
    const written = await openFile(b, "file");
    await write(written, 0, new Uint8Array(100).fill(1));
    // The recall that this took is over for the first mount as well.
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    if (how === "removes") await a.unlink(caller, ROOT_INODE, "file" as ByteString);
    else await a.rename(caller, ROOT_INODE, "other" as ByteString, ROOT_INODE, "file" as ByteString, 0);
    await write(written, 100, new Uint8Array(50).fill(2));
    assert.equal((await attributes(seen)).size, 150);
    assert.deepEqual(
      [...(await read(seen, 100, 100))],
      Array.from({ length: 50 }, () => 2),
    );
    await store.close();
  });
}
