import assert from "node:assert/strict";
import test from "node:test";
import { CodingError } from "../../coding/code.ts";
import { ReedSolomon } from "../../coding/reed-solomon.ts";
import { randomNumbers } from "../fixture/random.ts";

function randomBlocks(count: number, length: number, random: (below: number) => number): Uint8Array[] {
  return Array.from({ length: count }, () => Uint8Array.from({ length }, () => random(256)));
}

/** All blocks of a stripe of random data. */
function stripe(code: ReedSolomon, length: number, random: (below: number) => number): Uint8Array[] {
  const data = randomBlocks(code.dataBlocks, length, random);
  const parity = randomBlocks(code.totalBlocks - code.dataBlocks, length, random);
  code.encode(data, parity);
  return [...data, ...parity];
}

/** Rebuilds the lost blocks from the given others and checks that they are the same bytes. */
function checkRebuild(
  code: ReedSolomon,
  blocks: readonly Uint8Array[],
  lost: readonly number[],
  sources: readonly number[],
): void {
  const into = lost.map(() => new Uint8Array(blocks[0].length).fill(0xee));
  code.reconstruct(new Map(sources.map((block) => [block, blocks[block]])), lost, into);
  lost.forEach((block, index) =>
    assert.deepEqual(into[index], blocks[block], `${code.scheme}: block ${block} from ${sources.join()}`),
  );
}

function shuffled(numbers: readonly number[], random: (below: number) => number): number[] {
  const result = [...numbers];
  for (let last = result.length - 1; last > 0; last--) {
    const other = random(last + 1);
    [result[last], result[other]] = [result[other], result[last]];
  }
  return result;
}

test("every loss of up to m blocks is survived by every code up to 8+4", () => {
  const random = randomNumbers(3);
  for (let k = 1; k <= 8; k++) {
    for (let m = 1; m <= 4; m++) {
      const code = new ReedSolomon(k, m);
      const blocks = stripe(code, 5, random);
      const all = blocks.map((_, block) => block);
      for (let mask = 1; mask < 1 << code.totalBlocks; mask++) {
        const lost = all.filter((block) => (mask >> block) & 1);
        if (lost.length > m) continue;
        checkRebuild(
          code,
          blocks,
          lost,
          all.filter((block) => !lost.includes(block)),
        );
      }
    }
  }
});

test("random losses are survived by large codes, from random k sources", () => {
  const random = randomNumbers(5);
  for (const [k, m] of [
    [11, 5],
    [16, 8],
    [32, 32],
    [1, 255],
    [200, 56],
    [255, 1],
  ]) {
    const code = new ReedSolomon(k, m);
    const blocks = stripe(code, 3, random);
    for (let round = 0; round < 8; round++) {
      const order = shuffled([...blocks.keys()], random);
      const lost = order.slice(0, 1 + random(Math.min(m, 20)));
      checkRebuild(code, blocks, lost, order.slice(lost.length, lost.length + k));
    }
  }
});

test("a range of the blocks is rebuilt from the same range of others", () => {
  const code = new ReedSolomon(4, 2);
  const blocks = stripe(code, 1000, randomNumbers(9));
  checkRebuild(
    code,
    blocks.map((block) => block.subarray(333, 700)),
    [1, 4],
    [0, 2, 3, 5],
  );
});

test("blocks of no bytes are coded without complaint", () => {
  const code = new ReedSolomon(3, 2);
  const none = () => new Uint8Array(0);
  code.encode([none(), none(), none()], [none(), none()]);
  code.reconstruct(
    new Map([
      [0, none()],
      [1, none()],
      [4, none()],
    ]),
    [2],
    [none()],
  );
});

test("blocks that are both wanted and present are copied", () => {
  const code = new ReedSolomon(4, 2);
  const blocks = stripe(code, 64, randomNumbers(10));
  checkRebuild(code, blocks, [0, 5, 1], [0, 1, 2, 3]);
  checkRebuild(code, blocks, [2], [2]);
});

test("the asynchronous forms do the same", async () => {
  const random = randomNumbers(12);
  for (const length of [0, 1, 4097, 1 << 20]) {
    const code = new ReedSolomon(4, 2);
    const blocks = Array.from({ length: 6 }, () => new Uint8Array(length).fill(random(256)));
    const data = blocks.slice(0, 4);
    for (const block of data) for (let at = 0; at < length; at += 97) block[at] = random(256);
    await code.encodeAsync(data, blocks.slice(4));
    const parity = [new Uint8Array(length), new Uint8Array(length)];
    code.encode(data, parity);
    assert.deepEqual(parity, blocks.slice(4));
    const rebuilt = [new Uint8Array(length), new Uint8Array(length)];
    await code.reconstructAsync(new Map([2, 3, 4, 5].map((block) => [block, blocks[block]])), [0, 1], rebuilt);
    assert.deepEqual(rebuilt, blocks.slice(0, 2));
  }
});

test("a plan reads what is wanted where it is present, and k blocks where it is not", () => {
  const code = new ReedSolomon(4, 2);
  assert.deepEqual(code.plan([0, 1, 2, 3, 4, 5], [2]), [2]);
  assert.deepEqual(code.plan([5, 0, 1, 3, 4], [2]), [5, 0, 1, 3]);
  assert.deepEqual(code.plan([0, 1, 3, 4, 5], [2, 4]), [4, 0, 1, 3]);
  assert.equal(code.plan([0, 1, 3], [2]), null);
  assert.deepEqual(code.plan([0, 1, 3], [3, 1]), [3, 1]);
  assert.equal(code.plan([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5])?.length, 4);
  assert.deepEqual(code.plan([], []), []);
  assert.equal(code.decodable([5, 4, 3, 2]), true);
  assert.equal(code.decodable([5, 4, 4, 2]), false);
});

test("verify names the parity blocks that do not fit the data", () => {
  const code = new ReedSolomon(4, 3);
  const blocks = stripe(code, 70_001, randomNumbers(14));
  assert.deepEqual(code.verify(blocks), []);
  blocks[5][70_000] ^= 1;
  assert.deepEqual(code.verify(blocks), [5]);
  blocks[1][40_000] ^= 0x80;
  assert.deepEqual(code.verify(blocks), [4, 5, 6]);
});

test("more decoding matrices than are kept are still right", () => {
  const random = randomNumbers(15);
  const code = new ReedSolomon(12, 6);
  const blocks = stripe(code, 2, random);
  for (let round = 0; round < 600; round++) {
    const order = shuffled([...blocks.keys()], random);
    checkRebuild(code, blocks, order.slice(0, 2), order.slice(2, 14));
  }
});

test("the same losses again are rebuilt alike, from blocks in any order, and what is wrong is still refused", () => {
  const random = randomNumbers(17);
  const code = new ReedSolomon(4, 2);
  const blocks = stripe(code, 100, random);
  const rebuild = () => checkRebuild(code, blocks, [1, 4], [0, 2, 3, 5]);
  const given = (...numbers: number[]) => new Map(numbers.map((block) => [block, blocks[block]]));
  const short = new Uint8Array(99);
  const wrong: [present: Map<number, Uint8Array>, wanted: number[], into: Uint8Array[], message: RegExp][] = [
    [given(0, 2, 3), [1, 4], [new Uint8Array(100), new Uint8Array(100)], /3 other blocks were given/],
    [given(0, 2, 3, 5), [1, 4], [new Uint8Array(100)], /1 buffers for wanted blocks given; it must be 2/],
    [given(0, 2, 3, 5), [1, 4], [new Uint8Array(100), short], /one length/],
    [given(0, 2, 3, 5).set(3, short), [1, 4], [new Uint8Array(100), new Uint8Array(100)], /one length/],
    [given(0, 2, 3, 5), [1, 6], [new Uint8Array(100), new Uint8Array(100)], /no block 6/],
    [given(0, 2, 3).set(9, blocks[5]), [1, 4], [new Uint8Array(100), new Uint8Array(100)], /no block 9/],
    [given(0, 2, 3, 5), [1, 4], [new Uint8Array(100), blocks[3]], /overlap/],
  ];
  for (let round = 0; round < 30; round++) {
    rebuild();
    checkRebuild(code, blocks, [1, 4], shuffled([0, 2, 3, 5], random));
    checkRebuild(code, blocks, [4, 1], [0, 2, 3, 5]);
    rebuild();
    checkRebuild(code, blocks, [1, 0], [4, 2, 3, 5]);
    for (const [present, wanted, into, message] of wrong) {
      rebuild();
      assert.throws(() => code.reconstruct(present, wanted, into), message);
    }
  }
});

test("what cannot be done is refused by name, and nothing is written", () => {
  const code = new ReedSolomon(4, 2);
  const blocks = stripe(code, 16, randomNumbers(16));
  const given = (...numbers: number[]) => new Map(numbers.map((block) => [block, blocks[block] ?? blocks[0]]));
  const into = [new Uint8Array(16)];
  const refused = (action: () => void, expected: CodingError["code"], message: RegExp) =>
    assert.throws(
      action,
      (error: unknown) => error instanceof CodingError && error.code === expected && message.test(error.message),
    );
  refused(
    () => code.reconstruct(given(0, 1, 5), [3], into),
    "UNDECODABLE",
    /rs:4\+2: cannot reconstruct block 3: 3 other blocks were given \(0, 1, 5\); 4 are needed/,
  );
  refused(() => code.reconstruct(new Map(), [3], into), "UNDECODABLE", /0 other blocks were given \(none\)/);
  refused(() => code.reconstruct(given(0, 1, 2, 3), [6], into), "INVALID_ARGUMENT", /no block 6; blocks are 0\.\.5/);
  refused(() => code.reconstruct(given(0, 1, 2, 9), [3], into), "INVALID_ARGUMENT", /no block 9/);
  refused(
    () => code.reconstruct(given(0, 1, 2, 4), [3], []),
    "INVALID_ARGUMENT",
    /0 buffers for wanted blocks given; it must be 1/,
  );
  refused(() => code.reconstruct(given(0, 1, 2, 4), [3], [new Uint8Array(15)]), "INVALID_ARGUMENT", /one length/);
  refused(() => code.encode(blocks.slice(0, 3), blocks.slice(4)), "INVALID_ARGUMENT", /3 data blocks given; it must be 4/);
  refused(() => code.encode(blocks.slice(0, 4), blocks.slice(5)), "INVALID_ARGUMENT", /1 parity blocks given; it must be 2/);
  assert.deepEqual(into[0], new Uint8Array(16));
  assert.throws(() => code.encode(blocks.slice(0, 4), [new Uint8Array(16), new Uint8Array(17)]), /one length/);
  assert.throws(() => code.encode(blocks.slice(0, 4), [into[0], into[0]]), /overlap/);
  assert.throws(() => code.encode(blocks.slice(0, 4), [into[0], blocks[1]]), /overlap/);
  for (const [k, m] of [
    [0, 1],
    [1, 0],
    [2.5, 1],
    [200, 57],
    [Number.NaN, 1],
  ])
    refused(() => new ReedSolomon(k, m), "INVALID_SCHEME", /at most 256/);
});
