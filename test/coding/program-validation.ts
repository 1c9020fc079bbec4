import assert from "node:assert/strict";
import test from "node:test";
import { CodingError } from "../../coding/code.ts";
import { linkProgram } from "../../coding/program-validation.ts";
import type { Instruction, Program, Stage } from "../../coding/program.ts";

const load: Instruction = { operation: "LOAD", to: 0, block: "in", offset: 0 };
const write: Instruction = { operation: "WRITE", from: 0, block: "out", offset: 0 };

function stage(name: string, instructions: readonly unknown[], rest: Partial<Stage> = {}): Stage {
  return { name, node: "n", field: 8, registers: 2, outputs: [], instructions: instructions as Instruction[], ...rest };
}

function program(stages: readonly Stage[], rest: Partial<Program> = {}): Program {
  return { version: 1, mode: "pull", streamBytes: 100, pieceBytes: 10, stages, ...rest };
}

const good = program([
  stage("a", [load], { outputs: [0] }),
  stage(
    "b",
    [{ operation: "LOAD", to: 1, stage: "a", output: 0 }, { operation: "MULT", to: 0, coefficient: 255, from: 1 }, write],
    { node: "m" },
  ),
]);

test("a good program is linked: streams, depths, and what is written", () => {
  const linked = linkProgram(good);
  assert.deepEqual(linked.streams, [{ from: 0, to: 1, output: 0, index: 0 }]);
  assert.deepEqual(
    linked.stages.map(({ depth, height }) => [depth, height]),
    [
      [0, 1],
      [1, 0],
    ],
  );
  assert.equal(linked.levels, 2);
  assert.deepEqual([...(linked.written.get("m") ?? [])], [["out", 100]]);
});

test("a block may be written in ranges by several stages, if without gap and overlap", () => {
  const ranges = (...offsets: number[]) =>
    program(offsets.map((offset, index) => stage(`s${index}`, [load, { ...write, offset }])));
  assert.equal(
    linkProgram(ranges(100, 0, 200))
      .written.get("n")
      ?.get("out"),
    300,
  );
  assert.throws(
    () => linkProgram(ranges(0, 200)),
    /stage "s1" .*instruction 1 \(WRITE\): block "out" is not written from offset 100 to 200/,
  );
  assert.throws(() => linkProgram(ranges(0, 50)), /block "out" is written twice from offset 50 to 100/);
  assert.throws(() => linkProgram(ranges(1)), /block "out" is not written from offset 0 to 1/);
});

test("the largest stages are linked in time that grows with their size only", () => {
  const writes = Array.from({ length: 65_535 }, (_, index): Instruction => ({ ...write, offset: index * 100 }) as Instruction);
  assert.equal(
    linkProgram(program([stage("a", [load, ...writes])]))
      .written.get("n")
      ?.get("out"),
    6_553_500,
  );
  assert.throws(() => linkProgram(program([stage("a", [load, load, ...writes])])), /number of instructions is 65537/);
});

/** What one instruction on register 0, which is filled, and register 1, which is not, is refused for. */
const INSTRUCTIONS: [instruction: unknown, message: RegExp][] = [
  [{ operation: "JUMP" }, /instruction 1: unknown operation "JUMP"/],
  [{ operation: 7 }, /instruction 1: unknown operation 7/],
  [{ operation: "COPY", to: 2, from: 0 }, /instruction 1 \(COPY\): register "to" is 2; it must be 0\.\.1/],
  [{ operation: "COPY", to: -1, from: 0 }, /register "to" is -1/],
  [{ operation: "COPY", to: 0.5, from: 0 }, /register "to" is 0\.5/],
  [{ operation: "COPY", to: 1, from: 9 }, /register "from" is 9/],
  [{ operation: "COPY", to: 0, from: 1 }, /register "from" is 1, which nothing has filled before/],
  [{ operation: "IADD", to: 1, from: 0 }, /register "to" is 1, which nothing has filled before/],
  [{ operation: "MULADD", to: 1, from: 0, coefficient: 1 }, /register "to" is 1, which nothing has filled/],
  [{ operation: "IADD", to: 0, from: 0 }, /registers "to" and "from" are both 0/],
  [
    { operation: "MULT", to: 1, from: 0, coefficient: 256 },
    /instruction 1 \(MULT\): the coefficient is 256; it must be 0\.\.255/,
  ],
  [{ operation: "MULT", to: 1, from: 0, coefficient: -1 }, /the coefficient is -1/],
  [{ operation: "WRITE", from: 1, block: "x", offset: 0 }, /register "from" is 1, which nothing/],
  [{ operation: "WRITE", from: 0, block: "", offset: 0 }, /the block's name is ""/],
  [{ operation: "WRITE", from: 0, block: "a b", offset: 0 }, /the block's name is "a b"; it must be 1\.\.255 visible/],
  [{ operation: "WRITE", from: 0, block: "x".repeat(256), offset: 0 }, /the block's name is "x+"/],
  [{ operation: "WRITE", from: 0, block: "x", offset: -2 }, /the offset is -2/],
  [{ operation: "WRITE", from: 0, block: "x", offset: 2 ** 60 }, /the offset is/],
  [{ operation: "WRITE", from: 0, block: "in", offset: 0 }, /instruction 0 \(LOAD\): block "in" is both read and written/],
  [{ operation: "LOAD", to: 1, stage: "nowhere", output: 0 }, /instruction 1 \(LOAD\): there is no stage "nowhere"/],
  [{ operation: "LOAD", to: 1, stage: "a", output: 0 }, /stage "a" has 0 outputs and no output 0/],
  [{ operation: "PUSH", from: 0, queue: "q" }, /instruction 1 \(PUSH\): no stage on this node has a POP for queue "q"/],
  [{ operation: "POP", to: 0, queue: "q" }, /no stage on this node has a PUSH for queue "q"/],
];

test("a bad instruction is refused with its stage, node and number", () => {
  for (const [instruction, message] of INSTRUCTIONS) {
    assert.throws(
      () => linkProgram(program([stage("a", [load, instruction, write])])),
      (error: unknown) => {
        assert.ok(error instanceof CodingError && error.code === "INVALID_PROGRAM", JSON.stringify(instruction));
        assert.match(error.message, message);
        return /stage "a" on node "n"/.test(error.message);
      },
    );
  }
});

const PROGRAMS: [what: Program, message: RegExp][] = [
  [program([], {}), /number of stages is 0/],
  [{ ...good, version: 2 as 1 }, /its version is 2; this build runs version 1/],
  [{ ...good, mode: "sideways" as "pull" }, /its mode is "sideways"/],
  [{ ...good, streamBytes: 0 }, /streamBytes is 0/],
  [{ ...good, streamBytes: 2 ** 45 }, /streamBytes is/],
  [{ ...good, streamBytes: 1.5 }, /streamBytes is 1\.5/],
  [{ ...good, pieceBytes: 0 }, /pieceBytes is 0/],
  [{ ...good, pieceBytes: 2 ** 25 }, /pieceBytes is 33554432; it must be 1\.\.16777216/],
  [program([stage("a", [load, write], { field: 12 as 8 })]), /its field is 12; it must be 8 or 16/],
  [
    program([stage("a", [load, write], { field: 16 })], { streamBytes: 101 }),
    /over GF\(2\^16\) streams and pieces must be even; they are 101 and 10/,
  ],
  [program([stage("a", [load, write], { field: 16 })], { pieceBytes: 9 }), /must be even/],
  [program([stage("a", [load, write], { registers: 0 })]), /number of registers is 0/],
  [
    program([stage("a", [load, write], { registers: 1000 })], { pieceBytes: 2 ** 24, streamBytes: 2 ** 30 }),
    /bytes of its registers is 16777216000/,
  ],
  [program([stage("a", [])]), /number of instructions is 0/],
  [program([stage("a", [load])]), /stage "a" .*it has no output, WRITE or PUSH/],
  [
    program([stage("a", [load], { outputs: [1] }), stage("b", [load, write])]),
    /output 0 is register 1, which no instruction fills/,
  ],
  [program([stage("a", [load], { outputs: [5] })]), /the register of output 0 is 5/],
  [program([stage("a", [load], { outputs: [0] }), stage("b", [load, write])]), /stage "a" .*output 0 is loaded by no stage/],
  [program([stage("", [load, write])]), /a stage's name is ""/],
  [program([stage("a", [load, write], { node: "two words" })]), /the node of stage "a" is "two words"/],
  [program([stage("a", [load, write]), stage("a", [load, { ...write, block: "other" }])]), /two stages "a"/],
];

test("a bad program is refused with what is wrong", () => {
  for (const [bad, message] of PROGRAMS) {
    assert.throws(
      () => linkProgram(bad),
      (error: unknown) => {
        assert.ok(error instanceof CodingError && error.code === "INVALID_PROGRAM", `${message}: ${error}`);
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

const from = (name: string, output = 0): Instruction => ({ operation: "LOAD", to: 0, stage: name, output });

test("an output is loaded once, and a queue has one PUSH and one POP", () => {
  const source = stage("a", [load], { outputs: [0] });
  const twice = program([source, stage("b", [from("a"), write]), stage("c", [from("a"), { ...write, block: "d" }])]);
  assert.throws(() => linkProgram(twice), /stage "c" .*instruction 0 \(LOAD\): output 0 of stage "a" is loaded twice/);
  const push: Instruction = { operation: "PUSH", from: 0, queue: "q" };
  const pop: Instruction = { operation: "POP", to: 0, queue: "q" };
  assert.equal(linkProgram(program([stage("a", [load, push]), stage("b", [pop, write])])).streams[0].queue, "q");
  assert.throws(
    () => linkProgram(program([stage("a", [load, push, push]), stage("b", [pop, write])])),
    /queue "q" has two instructions PUSH/,
  );
  assert.throws(
    () => linkProgram(program([stage("a", [load, push]), stage("b", [pop, write], { node: "m" })])),
    /no stage on this node has a POP/,
  );
});

test("stages that wait for each other in a cycle are refused by name", () => {
  const cycle = program([
    stage("start", [load], { outputs: [0] }),
    stage("a", [from("start"), { ...from("b"), to: 1 } as Instruction], { outputs: [0] }),
    stage("b", [from("a")], { outputs: [0, 0] }),
    stage("end", [from("b", 1), write]),
  ]);
  assert.throws(() => linkProgram(cycle), /stage "a" on node "n": stages wait for each other in a cycle, among "a", "b"/);
  assert.throws(() => linkProgram(program([stage("self", [from("self")], { outputs: [0] })])), /in a cycle, among "self"/);
  const local = program([
    stage("a", [load, { operation: "PUSH", from: 0, queue: "q" }, { operation: "POP", to: 0, queue: "q" }]),
  ]);
  assert.throws(() => linkProgram(local), /in a cycle, among "a"/);
});
