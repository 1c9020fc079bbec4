// The kill bench, a few rounds of it.

import assert from "node:assert/strict";
import test from "node:test";
import { killRounds } from "../../bench/kill.ts";
import { makeStore } from "../fixture/store.ts";

test("what was synced outlives ten kills of the daemon under load, in order and whole", async () => {
  const store = makeStore("kill");
  try {
    const { problems, durable } = await killRounds(store, 10, 1, () => {});
    assert.deepEqual(problems, []);
    assert(durable > 0, "something was synced");
  } finally {
    await store.destroy();
  }
});
