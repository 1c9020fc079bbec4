// The situations in which archiving by RapidRAID's pipeline is compared with classical encoding: those of the paper's
// measurements (single object; 16 objects at once on 16 nodes; part of the nodes congested), on the modelled network.
//
// Placement decides what 16 objects at once take. With random placement, as a cluster has it, classical encoding meets nodes
// that happen to be asked for much more than others, though each node encodes exactly one object; a pipeline passes
// once through every node and so loads all alike. Were all objects placed in perfect rotation, and every encoder a node that
// holds a part already, classical encoding would move 14 blocks through each card and the pipeline 15: that is "rotation".
import { modelArchival } from "./archival-model.ts";
import type { ArchivalMethod } from "./archival-model.ts";
import type { ModelledNode } from "./modelled-network.ts";
import { rapidRaid } from "./rapidraid.ts";
import { seededRandom } from "./seeded-random.ts";

export const ARCHIVAL_BLOCK_BYTES = 64 * 2 ** 20;
/** 15 hops of a quarter of a MiB take 6 % of a block's time. */
export const ARCHIVAL_PIECE_BYTES = 256 * 1024;
/** 16 MiB: more than half a Gbit/s for 200 ms, the round trip between congested nodes. */
export const ARCHIVAL_WINDOW_PIECES = 64;
const NODES = 16;
const GIGABIT = 125e6;
const LATENCY_MS = 0.1;
const CONGESTED_LATENCY_MS = 100;

export type Placement = "single" | "random" | "rotation";

export interface ArchivalCase {
  readonly placement: Placement;
  /** Of the 16 nodes, those with half the bandwidth and 100 ms latency. */
  readonly congestedNodes: number;
  /** For random placement. */
  readonly seed?: number;
  readonly pieceBytes?: number;
  /** The classical encoder fetches all k parts, even those that it holds. */
  readonly fetchAll?: boolean;
}

export interface ArchivalComparison {
  readonly classicalSeconds: number;
  readonly pipelinedSeconds: number;
  /** Pipelined to classical: below 1 the pipeline is faster. */
  readonly ratio: number;
}

/** (16,11) on 1 Gbit/s cards, 64 MiB blocks. */
export async function compareArchival(situation: ArchivalCase): Promise<ArchivalComparison> {
  const classicalSeconds = await secondsOf(situation, "classical");
  const pipelinedSeconds = await secondsOf(situation, "pipelined");
  return { classicalSeconds, pipelinedSeconds, ratio: pipelinedSeconds / classicalSeconds };
}

async function secondsOf(situation: ArchivalCase, method: ArchivalMethod): Promise<number> {
  const pieceBytes = situation.pieceBytes ?? ARCHIVAL_PIECE_BYTES;
  const names = Array.from({ length: NODES }, (_, node) => `node-${node}`);
  const placements = placementsOf(situation, names);
  // A node that holds two parts has the least to fetch; one that keeps a parity block has one less to send. Either moves 14
  // blocks; with random placement each node encodes one object, whatever it holds of it.
  const encoders = placements.map((nodes, object) => (situation.placement === "random" ? names[object] : nodes[11]));
  const result = await modelArchival({
    code: rapidRaid(11, 5),
    method,
    placements,
    encoders,
    fetchAll: situation.fetchAll,
    nodes: new Map(names.map((name, node) => [name, nodeOf(node < situation.congestedNodes)])),
    blockBytes: ARCHIVAL_BLOCK_BYTES,
    pieceBytes,
    windowPieces: (ARCHIVAL_WINDOW_PIECES * ARCHIVAL_PIECE_BYTES) / pieceBytes,
    mode: "push",
  });
  return result.seconds;
}

function nodeOf(congested: boolean): ModelledNode {
  const bandwidth = congested ? GIGABIT / 2 : GIGABIT;
  return { inBytesPerSecond: bandwidth, outBytesPerSecond: bandwidth, latencyMs: congested ? CONGESTED_LATENCY_MS : LATENCY_MS };
}

/** For each object its nodes in order. */
function placementsOf({ placement, seed = 1 }: ArchivalCase, names: readonly string[]): string[][] {
  if (placement === "single") return [[...names]];
  if (placement === "rotation") return names.map((_, object) => names.map((_, place) => names[(place + object) % names.length]));
  const random = seededRandom(seed);
  return names.map(() => {
    const left = [...names];
    return names.map(() => left.splice(random.below(left.length), 1)[0]);
  });
}
