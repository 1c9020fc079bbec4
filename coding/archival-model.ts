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

/** Who encodes an object classically: a node that holds none of its parts (as the paper counts: k blocks in, m-1 out), or one that holds some and so fetches less. */
export type ClassicalEncoder = "apart" | "holder";

export interface ArchivalScenario {
  readonly code: RapidRaid;
  readonly method: ArchivalMethod;
  /** For each object its n nodes, in the order of the pipeline. */
  readonly placements: readonly (readonly string[])[];
  /** For classical: the node that encodes each object. */
  readonly encoders?: readonly string[];
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
  const { code, blockBytes, pieceBytes, mode } = scenario;
  const options = { blockBytes, pieceBytes, mode };
  const nodes = scenario.placements[object];
  const { dataBlocks: k, totalBlocks: n } = code;
  const names = (kind: string, count: number) => Array.from({ length: count }, (_, index) => `${kind}-${object}-${index}`);
  if (scenario.method === "pipelined")
    return compileRapidRaidEncode(code, { nodes, parts: names("part", k), blocks: names("block", n) }, options);
  const encoder = (scenario.encoders as readonly string[])[object];
  // The first replica's parts stay where they are and are the code's data blocks; where the encoder holds a part of the second
  // replica it reads that one. The encoder keeps one parity block unless it keeps a data block already.
  const parts = names("part", k);
  const replicas = parts.map((block, part) => ({ block, node: nodes[n - k + part] === encoder ? encoder : nodes[part] }));
  const parity = names("parity", n - k).map((block, index) => ({ block, node: nodes[k + index] }));
  if (!nodes.slice(0, n).includes(encoder)) parity[n - k - 1] = { ...parity[n - k - 1], node: encoder };
  return compileEncodeAtNode(new ReedSolomon(k, n - k), { data: replicas, blocks: parity }, encoder, options);
}
