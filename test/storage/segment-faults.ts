// The n-th call to the disk fails, for every n: what was promised holds, and the store goes on where it can.
import assert from "node:assert/strict";
import test from "node:test";
import type { BlockId } from "../../storage/blocks.ts";
import type { SegmentBlocks } from "../../storage/segment-blocks.ts";
import { bytesOf, TestDisk } from "./segment-disk.ts";

const LENGTHS = [3000, 140_000, 20_000, 131_072];

/** A fixed course of stores, syncs and deletes. Returns what must be there and what must not, as far as calls succeeded. */
async function course(blocks: SegmentBlocks, disk: TestDisk): Promise<{ kept: BlockId[]; gone: BlockId[] }> {
  const kept = new Set<BlockId>();
  const gone = new Set<BlockId>();
  const attempt = async (action: () => Promise<void>, then: () => void): Promise<void> => {
    try {
      await action();
      then();
    } catch (error) {
      assert.match(String((error as { code?: string }).code), /^(EIO|ENOSPC)$/, String(error));
    }
  };
  let stored: BlockId[] = [];
  for (let stripe = 1; stripe <= 12; stripe++) {
    disk.milliseconds += 400;
    const id = { stripe, index: 0 };
    await attempt(
      () => blocks.store(id, bytesOf(stripe, 0, LENGTHS[stripe % 4])),
      () => stored.push(id),
    );
    if (stripe % 3 === 0) {
      await attempt(
        () => blocks.sync(),
        () => {
          for (const id of stored) kept.add(id);
          stored = [];
        },
      );
    }
    const doomed = { stripe: stripe - 3, index: 0 };
    if (stripe % 4 === 0) {
      const known = [...kept].find(({ stripe }) => stripe === doomed.stripe);
      if (known !== undefined) kept.delete(known);
      await attempt(
        async () => {
          await blocks.delete([doomed]);
          await blocks.sync();
        },
        () => {
          gone.add(doomed);
          for (const id of stored) kept.add(id);
          stored = [];
        },
      );
    }
  }
  return { kept: [...kept], gone: [...gone] };
}

async function check(blocks: SegmentBlocks, { kept, gone }: { kept: BlockId[]; gone: BlockId[] }, story: string): Promise<void> {
  for (const id of kept) {
    const into = new Uint8Array(LENGTHS[id.stripe % 4]);
    await blocks.retrieve(id, 0, into);
    assert.equal(Buffer.compare(into, bytesOf(id.stripe, 0, into.length)), 0, `${story}: block of stripe ${id.stripe}`);
  }
  for (const id of gone) assert.equal(await blocks.locate(id), null, `${story}: stripe ${id.stripe} is back`);
}

for (const code of ["EIO", "ENOSPC"]) {
  test(`when the n-th call fails with ${code}, for every n, what was synced is kept and nothing wrong is returned`, async () => {
    for (let call = 1, last = false; !last; call++) {
      const disk = await TestDisk.create(call, { segmentBytesMax: 512 * 1024 });
      disk.directory.faults = [{ call: disk.directory.calls + call, code }];
      const story = `${code} at call ${call}`;
      const end = disk.directory.calls + call;
      let result: { kept: BlockId[]; gone: BlockId[] } = { kept: [], gone: [] };
      try {
        const blocks = await disk.open();
        result = await course(blocks, disk);
        await check(blocks, result, story);
        await blocks.close();
      } catch (error) {
        assert.match(String((error as { code?: string }).code), /^(EIO|ENOSPC)$/, `${story}: ${String(error)}`);
      }
      last = disk.directory.calls < end;
      disk.directory.faults = [];
      disk.crash(call % (disk.table.unflushedBatches + 1));
      const blocks = await disk.open();
      await check(blocks, result, `${story}, after the power was cut`);
      await blocks.store({ stripe: 100, index: 0 }, bytesOf(100, 0, 5000));
      await blocks.sync();
      await blocks.close();
    }
  });
}

test("a full disk refuses stores with ENOSPC, keeps what it has, deletes, and takes blocks again", async () => {
  const disk = await TestDisk.create(1, { totalBytes: 24 * 1024 * 1024 });
  const blocks = await disk.open();
  const stored: BlockId[] = [];
  let refused = 0;
  for (let stripe = 1; refused < 6; stripe++) {
    const id = { stripe, index: 0 };
    try {
      await blocks.store(id, bytesOf(stripe, 0, stripe % 2 === 0 ? 400_000 : 9000));
      stored.push(id);
    } catch (error) {
      assert.equal((error as { code: string }).code, "ENOSPC");
      refused++;
    }
  }
  await blocks.sync();
  assert.ok(stored.length > 40, `${stored.length} blocks fit`);
  for (const id of stored) assert.equal(await blocks.verify(id), "good");
  const doomed = stored.splice(0, 30);
  await blocks.delete(doomed);
  await blocks.sync();
  for (let stripe = 1000; stripe < 1010; stripe++) {
    await blocks.store({ stripe, index: 0 }, bytesOf(stripe, 0, 300_000));
    stored.push({ stripe, index: 0 });
  }
  await blocks.close();
  const again = await disk.open();
  assert.equal((await again.space()).blocks, stored.length);
  for (const id of stored) assert.equal(await again.verify(id), "good");
  for (const id of doomed) assert.equal(await again.locate(id), null);
  assert.deepEqual(disk.damages, []);
  await again.close();
});

test("when the directory is gone, stores that need it fail soon and say so, and healthy() gives the reason", async () => {
  const disk = await TestDisk.create(2, { segmentBytesMax: 512 * 1024 });
  const blocks = await disk.open();
  await blocks.store({ stripe: 1, index: 0 }, bytesOf(1, 0, 200_000));
  assert.equal(await blocks.healthy(), null);
  disk.directory.wipe();
  assert.match((await blocks.healthy())!, /cairn-disk.json/);
  const codes: string[] = [];
  for (let stripe = 2; stripe < 8; stripe++) {
    await blocks
      .store({ stripe, index: 0 }, bytesOf(stripe, 0, 200_000))
      .catch((error: { code: string }) => codes.push(error.code));
  }
  assert.ok(codes.includes("ENOENT"), codes.join());
});

test("a sync that waits behind one that fails is refused as well, at whatever turn of a store they come", async () => {
  for (let turns = 0; turns < 60; turns++) {
    const disk = await TestDisk.create(3);
    const blocks = await disk.open();
    await blocks.store({ stripe: 1, index: 0 }, bytesOf(1, 0, 5000));
    let first: Promise<unknown> | null = null;
    const syncAfterTurns = async (): Promise<unknown> => {
      for (let turn = 0; turn < turns; turn++) await null;
      return blocks.sync().catch(String);
    };
    disk.directory.delay = async (action) => {
      await new Promise(setImmediate);
      if (action === "sync") throw Object.assign(new Error("the medium is worn out"), { code: "EIO" });
      first ??= syncAfterTurns();
    };
    await blocks.store({ stripe: 2, index: 0 }, bytesOf(2, 0, 5000)).catch(() => {});
    const second = await blocks.sync().catch(String);
    assert.match(String(await first), /takes no more blocks/, `${turns} turns`);
    assert.match(String(second), /takes no more blocks/, `${turns} turns`);
    disk.directory.delay = null;
    await blocks.close();
  }
});

test("after a failed sync nothing is called durable any more, and reads go on", async () => {
  const disk = await TestDisk.create(3);
  const blocks = await disk.open();
  await blocks.store({ stripe: 1, index: 0 }, bytesOf(1, 0, 5000));
  disk.directory.faults = [{ call: disk.directory.calls + 1, code: "EIO" }];
  await assert.rejects(blocks.sync(), { code: "EIO", message: /takes no more blocks/ });
  await assert.rejects(blocks.sync(), { code: "EIO" });
  await assert.rejects(blocks.store({ stripe: 2, index: 0 }, bytesOf(2, 0, 10)), { code: "EIO" });
  assert.match((await blocks.healthy())!, /takes no more blocks/);
  const into = new Uint8Array(5000);
  await blocks.retrieve({ stripe: 1, index: 0 }, 0, into);
  assert.deepEqual(into, bytesOf(1, 0, 5000));
  await blocks.close();
});
