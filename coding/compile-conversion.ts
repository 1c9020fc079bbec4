// From one scheme to another as a program at one node: the same data, in k1 blocks before and k2 after, cut into
// lcm(k1, k2) units, so that every block, old and new, is a whole number of units. All streams are one unit long. A conversion
// to copies:1 is reading: the data, in one block.
import { CodingError } from "./code.ts";
import type { Code } from "./code.ts";
import { blockRows, checkPlaces, fieldBits, programOf, readStage, sumInstructions, writeStage } from "./compile.ts";
import type { BlockAt, CompileOptions } from "./compile.ts";
import type { Field, Matrix } from "./field.ts";
import { element, express, identity, selectRows } from "./matrix.ts";
import { planRead } from "./plan.ts";
import type { Instruction, Program, Stage } from "./program.ts";
import { complement } from "./subsets.ts";

export interface ConversionPlaces {
  /** Where each of the old blocks is. */
  readonly from: readonly BlockAt[];
  /** Old blocks that may be read; default all. */
  readonly present?: readonly number[];
  /** Where each of the new blocks goes; all are written, under new names. */
  readonly to: readonly BlockAt[];
}

/** Bytes of a new block where an old one has so many. Throws CodingError INVALID_ARGUMENT where the units would not be whole. */
export function convertedBlockBytes(from: Code, to: Code, blockBytes: number): number {
  const { unitBytes, newUnits } = unitsOf(from, to, blockBytes);
  return unitBytes * newUnits;
}

function unitsOf(from: Code, to: Code, blockBytes: number): { oldUnits: number; newUnits: number; unitBytes: number } {
  const units = leastCommonMultiple(from.dataBlocks, to.dataBlocks);
  const oldUnits = units / from.dataBlocks;
  const wordBytes = Math.max(blockRows(from).field.wordBytes, blockRows(to).field.wordBytes);
  if (blockBytes % (oldUnits * wordBytes) !== 0) {
    throw new CodingError(
      "INVALID_ARGUMENT",
      `conversion from ${from.scheme} to ${to.scheme}: a block has ${blockBytes} bytes; it must be a multiple of ${oldUnits * wordBytes}`,
    );
  }
  return { oldUnits, newUnits: units / to.dataBlocks, unitBytes: blockBytes / oldUnits };
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y > 0) [x, y] = [y, x % y];
  return (a * b) / x;
}

/** options.blockBytes: of an old block. Throws CodingError UNDECODABLE where the old blocks do not give the data, INVALID_ARGUMENT for wrong numbers and lengths. */
export function compileConversion(
  from: Code,
  to: Code,
  places: ConversionPlaces,
  node: string,
  options: CompileOptions,
): Program {
  checkPlaces(from.scheme, "old blocks", places.from, from.totalBlocks);
  checkPlaces(to.scheme, "new blocks", places.to, to.totalBlocks);
  const { oldUnits, newUnits, unitBytes } = unitsOf(from, to, options.blockBytes);
  const present = places.present ?? complement(from.totalBlocks, []);
  const used = planRead(from, present);
  const decoding = used && express(blockRows(from).field, selectRows(blockRows(from).matrix, used), identity(from.dataBlocks));
  if (!decoding)
    throw new CodingError("UNDECODABLE", `${from.scheme}: blocks ${present.join(", ") || "(none)"} do not give back the data`);
  const offsets = (units: number) => Array.from({ length: units }, (_, unit) => unit * unitBytes);
  const bits = fieldBits(blockRows(from).field);
  const readers = used
    .map((block, index) => readStage(`read-${index}`, bits, places.from[block], offsets(oldUnits)))
    .filter((stage) => stage.node !== node);
  const sources = used.map((block) => places.from[block]);
  const decode = decodeStage(blockRows(from).field, decoding, sources, oldUnits, unitBytes, node);
  const encode = encodeStage(to, places.to, newUnits, unitBytes, node);
  const stages = [...readers, decode, encode.stage, ...encode.writers];
  return programOf({ ...options, blockBytes: unitBytes }, stages);
}

/** Old blocks' units in, the data's units PUSHed to the encoding stage, in whose field they may differ. */
function decodeStage(
  field: Field,
  matrix: Matrix,
  sources: readonly BlockAt[],
  units: number,
  unitBytes: number,
  node: string,
): Stage {
  const instructions: Instruction[] = [];
  sources.forEach((source, index) => {
    for (let unit = 0; unit < units; unit++) {
      const to = index * units + unit;
      if (source.node === node) instructions.push({ operation: "LOAD", to, block: source.block, offset: unit * unitBytes });
      else instructions.push({ operation: "LOAD", to, stage: `read-${index}`, output: unit });
    }
  });
  const sum = sources.length * units;
  for (let part = 0; part < matrix.rows; part++) {
    for (let unit = 0; unit < units; unit++) {
      const terms = sources.flatMap((_, index) => {
        const coefficient = element(matrix, part, index);
        return coefficient === 0 ? [] : [{ coefficient, from: index * units + unit }];
      });
      const direct = terms.length === 1 && terms[0].coefficient === 1;
      if (!direct) instructions.push(...sumInstructions(sum, terms, false));
      instructions.push({ operation: "PUSH", from: direct ? terms[0].from : sum, queue: `unit-${part * units + unit}` });
    }
  }
  return { name: "decode", node, field: fieldBits(field), registers: sum + 1, outputs: [], instructions };
}

function encodeStage(
  code: Code,
  places: readonly BlockAt[],
  units: number,
  unitBytes: number,
  node: string,
): { stage: Stage; writers: Stage[] } {
  const { field, matrix } = blockRows(code);
  const dataUnits = code.dataBlocks * units;
  const instructions: Instruction[] = Array.from({ length: dataUnits }, (_, to) => ({
    operation: "POP",
    to,
    queue: `unit-${to}`,
  }));
  const outputs: number[] = [];
  const writers: Stage[] = [];
  places.forEach((place, block) => {
    const registers = Array.from({ length: units }, (_, unit) => dataUnits + block * units + unit);
    const offsets = registers.map((_, unit) => unit * unitBytes);
    registers.forEach((to, unit) => {
      const terms = Array.from({ length: code.dataBlocks }, (_, part) => ({
        coefficient: element(matrix, block, part),
        from: part * units + unit,
      }));
      instructions.push(
        ...sumInstructions(
          to,
          terms.filter(({ coefficient }) => coefficient !== 0),
          false,
        ),
      );
      if (place.node === node) instructions.push({ operation: "WRITE", from: to, block: place.block, offset: offsets[unit] });
    });
    if (place.node === node) return;
    writers.push(
      writeStage(
        `write-${block}`,
        fieldBits(field),
        place,
        "encode",
        registers.map((_, unit) => outputs.length + unit),
        offsets,
      ),
    );
    outputs.push(...registers);
  });
  const registers = dataUnits + code.totalBlocks * units;
  return { stage: { name: "encode", node, field: fieldBits(field), registers, outputs, instructions }, writers };
}
