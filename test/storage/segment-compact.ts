import assert from "node:assert/strict";
import test from "node:test";
import type { BlockId } from "../../storage/blocks.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { seededRandom } from "../../storage/seeded-random.ts";
import type { SegmentBlocks } from "../../storage/segment-blocks.ts";
import { bytesOf, TestDisk } from "./segment-disk.ts";
import { forEachSeed } from "../fixture/seeds.ts";

const LENGTH = 4096;

async function fill(blocks: SegmentBlocks, from: number, count: number, length = LENGTH): Promise<BlockId[]> {
  const ids = Array.from({ length: count }, (_, index) => ({ stripe: from + index, index: 0 }));
  for (let start = 0; start < count; start += 50)
    await Promise.all(ids.slice(start, start + 50).map((id) => blocks.store(id, bytesOf(id.stripe, 0, length))));
  await blocks.sync();
  return ids;
}

async function usedBytes(disk: TestDisk): Promise<number> {
  const { totalBytes, freeBytes } = await disk.directory.space();
  return totalBytes - freeBytes;
}

async function compactAll(blocks: SegmentBlocks, thorough: boolean, below = 0.85): Promise<number> {
  let moved = 0;
  for (let steps = 0; ; steps++) {
    assert.ok(steps < 100, "it comes to an end");
    const step = await blocks.compact({ below, thorough });
    moved += step.movedBytes;
    if (!step.more) return moved;
  }
}

async function check(blocks: SegmentBlocks, ids: readonly BlockId[], length = LENGTH): Promise<void> {
  for (const id of ids) {
    const into = new Uint8Array(length);
    await blocks.retrieve(id, 0, into);
    assert.equal(Buffer.compare(into, bytesOf(id.stripe, 0, length)), 0, `block ${id.stripe}`);
  }
  assert.deepEqual(await blocks.list(null, 10_000).then((list) => list.map(({ stripe }) => stripe)), ids.map(({ stripe }) => stripe)); // prettier-ignore
}

test("the space of deleted small blocks comes back, the blocks that live stay", async () => {
  const disk = await TestDisk.create(1, { segmentBytesMax: 2 * 1024 * 1024 });
  const blocks = await disk.open();
  const ids = await fill(blocks, 1, 2000);
  const before = await usedBytes(disk);
  assert.ok(before > 2000 * LENGTH);
  await blocks.delete(ids.filter(({ stripe }) => stripe % 10 !== 0));
  await blocks.sync();
  assert.ok((await usedBytes(disk)) > before * 0.8, "marks alone give little back");
  const live = ids.filter(({ stripe }) => stripe % 10 === 0);
  const moved = await compactAll(blocks, true);
  assert.ok(moved <= live.length * LENGTH);
  assert.ok((await usedBytes(disk)) < live.length * LENGTH * 1.2, `${await usedBytes(disk)} bytes for ${live.length} blocks`);
  await check(blocks, live);
  assert.equal(await compactAll(blocks, true), 0, "there is nothing to do any more");
  await blocks.close();
  const again = await disk.open();
  await check(again, live);
  assert.deepEqual(disk.damages, []);
  await again.close();
  // The marks and the segments agree with the index: built anew it says the same.
  disk.table = new MemoryTable();
  const rebuilt = await disk.open();
  await check(rebuilt, live);
  await rebuilt.close();
});

test("without being thorough, segments that are written to and half full ones stay", async () => {
  const disk = await TestDisk.create(2, { segmentBytesMax: 1024 * 1024 });
  const blocks = await disk.open();
  const ids = await fill(blocks, 1, 100);
  await blocks.delete(ids.slice(1));
  await blocks.sync();
  assert.equal(await compactAll(blocks, false, 0.5), 0);
  assert.ok((await compactAll(blocks, true, 0.5)) > 0);
  await check(blocks, ids.slice(0, 1));
  await blocks.close();
});

test("large deleted blocks leave holes, so their space is there without compaction; reserved space is returned", async () => {
  const disk = await TestDisk.create(3);
  const blocks = await disk.open();
  const length = 256 * 1024;
  const ids = await fill(blocks, 1, 40, length);
  await blocks.delete(ids.filter(({ stripe }) => stripe % 4 !== 0));
  await blocks.sync();
  await compactAll(blocks, true);
  const live = ids.filter(({ stripe }) => stripe % 4 === 0);
  assert.ok((await usedBytes(disk)) < live.length * length * 1.1, `${await usedBytes(disk)}`);
  await check(blocks, live, length);
  await check(blocks, [...live, ...(await fill(blocks, 100, 10, length))], length);
  await blocks.close();
});

test("blocks are stored, deleted and read while segments are compacted", async () => {
  const disk = await TestDisk.create(4, { segmentBytesMax: 1024 * 1024 });
  disk.directory.delay = () => new Promise(setImmediate);
  const blocks = await disk.open();
  let live = await fill(blocks, 1, 600);
  let working = true;
  const compacting = (async () => {
    while (working) await blocks.compact({ below: 0.9, thorough: true });
  })();
  for (let round = 0; round < 8; round++) {
    const doomed = live.filter(({ stripe }) => (stripe + round) % 3 === 0);
    const kept = live.filter((id) => !doomed.includes(id));
    const [more] = await Promise.all([fill(blocks, 1000 * (round + 1), 100), blocks.delete(doomed)]);
    live = [...kept, ...more];
    await check(blocks, live);
  }
  working = false;
  await compacting;
  await check(blocks, live);
  await blocks.close();
  const again = await disk.open();
  await check(again, live);
  await again.close();
});

test("a damaged block stays where it is and does not hold compaction up", async () => {
  const disk = await TestDisk.create(5, { segmentBytesMax: 512 * 1024 });
  const blocks = await disk.open();
  const ids = await fill(blocks, 1, 120);
  await blocks.delete(ids.slice(2));
  await blocks.sync();
  const place = (await blocks.locate(ids[1]))!;
  disk.directory.flip(place.file, place.offset + 10, 3);
  await compactAll(blocks, true);
  const into = new Uint8Array(LENGTH);
  await blocks.retrieve(ids[0], 0, into);
  await assert.rejects(blocks.retrieve(ids[1], 0, into), { code: "EBADMSG" });
  await blocks.close();
});

test("at whatever call the power goes while segments are compacted, no block that was synced is lost", async () => {
  await forEachSeed(159, 1, async (crashAt) => {
    const random = seededRandom(crashAt);
    const disk = await TestDisk.create(crashAt, { segmentBytesMax: 512 * 1024 });
    const blocks = await disk.open();
    const ids = await fill(blocks, 1, 50);
    const live = ids.filter(({ stripe }) => stripe % 10 === 0);
    await blocks.delete(ids.filter(({ stripe }) => stripe % 10 !== 0));
    await blocks.sync();
    const until = disk.directory.calls + 1 + (crashAt % 80);
    let crashed = false;
    disk.directory.delay = async () => {
      // Calls that were made at once end in any order.
      while (random() < 0.5) await new Promise(setImmediate);
      if (crashed || disk.directory.calls < until) return;
      crashed = true;
      disk.crash(crashAt % (disk.table.unflushedBatches + 1));
    };
    await compactAll(blocks, true).catch(() => {});
    disk.directory.delay = null;
    if (!crashed) disk.crash(0);
    // Without the index only what is in the segments counts.
    if (random() < 0.7) disk.table = new MemoryTable();
    const again = await disk.open();
    await check(again, live);
    await again.close();
  });
});

test("whatever call fails while segments are compacted, no block is lost", async () => {
  for (let failAt = 1; failAt < 120; failAt += 3) {
    const disk = await TestDisk.create(failAt, { segmentBytesMax: 512 * 1024 });
    const blocks = await disk.open();
    const ids = await fill(blocks, 1, 150);
    await blocks.delete(ids.filter(({ stripe }) => stripe % 5 !== 0));
    await blocks.sync();
    const live = ids.filter(({ stripe }) => stripe % 5 === 0);
    disk.directory.faults = [{ call: disk.directory.calls + failAt, code: failAt % 2 === 0 ? "EIO" : "ENOSPC" }];
    await compactAll(blocks, true).catch(() => {});
    disk.directory.faults = [];
    await blocks.close().catch(() => {});
    const again = await disk.open();
    await check(again, live);
    await again.close();
  }
});
