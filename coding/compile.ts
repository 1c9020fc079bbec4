// What the compilers share: a linear map from blocks to blocks (targets = matrix * sources) as a program, either computed
// at one node, to which all sources stream, or along a chain through the nodes that hold the sources, each of which adds its
// share to the partial sums that it passes on.
import { CodingError } from "./code.ts";
import type { Code } from "./code.ts";
import { gf256 } from "./field.ts";
import type { Field, Matrix } from "./field.ts";
import { element, matrixOf } from "./matrix.ts";
import { PROGRAM_VERSION } from "./program.ts";
import type { Instruction, Program, ProgramMode, Stage } from "./program.ts";
import { RapidRaid } from "./rapidraid.ts";
import { ReedSolomon } from "./reed-solomon.ts";

/** A block and the node that has it, or is to have it. */
export interface BlockAt {
  readonly node: string;
  readonly block: string;
}

export interface CompileOptions {
  readonly blockBytes: number;
  /** Default PIECE_BYTES. */
  readonly pieceBytes?: number;
  /** Default pull. */
  readonly mode?: ProgramMode;
}

/** Stays in the second-level cache with the registers of a usual stage. */
export const PIECE_BYTES = 64 * 1024;

export interface LinearMap {
  readonly field: Field;
  /** targets.length rows, sources.length columns. */
  readonly matrix: Matrix;
  readonly sources: readonly BlockAt[];
  readonly targets: readonly BlockAt[];
}

/** The field and the rows of all blocks of a code: blocks = matrix * data. */
export function blockRows(code: Code): { field: Field; matrix: Matrix } {
  if (code instanceof RapidRaid) return { field: code.field, matrix: code.blockMatrix };
  if (code instanceof ReedSolomon) return { field: gf256, matrix: code.blockMatrix };
  if (code.dataBlocks === 1)
    return { field: gf256, matrix: matrixOf(code.totalBlocks, 1, new Uint16Array(code.totalBlocks).fill(1)) };
  throw new CodingError("INVALID_ARGUMENT", `${code.scheme}: there is no compiler for codes of this kind`);
}

export function programOf(
  { blockBytes, pieceBytes = PIECE_BYTES, mode = "pull" }: CompileOptions,
  stages: readonly Stage[],
): Program {
  return { version: PROGRAM_VERSION, mode, streamBytes: blockBytes, pieceBytes, stages };
}

/** Throws CodingError INVALID_ARGUMENT unless there are as many as required. */
export function checkPlaces(scheme: string, what: string, places: readonly unknown[], required: number): void {
  if (places.length === required) return;
  throw new CodingError("INVALID_ARGUMENT", `${scheme}: ${places.length} places for ${what} given; it must be ${required}`);
}

export function fieldBits(field: Field): 8 | 16 {
  return field.bits;
}

/** register `to` = the sum of coefficient * source register; `begun` where it holds a partial sum already. */
export function sumInstructions(
  to: number,
  terms: readonly { coefficient: number; from: number }[],
  begun: boolean,
): Instruction[] {
  return terms.map(({ coefficient, from }, index) =>
    begun || index > 0
      ? coefficient === 1
        ? { operation: "IADD", to, from }
        : { operation: "MULADD", to, coefficient, from }
      : coefficient === 1
        ? { operation: "COPY", to, from }
        : { operation: "MULT", to, coefficient, from },
  );
}

/** A stage that streams blocks of a node to another stage: output i is the block's range that begins at offsets[i]. */
export function readStage(name: string, field: 8 | 16, { node, block }: BlockAt, offsets: readonly number[] = [0]): Stage {
  const instructions = offsets.map((offset, to): Instruction => ({ operation: "LOAD", to, block, offset }));
  return { name, node, field, registers: offsets.length, outputs: offsets.map((_, output) => output), instructions };
}

/** A stage that writes what another stage puts out: its output outputs[i] becomes the block's range that begins at offsets[i]. */
export function writeStage(
  name: string,
  field: 8 | 16,
  { node, block }: BlockAt,
  stage: string,
  outputs: readonly number[],
  offsets: readonly number[] = [0],
): Stage {
  const instructions = outputs.flatMap((output, index): Instruction[] => [
    { operation: "LOAD", to: index, stage, output },
    { operation: "WRITE", from: index, block, offset: offsets[index] },
  ]);
  return { name, node, field, registers: outputs.length, outputs: [], instructions };
}

/** All sources stream to `node`, which computes all targets and streams them to their nodes. */
export function compileAtNode(map: LinearMap, node: string, options: CompileOptions): Program {
  const field = fieldBits(map.field);
  const stages: Stage[] = [];
  const instructions: Instruction[] = map.sources.map((source, to) => {
    if (source.node === node) return { operation: "LOAD", to, block: source.block, offset: 0 };
    stages.push(readStage(`read-${to}`, field, source));
    return { operation: "LOAD", to, stage: `read-${to}`, output: 0 };
  });
  const outputs: number[] = [];
  const writers: Stage[] = [];
  map.targets.forEach((target, row) => {
    const register = map.sources.length + row;
    instructions.push(...sumInstructions(register, termsOf(map, row, [...map.sources.keys()], 0), false));
    if (target.node === node) {
      instructions.push({ operation: "WRITE", from: register, block: target.block, offset: 0 });
    } else {
      writers.push(writeStage(`write-${row}`, field, target, "compute", [outputs.length]));
      outputs.push(register);
    }
  });
  stages.push({ name: "compute", node, field, registers: map.sources.length + map.targets.length, outputs, instructions });
  return programOf(options, [...stages, ...writers]);
}

/** The nonzero terms of a target's row; source columns[i] is in register first + i. A row of zeros keeps one term, so that the target is filled. */
function termsOf(
  map: LinearMap,
  row: number,
  columns: readonly number[],
  first: number,
): { coefficient: number; from: number }[] {
  const terms = columns.map((column, index) => ({ coefficient: element(map.matrix, row, column), from: first + index }));
  const nonzero = terms.filter(({ coefficient }) => coefficient !== 0);
  return nonzero.length === 0 ? terms.slice(0, 1) : nonzero;
}

/** The nodes in the order of their first sources, each with its source numbers. */
function sourcesByNode(sources: readonly BlockAt[]): [node: string, columns: number[]][] {
  const columns = new Map<string, number[]>();
  sources.forEach(({ node }, source) => columns.set(node, [...(columns.get(node) ?? []), source]));
  return [...columns];
}

/** Through the nodes of the sources in their order, a node's sources together; each target leaves the chain where its sum is complete. */
export function compileAlongChain(map: LinearMap, options: CompileOptions): Program {
  const field = fieldBits(map.field);
  const hops = sourcesByNode(map.sources);
  const contributes = (row: number, columns: readonly number[]) =>
    columns.some((column) => element(map.matrix, row, column) !== 0);
  const lastHop = map.targets.map((_, row) =>
    Math.max(
      0,
      hops.findLastIndex(([, columns]) => contributes(row, columns)),
    ),
  );
  const stages: Stage[] = [];
  const writers: Stage[] = [];
  /** Of targets begun and not complete: the output of the stage before that has their sum. */
  let passed = new Map<number, number>();
  hops.forEach(([node, columns], hop) => {
    const name = `hop-${hop}`;
    const registers = map.targets.length + columns.length;
    const instructions: Instruction[] = [...passed].map(([row, output]) => ({
      operation: "LOAD",
      to: row,
      stage: `hop-${hop - 1}`,
      output,
    }));
    columns.forEach((column, index) => {
      instructions.push({ operation: "LOAD", to: map.targets.length + index, block: map.sources[column].block, offset: 0 });
    });
    const outputs: number[] = [];
    const passing = new Map<number, number>();
    map.targets.forEach((target, row) => {
      const begun = passed.has(row);
      const complete = lastHop[row] === hop;
      if (contributes(row, columns) || (complete && !begun)) {
        instructions.push(...sumInstructions(row, termsOf(map, row, columns, map.targets.length), begun));
      } else if (!begun) return;
      if (complete && target.node === node) {
        instructions.push({ operation: "WRITE", from: row, block: target.block, offset: 0 });
      } else if (hop <= lastHop[row]) {
        if (complete) writers.push(writeStage(`write-${row}`, field, target, name, [outputs.length]));
        else passing.set(row, outputs.length);
        outputs.push(row);
      }
    });
    stages.push({ name, node, field, registers, outputs, instructions });
    passed = passing;
  });
  return programOf(options, [...stages, ...writers]);
}
