import assert from "node:assert/strict";
import test from "node:test";
import { CodingError } from "../../coding/code.ts";
import { compileConversion } from "../../coding/compile-conversion.ts";
import { compileEncodeChain, compileRapidRaidEncode } from "../../coding/compile-encode.ts";
import { decodeProgram, encodeProgram, parseProgram, printProgram } from "../../coding/program-codec.ts";
import type { Program } from "../../coding/program.ts";
import type { RapidRaid } from "../../coding/rapidraid.ts";
import { parseScheme } from "../../coding/scheme.ts";
import { seededRandom } from "../../coding/seeded-random.ts";
import { range } from "./runner-cluster.ts";

/** Every operation once, and every field with a value of its own. */
const everything: Program = {
  version: 1,
  mode: "push",
  streamBytes: 2 ** 40,
  pieceBytes: 65536,
  stages: [
    {
      name: "a",
      node: "n1",
      field: 16,
      registers: 3,
      outputs: [1],
      instructions: [
        { operation: "LOAD", to: 0, block: "in", offset: 2 ** 40 },
        { operation: "COPY", to: 1, from: 0 },
        { operation: "IADD", to: 1, from: 0 },
        { operation: "MULT", to: 2, coefficient: 65535, from: 0 },
        { operation: "MULADD", to: 1, coefficient: 300, from: 2 },
        { operation: "PUSH", from: 2, queue: "q" },
      ],
    },
    {
      name: "b",
      node: "n1",
      field: 8,
      registers: 2,
      outputs: [],
      instructions: [
        { operation: "POP", to: 0, queue: "q" },
        { operation: "LOAD", to: 1, stage: "a", output: 0 },
        { operation: "WRITE", from: 1, block: "out", offset: 0 },
        { operation: "WRITE", from: 0, block: "out", offset: 2 ** 40 },
      ],
    },
  ],
};

const GOLDEN_HEX =
  "0801100118808080808020208080042a450a016112026e31181020032a0101320b2a02696e3080808080802032040802100132040803100132080804100220ffff03320908051001180220ac023207080618024a01712a340a016212026e3118082002320508074a0171320510013a01613209080118012a036f7574320e08012a036f757430808080808020";
const GOLDEN_JSON = `{"version":1,"mode":"push","streamBytes":1099511627776,"pieceBytes":65536,"stages":[
    {"name":"a","node":"n1","field":16,"registers":3,"outputs":[1],"instructions":[
      {"operation":"LOAD","to":0,"block":"in","offset":1099511627776},
      {"operation":"COPY","to":1,"from":0},
      {"operation":"IADD","to":1,"from":0},
      {"operation":"MULT","to":2,"coefficient":65535,"from":0},
      {"operation":"MULADD","to":1,"coefficient":300,"from":2},
      {"operation":"PUSH","from":2,"queue":"q"}]},
    {"name":"b","node":"n1","field":8,"registers":2,"outputs":[],"instructions":[
      {"operation":"POP","to":0,"queue":"q"},
      {"operation":"LOAD","to":1,"stage":"a","output":0},
      {"operation":"WRITE","from":1,"block":"out","offset":0},
      {"operation":"WRITE","from":0,"block":"out","offset":1099511627776}]}]}
`;

test("the written forms of a program keep their bytes", () => {
  assert.equal(Buffer.from(encodeProgram(everything)).toString("hex"), GOLDEN_HEX);
  assert.equal(printProgram(everything), GOLDEN_JSON);
  assert.deepEqual(decodeProgram(Buffer.from(GOLDEN_HEX, "hex")), everything);
  assert.deepEqual(parseProgram(GOLDEN_JSON), everything);
});

test("an offset that is left out in JSON is 0", () => {
  assert.deepEqual(parseProgram(GOLDEN_JSON.replace(',"offset":0}', "}")), everything);
});

test("a field that a later version adds is passed over in protobuf", () => {
  const added = Buffer.concat([encodeProgram(everything), Buffer.from([0xfa, 0x01, 0x01, 0x2a])]);
  assert.deepEqual(decodeProgram(added), everything);
});

test("text that is not a program is refused with what is wrong", () => {
  const change = (path: string, value: unknown): string => {
    const copy = JSON.parse(GOLDEN_JSON);
    const keys = path.split(".");
    const last = keys.pop() as string;
    const target = keys.reduce((at, key) => at[key], copy);
    if (value === undefined) delete target[last];
    else target[last] = value;
    return JSON.stringify(copy);
  };
  const cases: [text: string, message: RegExp][] = [
    ["", /it is not JSON/],
    ["[]", /it must be an object with version, mode/],
    ["null", /it must be an object/],
    [change("version", 2), /its version is 2; this build runs version 1/],
    [change("version", "1"), /version is "1"; it must be a number/],
    [change("mode", 1), /its mode is 1; it must be pull or push/],
    [change("extra", 1), /it has "extra"; it may have version/],
    [change("stages", {}), /stages must be a list/],
    [change("stages.0", 5), /stage 0 must be an object with name/],
    [change("stages.0.name", 5), /a stage's name is "5"/],
    [change("stages.1.outputs", undefined), /stage 1 has no "outputs"/],
    [change("stages.1.outputs", ["x"]), /the register of output 0 is x/],
    [change("stages.0.instructions.3.coefficient", "7"), /stage 0, instruction 3: coefficient is "7"; it must be a number/],
    [
      change("stages.0.instructions.3.coefficient", 65536),
      /stage "a" on node "n1", instruction 3 \(MULT\): the coefficient is 65536/,
    ],
    [
      change("stages.0.instructions.3.queue", "q"),
      /stage 0, instruction 3 has "queue"; it may have operation, to, coefficient, from/,
    ],
    [change("stages.0.instructions.1.from", undefined), /stage 0, instruction 1 has no "from"/],
    [
      change("stages.0.instructions.1.operation", "ADD"),
      /stage 0, instruction 1: operation "ADD"; it must be one of LOAD, WRITE/,
    ],
    [change("stages.0.instructions.1.operation", undefined), /operation missing/],
    [change("stages.0.instructions.0.block", null), /the block's name is "null"/],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => parseProgram(text),
      (error: unknown) => error instanceof CodingError && error.code === "INVALID_PROGRAM" && message.test(error.message),
      `${text.slice(0, 80)} should be refused as ${message}`,
    );
  }
});

test("a bad program is not written either", () => {
  const bad = { ...everything, streamBytes: 3 };
  assert.throws(() => encodeProgram(bad), { code: "INVALID_PROGRAM" });
  assert.throws(() => printProgram(bad), { code: "INVALID_PROGRAM" });
});

function compiledPrograms(): Program[] {
  const at = (prefix: string, count: number) => range(count).map((index) => ({ node: `n${index}`, block: `${prefix}${index}` }));
  const options = { blockBytes: 4096 };
  const code = parseScheme("rapidraid:4+2") as RapidRaid;
  return [
    everything,
    compileEncodeChain(parseScheme("rs:4+2"), { data: at("d", 4), blocks: at("p", 2) }, options),
    compileRapidRaidEncode(
      code,
      { nodes: range(6).map(String), parts: ["a", "b", "c", "d"], blocks: range(6).map((block) => `c${block}`) },
      options,
    ),
    compileConversion(parseScheme("rs:4+2"), code, { from: at("o", 6), to: at("c", 6), present: [1, 2, 3, 4] }, "n9", options),
  ];
}

/** Good programs pass; anything else is refused with INVALID_PROGRAM; whether it was good. */
function decodes(bytes: Uint8Array, decode: (bytes: Uint8Array) => Program): boolean {
  try {
    decode(bytes);
    return true;
  } catch (error) {
    assert.ok(
      error instanceof CodingError && error.code === "INVALID_PROGRAM",
      `${Buffer.from(bytes).toString("hex").slice(0, 200)}: ${error}`,
    );
    return false;
  }
}

test("random and mutated bytes are decoded or refused, and nothing else", () => {
  const random = seededRandom(2024);
  const programs = compiledPrograms();
  const encoded = programs.map((program) => encodeProgram(program));
  let good = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes =
      round % 4 === 0
        ? Uint8Array.from({ length: random.below(200) }, () => random.below(256))
        : mutated(encoded[random.below(encoded.length)], random.below);
    if (decodes(bytes, decodeProgram)) good++;
  }
  // Some mutations hit a name or a coefficient and leave a good program: the mutations are small enough to reach deep checks.
  assert.ok(good > 100 && good < 15_000, `${good} were good`);
});

test("mutated text is parsed or refused, and nothing else", () => {
  const random = seededRandom(7);
  const texts = compiledPrograms().map((program) => Buffer.from(printProgram(program), "latin1"));
  let good = 0;
  for (let round = 0; round < 5000; round++) {
    const text = mutated(texts[random.below(texts.length)], random.below);
    if (decodes(text, (bytes) => parseProgram(Buffer.from(bytes).toString("latin1")))) good++;
  }
  assert.ok(good > 20 && good < 4000, `${good} were good`);
});

test("deeply nested and oversized bytes are refused", () => {
  // Group starts within group starts, of an unknown field.
  assert.equal(decodes(new Uint8Array(1_000_000).fill(0x7b), decodeProgram), false);
  assert.equal(decodes(new Uint8Array(2 ** 24 + 1), decodeProgram), false);
  assert.equal(
    decodes(Buffer.from("[".repeat(1_000_000)), (bytes) => parseProgram(Buffer.from(bytes).toString())),
    false,
  );
});

/** One to four small changes: bits, bytes, pieces taken out, doubled, or swapped in from elsewhere. */
function mutated(original: Uint8Array, below: (limit: number) => number): Uint8Array {
  let bytes = Buffer.from(original);
  for (let change = below(4); change >= 0 && bytes.length > 0; change--) {
    const at = below(bytes.length);
    const length = 1 + below(Math.min(20, bytes.length - at));
    const kind = below(5);
    if (kind === 0) bytes[at] ^= 1 << below(8);
    else if (kind === 1) bytes[at] = below(256);
    else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    else bytes.copyWithin(below(bytes.length), at, at + length);
  }
  return bytes;
}
