// A handful of seeds; `npm run simulate` runs any number of them, and makes a failing one small.

import assert from "node:assert/strict";
import test from "node:test";
import { Runner } from "./runner.ts";
import { DANGERS, makeRounds } from "./steps.ts";

const STEPS = 500;

for (const seed of [1, 2, 3, 4, 6]) {
  test(`two mounts and a model agree through power cuts, lost disks, failing calls, stopped and killed mounts, seed ${seed}`, async () => {
    await Runner.run(seed, makeRounds(seed, STEPS, DANGERS));
  });
}

test("the same seed gives the same run to the last event", async () => {
  const rounds = makeRounds(3, 400, { ...DANGERS, cut: 60, lose: 100, heal: 100, clean: 20 });
  const [one, other] = [await Runner.run(3, rounds), await Runner.run(3, rounds)];
  assert.deepEqual(other.story, one.story);
  assert.equal(other.simulatedMs, one.simulatedMs);
});
