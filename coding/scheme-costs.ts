// What encoding and repairing move over the network under a scheme, read off the programs that would do it.
import type { Code } from "./code.ts";
import { compileEncodeAtNode, compileEncodeChain, compileRapidRaidEncode } from "./compile-encode.ts";
import { compileRepairAtNode, compileRepairPipeline } from "./compile-repair.ts";
import { RapidRaid } from "./rapidraid.ts";
import { ReedSolomon } from "./reed-solomon.ts";
import { trafficOf } from "./traffic.ts";
import type { Traffic } from "./traffic.ts";

export interface EncodeCosts {
  /** One node encodes; for a code over two replicas this is Reed-Solomon of the same numbers, which it competes with. */
  readonly classical: Traffic & { readonly scheme: string };
  readonly pipelined: Traffic;
}

/** Over all blocks that may be the lost one: of most the same. */
export interface RepairCosts {
  readonly fewestBlocksRead: number;
  readonly mostBlocksRead: number;
  /** The costliest block's. */
  readonly classical: Traffic;
  readonly pipelined: Traffic;
}

const placesOf = (count: number, prefix: string) =>
  Array.from({ length: count }, (_, index) => ({ node: `n${index}`, block: prefix }));
const names = (count: number, prefix: string) => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

/** blockBytes must be even. Each block is on a node of its own; classically the node of the first parity block encodes. */
export function encodeCosts(code: Code, blockBytes: number): EncodeCosts {
  const { dataBlocks, totalBlocks } = code;
  const options = { blockBytes };
  const all = placesOf(totalBlocks, "block");
  const places = { data: all.slice(0, dataBlocks), blocks: all.slice(dataBlocks) };
  const replicated = code instanceof RapidRaid;
  const systematic = replicated ? new ReedSolomon(dataBlocks, totalBlocks - dataBlocks) : code;
  // copies:1 makes no further block, and so moves nothing.
  if (places.blocks.length === 0) {
    const nothing = { movedBytes: 0, mostInBytes: 0, mostOutBytes: 0 };
    return { classical: { ...nothing, scheme: code.scheme }, pipelined: nothing };
  }
  const encoder = code.dataBlocks === 1 && !replicated ? "n0" : `n${dataBlocks}`;
  const classical = { ...trafficOf(compileEncodeAtNode(systematic, places, encoder, options)), scheme: systematic.scheme };
  const pipeline = replicated
    ? compileRapidRaidEncode(
        code,
        { nodes: names(totalBlocks, "n"), parts: names(dataBlocks, "part"), blocks: names(totalBlocks, "new") },
        options,
      )
    : compileEncodeChain(code, places, options);
  return { classical, pipelined: trafficOf(pipeline) };
}

/** blockBytes must be even. null where no loss at all is survived. */
export function repairCosts(code: Code, blockBytes: number): RepairCosts | null {
  if (code.guaranteedLosses === 0) return null;
  let result: RepairCosts | null = null;
  let fewestBlocksRead = Infinity;
  for (let lost = 0; lost < code.totalBlocks; lost++) {
    const blocks = placesOf(code.totalBlocks, "block").map((place, block) =>
      block === lost ? { ...place, node: "new" } : place,
    );
    const places = { blocks, lost: [lost] };
    const classical = trafficOf(compileRepairAtNode(code, places, "new", { blockBytes }));
    const blocksRead = classical.mostInBytes / blockBytes;
    fewestBlocksRead = Math.min(fewestBlocksRead, blocksRead);
    if (result && result.mostBlocksRead >= blocksRead) continue;
    const pipelined = trafficOf(compileRepairPipeline(code, places, { blockBytes }));
    result = { fewestBlocksRead, mostBlocksRead: blocksRead, classical, pipelined };
  }
  return result && { ...result, fewestBlocksRead };
}
