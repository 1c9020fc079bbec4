import assert from "node:assert/strict";
import test from "node:test";
import { symbolicArithmetic } from "../../coding/arithmetic.ts";
import type { Piece } from "../../coding/arithmetic.ts";
import { VirtualClock } from "../../coding/clock.ts";
import { compileRepairAtNode, compileRepairPipeline } from "../../coding/compile-repair.ts";
import { ModelledNetwork } from "../../coding/modelled-network.ts";
import type { ModelledNode } from "../../coding/modelled-network.ts";
import type { Program } from "../../coding/program.ts";
import { NodeRunner, runProgram } from "../../coding/runner.ts";
import { parseScheme } from "../../coding/scheme.ts";
import { ProcessTransport } from "../../coding/transport.ts";
import { range } from "./runner-cluster.ts";

const card = (megabytesPerSecond: number, latencyMs = 0): ModelledNode => ({
  inBytesPerSecond: megabytesPerSecond * 1e6,
  outBytesPerSecond: megabytesPerSecond * 1e6,
  latencyMs,
});

/** Sends pieces of 1 MB and tells when, in ms, each arrived. */
async function arrivals(
  network: (clock: VirtualClock) => ModelledNetwork,
  pieces: [from: string, to: string, stream: string, bytes?: number][],
): Promise<number[]> {
  const clock = new VirtualClock();
  const { carry } = network(clock);
  const times: number[] = [];
  const all = pieces.map(
    ([from, to, stream, bytes = 1e6], index) =>
      new Promise<void>((resolve) =>
        carry({ from, to, bytes, stream }, () => ((times[index] = Math.round(clock.now())), resolve())),
      ),
  );
  await clock.run(Promise.all(all));
  return times;
}

test("a piece takes its time through both cards and the latency of its sender", async () => {
  const nodes = new Map([
    ["a", card(100, 5)],
    ["b", card(50, 70)],
  ]);
  assert.deepEqual(await arrivals((clock) => new ModelledNetwork(clock, nodes), [["a", "b", "s"]]), [10 + 5 + 20]);
  assert.deepEqual(await arrivals((clock) => new ModelledNetwork(clock, nodes), [["b", "a", "s"]]), [20 + 70 + 10]);
  assert.deepEqual(await arrivals((clock) => new ModelledNetwork(clock, nodes), [["b", "a", "s", 0]]), [70]);
  assert.deepEqual(await arrivals((clock) => new ModelledNetwork(clock, nodes), [["b", "b", "s"]]), [0]);
});

test("a card is shared: in and out do not hinder each other, streams take turns", async () => {
  const nodes = new Map(range(4).map((node) => [`n${node}`, card(100)] as const));
  const plain = (clock: VirtualClock) => new ModelledNetwork(clock, nodes);
  assert.deepEqual(
    await arrivals(plain, [
      ["n0", "n1", "x"],
      ["n1", "n0", "y"],
    ]),
    [20, 20],
  );
  assert.deepEqual(
    await arrivals(plain, [
      ["n0", "n1", "x"],
      ["n0", "n2", "y"],
    ]),
    [20, 30],
  );
  assert.deepEqual(
    await arrivals(plain, [
      ["n0", "n2", "x"],
      ["n1", "n2", "y"],
    ]),
    [20, 30],
  );
  // The one piece of y waits for the piece under way and one more, not for all of x.
  assert.deepEqual(
    await arrivals(plain, [
      ["n0", "n1", "x"],
      ["n0", "n1", "x"],
      ["n0", "n1", "x"],
      ["n0", "n2", "y"],
    ]),
    [20, 30, 50, 40],
  );
});

test("a link of its own bandwidth and latency limits besides the cards", async () => {
  const nodes = new Map([
    ["a", card(100)],
    ["b", card(100)],
    ["c", card(100)],
  ]);
  const linked = (clock: VirtualClock) =>
    new ModelledNetwork(clock, nodes, (from, to) => (from === "a" && to === "b" ? { bytesPerSecond: 10e6, latencyMs: 7 } : null));
  assert.deepEqual(
    await arrivals(linked, [
      ["a", "b", "s"],
      ["a", "c", "t"],
      ["b", "a", "u"],
    ]),
    [10 + 100 + 7 + 10, 30, 20],
  );
});

test("what the model does not know is refused", () => {
  const network = new ModelledNetwork(
    new VirtualClock(),
    new Map([
      ["a", card(0)],
      ["b", card(1)],
    ]),
  );
  assert.throws(() => network.carry({ from: "a", to: "z", bytes: 1, stream: "s" }, () => undefined), {
    code: "INVALID_ARGUMENT",
    message: /no node "z"/,
  });
  assert.throws(() => network.carry({ from: "a", to: "b", bytes: 1, stream: "s" }, () => undefined), {
    message: /bandwidth of 0/,
  });
  assert.throws(() => new ProcessTransport(undefined, 0), { code: "INVALID_ARGUMENT", message: /window is 0 pieces/ });
});

async function secondsToRun(program: Program): Promise<number> {
  const clock = new VirtualClock();
  const nodes = new Map(program.stages.map(({ node }) => [node, card(125, 0.1)] as const));
  const network = new ModelledNetwork(clock, nodes);
  const transport = new ProcessTransport<Piece>(network.carry, 16);
  const blocks = {
    read: async (_block: string, _offset: number, length: number) => ({ length }),
    create: async () => ({ write: async () => undefined, commit: async () => undefined, abort: async () => undefined }),
  };
  const runners = new Map(
    [...nodes.keys()].map((node) => [node, new NodeRunner({ node, blocks, transport, arithmetic: symbolicArithmetic, clock })]),
  );
  await clock.run(runProgram(program, runners));
  return clock.now() / 1000;
}

test("a pipelined repair takes little longer than reading one block, one at a node k times as long", async () => {
  const code = parseScheme("rs:8+3");
  const places = { blocks: range(11).map((node) => ({ node: `n${node}`, block: node === 3 ? "new" : "old" })), lost: [3] };
  const blockSeconds = 64 / 125;
  for (const mode of ["pull", "push"] as const) {
    const options = { blockBytes: 64e6, pieceBytes: 64_000, mode };
    const pipelined = await secondsToRun(compileRepairPipeline(code, places, options));
    const atNode = await secondsToRun(compileRepairAtNode(code, places, "n3", options));
    assert.ok(pipelined >= blockSeconds && pipelined < 1.05 * blockSeconds, `pipelined by ${mode}: ${pipelined} s`);
    assert.ok(atNode >= 8 * blockSeconds && atNode < 8.1 * blockSeconds, `at a node by ${mode}: ${atNode} s`);
  }
});
