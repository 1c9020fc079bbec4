import test from "node:test";
import assert from "node:assert/strict";
import { denseRange, READ_AHEAD_MAX, ReadAhead } from "../../../fs/namespace/read-ahead.ts";

test("a single miss loads nothing more, a walk upwards loads twice as much each time up to the maximum", () => {
  const ahead = new ReadAhead();
  assert.equal(ahead.missed(1000), 1);
  let at = 1020;
  for (const expected of [64, 128, 256, 512, READ_AHEAD_MAX, READ_AHEAD_MAX]) {
    assert.equal(ahead.missed(at), expected);
    at += expected;
  }
});

test("misses far apart or downwards are no walk, and walks beside each other go on separately", () => {
  const ahead = new ReadAhead();
  assert.equal(ahead.missed(50_000), 1);
  assert.equal(ahead.missed(40_000), 1);
  assert.equal(ahead.missed(30_000), 1);
  assert.equal(ahead.missed(50_001), 64);
  assert.equal(ahead.missed(40_001), 64);
  assert.equal(ahead.missed(50_065), 128);
});

test("a range is dense where it has at most three numbers for each that is wanted", () => {
  assert.deepEqual(denseRange([7, 1, 3, 4, 5, 2, 8, 24]), { first: 1, count: 24 });
  assert.equal(denseRange([7, 1, 3, 4, 5, 2, 8, 26]), null);
  assert.equal(denseRange([1, 2]), null);
});
