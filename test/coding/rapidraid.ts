import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { CodingError } from "../../coding/code.ts";
import { rank, selectRows } from "../../coding/matrix.ts";
import { SHIPPED, shippedCoefficients } from "../../coding/rapidraid-coefficients.ts";
import type { ShippedCoefficients } from "../../coding/rapidraid-coefficients.ts";
import { partsHeld, partsWithCoefficients } from "../../coding/rapidraid-layout.ts";
import { searchRapidRaid, undecodableSets } from "../../coding/rapidraid-search.ts";
import { RapidRaid, rapidRaid } from "../../coding/rapidraid.ts";
import { parseScheme } from "../../coding/scheme.ts";
import { seededRandom } from "../../coding/seeded-random.ts";
import { complement, randomSubset, subsets } from "../../coding/subsets.ts";

const coefficientsOf = (dataBlocks: number, totalBlocks: number) =>
  shippedCoefficients(dataBlocks, totalBlocks) as ShippedCoefficients;

const everySet = (count: number, size: number) => Array.from(subsets(count, size), (set) => [...set]);

function randomBlocks(count: number, length: number, seed: number): Uint8Array[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => Uint8Array.from({ length }, () => random.below(256)));
}

function emptyBlocks(count: number, length: number): Uint8Array[] {
  return Array.from({ length: count }, () => new Uint8Array(length));
}

function encoded(code: RapidRaid, data: readonly Uint8Array[]): Uint8Array[] {
  const blocks = emptyBlocks(code.totalBlocks, data[0].length);
  code.encode(data, blocks);
  return blocks;
}

/** Multiplication by its definition, bit by bit, as an oracle for tables and kernels. */
function schoolbookProduct(a: number, b: number, bits: 8 | 16): number {
  let product = 0;
  for (let bit = 0; bit < bits; bit++) if (b & (1 << bit)) product ^= a << bit;
  for (let bit = 2 * bits - 2; bit >= bits; bit--) {
    if (product & (2 ** bit)) product ^= (bits === 8 ? 0x11d : 0x1100b) << (bit - bits);
  }
  return product;
}

/** The pipeline as the paper states it, word by word. */
function pipelineByDefinition(coefficients: ShippedCoefficients, data: readonly Uint8Array[]): Uint8Array[] {
  const { bits } = coefficients;
  const words = (bytes: Uint8Array) =>
    bits === 8 ? Uint8Array.from(bytes) : new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const parts = data.map(words);
  let x = words(new Uint8Array(data[0].length));
  return partsWithCoefficients(coefficients).map((held) => {
    const kept = x.slice();
    const next = x.slice();
    for (const { part, xi, psi } of held) {
      parts[part].forEach((word, index) => {
        kept[index] ^= schoolbookProduct(word, xi, bits);
        next[index] ^= schoolbookProduct(word, psi, bits);
      });
    }
    x = next;
    return new Uint8Array(kept.buffer);
  });
}

test("the parts of two overlapped replicas lie as the paper lays them", () => {
  assert.deepEqual(partsHeld(4, 6), [[0], [1], [2, 0], [3, 1], [2], [3]]);
  assert.deepEqual(partsHeld(4, 8), [[0], [1], [2], [3], [0], [1], [2], [3]]);
  assert.deepEqual(partsHeld(1, 2), [[0], [0]]);
});

test("of the 4368 sets of 11 of the 16 blocks of rapidraid:11+5 no more than 21 are undecodable, and any 3 losses are survived", () => {
  const coefficients = coefficientsOf(11, 16);
  assert.equal(coefficients.bits, 16);
  const sets = everySet(16, 11);
  assert.equal(sets.length, 4368);
  assert.equal(undecodableSets(coefficients, sets).length, 21);
  const code = rapidRaid(11, 5);
  assert.ok(everySet(16, 3).every((lost) => code.decodable(complement(16, lost))));
  assert.equal(code.guaranteedLosses, 3);
});

test("of rapidraid:4+4 exactly the blocks 0, 1, 4 and 5 do not decode", () => {
  assert.deepEqual(undecodableSets(coefficientsOf(4, 8), everySet(8, 4)), [[0, 1, 4, 5]]);
});

test("of rapidraid:4+2, 6+3, 7+3 and 13+3 every set of k blocks decodes", () => {
  for (const [dataBlocks, totalBlocks] of [
    [4, 6],
    [6, 9],
    [7, 10],
    [13, 16],
  ]) {
    assert.deepEqual(undecodableSets(coefficientsOf(dataBlocks, totalBlocks), everySet(totalBlocks, dataBlocks)), []);
  }
});

test("what the table of coefficients claims is true of every row", () => {
  for (const row of SHIPPED) {
    const { dataBlocks, totalBlocks, guaranteedLosses } = row;
    assert.equal(
      undecodableSets(row, everySet(totalBlocks, dataBlocks)).length,
      row.undecodable,
      `${dataBlocks} of ${totalBlocks}`,
    );
    const { guaranteedLosses: proved } = new RapidRaid({ ...row, guaranteedLosses: undefined });
    assert.equal(proved, guaranteedLosses, `${dataBlocks} of ${totalBlocks}`);
  }
});

test("encoding is the paper's pipeline, computed by definition", () => {
  for (const [dataBlocks, totalBlocks] of [
    [4, 8],
    [7, 10],
    [11, 16],
  ]) {
    const data = randomBlocks(dataBlocks, 66, 5);
    const coefficients = coefficientsOf(dataBlocks, totalBlocks);
    assert.deepEqual(encoded(new RapidRaid(coefficients), data), pipelineByDefinition(coefficients, data));
  }
});

test("stored blocks keep their bytes forever", () => {
  const golden = (dataBlocks: number, parityBlocks: number) => {
    const data = Array.from({ length: dataBlocks }, (_, part) =>
      Uint8Array.from({ length: 8 }, (_, at) => part * 16 + at * 3 + 1),
    );
    return encoded(rapidRaid(dataBlocks, parityBlocks), data).map((block) => Buffer.from(block).toString("hex"));
  };
  assert.deepEqual(golden(4, 4), GOLDEN_4_4);
  assert.deepEqual(golden(11, 5), GOLDEN_11_5);
  const all = SHIPPED.map((row) => golden(row.dataBlocks, row.totalBlocks - row.dataBlocks).join());
  assert.equal(createHash("sha256").update(all.join("\n")).digest("hex"), GOLDEN_ALL);
});

test("blocks stored long ago decode", () => {
  const stored = GOLDEN_11_5.map((hex) => new Uint8Array(Buffer.from(hex, "hex")));
  const survivors = [15, 14, 12, 11, 10, 8, 7, 5, 4, 3, 1];
  const parts = emptyBlocks(11, 8);
  rapidRaid(11, 5).decode(new Map(survivors.map((block) => [block, stored[block]])), [...parts.keys()], parts);
  parts.forEach((bytes, part) =>
    assert.deepEqual(
      [...bytes],
      Array.from({ length: 8 }, (_, at) => part * 16 + at * 3 + 1),
    ),
  );
});

test("every part and every block comes back from any survivors that decode", async () => {
  for (const [dataBlocks, parityBlocks] of [
    [4, 2],
    [4, 4],
  ]) {
    const code = rapidRaid(dataBlocks, parityBlocks);
    const { totalBlocks } = code;
    const data = randomBlocks(dataBlocks, 30, 9);
    const blocks = encoded(code, data);
    for (let size = dataBlocks; size <= totalBlocks; size++) {
      for (const survivors of everySet(totalBlocks, size)) {
        const present = new Map(survivors.map((block) => [block, blocks[block]]));
        const parts = emptyBlocks(dataBlocks, 30);
        const lost = complement(totalBlocks, survivors);
        const repaired = emptyBlocks(lost.length, 30);
        if (code.decodable(survivors)) {
          code.decode(present, [...data.keys()], parts);
          assert.deepEqual(parts, data);
          await code.reconstructAsync(present, lost, repaired);
          assert.deepEqual(
            repaired,
            lost.map((block) => blocks[block]),
          );
        } else {
          assert.throws(() => code.decode(present, [...data.keys()], parts), { code: "UNDECODABLE" });
        }
      }
    }
  }
});

test("rapidraid:11+5 comes back from random survivors, by ranges too", () => {
  const code = rapidRaid(11, 5);
  const data = randomBlocks(11, 1000, 3);
  const blocks = encoded(code, data);
  const random = seededRandom(77);
  for (let round = 0; round < 60; round++) {
    const survivors = randomSubset(16, 11 + random.below(4), random.below);
    if (!code.decodable(survivors)) continue;
    const from = 2 * random.below(400);
    const present = new Map(survivors.map((block) => [block, blocks[block].subarray(from, from + 100)]));
    const parts = emptyBlocks(11, 100);
    code.decode(present, [...data.keys()], parts);
    assert.deepEqual(
      parts,
      data.map((part) => part.slice(from, from + 100)),
    );
    const lost = complement(16, survivors);
    const repaired = emptyBlocks(lost.length, 100);
    code.reconstruct(present, lost, repaired);
    assert.deepEqual(
      repaired,
      lost.map((block) => blocks[block].slice(from, from + 100)),
    );
  }
});

test("a plan reads the fewest blocks, which dependencies make less than k", () => {
  const code = rapidRaid(4, 4);
  assert.deepEqual(code.plan([0, 1, 2, 3, 4, 6, 7], [5]), [0, 1, 4]);
  assert.deepEqual(code.plan([0, 1, 2, 3, 6, 7], [5])?.length, 4);
  assert.deepEqual(code.plan([7, 3, 5], [3]), [3]);
  assert.equal(code.plan([0, 1, 4, 5], [7]), null);
  assert.equal(code.plan([0, 1, 4], [5])?.length, 3);
  assert.deepEqual(code.plan([], [0]), null);
  assert.deepEqual(code.planParts([5, 0, 1, 4], [0]), [0]);
  assert.equal(code.planParts([0, 1, 4, 5], [2]), null);
  const large = rapidRaid(16, 4);
  const survivors = complement(20, [0, 19]);
  const plan = large.plan(survivors, [0, 19]) as number[];
  const { field, blockMatrix } = large;
  assert.equal(rank(field, selectRows(blockMatrix, plan)), rank(field, selectRows(blockMatrix, [...plan, 0, 19])));
});

test("bad numbers, lengths and counts are refused by name", () => {
  const code = rapidRaid(11, 5);
  const odd = emptyBlocks(11, 7);
  const refuses = (action: () => unknown, code: CodingError["code"], message: RegExp) =>
    assert.throws(action, (error: unknown) => error instanceof CodingError && error.code === code && message.test(error.message));
  refuses(() => code.encode(odd, emptyBlocks(16, 7)), "INVALID_ARGUMENT", /blocks of 7 bytes; .* must be even/);
  refuses(() => code.encode(emptyBlocks(10, 8), emptyBlocks(16, 8)), "INVALID_ARGUMENT", /10 data parts given; it must be 11/);
  refuses(() => code.encode(emptyBlocks(11, 8), emptyBlocks(5, 8)), "INVALID_ARGUMENT", /5 blocks given; it must be 16/);
  refuses(() => code.decode(new Map(), [11], emptyBlocks(1, 8)), "INVALID_ARGUMENT", /no part 11; parts are 0\.\.10/);
  refuses(() => code.decode(new Map(), [0], emptyBlocks(1, 8)), "UNDECODABLE", /part 0 from no blocks: they have rank 0/);
  refuses(() => code.reconstruct(new Map([[16, odd[0]]]), [0], emptyBlocks(1, 7)), "INVALID_ARGUMENT", /no block 16/);
  refuses(() => code.decodable([-1]), "INVALID_ARGUMENT", /no block -1/);
  refuses(() => parseScheme("rapidraid:4+5"), "INVALID_SCHEME", /1 <= M <= K/);
  refuses(() => parseScheme("rapidraid:60+5"), "INVALID_SCHEME", /K \+ M <= 64/);
  refuses(
    () => parseScheme("rapidraid:8+8"),
    "INVALID_SCHEME",
    /no coefficients are shipped .* 11\+5.*code search rapidraid:8\+8/,
  );
  refuses(() => parseScheme("rapidraid:8"), "INVALID_SCHEME", /must be rapidraid:K\+M/);
  const row = coefficientsOf(4, 6);
  refuses(() => new RapidRaid({ ...row, xi: [...row.xi.slice(1), 0] }), "INVALID_ARGUMENT", /xi\[7\] is 0; it must be 1\.\.255/);
  refuses(() => new RapidRaid({ ...row, psi: row.psi.slice(1) }), "INVALID_ARGUMENT", /6 coefficients psi given; it must be 7/);
  assert.equal(parseScheme("rapidraid:11+5"), parseScheme("rapidraid:11+5"));
});

test("a search repeats itself by its seed, and says what it proved", () => {
  const result = searchRapidRaid(4, 8, { seed: 42 });
  assert.deepEqual(searchRapidRaid(4, 8, { seed: 42 }), result);
  assert.deepEqual([result.undecodable, result.natural, result.sets, result.examined, result.sampled], [1, 1, 70, 70, false]);
  assert.deepEqual(result.listed, [[0, 1, 4, 5]]);
  assert.notDeepEqual(searchRapidRaid(4, 8, { seed: 43 }).coefficients, result.coefficients);
  assert.throws(() => searchRapidRaid(4, 9), { code: "INVALID_SCHEME" });
  assert.throws(() => searchRapidRaid(4, 4), { code: "INVALID_SCHEME" });
});

test("the shipped coefficients are what the search finds with seed 1", () => {
  for (const [dataBlocks, totalBlocks] of [
    [4, 8],
    [11, 16],
    [13, 16],
  ]) {
    const { bits, xi, psi } = searchRapidRaid(dataBlocks, totalBlocks, { seed: 1 }).coefficients;
    const shipped = coefficientsOf(dataBlocks, totalBlocks);
    assert.deepEqual({ bits, xi, psi }, { bits: shipped.bits, xi: shipped.xi, psi: shipped.psi });
  }
});

const GOLDEN_4_4: string[] = [
  "d573115140d1b315",
  "5656565656fafafa",
  "2d61aef0364f80cc",
  "30ba37423e2ca12b",
  "838c899e97bfbab5",
  "57a500cdf9309567",
  "077c551da3b69fe4",
  "ad1488b6e71b873e",
];
const GOLDEN_11_5: string[] = [
  "5016917f0c900da2",
  "7a8fc33e863133c0",
  "692701a5b10eaa3f",
  "c10b648ab940cb43",
  "fc685c54ab874909",
  "ec0c075eadfc58ff",
  "75637d7bb554db3a",
  "9979e37dbd8e610c",
  "047ebf8984f9c536",
  "8edd7194f958bebe",
  "0736a61586747124",
  "3b4341fca029ad13",
  "d05390703c1a47a6",
  "3dae6bec15ed9794",
  "000d6aa6ff079cc2",
  "518fd7bc190303c8",
];
const GOLDEN_ALL = "2f3d9349575efdaf938ce5a74d1658b9acc67c5ea30d30c96d7e74a67d58da6a";
