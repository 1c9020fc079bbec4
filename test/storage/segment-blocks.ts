import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { allocateAligned } from "../../native/files.ts";
import { rocksIndexStore } from "../../storage/block-index-store.ts";
import type { BlockId } from "../../storage/blocks.ts";
import { createDiskIdentity } from "../../storage/disk-identity.ts";
import { RealDirectory } from "../../storage/real-directory.ts";
import { openSegmentBlocks, type SegmentBlocks } from "../../storage/segment-blocks.ts";
import { bytesOf, IDENTITY, TestDisk } from "./segment-disk.ts";

const LENGTHS = [
  1,
  63,
  64,
  4096,
  5000,
  16384,
  16385,
  65536,
  131071,
  131072,
  200_000,
  1024 * 1024,
  1024 * 1024 + 1,
  4 * 1024 * 1024,
];

async function readAll(blocks: SegmentBlocks, id: BlockId, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length);
  await blocks.retrieve(id, 0, into);
  return into;
}

test("blocks of every size come back, whole and in parts, before and after the store is opened again", async () => {
  const disk = await TestDisk.create(1);
  let blocks = await disk.open();
  await Promise.all(LENGTHS.map((length, index) => blocks.store({ stripe: 7, index }, bytesOf(7, index, length))));
  await blocks.sync();
  for (let round = 0; round < 2; round++) {
    for (const [index, length] of LENGTHS.entries()) {
      const bytes = bytesOf(7, index, length);
      const id = { stripe: 7, index };
      assert.deepEqual(await readAll(blocks, id, length), bytes);
      for (const [from, to] of [
        [0, 1],
        [length - 1, length],
        [length >> 1, length],
        [Math.min(16384, length), Math.min(40_000, length)],
      ]) {
        const into = new Uint8Array(to - from);
        await blocks.retrieve(id, from, into);
        assert.deepEqual(into, bytes.subarray(from, to));
        into.fill(0);
        // The first reads have opened the files.
        if (blocks.retrieveNow(id, from, into)) assert.deepEqual(into, bytes.subarray(from, to));
      }
      assert.equal(await blocks.verify(id), "good");
    }
    await blocks.close();
    blocks = await disk.open();
  }
  assert.deepEqual(disk.damages, []);
  const space = await blocks.space();
  assert.equal(space.blocks, LENGTHS.length);
  assert.equal(
    space.blockBytes,
    LENGTHS.reduce((sum, length) => sum + length),
  );
  await blocks.close();
});

test("a block just stored can be retrieved without waiting", async () => {
  const disk = await TestDisk.create(2);
  const blocks = await disk.open();
  const bytes = bytesOf(1, 0, 20_000);
  await blocks.store({ stripe: 1, index: 0 }, bytes);
  const into = new Uint8Array(4096);
  assert.equal(blocks.retrieveNow({ stripe: 1, index: 0 }, 15_000, into), true);
  assert.deepEqual(into, bytes.subarray(15_000, 19_096));
  disk.directory.cached = false;
  assert.equal(blocks.retrieveNow({ stripe: 1, index: 0 }, 15_000, into), false);
  await blocks.close();
});

test("a store that begins while another one ends is written, at whatever turn it comes", async () => {
  const disk = await TestDisk.create(1);
  const blocks = await disk.open();
  for (let turns = 0; turns < 100; turns++) {
    const first = blocks.store({ stripe: 1 + turns * 2, index: 0 }, bytesOf(1, 0, 100));
    for (let turn = 0; turn < turns; turn++) await null;
    let ended = false;
    const second = blocks.store({ stripe: 2 + turns * 2, index: 0 }, bytesOf(1, 0, 100)).then(() => (ended = true));
    await first;
    for (let wait = 0; wait < 10 && !ended; wait++) await new Promise(setImmediate);
    assert.ok(ended, `it came ${turns} turns after the first`);
    await second;
  }
  await blocks.close();
});

test("storing the same bytes again is fine, other bytes are refused", async () => {
  const disk = await TestDisk.create(3);
  const blocks = await disk.open();
  const id = { stripe: 4, index: 1 };
  await Promise.all([blocks.store(id, bytesOf(4, 1, 5000)), blocks.store(id, bytesOf(4, 1, 5000))]);
  await assert.rejects(blocks.store(id, bytesOf(4, 2, 5000)), { code: "EEXIST" });
  await assert.rejects(blocks.store(id, bytesOf(4, 1, 5001)), { code: "EEXIST" });
  assert.equal((await blocks.space()).blocks, 1);
  await blocks.close();
});

test("an unknown block, a wrong range and a wrong size are refused by name", async () => {
  const disk = await TestDisk.create(4);
  const blocks = await disk.open();
  await blocks.store({ stripe: 9, index: 0 }, bytesOf(9, 0, 100));
  await assert.rejects(blocks.retrieve({ stripe: 9, index: 5 }, 0, new Uint8Array(1)), {
    code: "ENOENT",
    message: /block 5 of stripe 9/,
  });
  assert.throws(() => blocks.retrieveNow({ stripe: 10, index: 5 }, 0, new Uint8Array(1)), { code: "ENOENT" });
  await assert.rejects(blocks.retrieve({ stripe: 9, index: 0 }, 50, new Uint8Array(51)), { code: "EINVAL" });
  await assert.rejects(blocks.store({ stripe: 9, index: 1 }, new Uint8Array(0)), { code: "EINVAL" });
  await assert.rejects(blocks.store({ stripe: 9, index: 1 }, new Uint8Array(4 * 1024 * 1024 + 1)), { code: "EINVAL" });
  await assert.rejects(blocks.store({ stripe: -1, index: 1 }, new Uint8Array(1)), { code: "EINVAL" });
  await blocks.close();
});

test("deleted blocks are gone at once and after reopening, and their space returns", async () => {
  const disk = await TestDisk.create(5);
  let blocks = await disk.open();
  const ids = Array.from({ length: 20 }, (_, index) => ({ stripe: 1 + (index >> 2), index: index & 3 }));
  for (const [at, id] of ids.entries()) await blocks.store(id, bytesOf(id.stripe, id.index, at % 2 === 0 ? 300_000 : 3000));
  await blocks.sync();
  const before = disk.directory.usedBytes();
  await blocks.delete([...ids.slice(0, 10), { stripe: 99, index: 0 }]);
  await blocks.sync();
  assert.ok(before - disk.directory.usedBytes() >= 5 * 299_000, `${before} ${disk.directory.usedBytes()}`);
  for (let round = 0; round < 2; round++) {
    for (const id of ids.slice(0, 10)) await assert.rejects(blocks.retrieve(id, 0, new Uint8Array(10)), { code: "ENOENT" });
    for (const id of ids.slice(10)) assert.equal(await blocks.verify(id), "good");
    assert.equal((await blocks.space()).blocks, 10);
    await blocks.close();
    blocks = await disk.open();
  }
  await blocks.delete(ids);
  await blocks.close();
  blocks = await disk.open();
  assert.deepEqual(await disk.directory.list("segments"), []);
  assert.deepEqual(await blocks.list(null, 10), []);
  await blocks.close();
});

test("list gives every block in order, in parts, with what the table lacks laid over", async () => {
  const disk = await TestDisk.create(6);
  const blocks = await disk.open();
  for (let stripe = 30; stripe > 0; stripe--)
    for (const index of [1, 0]) await blocks.store({ stripe, index }, bytesOf(stripe, index, 100));
  disk.milliseconds += 5000;
  await blocks.sync();
  for (let stripe = 31; stripe < 40; stripe++) await blocks.store({ stripe, index: 0 }, bytesOf(stripe, 0, 100));
  await blocks.delete([
    { stripe: 3, index: 0 },
    { stripe: 31, index: 0 },
  ]);
  const expected: BlockId[] = [];
  for (let stripe = 1; stripe < 40; stripe++) for (const index of stripe <= 30 ? [0, 1] : [0]) expected.push({ stripe, index });
  const wanted = expected.filter(({ stripe, index }) => index === 1 || (stripe !== 3 && stripe !== 31));
  for (const limit of [1, 7, 1000]) {
    const found: BlockId[] = [];
    for (let after: BlockId | null = null; ;) {
      const part = await blocks.list(after, limit);
      found.push(...part.map(({ stripe, index }) => ({ stripe, index })));
      if (part.length === 0) break;
      after = part[part.length - 1];
    }
    assert.deepEqual(found, wanted);
  }
  const [info] = await blocks.list(null, 1);
  assert.deepEqual(await blocks.locate(info), info);
  assert.deepEqual(
    disk.directory.contents(info.file).subarray(info.offset, info.offset + info.bytes),
    bytesOf(info.stripe, info.index, 100),
  );
  await blocks.close();
});

test("concurrent stores, reads and deletes of many blocks agree with a model", async () => {
  const disk = await TestDisk.create(7, { segmentBytesMax: 8 * 1024 * 1024 });
  const blocks = await disk.open({ cacheBytes: 4096 });
  const lengthOf = (stripe: number) => (stripe % 5 === 0 ? 200_000 + stripe : 500 + stripe * 13);
  const run = async (worker: number): Promise<void> => {
    for (let turn = 0; turn < 60; turn++) {
      const stripe = worker * 1000 + turn;
      const id = { stripe, index: worker };
      await blocks.store(id, bytesOf(stripe, worker, lengthOf(turn)));
      if (turn % 3 === 0) await blocks.sync();
      if (turn % 2 === 1) await blocks.delete([{ stripe: stripe - 1, index: worker }]);
      const back = turn - (turn % 7);
      const old = { stripe: worker * 1000 + back, index: worker };
      if (back % 2 === 1 || back === turn)
        assert.deepEqual(await readAll(blocks, old, lengthOf(back)), bytesOf(old.stripe, worker, lengthOf(back)));
      else
        await assert
          .rejects(readAll(blocks, old, lengthOf(back)), { code: "ENOENT" })
          .catch(() => assert.equal(back, turn - 1 + (turn % 2)));
    }
  };
  await Promise.all([1, 2, 3, 4, 5, 6].map(run));
  assert.equal((await blocks.space()).blocks, 180);
  assert.deepEqual(disk.damages, []);
  await blocks.close();
});

test("a real disk: stores, deletes, reopens, rebuilds a removed index, and says when it is gone", async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "cairn-blocks-"));
  try {
    const directory = new RealDirectory(path.join(folder, "disk"));
    await createDiskIdentity(directory, IDENTITY);
    const damages: string[] = [];
    const open = (): Promise<SegmentBlocks> =>
      openSegmentBlocks({
        directory,
        identity: IDENTITY,
        index: rocksIndexStore(directory),
        now: () => performance.now(),
        onDamage: (damage) => damages.push(damage.text),
        reserveBytes: 0,
      });
    let blocks = await open();
    const aligned = allocateAligned(1024 * 1024);
    aligned.set(bytesOf(1, 0, aligned.length));
    await blocks.store({ stripe: 1, index: 0 }, aligned);
    await Promise.all(LENGTHS.map((length, index) => blocks.store({ stripe: 2, index }, bytesOf(2, index, length))));
    await blocks.sync();
    await blocks.delete([
      { stripe: 2, index: 3 },
      { stripe: 2, index: 11 },
    ]);
    const check = async (): Promise<void> => {
      aligned.fill(0);
      await blocks.retrieve({ stripe: 1, index: 0 }, 0, aligned);
      assert.deepEqual(Buffer.compare(aligned, bytesOf(1, 0, aligned.length)), 0);
      for (const [index, length] of LENGTHS.entries()) {
        if (index === 3 || index === 11)
          await assert.rejects(blocks.retrieve({ stripe: 2, index }, 0, new Uint8Array(1)), { code: "ENOENT" });
        else assert.equal(Buffer.compare(await readAll(blocks, { stripe: 2, index }, length), bytesOf(2, index, length)), 0);
        assert.equal(await blocks.verify({ stripe: 2, index }), index === 3 || index === 11 ? "missing" : "good");
      }
    };
    await check();
    await blocks.close();
    blocks = await open();
    await check();
    await blocks.close();
    await directory.remove("index");
    blocks = await open();
    await check();
    assert.deepEqual(damages, []);
    assert.equal(await blocks.healthy(), null);
    await directory.remove("");
    assert.match((await blocks.healthy())!, /its disk is gone/);
    await check();
    await blocks.close().catch(() => undefined);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
