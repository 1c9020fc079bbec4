import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import {
  ASYNC_FROM_SOURCE_BYTES,
  availableKernels,
  crc32c,
  crc32cCombine,
  crc32cPieces,
  selectKernels,
  VARIANTS,
} from "../../native/kernels.ts";
import type { FieldBits, Kernels } from "../../native/kernels.ts";
import { typescriptKernels as reference } from "../../native/reference.ts";
import { randomNumbers } from "../fixture/random.ts";

/** Bytes that begin `offset` after an aligned address, with room behind them. */
function randomBytes(length: number, offset: number, random: (below: number) => number): Uint8Array {
  const buffer = new Uint8Array(new ArrayBuffer(length + 128), offset, length);
  for (let at = 0; at < length; at++) buffer[at] = random(256);
  return buffer;
}

/** A copy at the same alignment, surrounded by bytes of 0xa5. */
function guardedCopy(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(bytes.length + 128).fill(0xa5);
  const copy = whole.subarray(bytes.byteOffset % 64, (bytes.byteOffset % 64) + bytes.length);
  copy.set(bytes);
  return copy;
}

function assertGuardIntact(bytes: Uint8Array): void {
  const whole = new Uint8Array(bytes.buffer);
  const outside = whole.filter((_, at) => at < bytes.byteOffset || at >= bytes.byteOffset + bytes.length);
  assert.ok(
    outside.every((byte) => byte === 0xa5),
    "a byte outside of the target was written",
  );
}

/** Compares as Buffers, which is quick; the first difference makes the message. */
function assertSame(actual: Uint8Array, expected: Uint8Array, message: string): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  assert.fail(`${message}: byte ${at} of ${expected.length} is ${actual[at]}, not ${expected[at]}`);
}

const variants = availableKernels();
const native = variants.filter(({ variant }) => variant !== "typescript");
const lengthsOf = (bits: FieldBits): number[] => {
  const lengths = [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 511, 513, 1000, 4099];
  return bits === 8 ? lengths : [...new Set(lengths.map((length) => length & ~1))];
};

test("the portable and the plain TypeScript kernels are there on every machine", () => {
  assert.deepEqual(variants.map(({ variant }) => variant).slice(-2), ["portable", "typescript"]);
});

test("a product in the plain TypeScript kernels is the polynomials' product, reduced", () => {
  const multiply = (bits: FieldBits, a: number, b: number): number => {
    let product = 0;
    for (let bit = 0; bit < bits; bit++) if ((b >> bit) & 1) product ^= a << bit;
    for (let bit = 2 * bits - 2; bit >= bits; bit--)
      if ((product >>> bit) & 1) product ^= (bits === 8 ? 0x11d : 0x1100b) << (bit - bits);
    return product >>> 0;
  };
  for (let a = 0; a < 256; a++) {
    const products = new Uint8Array(256);
    reference.multiplyInto(
      8,
      products,
      Uint8Array.from({ length: 256 }, (_, b) => b),
      a,
    );
    assert.deepEqual(
      products,
      Uint8Array.from({ length: 256 }, (_, b) => multiply(8, a, b)),
    );
  }
  const random = randomNumbers(21);
  for (let round = 0; round < 3000; round++) {
    const [a, b] = [random(65536), random(65536)];
    const product = new Uint8Array(2);
    reference.multiplyInto(16, product, Uint8Array.of(b & 0xff, b >> 8), a);
    assert.equal(product[0] | (product[1] << 8), multiply(16, a, b) & 0xffff, `${a} * ${b}`);
  }
});

for (const kernels of native) {
  const { variant } = kernels;

  test(`${variant}: every coefficient of GF(2^8) multiplies as the plain kernels do`, () => {
    const random = randomNumbers(31);
    const source = randomBytes(333, 1, random);
    const target = randomBytes(333, 3, random);
    for (let coefficient = 0; coefficient < 256; coefficient++) checkOneByOne(kernels, 8, target, source, coefficient);
  });

  test(`${variant}: every coefficient of GF(2^16) multiplies as the plain kernels do`, () => {
    const random = randomNumbers(32);
    const source = randomBytes(96, 5, random);
    const product = new Uint8Array(96);
    const expected = new Uint8Array(96);
    for (let coefficient = 0; coefficient < 65536; coefficient++) {
      kernels.multiplyInto(16, product, source, coefficient);
      // Products are linear in the operand's bits; 48 random words hold all of them.
      reference.multiplyInto(16, expected, source, coefficient);
      assertSame(product, expected, `${coefficient}`);
    }
    const target = randomBytes(300, 2, random);
    for (let round = 0; round < 200; round++) checkOneByOne(kernels, 16, target, randomBytes(300, 7, random), random(65536));
  });

  for (const bits of [8, 16] as const) {
    test(`${variant}: lengths and starts of all kinds over GF(2^${bits}) give the same bytes and touch no others`, () => {
      const random = randomNumbers(33 + bits);
      for (const length of lengthsOf(bits)) {
        for (const offset of [0, 1, 2, 13, 32, 63]) {
          const target = randomBytes(length, random(64), random);
          checkOneByOne(kernels, bits, target, randomBytes(length, offset, random), random(1 << bits));
        }
      }
    });

    test(`${variant}: matrices of all shapes over GF(2^${bits}) give the same bytes`, () => {
      const random = randomNumbers(35 + bits);
      const shapes = [
        [1, 1],
        [2, 4],
        [3, 8],
        [5, 11],
        [4, 4],
        [6, 3],
        [7, 5],
        [13, 2],
        [1, 33],
        [2, 65],
        [9, 40],
        [3, 0],
        [0, 3],
        [0, 0],
      ];
      for (const [rows, columns] of shapes) {
        for (const length of [0, 2, 62, 130, 256, 1026]) checkMatrix(kernels, bits, rows, columns, length, random);
      }
      checkMatrix(kernels, bits, 7, 4, 140_002, random); // more than one piece
      if (bits === 8) checkMatrix(kernels, bits, 5, 36, 9_001, random);
    });
  }

  test(`${variant}: large blocks, which may be written past the caches, get the same bytes and touch no others`, () => {
    const random = randomNumbers(38);
    const length = (1 << 20) + 419; // a head, whole steps, single vectors and a tail
    const pattern = randomBytes(length + 64, 0, random);
    for (const bits of [8, 16] as const) {
      const even = length & ~(bits / 8 - 1);
      for (const [sourceAt, targetAt] of [
        [0, 0],
        [16, 16],
        [16, 24],
      ]) {
        const sources = [0, 1].map((step) => guardedCopy(new Uint8Array(new ArrayBuffer(even + 64), sourceAt, even)).fill(step));
        sources[0].set(pattern.subarray(0, even));
        sources[1].set(pattern.subarray(7, 7 + even));
        const actual = [0, 1].map(() => guardedCopy(new Uint8Array(new ArrayBuffer(even + 64), targetAt, even)));
        const expected = [0, 1].map(() => new Uint8Array(even));
        kernels.encode(bits, Uint16Array.of(1, 1, 7, 200), sources, actual);
        reference.encode(bits, Uint16Array.of(1, 1, 7, 200), sources, expected);
        actual.forEach((target, row) => {
          assertSame(target, expected[row], `${variant} GF(2^${bits}) ${sourceAt} ${targetAt}, row ${row}`);
          const whole = Buffer.from(target.buffer);
          const [before, after] = [whole.subarray(0, target.byteOffset), whole.subarray(target.byteOffset + even)];
          assert.ok(
            [...before, ...after].every((byte) => byte === 0xa5),
            "a byte outside of the target was written",
          );
        });
      }
    }
  });

  test(`${variant}: a matrix whose rows are all ones is xor`, () => {
    const random = randomNumbers(41);
    for (const bits of [8, 16] as const) {
      const sources = [1, 2, 3].map((offset) => randomBytes(1000, offset, random));
      const targets = [new Uint8Array(1000), new Uint8Array(1000)];
      kernels.encode(bits, Uint16Array.of(1, 1, 1, 1, 1, 1), sources, targets);
      const sum = sources[0].map((byte, at) => byte ^ sources[1][at] ^ sources[2][at]);
      assertSame(targets[0], sum, "row 0");
      assertSame(targets[1], sum, "row 1");
    }
  });

  test(`${variant}: checksums of all kinds of lengths and starts are the plain kernels'`, () => {
    const random = randomNumbers(43);
    const bytes = randomBytes(50_000, 0, random);
    const lengths = [
      ...Array(700).keys(),
      767,
      768,
      1023,
      1024,
      1025,
      4080,
      4096,
      4097,
      8192,
      12_289,
      32_767,
      32_768,
      40_001,
      49_900,
    ];
    for (const length of lengths) {
      const start = random(90);
      const seed = random(2) ? 0 : random(2 ** 32);
      const part = bytes.subarray(start, start + length);
      assert.equal(kernels.crc32c(part, seed), reference.crc32c(part, seed), `${length} bytes from ${start}, seed ${seed}`);
    }
  });

  test(`${variant}: checksums go over from one way of computing to the next without a seam`, () => {
    const random = randomNumbers(45);
    const bytes = randomBytes(256 * 1024 + 1100, 0, random);
    // Rounds of 3 KiB after the first 256 bytes; a head of up to 63 bytes from 8 KiB on; another way from some 256 KiB on.
    const rounds = [1, 2, 3, 10, 11].flatMap((count) =>
      [-257, -65, -1, 0, 1, 15, 255, 256, 257].map((more) => 256 + count * 3072 + more),
    );
    const long = [-320, -257, -256, -1, 0, 1, 63, 64, 255, 256, 257, 319, 320, 1001].map((more) => 256 * 1024 + more);
    for (const length of [...rounds, 8191, 8192, 8193, 8255, ...long]) {
      const start = random(2) ? 0 : random(90);
      const seed = random(2) ? 0 : random(2 ** 32);
      const part = bytes.subarray(start, start + length);
      assert.equal(kernels.crc32c(part, seed), reference.crc32c(part, seed), `${length} bytes from ${start}, seed ${seed}`);
    }
  });

  test(`${variant}: piecewise checksums are those of the pieces`, () => {
    const random = randomNumbers(44);
    for (const [length, piece] of [
      [0, 4096],
      [1, 4096],
      [4096, 4096],
      [4097, 4096],
      [10_000, 512],
      [10, 3],
    ]) {
      const bytes = randomBytes(length, random(64), random);
      const count = Math.ceil(length / piece);
      const into = new Uint32Array(count + 1).fill(7);
      kernels.crc32cPieces(bytes, piece, into);
      for (let index = 0; index < count; index++)
        assert.equal(into[index], reference.crc32c(bytes.subarray(index * piece, (index + 1) * piece)));
      assert.equal(into[count], 7);
    }
  });
}

function checkOneByOne(kernels: Kernels, bits: FieldBits, target: Uint8Array, source: Uint8Array, coefficient: number): void {
  const name = `${kernels.variant} GF(2^${bits}) ${coefficient} x ${target.length} bytes`;
  for (const operation of ["multiplyInto", "multiplyAddInto"] as const) {
    const actual = guardedCopy(target);
    const expected = target.slice();
    kernels[operation](bits, actual, source, coefficient);
    reference[operation](bits, expected, source, coefficient);
    assertSame(actual, expected, `${operation} ${name}`);
    assertGuardIntact(actual);
  }
  const sum = guardedCopy(target);
  kernels.addInto(sum, source);
  assertSame(
    sum,
    target.map((byte, at) => byte ^ source[at]),
    `addInto ${name}`,
  );
  const inPlace = guardedCopy(source);
  const expected = new Uint8Array(source.length);
  kernels.multiplyInto(bits, inPlace, inPlace, coefficient);
  reference.multiplyInto(bits, expected, source, coefficient);
  assertSame(inPlace, expected, `in place ${name}`);
  assertGuardIntact(inPlace);
}

function checkMatrix(
  kernels: Kernels,
  bits: FieldBits,
  rows: number,
  columns: number,
  length: number,
  random: (below: number) => number,
): void {
  const coefficients = Uint16Array.from({ length: rows * columns }, () => (random(4) ? random(1 << bits) : random(2)));
  const sources = Array.from({ length: columns }, () => randomBytes(length, random(64), random));
  const before = sources.map((source) => source.slice());
  const actual = Array.from({ length: rows }, () => guardedCopy(randomBytes(length, random(64), random)));
  const expected = Array.from({ length: rows }, () => new Uint8Array(length));
  kernels.encode(bits, coefficients, sources, actual);
  reference.encode(bits, coefficients, sources, expected);
  actual.forEach((target, row) => {
    assertSame(target, expected[row], `${kernels.variant} GF(2^${bits}) ${rows} x ${columns}, ${length} bytes, row ${row}`);
    assertGuardIntact(target);
  });
  sources.forEach((source, column) => assertSame(source, before[column], "a source was changed"));
}

test("many asynchronous jobs at once are each done right, on this thread or on others", async () => {
  for (const kernels of native) {
    const lengths = [0, 1000, ASYNC_FROM_SOURCE_BYTES, 17, ASYNC_FROM_SOURCE_BYTES + 1, ASYNC_FROM_SOURCE_BYTES];
    const targets = lengths.map((length) => new Uint8Array(length));
    await Promise.all(
      lengths.map((length, job) =>
        kernels.encodeAsync(8, Uint16Array.of(2), [new Uint8Array(length).fill(job + 1)], [targets[job]]),
      ),
    );
    targets.forEach((target, job) =>
      assertSame(target, new Uint8Array(lengths[job]).fill(2 * (job + 1)), `${kernels.variant} job ${job}`),
    );
  }
});

test("an asynchronous job of each variant equals the synchronous one", async () => {
  const random = randomNumbers(52);
  const length = ASYNC_FROM_SOURCE_BYTES / 2 + 3;
  const coefficients = Uint16Array.of(1, 1, 7, 9, 0, 255);
  const sources = [0, 1].map(() => {
    const source = new Uint8Array(length);
    for (let at = 0; at < length; at++) source[at] = random(256);
    return source;
  });
  const expected = [0, 1, 2].map(() => new Uint8Array(length));
  native[0].encode(8, coefficients, sources, expected);
  for (const kernels of native) {
    const copy = coefficients.slice();
    const list = [...sources];
    const actual = [0, 1, 2].map(() => new Uint8Array(length));
    const done = kernels.encodeAsync(8, copy, list, actual);
    list.length = 0; // lists and coefficients, unlike the buffers, may change at once
    copy.fill(3);
    await done;
    actual.forEach((target, row) => assertSame(target, expected[row], `${kernels.variant} row ${row}`));
  }
});

test("what is wrong with a job is said before a byte is written", async () => {
  for (const kernels of variants) {
    const bytes = new Uint8Array(64).fill(9);
    const [a, b, c] = [bytes.subarray(0, 16), bytes.subarray(16, 32), bytes.subarray(15, 31)];
    const one = Uint16Array.of(1);
    const cases: [action: () => void, message: RegExp][] = [
      [() => kernels.addInto(a, c), /target and source overlap; they must not/],
      [() => kernels.addInto(a, b.subarray(1)), /the source has 15 bytes, the target 16; they must be of one length/],
      [() => kernels.multiplyInto(8, a, c, 3), /multiplyInto: target and source overlap/],
      [() => kernels.multiplyAddInto(8, a, a, 3), /multiplyAddInto: target and source overlap/],
      [() => kernels.multiplyInto(8, a, b, 256), /coefficient 256 is not an element of GF\(2\^8\); it must be 0\.\.255/],
      [() => kernels.multiplyInto(8, a, b, -1), /coefficient -1 is not/],
      [() => kernels.multiplyInto(8, a, b, 1.5), /coefficient 1\.5 is not/],
      [() => kernels.multiplyAddInto(16, a, b, 65536), /coefficient 65536 is not an element of GF\(2\^16\)/],
      [
        () => kernels.multiplyInto(16, a.subarray(1), b.subarray(1), 2),
        /has 15 bytes; over GF\(2\^16\) it must be a whole number of 2-byte words/,
      ],
      [() => kernels.encode(8, one, [a], [c]), /encode: target 0 overlaps another buffer/],
      [() => kernels.encode(8, one, [a], [a]), /encode: target 0 overlaps another buffer/],
      [() => kernels.encode(8, Uint16Array.of(1, 2), [bytes.subarray(48)], [a, c]), /encode: target 0 overlaps another buffer/],
      [() => kernels.encode(8, one, [a], [b.subarray(1)]), /they must be of one length/],
      [() => kernels.encode(8, Uint16Array.of(1, 2), [a], [b]), /2 coefficients for 1 sources and 1 targets; it must be 1/],
      [() => kernels.encode(8, Uint16Array.of(300), [a], [b]), /coefficient 300 is not an element of GF\(2\^8\)/],
      [() => kernels.encode(16, one, [a.subarray(1)], [b.subarray(1)]), /whole number of 2-byte words/],
      [() => kernels.crc32cPieces(bytes, 0, new Uint32Array(9)), /a piece of 0 bytes; it must be at least 1/],
      [() => kernels.crc32cPieces(bytes, 10, new Uint32Array(6)), /into holds 6 checksums; 7 pieces need as many/],
    ];
    for (const [action, message] of cases)
      assert.throws(
        action,
        (error) => error instanceof RangeError && message.test(error.message),
        `${kernels.variant} ${message}`,
      );
    await assert.rejects(kernels.encodeAsync(8, one, [a], [c]), /overlaps another buffer/);
    assert.ok(bytes.every((byte) => byte === 9));
  }
});

test("a native job of more buffers than a call may have is refused", () => {
  const one = new Uint8Array(1);
  const sources = Array.from({ length: 1024 }, () => one);
  for (const kernels of native) {
    assert.throws(
      () => kernels.encode(8, new Uint16Array(1024), sources, [new Uint8Array(1)]),
      /1025 buffers in one job; it must be at most 1024/,
    );
    const target = Uint8Array.of(9);
    kernels.encode(8, new Uint16Array(1023).fill(1), sources.slice(1), [target]);
    assert.equal(target[0], 0);
  }
});

test("values that are no buffers are refused by the native kernels", () => {
  const bytes = new Uint8Array(8);
  for (const kernels of native) {
    assert.throws(() => kernels.addInto(bytes, null as unknown as Uint8Array), TypeError);
    assert.throws(() => kernels.addInto(new Uint16Array(4) as unknown as Uint8Array, bytes), /the target is not a Uint8Array/);
    assert.throws(
      () => kernels.encode(8, Uint16Array.of(1), [[] as unknown as Uint8Array], [bytes]),
      /a source is not a Uint8Array/,
    );
    assert.throws(
      () => kernels.encode(8, Uint8Array.of(1) as unknown as Uint16Array, [bytes], [new Uint8Array(8)]),
      /not a Uint16Array/,
    );
    assert.throws(() => kernels.crc32c("text" as unknown as Uint8Array), /not a Uint8Array/);
  }
});

test("CRC32C gives the published values", () => {
  // RFC 3720, appendix B.4, and the check value of the polynomial.
  const cases: [bytes: Uint8Array, checksum: number][] = [
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [Uint8Array.from({ length: 32 }, (_, at) => at), 0x46dd794e],
    [Uint8Array.from({ length: 32 }, (_, at) => 31 - at), 0x113fdb5c],
    [Buffer.from("123456789", "latin1"), 0xe3069283],
    [new Uint8Array(0), 0],
  ];
  for (const kernels of variants)
    for (const [bytes, checksum] of cases) assert.equal(kernels.crc32c(bytes), checksum, kernels.variant);
  assert.equal(crc32c(cases[4][0]), 0xe3069283);
});

test("checksums of parts go on from each other and combine", () => {
  const random = randomNumbers(61);
  const bytes = randomBytes(9000, 0, random);
  for (const split of [0, 1, 8, 100, 4096, 8999, 9000]) {
    const [first, second] = [bytes.subarray(0, split), bytes.subarray(split)];
    assert.equal(crc32c(second, crc32c(first)), crc32c(bytes));
    for (const kernels of variants) {
      assert.equal(
        kernels.crc32cCombine(crc32c(first), crc32c(second), second.length),
        crc32c(bytes),
        `${kernels.variant} ${split}`,
      );
    }
  }
  const zeros = crc32c(new Uint8Array(1 << 20));
  const twice = reference.crc32cCombine(zeros, zeros, 1 << 20);
  assert.equal(crc32cCombine(zeros, zeros, 1 << 20), twice);
  assert.equal(crc32cCombine(1, 2, 2 ** 40 + 5), reference.crc32cCombine(1, 2, 2 ** 40 + 5));
  const into = new Uint32Array(3);
  crc32cPieces(bytes, 3000, into);
  assert.equal(crc32cCombine(crc32cCombine(into[0], into[1], 3000), into[2], 3000), crc32c(bytes));
});

test("the environment chooses the variant, and one that cannot be had is a clear error", () => {
  for (const { variant } of variants) assert.equal(selectKernels(variant).variant, variant);
  assert.equal(selectKernels(undefined).variant, variants[0].variant);
  assert.throws(() => selectKernels("fast"), /CAIRN_KERNELS=fast is not known; it must be one of: .*portable, typescript/);
  for (const missing of VARIANTS.filter((name) => !variants.some(({ variant }) => variant === name))) {
    assert.throws(() => selectKernels(missing), /is not supported by this machine/);
  }
  const url = new URL("../../native/kernels.js", import.meta.url).href;
  const script = `import { kernels } from ${JSON.stringify(url)}; console.log(kernels().variant)`;
  const run = (value: string) =>
    spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      env: { ...process.env, CAIRN_KERNELS: value },
      encoding: "utf8",
    });
  assert.equal(run("portable").stdout.trim(), "portable");
  assert.equal(run("typescript").stdout.trim(), "typescript");
  assert.match(run("fast").stderr, /CAIRN_KERNELS=fast is not known/);
});
