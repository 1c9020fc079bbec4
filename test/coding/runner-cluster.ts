// Nodes in one process for the tests of programs: blocks in memory, a runner for each node, any transport.
import { byteArithmetic } from "../../coding/arithmetic.ts";
import { MemoryBlocks } from "../../coding/block-store.ts";
import type { BlockStore } from "../../coding/block-store.ts";
import { VirtualClock } from "../../coding/clock.ts";
import type { Program } from "../../coding/program.ts";
import { NodeRunner, runProgram } from "../../coding/runner.ts";
import { seededRandom } from "../../coding/seeded-random.ts";
import { ProcessTransport } from "../../coding/transport.ts";
import type { Transport } from "../../coding/transport.ts";

export interface Cluster {
  readonly clock: VirtualClock;
  readonly transport: ProcessTransport<Uint8Array>;
  /** The blocks of a node, which is made when first named. */
  at(node: string): MemoryBlocks;
  run(program: Program): Promise<void>;
}

export interface ClusterOptions {
  readonly transport?: ProcessTransport<Uint8Array>;
  readonly clock?: VirtualClock;
  /** What a node's runner gets instead of its blocks. */
  readonly store?: (node: string, blocks: MemoryBlocks) => BlockStore<Uint8Array>;
  /** What a node's runner gets instead of the transport. */
  readonly wire?: (node: string, transport: Transport<Uint8Array>) => Transport<Uint8Array>;
}

export const STALL_TEST_MS = 1000;

export function cluster(options: ClusterOptions = {}): Cluster {
  const { clock = new VirtualClock(), transport = new ProcessTransport(), store, wire } = options;
  const nodes = new Map<string, MemoryBlocks>();
  const at = (node: string) => {
    const blocks = nodes.get(node) ?? new MemoryBlocks();
    nodes.set(node, blocks);
    return blocks;
  };
  const runnerOf = (node: string) =>
    new NodeRunner({
      node,
      blocks: store ? store(node, at(node)) : at(node),
      transport: wire ? wire(node, transport) : transport,
      arithmetic: byteArithmetic,
      clock,
      stallMs: STALL_TEST_MS,
    });
  const run = (program: Program) => {
    const names = new Set(program.stages.map(({ node }) => node));
    return clock.run(runProgram(program, new Map([...names].map((node) => [node, runnerOf(node)]))));
  };
  return { clock, transport, at, run };
}

export function randomBytes(length: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  return Uint8Array.from({ length }, () => random.below(256));
}

export const range = (count: number) => Array.from({ length: count }, (_, index) => index);
