import assert from "node:assert/strict";
import test from "node:test";
import { gf256, gf65536 } from "../../coding/field.ts";
import { linkProgram } from "../../coding/program-validation.ts";
import type { Instruction, Program, ProgramMode, Stage } from "../../coding/program.ts";
import { seededRandom } from "../../coding/seeded-random.ts";
import { ProcessTransport } from "../../coding/transport.ts";
import { cluster, randomBytes, range } from "./runner-cluster.ts";

const STREAM_BYTES = 110;
const NODES = 3;

interface Unused {
  stage: string;
  output: number;
}

/** A program of random stages, each taking some of the streams that earlier ones put out; a last one writes what is left. */
function randomProgram(below: (limit: number) => number, mode: ProgramMode): Program {
  const stages: Stage[] = [];
  let unused: Unused[] = [];
  const take = (count: number) => range(Math.min(count, unused.length)).map(() => unused.splice(below(unused.length), 1)[0]);
  for (let number = 1 + below(5); number > 0; number--) {
    const name = `s${stages.length}`;
    const field = below(2) === 0 ? 8 : 16;
    const registers = 1 + below(4);
    const filled = new Set<number>();
    const instructions: Instruction[] = [];
    const fill = (instruction: Instruction & { to: number }) => {
      instructions.push(instruction);
      filled.add(instruction.to);
    };
    for (const { stage, output } of take(below(3))) fill({ operation: "LOAD", to: below(registers), stage, output });
    if (filled.size === 0 || below(2) === 0)
      fill({ operation: "LOAD", to: below(registers), block: `in-${below(3)}`, offset: 2 * below(20) });
    for (let step = below(6); step > 0; step--) {
      const from = [...filled][below(filled.size)];
      const to = below(registers);
      const coefficient = below(2 ** field);
      const kind = below(4);
      if (kind === 0) fill({ operation: "COPY", to, from });
      else if (kind === 1) fill({ operation: "MULT", to, coefficient, from });
      else if (to === from || !filled.has(to)) continue;
      else if (kind === 2) fill({ operation: "IADD", to, from });
      else fill({ operation: "MULADD", to, coefficient, from });
    }
    const outputs = range(1 + below(2)).map(() => [...filled][below(filled.size)]);
    unused.push(...outputs.map((_, output) => ({ stage: name, output })));
    stages.push({ name, node: `n${below(NODES)}`, field, registers, outputs, instructions });
  }
  const instructions = unused.flatMap(({ stage, output }, index): Instruction[] => [
    { operation: "LOAD", to: 0, stage, output },
    { operation: "WRITE", from: 0, block: `out-${index % 2}`, offset: Math.floor(index / 2) * STREAM_BYTES },
  ]);
  unused = [];
  stages.push({ name: "sink", node: "n0", field: 8, registers: 1, outputs: [], instructions });
  return { version: 1, mode, streamBytes: STREAM_BYTES, pieceBytes: 2 + 2 * below(30), stages };
}

/** What the sink writes, by computing each stage at once on whole streams. */
function computedDirectly(program: Program, blocks: (node: string, block: string) => Uint8Array): Map<string, Uint8Array> {
  const outputs = new Map<string, Uint8Array[]>();
  const written = new Map<string, Uint8Array>();
  for (const { name, node, field, instructions, outputs: registersOut } of program.stages) {
    const { multiplyInto, multiplyAddInto } = { multiplyInto: scaled(field, false), multiplyAddInto: scaled(field, true) };
    const registers: Uint8Array[] = [];
    for (const step of instructions) {
      if (step.operation === "LOAD") {
        const stream =
          "block" in step
            ? blocks(node, step.block).subarray(step.offset, step.offset + STREAM_BYTES)
            : outputs.get(step.stage)?.[step.output];
        registers[step.to] = Uint8Array.from(stream as Uint8Array);
      } else if (step.operation === "COPY") registers[step.to] = Uint8Array.from(registers[step.from]);
      else if (step.operation === "IADD")
        registers[step.to] = registers[step.to].map((byte, at) => byte ^ registers[step.from][at]);
      else if (step.operation === "MULT")
        registers[step.to] = multiplyInto(registers[step.from], registers[step.from], step.coefficient);
      else if (step.operation === "MULADD")
        registers[step.to] = multiplyAddInto(registers[step.to], registers[step.from], step.coefficient);
      else if (step.operation === "WRITE") {
        const earlier = written.get(step.block) ?? new Uint8Array();
        assert.equal(earlier.length, step.offset);
        written.set(step.block, Uint8Array.from([...earlier, ...registers[step.from]]));
      }
    }
    outputs.set(
      name,
      registersOut.map((register) => Uint8Array.from(registers[register])),
    );
  }
  return written;
}

/** coefficient * source, and the target added where asked, element by element. */
function scaled(bits: 8 | 16, add: boolean): (target: Uint8Array, source: Uint8Array, coefficient: number) => Uint8Array {
  const field = bits === 8 ? gf256 : gf65536;
  return (target, source, coefficient) => {
    const result = new Uint8Array(source.length);
    for (let at = 0; at < source.length; at += field.wordBytes) {
      const word = bits === 8 ? source[at] : source[at] | (source[at + 1] << 8);
      const product = field.multiply(word, coefficient);
      for (let byte = 0; byte < field.wordBytes; byte++)
        result[at + byte] = ((product >> (8 * byte)) & 0xff) ^ (add ? target[at + byte] : 0);
    }
    return result;
  };
}

test("random programs compute what their instructions say, with any window, by pull and by push", async () => {
  const { below } = seededRandom(31);
  for (let round = 0; round < 300; round++) {
    const program = randomProgram(below, round % 2 === 0 ? "pull" : "push");
    linkProgram(program);
    const nodes = cluster({ transport: new ProcessTransport(undefined, 1 + below(3)) });
    range(NODES).forEach((node) =>
      range(3).forEach((block) => nodes.at(`n${node}`).blocks.set(`in-${block}`, randomBytes(200, 10 * node + block))),
    );
    const expected = computedDirectly(program, (node, block) => nodes.at(node).blocks.get(block) as Uint8Array);
    await nodes.run(program);
    for (const [block, bytes] of expected) assert.deepEqual(nodes.at("n0").blocks.get(block), bytes, `round ${round}, ${block}`);
  }
});
