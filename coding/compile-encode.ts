// Encoding as programs: at one node (classical), along a chain of the nodes that hold the data, and RapidRAID's pipeline.
import type { Code } from "./code.ts";
import { blockRows, checkPlaces, compileAlongChain, compileAtNode, fieldBits, programOf } from "./compile.ts";
import type { BlockAt, CompileOptions, LinearMap } from "./compile.ts";
import { selectRows } from "./matrix.ts";
import type { Instruction, Program, Stage } from "./program.ts";
import { partsWithCoefficients } from "./rapidraid-layout.ts";
import type { RapidRaid } from "./rapidraid.ts";

export interface EncodePlaces {
  /** Where the k data blocks are. */
  readonly data: readonly BlockAt[];
  /** Where the new blocks go: for a systematic code the m parity blocks, otherwise all n. */
  readonly blocks: readonly BlockAt[];
}

function encodeMap(code: Code, { data, blocks }: EncodePlaces): LinearMap {
  const { field, matrix } = blockRows(code);
  const first = code.systematic ? code.dataBlocks : 0;
  checkPlaces(code.scheme, "data", data, code.dataBlocks);
  checkPlaces(code.scheme, "new blocks", blocks, code.totalBlocks - first);
  return {
    field,
    matrix: selectRows(
      matrix,
      blocks.map((_, index) => first + index),
    ),
    sources: data,
    targets: blocks,
  };
}

/** One node fetches all data, computes, and sends the new blocks out. Throws CodingError INVALID_ARGUMENT for wrong numbers of places. */
export function compileEncodeAtNode(code: Code, places: EncodePlaces, node: string, options: CompileOptions): Program {
  return compileAtNode(encodeMap(code, places), node, options);
}

/** Partial sums of all new blocks go through the nodes that hold the data. Throws CodingError INVALID_ARGUMENT for wrong numbers of places. */
export function compileEncodeChain(code: Code, places: EncodePlaces, options: CompileOptions): Program {
  return compileAlongChain(encodeMap(code, places), options);
}

export interface RapidRaidPlaces {
  /** The n nodes, in the order of the pipeline. */
  readonly nodes: readonly string[];
  /** The names of the k parts, the same in both replicas: node i has part i, node n-k+j part j. */
  readonly parts: readonly string[];
  /** The name of the new block on each node. */
  readonly blocks: readonly string[];
}

/** One stream of partial sums goes through all n nodes, each of which keeps its block. Throws CodingError INVALID_ARGUMENT for wrong numbers of places. */
export function compileRapidRaidEncode(
  code: RapidRaid,
  { nodes, parts, blocks }: RapidRaidPlaces,
  options: CompileOptions,
): Program {
  checkPlaces(code.scheme, "nodes", nodes, code.totalBlocks);
  checkPlaces(code.scheme, "parts", parts, code.dataBlocks);
  checkPlaces(code.scheme, "new blocks", blocks, code.totalBlocks);
  const PASSED = 0;
  const KEPT = 1;
  const FIRST_PART = 2;
  const stages = partsWithCoefficients(code.coefficients).map((held, index): Stage => {
    const last = index === nodes.length - 1;
    const instructions: Instruction[] =
      index === 0 ? [] : [{ operation: "LOAD", to: PASSED, stage: `hop-${index - 1}`, output: 0 }];
    if (index > 0) instructions.push({ operation: "COPY", to: KEPT, from: PASSED });
    held.forEach(({ part, xi, psi }, at) => {
      const from = FIRST_PART + at;
      const add = index > 0 || at > 0 ? "MULADD" : "MULT";
      instructions.push({ operation: "LOAD", to: from, block: parts[part], offset: 0 });
      instructions.push({ operation: add, to: KEPT, coefficient: xi, from });
      if (!last) instructions.push({ operation: add, to: PASSED, coefficient: psi, from });
    });
    instructions.push({ operation: "WRITE", from: KEPT, block: blocks[index], offset: 0 });
    const registers = FIRST_PART + held.length;
    return {
      name: `hop-${index}`,
      node: nodes[index],
      field: fieldBits(code.field),
      registers,
      outputs: last ? [] : [PASSED],
      instructions,
    };
  });
  return programOf(options, stages);
}
