// A handful of seeds; `npm run simulate` runs any number of them, and makes a failing one small.

import assert from "node:assert/strict";
import test from "node:test";
import { Runner } from "./runner.ts";
import { DANGERS, makeRounds } from "./steps.ts";

const STEPS = 1200;

for (const seed of [1, 3, 4, 6, 7]) {
  test(`two mounts and a model agree through power cuts and lost disks, seed ${seed}`, async () => {
    await Runner.run(seed, makeRounds(seed, STEPS, DANGERS));
  });
}

// Which seed found what: the runs that once failed.
for (const [seed, steps, what] of [
  [2, 1000, "the kernel is told of an inode again which it learns of after an invalidation"],
  [108, 400, "a recall does not wait for the pages of a read that waits for it"],
  [5, 1000, "a copy takes the source's size from under a lease"],
  [74, 850, "what was written to a file is not dropped with its last name while another mount has it open"],
  [37, 750, "a listing that is answered during a recall of its directory is not cached"],
  [40, 1500, "a file's size is not committed before the bytes of its own buffer that made it"],
  [58, 700, "a mount that unlinks a file has no lease on it by that"],
  [5008, 1500, "pages of a write that waits for its lease are read again meanwhile"],
] as const) {
  test(`seed ${seed}: ${what}`, async () => {
    await Runner.run(seed, makeRounds(seed, steps, DANGERS));
  });
}

test("the same seed gives the same run to the last event", async () => {
  const rounds = makeRounds(3, 700, { ...DANGERS, cut: 60, lose: 100, heal: 100, clean: 20 });
  const [one, other] = [await Runner.run(3, rounds), await Runner.run(3, rounds)];
  assert.deepEqual(other.story, one.story);
  assert.equal(other.simulatedMs, one.simulatedMs);
});
