import assert from "node:assert/strict";
import test from "node:test";
import { AlignedPool } from "../../storage/aligned-pool.ts";

test("a pool makes no more buffers than its bound, uses them again, and serves who waits in order", async () => {
  const pool = new AlignedPool({ bufferBytes: 8192, buffersMax: 2, waitingMax: 2 });
  const first = await pool.take();
  const second = pool.tryTake()!;
  assert.equal(first.length, 8192);
  assert.notEqual(first, second);
  assert.equal(pool.tryTake(), null);
  const order: string[] = [];
  const third = pool.take().then((buffer) => (order.push("third"), buffer));
  const fourth = pool.take().then((buffer) => (order.push("fourth"), buffer));
  await assert.rejects(pool.take(), { code: "EBUSY" });
  pool.give(first);
  assert.equal(await third, first);
  pool.give(second);
  assert.equal(await fourth, second);
  assert.deepEqual(order, ["third", "fourth"]);
  assert.equal(pool.taken, 2);
  pool.give(first);
  assert.throws(() => pool.give(first), /twice/);
  assert.throws(() => pool.give(new Uint8Array(8192)), /not of this pool/);
});

test("a pool refuses a size that no direct file could use", () => {
  assert.throws(() => new AlignedPool({ bufferBytes: 1000, buffersMax: 1 }), /multiple/);
});
