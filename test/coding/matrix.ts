import assert from "node:assert/strict";
import test from "node:test";
import { gf256, gf65536 } from "../../coding/field.ts";
import type { Field, Matrix } from "../../coding/field.ts";
import {
  cauchy,
  element,
  express,
  identity,
  independentRows,
  invert,
  matrixOf,
  multiply,
  rank,
  selectRows,
  stack,
} from "../../coding/matrix.ts";
import { randomNumbers } from "../fixture/random.ts";

function randomMatrix(field: Field, rows: number, columns: number, random: (below: number) => number): Matrix {
  return matrixOf(
    rows,
    columns,
    Array.from({ length: rows * columns }, () => random(field.order)),
  );
}

for (const field of [gf256, gf65536]) {
  const name = `GF(2^${field.bits})`;

  test(`a random matrix over ${name} times its inverse is the identity`, () => {
    const random = randomNumbers(7);
    let inverted = 0;
    for (let size = 1; size <= 20; size++) {
      const matrix = randomMatrix(field, size, size, random);
      const inverse = invert(field, matrix);
      if (!inverse) {
        assert.ok(rank(field, matrix) < size);
        continue;
      }
      inverted++;
      assert.deepEqual(multiply(field, matrix, inverse), identity(size));
      assert.deepEqual(multiply(field, inverse, matrix), identity(size));
    }
    assert.ok(inverted >= 15);
  });

  test(`the rank over ${name} does not count rows that are combinations of others`, () => {
    const random = randomNumbers(11);
    const basis = stack(identity(4), matrixOf(2, 4));
    const mixed = multiply(field, randomMatrix(field, 9, 6, random), basis);
    assert.ok(rank(field, mixed) <= 4);
    assert.equal(rank(field, stack(identity(5), identity(5))), 5);
    assert.deepEqual(independentRows(field, matrixOf(4, 3, [0, 0, 0, 0, 2, 0, 0, 4, 0, 1, 0, 0])), [1, 3]);
    assert.equal(rank(field, matrixOf(3, 3)), 0);
  });

  test(`rows over ${name} are expressed by those that span them, and are refused where they are not spanned`, () => {
    const random = randomNumbers(13);
    for (let round = 0; round < 20; round++) {
      const given = randomMatrix(field, 7, 5, random);
      const wanted = multiply(field, randomMatrix(field, 3, 7, random), given);
      const combination = express(field, given, wanted);
      assert.ok(combination);
      assert.deepEqual(multiply(field, combination, given), wanted);
    }
    assert.equal(express(field, selectRows(identity(4), [0, 1, 3]), selectRows(identity(4), [2])), null);
  });

  test(`every square part of a Cauchy matrix over ${name} up to 3 x 3 is invertible`, () => {
    const matrix = cauchy(field, 6, 4);
    const columnsOf = (columns: number[]) => (row: number[]) => columns.map((column) => row[column]);
    const rows = Array.from({ length: 4 }, (_, row) => Array.from({ length: 6 }, (_, column) => element(matrix, row, column)));
    for (let rowMask = 1; rowMask < 1 << 4; rowMask++) {
      for (let columnMask = 1; columnMask < 1 << 6; columnMask++) {
        const chosenRows = rows.filter((_, row) => (rowMask >> row) & 1);
        const columns = [0, 1, 2, 3, 4, 5].filter((column) => (columnMask >> column) & 1);
        if (chosenRows.length !== columns.length) continue;
        const square = matrixOf(columns.length, columns.length, chosenRows.flatMap(columnsOf(columns)));
        assert.equal(rank(field, square), columns.length);
      }
    }
  });
}

test("shapes that do not fit are refused by name", () => {
  assert.throws(() => matrixOf(2, 2, [1, 2, 3]), /3 values for 2 x 2; it must be 4/);
  assert.throws(() => invert(gf256, matrixOf(2, 3)), /2 x 3 is not square/);
  assert.throws(() => multiply(gf256, matrixOf(2, 3), matrixOf(2, 3)), /cannot multiply/);
  assert.throws(() => cauchy(gf256, 200, 57), /k \+ m <= 256/);
});
