import assert from "node:assert/strict";
import test from "node:test";
import { fieldWith, gf256, gf65536 } from "../../coding/field.ts";
import { matrixOf } from "../../coding/matrix.ts";
import { availableKernels } from "../../native/kernels.ts";
import { randomNumbers } from "../fixture/random.ts";

for (const field of [gf256, gf65536]) {
  const name = `GF(2^${field.bits})`;

  test(`x generates every nonzero element of ${name}, and exp and log undo each other`, () => {
    const seen = new Set<number>();
    for (let power = 0; power < field.order - 1; power++) {
      const value = field.exp(power);
      seen.add(value);
      assert.equal(field.log(value), power);
    }
    assert.equal(seen.size, field.order - 1);
    assert.ok(!seen.has(0));
    assert.equal(field.exp(field.order - 1), 1);
    assert.equal(field.exp(-1), field.inverse(2));
  });

  test(`${name} obeys the laws of a field`, () => {
    const random = randomNumbers(71);
    for (let round = 0; round < 2000; round++) {
      const [a, b, c] = [random(field.order), random(field.order), random(field.order)];
      assert.equal(field.multiply(a, b), field.multiply(b, a));
      assert.equal(field.multiply(a, field.multiply(b, c)), field.multiply(field.multiply(a, b), c));
      assert.equal(field.multiply(a, field.add(b, c)), field.add(field.multiply(a, b), field.multiply(a, c)));
      assert.equal(field.multiply(a, 1), a);
      assert.equal(field.multiply(a, 0), 0);
      if (a === 0) continue;
      assert.equal(field.multiply(a, field.inverse(a)), 1);
      assert.equal(field.divide(field.multiply(a, b), a), b);
    }
  });

  test(`doubling in ${name} is a shift and a reduction by the polynomial`, () => {
    for (let a = 1; a < field.order; a += field.bits === 8 ? 1 : 7) {
      const shifted = a << 1;
      assert.equal(field.multiply(2, a), shifted >= field.order ? shifted ^ field.polynomial : shifted);
    }
  });

  test(`0 has no inverse and no logarithm in ${name}`, () => {
    assert.throws(() => field.inverse(0), /0 has no inverse and no logarithm/);
    assert.throws(() => field.log(0), RangeError);
    assert.throws(() => field.divide(1, 0), RangeError);
  });

  test(`buffers over ${name} are words of ${field.wordBytes} bytes, little-endian, under all kernels`, () => {
    const random = randomNumbers(72);
    for (const kernels of availableKernels()) {
      const buffers = fieldWith(field.bits, () => kernels);
      for (let round = 0; round < 50; round++) {
        const [a, b, c] = [random(field.order), random(field.order), random(field.order)];
        const word = (value: number) => Uint8Array.of(value & 0xff, value >> 8).subarray(0, field.wordBytes);
        const target = word(a).slice();
        buffers.multiplyAddInto(target, word(b).slice(), c);
        assert.deepEqual(target, word(a ^ field.multiply(b, c)));
        const rows = [word(0).slice(), word(0).slice()];
        buffers.encode(matrixOf(2, 2, [a, b, 0, c]), [word(b).slice(), word(c).slice()], rows);
        assert.deepEqual(rows, [word(field.multiply(a, b) ^ field.multiply(b, c)), word(field.multiply(c, c))]);
        buffers.multiplyInto(target, word(b).slice(), c);
        buffers.addInto(target, word(a).slice());
        assert.deepEqual(target, word(a ^ field.multiply(b, c)));
      }
    }
  });

  test(`a matrix over ${name} that does not fit its buffers is refused`, async () => {
    const bytes = () => new Uint8Array(4);
    assert.throws(
      () => field.encode(matrixOf(2, 3), [bytes(), bytes()], [bytes(), bytes()]),
      /a matrix of 2 x 3 was given 2 sources and 2 targets; it needs 3 and 2/,
    );
    await assert.rejects(async () => field.encodeAsync(matrixOf(1, 1), [], [bytes()]), /it needs 1 and 1/);
  });
}
