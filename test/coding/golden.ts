// Bytes in, bytes out, kept forever: blocks that a store wrote once must decode in every later version. Never change an
// expected value here; they were computed by a separate program from the definitions in coding/DESIGN.md.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { ReedSolomon } from "../../coding/reed-solomon.ts";
import { parseScheme } from "../../coding/scheme.ts";

/** Byte `at` of data block `block`: 31 block + 7 at + (at^2 mod 251) + 5, mod 256. */
function goldenData(blocks: number): Uint8Array[] {
  return Array.from({ length: blocks }, (_, block) =>
    Uint8Array.from({ length: 12 }, (_unused, at) => block * 31 + at * 7 + ((at * at) % 251) + 5),
  );
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

const GOLDEN: Record<string, string[]> = {
  "copies:1": [],
  "copies:3": ["050d1723314153677d95afcb", "050d1723314153677d95afcb"],
  "rs:1+1": ["050d1723314153677d95afcb"],
  "rs:4+2": ["0000008080c0008080008000", "9e83c3bd32ab3faaea69edd5"],
  "rs:8+3": ["400000800040000000000000", "848b322aad9d378c3561da58", "92aa399f4c67415ecd2cf29f"],
  "rs:11+5": [
    "9a626cf80656a8bc52ea8420",
    "6d0f60902d047219ac91e419",
    "430fa73706b7b38d60a332cd",
    "5c8a4b412b2556a53c7f7a17",
    "07218cd20be9633b1be5ed37",
  ],
};

for (const [scheme, expected] of Object.entries(GOLDEN)) {
  test(`${scheme} makes the redundant blocks that it always made`, () => {
    const code = parseScheme(scheme);
    const into = expected.map(() => new Uint8Array(12));
    code.encode(goldenData(code.dataBlocks), into);
    assert.deepEqual(into.map(hex), expected);
  });

  test(`${scheme} decodes stored blocks from the last ones alone`, () => {
    const code = parseScheme(scheme);
    const data = goldenData(code.dataBlocks);
    const blocks = [...data, ...expected.map((text) => new Uint8Array(Buffer.from(text, "hex")))];
    const last = [...blocks.keys()].slice(-code.dataBlocks);
    const into = data.map(() => new Uint8Array(12));
    code.decode(new Map(last.map((block) => [block, blocks[block]])), [...data.keys()], into);
    assert.deepEqual(into.map(hex), data.map(hex));
  });
}

test("rs:200+56 makes the redundant blocks that it always made", () => {
  const into = Array.from({ length: 56 }, () => new Uint8Array(12));
  parseScheme("rs:200+56").encode(goldenData(200), into);
  const hash = createHash("sha256");
  for (const block of into) hash.update(block);
  assert.equal(hash.digest("hex"), "63214990a56eb0d862171e6405d200f9e958c5ab826f0245f60e41d0b4776dfe");
});

test("the coding matrix of rs:4+2 is the documented one", () => {
  assert.deepEqual([...new ReedSolomon(4, 2).parityMatrix.values], [1, 1, 1, 1, 166, 70, 187, 123]);
});
