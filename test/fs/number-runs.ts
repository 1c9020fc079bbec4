import assert from "node:assert/strict";
import test from "node:test";
import { countInRuns, inRuns, runsOf } from "../../fs/number-runs.ts";
import { seededRandom } from "../../storage/seeded-random.ts";

test("runs say which numbers there are, and how many", () => {
  assert.deepEqual(runsOf([]), []);
  assert.deepEqual(runsOf([1]), [1, 1]);
  assert.deepEqual(runsOf([1, 2, 3, 5, 8, 9]), [1, 3, 5, 5, 8, 9]);
  const random = seededRandom(1);
  for (let round = 0; round < 50; round++) {
    const numbers = Array.from({ length: 60 }, (_, index) => index + 1).filter(() => random() < 0.6);
    const runs = runsOf(numbers);
    assert.equal(countInRuns(runs), numbers.length);
    for (let number = 0; number <= 62; number++) assert.equal(inRuns(runs, number), numbers.includes(number));
  }
});
