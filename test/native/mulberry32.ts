import assert from "node:assert/strict";
import test from "node:test";
import { seededRandom as codingRandom } from "../../coding/seeded-random.ts";
import { mulberry32 } from "../../native/mulberry32.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";

test("the numbers of a seed are those that searches and failing seeds were recorded with", () => {
  const next = mulberry32(1);
  assert.deepEqual([next(), next(), next()], [2693262067, 11749833, 2265367787]);
  const random = seededRandom(1);
  const coding = codingRandom(1);
  for (let count = 0; count < 100; count++) assert.equal(coding.below(1000), randomBelow(random, 1000));
});

test("seeds are taken as 32 bits", () => assert.equal(mulberry32(-1)(), mulberry32(0xffffffff)()));
