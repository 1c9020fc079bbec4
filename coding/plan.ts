// Which blocks to read for which end, under any code. Repairing: code.plan(present, lost). Encoding: all k data blocks.
import type { Code } from "./code.ts";
import { RapidRaid } from "./rapidraid.ts";

/** Blocks to read in order to get data parts (default all k), the fewest that do; null where `present` does not give them. */
export function planRead(code: Code, present: readonly number[], parts?: readonly number[]): number[] | null {
  const wanted = parts ?? Array.from({ length: code.dataBlocks }, (_, index) => index);
  return code instanceof RapidRaid ? code.planParts(present, wanted) : code.plan(present, wanted);
}
