import assert from "node:assert/strict";
import test from "node:test";
import { WALK_READS_MIN, WALK_STEP_MAX_BYTES } from "../../../fs/mount/limits.ts";
import { ReadAhead } from "../../../fs/mount/read-ahead.ts";
import type { Stripe } from "../../../replication/stripe.ts";
import { MemoryStripes } from "./doubles.ts";

const STRIPE_BYTES = 4 * 1024 * 1024;
const READ_BYTES = 4096;

async function twoStripes(): Promise<{ ahead: ReadAhead; stripes: Stripe[] }> {
  const memory = new MemoryStripes();
  const stripes = [
    await memory.write(1, "copies:1", new Uint8Array(STRIPE_BYTES).fill(1)),
    await memory.write(2, "copies:1", new Uint8Array(STRIPE_BYTES).fill(2)),
  ];
  return { ahead: new ReadAhead(memory, (bytes) => new Uint8Array(bytes)), stripes };
}

test("small reads that step through a stripe have it fetched whole, and the next one at its first read", async () => {
  const { ahead, stripes } = await twoStripes();
  const [first, second] = stripes;
  for (let count = 1; count < WALK_READS_MIN; count++)
    assert.equal(ahead.walked(first, count * 200_000, READ_BYTES), undefined, `read ${count}`);
  const fetched = ahead.walked(first, WALK_READS_MIN * 200_000, READ_BYTES);
  assert.ok(fetched?.loading, "the stripe is being read");
  await fetched.loading;
  assert.deepEqual([fetched.bytes[0], fetched.bytes[STRIPE_BYTES - 1]], [1, 1]);
  assert.equal(ahead.walked(first, STRIPE_BYTES - READ_BYTES, READ_BYTES), fetched, "further reads find it");
  assert.ok(ahead.walked(second, 0, READ_BYTES)?.loading, "the walk goes on in the stripe that follows");
});

test("small reads far apart, or backwards, fetch no stripe", async () => {
  const { ahead, stripes } = await twoStripes();
  for (let count = 0; count < 8; count++) {
    const far = count * (WALK_STEP_MAX_BYTES + 2 * READ_BYTES);
    assert.equal(ahead.walked(stripes[0], far, READ_BYTES), undefined);
    assert.equal(ahead.walked(stripes[1], STRIPE_BYTES - (count + 1) * READ_BYTES, READ_BYTES), undefined);
  }
  assert.equal(ahead.has(1), false);
  assert.equal(ahead.has(2), false);
});

test("a small stripe is not fetched whole", async () => {
  const memory = new MemoryStripes();
  const stripe = await memory.write(1, "copies:1", new Uint8Array(128 * 1024));
  const ahead = new ReadAhead(memory, (bytes) => new Uint8Array(bytes));
  for (let count = 0; count < 8; count++) assert.equal(ahead.walked(stripe, count * READ_BYTES, READ_BYTES), undefined);
});
