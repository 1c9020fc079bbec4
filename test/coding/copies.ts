import assert from "node:assert/strict";
import test from "node:test";
import { CodingError } from "../../coding/code.ts";
import { Copies } from "../../coding/copies.ts";

test("copies are the data, and any one gives back all others", async () => {
  const code = new Copies(3);
  const data = Uint8Array.from({ length: 1001 }, (_, index) => index * 7);
  const copies = [new Uint8Array(1001), new Uint8Array(1001)];
  code.encode([data], copies);
  assert.deepEqual(copies, [data, data]);
  for (let block = 0; block < 3; block++) {
    const into = [new Uint8Array(1001), new Uint8Array(1001), new Uint8Array(1001)];
    code.reconstruct(new Map([[block, data]]), [0, 1, 2], into);
    assert.deepEqual(into, [data, data, data]);
    await code.reconstructAsync(new Map([[block, data]]), [0], [into[0].fill(0)]);
    assert.deepEqual(into[0], data);
  }
  await code.encodeAsync([data], [copies[0].fill(1), copies[1].fill(2)]);
  assert.deepEqual(copies, [data, data]);
  assert.deepEqual(code.verify([data, ...copies]), []);
  copies[1][1000] ^= 1;
  assert.deepEqual(code.verify([data, ...copies]), [2]);
});

test("one copy is read where any is wanted, the wanted one where it is present", () => {
  const code = new Copies(3);
  assert.deepEqual(code.plan([0, 1, 2], [2]), [2]);
  assert.deepEqual(code.plan([1, 2], [0]), [1]);
  assert.deepEqual(code.plan([1], [0, 1, 2]), [1]);
  assert.equal(code.plan([], [0]), null);
  assert.equal(code.decodable([2]), true);
  assert.equal(code.decodable([]), false);
});

test("what copies cannot do is refused by name", () => {
  const code = new Copies(2);
  const bytes = new Uint8Array(4);
  const refused = (action: () => void, expected: CodingError["code"], message: RegExp) =>
    assert.throws(
      action,
      (error: unknown) => error instanceof CodingError && error.code === expected && message.test(error.message),
    );
  refused(
    () => code.reconstruct(new Map(), [1], [bytes]),
    "UNDECODABLE",
    /copies:2: cannot reconstruct block 1: no copy was given/,
  );
  refused(() => code.reconstruct(new Map([[2, bytes]]), [1], [bytes]), "INVALID_ARGUMENT", /no block 2/);
  refused(() => code.encode([bytes], []), "INVALID_ARGUMENT", /0 further copies given; it must be 1/);
  refused(() => code.encode([bytes], [new Uint8Array(5)]), "INVALID_ARGUMENT", /one length/);
  refused(() => new Copies(0), "INVALID_SCHEME", /1\.\.256/);
});
