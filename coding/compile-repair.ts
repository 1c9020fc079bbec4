// Repair as programs: at one node, which fetches what it needs, or as a pipeline of slices through the survivors, so that no
// card carries more than one block for each block repaired (Li, Li, Lee, Huang: "Repair Pipelining for Erasure-Coded
// Storage", USENIX ATC 2017). A slice is a piece of a stream.
import { CodingError } from "./code.ts";
import type { Code } from "./code.ts";
import { blockRows, checkPlaces, compileAlongChain, compileAtNode } from "./compile.ts";
import type { BlockAt, CompileOptions, LinearMap } from "./compile.ts";
import { express, selectRows } from "./matrix.ts";
import type { Program } from "./program.ts";
import { complement } from "./subsets.ts";

export interface RepairPlaces {
  /** Where each of the n blocks is; for lost ones, where the new one goes. */
  readonly blocks: readonly BlockAt[];
  readonly lost: readonly number[];
  /** Blocks that may be read, those to be preferred first; default all that are not lost. A pipeline passes through them in the order of the code's plan. */
  readonly present?: readonly number[];
}

function repairMap(code: Code, { blocks, lost, present }: RepairPlaces): LinearMap {
  checkPlaces(code.scheme, "blocks", blocks, code.totalBlocks);
  const usable = (present ?? complement(code.totalBlocks, lost)).filter((block) => !lost.includes(block));
  const used = code.plan(usable, lost);
  if (lost.length === 0) throw new CodingError("INVALID_ARGUMENT", `${code.scheme}: no lost block to repair was named`);
  const { field, matrix } = blockRows(code);
  const rows = used && express(field, selectRows(matrix, used), selectRows(matrix, lost));
  if (!rows) {
    throw new CodingError(
      "UNDECODABLE",
      `${code.scheme}: cannot repair block ${lost.join(", ")} from blocks ${usable.join(", ") || "(none)"}`,
    );
  }
  return { field, matrix: rows, sources: used.map((block) => blocks[block]), targets: lost.map((block) => blocks[block]) };
}

/** Throws CodingError UNDECODABLE where the lost blocks cannot be computed, INVALID_ARGUMENT for wrong numbers. */
export function compileRepairAtNode(code: Code, places: RepairPlaces, node: string, options: CompileOptions): Program {
  return compileAtNode(repairMap(code, places), node, options);
}

/** Throws as compileRepairAtNode. */
export function compileRepairPipeline(code: Code, places: RepairPlaces, options: CompileOptions): Program {
  return compileAlongChain(repairMap(code, places), options);
}
