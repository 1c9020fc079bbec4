import assert from "node:assert/strict";
import test from "node:test";
import { BufferPool } from "../../../fs/mount/buffers.ts";

test("buffers that nobody needs are let go bit by bit, some stay, and as many as before can be had again", () => {
  let allocated = 0;
  const pool = new BufferPool(32, () => {
    allocated++;
    return new Uint8Array(1);
  });
  const takeAll = (): Uint8Array[] => Array.from({ length: 32 }, () => pool.take()!);
  const first = takeAll();
  assert.equal(pool.take(), null);
  pool.trim();
  for (const bytes of first) pool.give(bytes);
  // All were needed since the last trim.
  pool.trim();
  assert.equal(takeAll().length, 32);
  assert.equal(allocated, 32);
  for (const bytes of first) pool.give(bytes);
  for (let turn = 0; turn < 50; turn++) pool.trim();
  assert.equal(pool.available, 32);
  assert.equal(takeAll().filter(Boolean).length, 32);
  assert.equal(allocated, 32 + 28);
  assert.equal(pool.taken, 32);
});
