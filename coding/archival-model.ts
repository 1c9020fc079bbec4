// How long archiving takes on a modelled network: objects of k parts, each lying as two overlapped replicas on n nodes, are
// encoded by one node each (classical Reed-Solomon) or by RapidRAID's pipeline. The very programs that nodes would run are
// run, on pieces without bytes.
import { symbolicArithmetic } from "./arithmetic.ts";
import type { Piece } from "./arithmetic.ts";
import type { BlockStore } from "./block-store.ts";
import { VirtualClock } from "./clock.ts";
import { compileEncodeAtNode, compileRapidRaidEncode } from "./compile-encode.ts";
import { ModelledNetwork } from "./modelled-network.ts";
import type { ModelledNode } from "./modelled-network.ts";
import type { Program, ProgramMode } from "./program.ts";
import { RapidRaid } from "./rapidraid.ts";
import { ReedSolomon } from "./reed-solomon.ts";
import { NodeRunner, runProgram } from "./runner.ts";
import { ProcessTransport } from "./transport.ts";

export type ArchivalMethod = "classical" | "pipelined";

export interface ArchivalScenario {
  readonly code: RapidRaid;
  readonly method: ArchivalMethod;
  /** For each object its n nodes, in the order of the pipeline. */
  readonly placements: readonly (readonly string[])[];
  /** For classical: the node that encodes each object. */
  readonly encoders?: readonly string[];
  /** For classical: all k parts come over the network, as the paper counts, also those that the encoder holds. */
  readonly fetchAll?: boolean;
  readonly nodes: ReadonlyMap<string, ModelledNode>;
  readonly blockBytes: number;
  readonly pieceBytes: number;
  /** On each stream; it must cover bandwidth times round trip. */
  readonly windowPieces: number;
  readonly mode?: ProgramMode;
}

export interface ArchivalResult {
  /** Seconds until all objects are archived. */
  readonly seconds: number;
  readonly movedBytes: number;
}

const symbolicBlocks: BlockStore<Piece> = {
  read: async (_block, _offset, length) => ({ length }),
  create: async () => ({ write: async () => undefined, commit: async () => undefined, abort: async () => undefined }),
};

/** Long beyond any wait of the model: queues on slow cards are no stalls. */
const STALL_MS = 1e9;

export async function modelArchival(scenario: ArchivalScenario): Promise<ArchivalResult> {
  const clock = new VirtualClock();
  const network = new ModelledNetwork(clock, scenario.nodes);
  const transport = new ProcessTransport<Piece>(network.carry, scenario.windowPieces);
  const runners = new Map(
    [...scenario.nodes.keys()].map((node) => [
      node,
      new NodeRunner({ node, blocks: symbolicBlocks, transport, arithmetic: symbolicArithmetic, clock, stallMs: STALL_MS }),
    ]),
  );
  await clock.run(Promise.all(scenario.placements.map((_, object) => runProgram(programOf(scenario, object), runners))));
  return { seconds: clock.now() / 1000, movedBytes: network.carriedBytes };
}

function programOf(scenario: ArchivalScenario, object: number): Program {
  const { code, blockBytes, pieceBytes, mode, fetchAll } = scenario;
  const options = { blockBytes, pieceBytes, mode };
  const nodes = scenario.placements[object];
  const { dataBlocks: k, totalBlocks: n } = code;
  const names = (kind: string, count: number) => Array.from({ length: count }, (_, index) => `${kind}-${object}-${index}`);
  if (scenario.method === "pipelined")
    return compileRapidRaidEncode(code, { nodes, parts: names("part", k), blocks: names("block", n) }, options);
  const encoder = (scenario.encoders as readonly string[])[object];
  // The first replica's parts stay where they are and are the code's data blocks. A part that the encoder holds in one replica
  // is read there, or, where all is to be fetched, from the other.
  const parts = names("part", k).map((block, part) => {
    const holders = [nodes[part], nodes[n - k + part]];
    const local = holders.indexOf(encoder);
    return { block, node: local < 0 ? holders[0] : holders[fetchAll ? 1 - local : local] };
  });
  const parity = names("parity", n - k).map((block, index) => ({ block, node: nodes[k + index] }));
  return compileEncodeAtNode(new ReedSolomon(k, n - k), { data: parts, blocks: parity }, encoder, options);
}
