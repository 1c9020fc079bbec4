// What a program moves over the network, without running it.
import type { Program } from "./program.ts";
import { linkProgram } from "./program-validation.ts";

export interface Traffic {
  /** Bytes that pass between different nodes. */
  readonly movedBytes: number;
  /** The most bytes that any one node takes in, and sends out: what bounds the time. */
  readonly mostInBytes: number;
  readonly mostOutBytes: number;
}

/** Throws CodingError INVALID_PROGRAM. */
export function trafficOf(program: Program): Traffic {
  const { streams } = linkProgram(program);
  const incoming = new Map<string, number>();
  const outgoing = new Map<string, number>();
  let movedBytes = 0;
  for (const stream of streams) {
    const from = program.stages[stream.from].node;
    const to = program.stages[stream.to].node;
    if (from === to) continue;
    movedBytes += program.streamBytes;
    outgoing.set(from, (outgoing.get(from) ?? 0) + program.streamBytes);
    incoming.set(to, (incoming.get(to) ?? 0) + program.streamBytes);
  }
  return { movedBytes, mostInBytes: Math.max(0, ...incoming.values()), mostOutBytes: Math.max(0, ...outgoing.values()) };
}
