import assert from "node:assert/strict";
import test from "node:test";
import { CodingError } from "../../coding/code.ts";
import { parseScheme } from "../../coding/scheme.ts";

test("a scheme's text gives a code that prints the same text", () => {
  for (const text of ["copies:1", "copies:3", "copies:256", "rs:1+1", "rs:4+2", "rs:8+3", "rs:200+56", "rs:255+1"]) {
    assert.equal(parseScheme(text).scheme, text);
    assert.equal(parseScheme(text), parseScheme(text));
  }
});

test("a scheme tells its numbers", () => {
  const { dataBlocks, totalBlocks, guaranteedLosses, storageFactor, systematic } = parseScheme("rs:4+2");
  assert.deepEqual(
    { dataBlocks, totalBlocks, guaranteedLosses, storageFactor, systematic },
    { dataBlocks: 4, totalBlocks: 6, guaranteedLosses: 2, storageFactor: 1.5, systematic: true },
  );
  const copies = parseScheme("copies:3");
  assert.deepEqual([copies.dataBlocks, copies.totalBlocks, copies.guaranteedLosses, copies.storageFactor], [1, 3, 2, 3]);
});

test("bad schemes are refused with what they should be", () => {
  const cases: [text: string, message: RegExp][] = [
    ["", /scheme "" is of no known kind; it must be one of: copies:R, as copies:3; rs:K\+M/],
    ["raid5", /"raid5" is of no known kind/],
    ["toString:3", /is of no known kind/],
    ["copies", /"copies" is not well formed; it must be copies:R, as copies:3/],
    ["copies:", /not well formed/],
    ["copies:0", /not well formed/],
    ["copies:03", /not well formed/],
    ["copies:2+1", /not well formed/],
    ["copies:257", /copies:257: the number of copies must be 1\.\.256/],
    ["rs:4", /"rs:4" is not well formed; it must be rs:K\+M, as rs:4\+2/],
    ["rs:4+0", /not well formed/],
    ["rs:0+4", /not well formed/],
    ["rs:4+2 ", /not well formed/],
    ["rs:4+2\n", /not well formed/],
    ["rs:-4+2", /not well formed/],
    ["rs:4.5+2", /not well formed/],
    ["RS:4+2", /no known kind/],
    ["rs:250+7", /rs:250\+7: data and parity blocks must be at least 1 each and at most 256 together/],
    ["rs:99999999999+1", /not well formed/],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => parseScheme(text),
      (error: unknown) => error instanceof CodingError && error.code === "INVALID_SCHEME" && message.test(error.message),
      `${JSON.stringify(text)} should be refused as ${message}`,
    );
  }
});
