import assert from "node:assert/strict";
import test from "node:test";
import { Cache } from "../../../fs/namespace/cache.ts";
import { randomBelow, seededRandom } from "../../../storage/seeded-random.ts";

const sizeOf = (value: { bytes: number }): number => value.bytes;

test("it keeps as much as fits, and what is used stays longer than what is not", () => {
  const cache = new Cache<number, { bytes: number }>(100, sizeOf);
  for (let key = 0; key < 10; key++) cache.set(key, { bytes: 10 });
  assert.equal(cache.size, 10);
  for (let key = 10; key < 30; key++) {
    assert.notEqual(cache.get(0), undefined);
    cache.set(key, { bytes: 10 });
    assert.ok(cache.size >= 9 && cache.size <= 10);
  }
  assert.equal(cache.get(1), undefined);
});

test("a value that is replaced counts as what it is now", () => {
  const cache = new Cache<string, { bytes: number }>(100, sizeOf);
  for (let round = 0; round < 1000; round++) {
    cache.set("large", { bytes: 10 + (round % 80) });
    cache.set("small", { bytes: 1 });
    assert.equal(cache.size, 2);
  }
  cache.set("large", { bytes: 100 });
  assert.ok(cache.size < 2);
});

test("deleted and shrunk values give their room back", () => {
  const cache = new Cache<number, { bytes: number }>(100, sizeOf);
  for (let key = 0; key < 1000; key++) {
    cache.set(key, { bytes: 50 });
    cache.delete(key);
  }
  const growing = { bytes: 10 };
  cache.set(1, growing);
  for (let round = 0; round < 1000; round++) {
    growing.bytes += 40;
    cache.grew(40);
    growing.bytes -= 40;
    cache.grew(-40);
  }
  cache.set(2, { bytes: 50 });
  assert.equal(cache.size, 2);
});

test("while it is held nothing is forgotten; afterwards it goes back to its maximum", () => {
  const cache = new Cache<number, { bytes: number }>(100, sizeOf);
  cache.holds++;
  for (let key = 0; key < 50; key++) cache.set(key, { bytes: 10 });
  assert.equal(cache.size, 50);
  cache.holds--;
  cache.set(50, { bytes: 10 });
  assert.equal(cache.size, 9);
});

test("random use never takes it above its maximum, and never empties it", () => {
  const random = seededRandom(1);
  const cache = new Cache<number, { bytes: number }>(1000, sizeOf);
  const kept = new Map<number, { bytes: number }>();
  for (let step = 0; step < 20_000; step++) {
    const key = randomBelow(random, 200);
    const kind = randomBelow(random, 10);
    if (kind < 5) {
      const value = { bytes: 1 + randomBelow(random, 50) };
      cache.set(key, value);
      kept.set(key, value);
    } else if (kind < 9) {
      const found = cache.get(key);
      assert.ok(found === undefined || found === kept.get(key), `step ${step}: an old value`);
    } else {
      cache.delete(key);
      kept.delete(key);
    }
    let bytes = 0;
    for (const [key, value] of kept) if (cache.get(key) === value) bytes += value.bytes;
    assert.ok(bytes <= 1000, `step ${step}: ${bytes} bytes`);
    if (step > 1000) assert.ok(bytes > 700, `step ${step}: ${bytes} bytes`);
  }
});

test("what is pinned stays, also where it is more than the maximum; when it is let go, it is forgotten like all else", () => {
  const cache = new Cache<number, { bytes: number }>(100, sizeOf);
  for (const key of [1, 2, 3]) cache.pin(key, 1);
  cache.pin(3, 1);
  for (const key of [1, 2, 3]) cache.set(key, { bytes: 90 });
  for (let key = 10; key < 200; key++) cache.set(key, { bytes: 10 });
  for (const key of [1, 2, 3]) assert.notEqual(cache.get(key), undefined);
  assert.ok(cache.size <= 14, `${cache.size} values`);
  for (const key of [1, 2, 3]) cache.pin(key, -1);
  for (let key = 200; key < 230; key++) cache.set(key, { bytes: 10 });
  assert.equal(cache.get(1), undefined);
  assert.equal(cache.get(2), undefined);
  assert.notEqual(cache.get(3), undefined);
  cache.pin(3, -1);
  for (let key = 230; key < 260; key++) cache.set(key, { bytes: 10 });
  assert.equal(cache.get(3), undefined);
  assert.ok(cache.size >= 9 && cache.size <= 10);
});
