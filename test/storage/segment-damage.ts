// Bit rot: in data, headers and the index. Nothing wrong is ever returned, and no other block is lost.
import assert from "node:assert/strict";
import test from "node:test";
import type { BlockId, BlockInfo } from "../../storage/blocks.ts";
import type { Clock } from "../../storage/clock.ts";
import { META_KEY, blockKey, segmentKey } from "../../storage/block-index-format.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { scrubDisk } from "../../storage/scrub.ts";
import type { SegmentBlocks } from "../../storage/segment-blocks.ts";
import { bytesOf, TestDisk } from "./segment-disk.ts";

const LENGTHS = [100, 5000, 40_000, 150_000];

async function filled(seed: number, stripes = 16): Promise<{ disk: TestDisk; blocks: SegmentBlocks; infos: BlockInfo[] }> {
  const disk = await TestDisk.create(seed, { cacheBytes: 0 });
  const blocks = await disk.open();
  for (let stripe = 1; stripe <= stripes; stripe++)
    await blocks.store({ stripe, index: 1 }, bytesOf(stripe, 1, LENGTHS[stripe % 4]));
  await blocks.close();
  const again = await disk.open();
  return { disk, blocks: again, infos: await again.list(null, 100) };
}

async function isRight(blocks: SegmentBlocks, { stripe, index }: BlockId): Promise<boolean> {
  const into = new Uint8Array(LENGTHS[stripe % 4]);
  await blocks.retrieve({ stripe, index }, 0, into);
  return Buffer.compare(into, bytesOf(stripe, index, into.length)) === 0;
}

test("a flipped bit of data is EBADMSG that names disk, file, offset and block; the other pieces still come", async () => {
  const { disk, blocks, infos } = await filled(1);
  const info = infos.find(({ bytes }) => bytes === 150_000)!;
  disk.directory.flip(info.file, info.offset + 16384 * 3 + 77, 5);
  await assert.rejects(isRight(blocks, info), (error: Error & { code: string }) => {
    assert.equal(error.code, "EBADMSG");
    for (const part of [disk.directory.path, info.file, String(info.offset + 16384 * 3), `stripe ${info.stripe}`, "block 1"])
      assert.ok(error.message.includes(part), error.message);
    return true;
  });
  const into = new Uint8Array(16384 * 3);
  await blocks.retrieve(info, 0, into);
  assert.equal(Buffer.compare(into, bytesOf(info.stripe, 1, 150_000).subarray(0, into.length)), 0);
  assert.equal(blocks.retrieveNow(info, 16384 * 3, new Uint8Array(10)), false);
  assert.equal(await blocks.verify(info), "damaged");
  assert.ok(disk.damages.length >= 2);
  // Storing it again mends it.
  await blocks.store(info, bytesOf(info.stripe, 1, 150_000));
  assert.equal(await isRight(blocks, info), true);
  assert.equal((await blocks.space()).blocks, 16);
  await blocks.close();
});

test("random flips in segments never give wrong bytes, and touch only the blocks that they hit", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { disk, blocks, infos } = await filled(seed);
    const random = seededRandom(seed);
    const hit = new Set<number>();
    for (let flip = 0; flip < 4; flip++) {
      const info = infos[randomBelow(random, infos.length)];
      disk.directory.flip(info.file, info.offset + randomBelow(random, info.bytes), randomBelow(random, 8));
      hit.add(info.stripe);
    }
    for (const info of infos) {
      const right = await isRight(blocks, info).catch((error: { code: string }) => error.code);
      if (!hit.has(info.stripe)) assert.equal(right, true, `seed ${seed}`);
      else assert.ok(right === "EBADMSG" || right === true, `seed ${seed}: ${right}`);
    }
    await blocks.close();
  }
});

test("with the index gone and a record's header damaged, every other block is found and the damage is reported", async () => {
  for (const which of [2, 3, 4, 5]) {
    const { disk, blocks, infos } = await filled(which);
    await blocks.close();
    const info = infos[which];
    const headerAt = info.offset - (info.file.endsWith("large") ? 4096 : 64);
    disk.directory.flip(info.file, headerAt + 9, 2);
    disk.table.crash(0);
    for (const key of await disk.table.range({ gte: Uint8Array.of(0), lt: Uint8Array.of(255) }))
      await disk.table.write({ puts: [], deletes: [key.key] });
    const again = await disk.open();
    for (const other of infos) {
      if (other.stripe === info.stripe) assert.equal(await again.locate(other), null);
      else assert.equal(await isRight(again, other), true);
    }
    assert.ok(
      disk.damages.some(({ file, offset }) => file.endsWith(info.file) && offset === headerAt),
      JSON.stringify(disk.damages),
    );
    assert.equal((await again.space()).blocks, infos.length - 1);
    await again.close();
  }
});

test("a damaged index value is reported and mended from the segments", async () => {
  const { disk, blocks, infos } = await filled(1);
  const key = blockKey(infos[5]);
  const [value] = await disk.table.get([key]);
  value![3] ^= 1;
  await disk.table.write({ puts: [{ key, value: value! }], deletes: [] });
  assert.equal(await isRight(blocks, infos[5]), true);
  assert.equal(disk.damages[0].kind, "index");
  await blocks.close();
  disk.damages = [];
  const again = await disk.open();
  assert.equal(await isRight(again, infos[5]), true);
  assert.equal((await again.space()).blocks, infos.length);
  assert.deepEqual(disk.damages, []);
  await again.close();
});

test("a damaged head, a damaged summary or an index that cannot be opened is built again", async () => {
  const ways: [string, (disk: TestDisk) => Promise<void>][] = [
    ["head", async ({ table }) => table.write({ puts: [{ key: META_KEY, value: new Uint8Array(20) }], deletes: [] })],
    ["summary", async ({ table }) => table.write({ puts: [{ key: segmentKey(1), value: new Uint8Array(28) }], deletes: [] })],
    ["lost head", async ({ table }) => table.write({ puts: [], deletes: [META_KEY] })],
  ];
  for (const [name, damage] of ways) {
    const { disk, blocks, infos } = await filled(1);
    await blocks.close();
    await damage(disk);
    const again = await disk.open();
    assert.equal(disk.resets, 1, name);
    for (const info of infos) assert.equal(await isRight(again, info), true, name);
    assert.equal((await again.space()).blocks, infos.length, name);
    await again.close();
  }
  const { disk, blocks, infos } = await filled(2);
  await blocks.close();
  let opens = 0;
  const again = await disk.open({
    index: {
      open: async () => {
        if (opens++ === 0) throw Object.assign(new Error("Corruption: bad block"), { code: "ECORRUPT" });
        return disk.table;
      },
      reset: async () => {
        disk.table.crash(0);
        for (const { key } of await disk.table.range({ gte: Uint8Array.of(0), lt: Uint8Array.of(255) }))
          await disk.table.write({ puts: [], deletes: [key] });
      },
    },
  });
  for (const info of infos) assert.equal(await isRight(again, info), true);
  assert.match(disk.damages[0].text, /bad block/);
  await again.close();
});

test("a segment that is gone is reported, its blocks are unknown, the others stay", async () => {
  const { disk, blocks, infos } = await filled(3);
  await blocks.close();
  const file = infos.find(({ bytes }) => bytes === 150_000)!.file;
  await disk.directory.remove(file);
  const again = await disk.open();
  assert.equal(disk.damages[0].kind, "missing");
  for (const info of infos) {
    if (info.file === file) await assert.rejects(isRight(again, info), { code: "ENOENT" });
    else assert.equal(await isRight(again, info), true);
  }
  assert.equal((await again.list(null, 100)).length, infos.filter((info) => info.file !== file).length);
  await again.close();
});

test("a segment of another version or another disk is refused by name", async () => {
  const { disk, blocks, infos } = await filled(4);
  await blocks.close();
  await assert.rejects(disk.open({ identity: { store: "another", disk: 9 } }), { code: "EINVAL", message: /another disk/ });
  assert.ok(infos.length > 0);
});

test("scrub walks every block at its rate, reports the damaged ones, stops when asked and goes on there", async () => {
  const { disk, blocks, infos } = await filled(5);
  const bad = [infos[2], infos[9]];
  for (const { file, offset } of bad) disk.directory.flip(file, offset, 0);
  let time = 0;
  const clock: Clock = {
    nowMs: () => time,
    after(delayMs, action) {
      time += delayMs;
      queueMicrotask(action);
      return () => undefined;
    },
  };
  const stop = new AbortController();
  const damaged: number[] = [];
  const onDamage = ({ stripe }: BlockInfo): void => {
    damaged.push(stripe);
    if (damaged.length === 1) stop.abort();
  };
  const total = infos.reduce((sum, { bytes }) => sum + bytes, 0);
  let at: BlockId | null = null;
  let bytes = 0;
  for await (const progress of scrubDisk(blocks, { rateBytesPerSecond: 100_000, clock, onDamage, signal: stop.signal })) {
    at = progress.at;
    bytes = progress.bytes;
  }
  assert.deepEqual(damaged, [bad[0].stripe]);
  assert.deepEqual(at, { stripe: bad[0].stripe, index: 1 });
  for await (const progress of scrubDisk(blocks, { rateBytesPerSecond: 100_000, clock, onDamage, from: at }))
    bytes += progress.bytes;
  assert.deepEqual(
    damaged,
    bad.map(({ stripe }) => stripe),
  );
  assert.equal(bytes, total);
  assert.ok(Math.abs(time - (total / 100_000) * 1000) < 1, `${time} ms`);
  await blocks.close();
});
