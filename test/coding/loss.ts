import assert from "node:assert/strict";
import test from "node:test";
import { lossCounts, lossProbability } from "../../coding/loss.ts";
import { encodeCosts, repairCosts } from "../../coding/scheme-costs.ts";
import { parseScheme } from "../../coding/scheme.ts";
import { binomial, complement, randomSubset, subsets } from "../../coding/subsets.ts";
import { seededRandom } from "../../coding/seeded-random.ts";

test("losses are counted, and fatal ones named", () => {
  const four = lossCounts(parseScheme("rapidraid:4+4"));
  assert.deepEqual(
    four.map(({ sets, undecodable }) => [sets, undecodable]),
    [
      [8, 0],
      [28, 0],
      [56, 0],
      [70, 1],
    ],
  );
  assert.deepEqual(four[3].fatal, [[2, 3, 6, 7]]);
  const eleven = lossCounts(parseScheme("rapidraid:11+5"));
  assert.deepEqual(
    eleven.map(({ undecodable }) => undecodable),
    [0, 0, 0, 1, 21],
  );
  assert.ok(eleven.every(({ sampled }) => !sampled));
  assert.deepEqual(
    lossCounts(parseScheme("rs:4+2")).map(({ undecodable }) => undecodable),
    [0, 0],
  );
  assert.deepEqual(lossCounts(parseScheme("copies:1")), []);
});

test("the probability of loss is what enumerating all states gives", () => {
  for (const scheme of ["rapidraid:4+4", "rs:4+2", "copies:3", "rapidraid:6+4"]) {
    const code = parseScheme(scheme);
    for (const unavailability of [0.001, 0.05, 0.5]) {
      let expected = 0;
      for (let losses = 0; losses <= code.totalBlocks; losses++) {
        for (const lost of subsets(code.totalBlocks, losses)) {
          if (code.decodable(complement(code.totalBlocks, lost))) continue;
          expected += unavailability ** losses * (1 - unavailability) ** (code.totalBlocks - losses);
        }
      }
      const probability = lossProbability(code, lossCounts(code), unavailability);
      assert.ok(Math.abs(probability / expected - 1) < 1e-9, `${scheme} at ${unavailability}: ${probability} for ${expected}`);
    }
  }
});

test("the network costs of schemes are those of the literature", () => {
  const classical = encodeCosts(parseScheme("rs:11+5"), 2).classical;
  assert.deepEqual(classical, { scheme: "rs:11+5", movedBytes: 2 * 15, mostInBytes: 2 * 11, mostOutBytes: 2 * 4 });
  const { pipelined } = encodeCosts(parseScheme("rapidraid:11+5"), 2);
  assert.deepEqual(pipelined, { movedBytes: 2 * 15, mostInBytes: 2, mostOutBytes: 2 });
  const repair = repairCosts(parseScheme("rapidraid:4+4"), 2);
  assert.deepEqual([repair?.fewestBlocksRead, repair?.mostBlocksRead, repair?.pipelined.mostInBytes], [3, 4, 2]);
  assert.equal(repairCosts(parseScheme("copies:1"), 2), null);
  assert.equal(encodeCosts(parseScheme("copies:3"), 2).classical.movedBytes, 4);
});

test("sets are enumerated, counted and drawn alike", () => {
  assert.equal(Array.from(subsets(8, 4), (set) => set.join()).length, binomial(8, 4));
  assert.deepEqual(
    Array.from(subsets(3, 2), (set) => [...set]),
    [
      [0, 1],
      [0, 2],
      [1, 2],
    ],
  );
  assert.deepEqual(Array.from(subsets(2, 3)), []);
  assert.deepEqual(
    Array.from(subsets(2, 0), (set) => [...set]),
    [[]],
  );
  assert.equal(binomial(16, 11), 4368);
  assert.equal(binomial(4, 5), 0);
  const { below } = seededRandom(5);
  const seen = new Map<string, number>();
  for (let drawn = 0; drawn < 6000; drawn++) {
    const set = randomSubset(4, 2, below).join();
    seen.set(set, (seen.get(set) ?? 0) + 1);
  }
  assert.equal(seen.size, 6);
  assert.ok([...seen.values()].every((count) => count > 850 && count < 1150));
});
