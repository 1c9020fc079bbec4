import assert from "node:assert/strict";
import test from "node:test";
import { symbolicArithmetic } from "../../coding/arithmetic.ts";
import { MemoryBlocks } from "../../coding/block-store.ts";
import type { BlockStore } from "../../coding/block-store.ts";
import { VirtualClock } from "../../coding/clock.ts";
import { CodingError } from "../../coding/code.ts";
import type { BlockAt } from "../../coding/compile.ts";
import { compileConversion } from "../../coding/compile-conversion.ts";
import { compileEncodeAtNode, compileEncodeChain, compileRapidRaidEncode } from "../../coding/compile-encode.ts";
import { compileRepairAtNode, compileRepairPipeline } from "../../coding/compile-repair.ts";
import type { Program, ProgramMode } from "../../coding/program.ts";
import type { RapidRaid } from "../../coding/rapidraid.ts";
import { NodeRunner, runProgram } from "../../coding/runner.ts";
import { parseScheme } from "../../coding/scheme.ts";
import { ProcessTransport } from "../../coding/transport.ts";
import type { Transport } from "../../coding/transport.ts";
import { cluster, randomBytes, range } from "./runner-cluster.ts";
import type { Cluster, ClusterOptions } from "./runner-cluster.ts";

const MODES: ProgramMode[] = ["pull", "push"];
const PIECES = 20;
const PIECE_BYTES = 64;
const NEVER = new Promise<never>(() => undefined);

/** RapidRAID 4+2 through nodes n0 to n5, whose parts are there. */
function pipeline(mode: ProgramMode, options: ClusterOptions = {}): { nodes: Cluster; program: Program } {
  const code = parseScheme("rapidraid:4+2") as RapidRaid;
  const program = compileRapidRaidEncode(
    code,
    {
      nodes: range(6).map((node) => `n${node}`),
      parts: range(4).map((part) => `part-${part}`),
      blocks: range(6).map((block) => `block-${block}`),
    },
    { blockBytes: PIECES * PIECE_BYTES, pieceBytes: PIECE_BYTES, mode },
  );
  const nodes = cluster(options);
  range(4).forEach((part) => {
    const bytes = randomBytes(PIECES * PIECE_BYTES, part + 1);
    nodes.at(`n${part}`).blocks.set(`part-${part}`, bytes);
    nodes.at(`n${part + 2}`).blocks.set(`part-${part}`, bytes);
  });
  return { nodes, program };
}

/** The blocks of all nodes that were not there before. */
function written(nodes: Cluster): string[] {
  return range(6).flatMap((node) => [...nodes.at(`n${node}`).blocks.keys()].filter((name) => name.startsWith("block-")));
}

async function failureOf(nodes: Cluster, program: Program): Promise<CodingError> {
  const error: unknown = await nodes.run(program).then(
    () => assert.fail("the program ended well"),
    (failure: unknown) => failure,
  );
  assert.ok(error instanceof CodingError, `${error}`);
  return error;
}

/** A store whose n-th read or write does something else. */
function faulty(
  kind: "read" | "write" | "create" | "commit",
  nth: number,
  fault: () => Promise<never>,
  only?: string,
): ClusterOptions["store"] {
  return (node, blocks): BlockStore<Uint8Array> => {
    if (only !== undefined && node !== only) return blocks;
    let count = 0;
    const meddle = async (what: string) => {
      if (what === kind && count++ === nth) await fault();
    };
    return {
      read: async (...parameters) => (await meddle("read"), blocks.read(...parameters)),
      create: async (...parameters) => {
        await meddle("create");
        const writer = await blocks.create(...parameters);
        return {
          write: async (offset, piece) => (await meddle("write"), writer.write(offset, piece)),
          commit: async () => (await meddle("commit"), writer.commit()),
          abort: () => writer.abort(),
        };
      },
    };
  };
}

/** A program of each compiler, and the blocks that it reads. */
function compiled(mode: ProgramMode): Record<string, { program: Program; blocks: BlockAt[] }> {
  const options = { blockBytes: 1024, pieceBytes: 64, mode };
  const code = parseScheme("rs:4+2");
  const rapid = parseScheme("rapidraid:4+2") as RapidRaid;
  const at = (count: number, block: string, first = 0): BlockAt[] =>
    range(count).map((index) => ({ node: `n${first + index}`, block }));
  const encode = { data: at(4, "data"), blocks: at(2, "new", 4) };
  const parts = ["a", "b", "c", "d"];
  const held = [
    ...parts.map((block, part) => ({ node: `n${part}`, block })),
    ...parts.map((block, part) => ({ node: `n${part + 2}`, block })),
  ];
  const places = { nodes: range(6).map((node) => `n${node}`), parts, blocks: range(6).map((block) => `new-${block}`) };
  const survivors = at(6, "old").filter(({ node }) => node !== "n1" && node !== "n2");
  const lost = [1, 2];
  const repair = { lost, blocks: range(6).map((block) => ({ node: `n${block}`, block: lost.includes(block) ? "new" : "old" })) };
  return {
    "encode at a node": { program: compileEncodeAtNode(code, encode, "encoder", options), blocks: encode.data },
    "encode along a chain": { program: compileEncodeChain(code, encode, options), blocks: encode.data },
    "RapidRAID encode": { program: compileRapidRaidEncode(rapid, places, options), blocks: held },
    "repair at a node": { program: compileRepairAtNode(code, repair, "n1", options), blocks: survivors },
    "repair pipeline": { program: compileRepairPipeline(code, repair, options), blocks: survivors },
    conversion: {
      program: compileConversion(
        code,
        parseScheme("rs:2+1"),
        { from: at(6, "old"), to: at(3, "new"), present: [0, 3, 4, 5] },
        "converter",
        options,
      ),
      blocks: survivors,
    },
  };
}

const broken = () => Promise.reject(new Error("input/output error"));

for (const mode of MODES) {
  for (const kind of ["read", "write", "create"] as const) {
    test(`a ${kind} that fails at any node ends a ${mode} chain with the hop named, and leaves no block`, async () => {
      for (let hop = 0; hop < 6; hop++) {
        for (const nth of kind === "create" ? [0] : [0, 7, PIECES - 1]) {
          const { nodes, program } = pipeline(mode, { store: faulty(kind, nth, broken, `n${hop}`) });
          const error = await failureOf(nodes, program);
          assert.equal(error.code, "HOP_FAILED");
          assert.match(
            error.message,
            new RegExp(
              `^stage "hop-${hop}" on node "n${hop}", instruction \\d+ \\(${kind === "read" ? "LOAD" : "WRITE"}\\): .*input/output error$`,
            ),
          );
          assert.deepEqual(written(nodes), []);
        }
      }
    });

    test(`a ${kind} that never ends at any node stalls a ${mode} chain with the hop named, and leaves no block`, async () => {
      for (let hop = 0; hop < 6; hop++) {
        for (const nth of kind === "create" ? [0] : [0, 7]) {
          const { nodes, program } = pipeline(mode, { store: faulty(kind, nth, () => NEVER, `n${hop}`) });
          const error = await failureOf(nodes, program);
          assert.equal(error.code, "HOP_STALLED");
          assert.match(
            error.message,
            new RegExp(`^stage "hop-${hop}" on node "n${hop}", instruction \\d+ .* took longer than 1000 ms`),
          );
          assert.deepEqual(written(nodes), []);
          assert.ok(nodes.clock.now() < 10_000, `it took ${nodes.clock.now()} ms`);
        }
      }
    });
  }

  test(`a node that falls silent in a ${mode} chain is named by its neighbour`, async () => {
    for (let hop = 0; hop < 6; hop++) {
      for (const pieces of [0, 5]) {
        let sent = 0;
        // From some moment on nothing that the node sends arrives, and nothing that is sent to it.
        const transport = new ProcessTransport<Uint8Array>(({ from, to, bytes }, deliver) => {
          const concerned = from === `n${hop}` || to === `n${hop}`;
          if (concerned && bytes > 0) sent++;
          if (concerned && sent > pieces) return;
          deliver();
        });
        const { nodes, program } = pipeline(mode, { transport });
        const error = await failureOf(nodes, program);
        assert.equal(error.code, "HOP_STALLED");
        // The silent node itself hears nothing either, so of a link the other end may be blamed, never a third node.
        const named = Number(/^stage "hop-(\d)"/.exec(error.message)?.[1]);
        assert.ok(Math.abs(named - hop) <= 1, `n${hop} fell silent: ${error.message}`);
        assert.ok(error.message.includes(`"n${hop}"`), `n${hop} fell silent: ${error.message}`);
        assert.deepEqual(written(nodes), []);
      }
    }
  });

  test(`a node that dies in a ${mode} chain is named, and leaves no block`, async () => {
    for (let hop = 0; hop < 6; hop++) {
      let pieces = 0;
      const transport: ProcessTransport<Uint8Array> = new ProcessTransport<Uint8Array>(({ bytes }, deliver) => {
        if (bytes > 0 && ++pieces === 23) transport.sever(`n${hop}`);
        deliver();
      });
      const { nodes, program } = pipeline(mode, { transport });
      const error = await failureOf(nodes, program);
      assert.equal(error.code, "HOP_FAILED");
      assert.match(error.message, new RegExp(`node "n${hop}": the connection to it was lost`));
      assert.deepEqual(written(nodes), []);
    }
  });

  test(`every node that fails in between ends every compiled program by ${mode} with a clear error, and leaves nothing new`, async () => {
    for (const [name, { program, blocks }] of Object.entries(compiled(mode))) {
      for (const node of new Set(program.stages.map((stage) => stage.node))) {
        const stages = program.stages.filter((stage) => stage.node === node);
        const kind = (["read", "write"] as const).find((each) =>
          stages.some(({ instructions }) =>
            instructions.some((step) => "block" in step && step.operation === (each === "read" ? "LOAD" : "WRITE")),
          ),
        );
        // A node that only computes fails as a whole.
        const transport: ProcessTransport<Uint8Array> = new ProcessTransport<Uint8Array>((message, deliver) => {
          if (kind === undefined && message.bytes > 0 && message.to === node) transport.sever(node);
          deliver();
        });
        const nodes = cluster({ transport, store: kind && faulty(kind, 3, broken, node) });
        blocks.forEach(({ node: holder, block }, seed) => nodes.at(holder).blocks.set(block, randomBytes(1024, seed + 1)));
        const before = blocks.map(({ node: holder }) => [holder, nodes.at(holder).blocks.size]);
        const error = await failureOf(nodes, program);
        assert.equal(error.code, "HOP_FAILED", `${name}, ${node}`);
        assert.ok(error.message.includes(`node "${node}"`), `${name}, ${node}: ${error.message}`);
        if (kind) assert.match(error.message, /instruction \d+ .*input\/output error$/);
        assert.deepEqual(
          blocks.map(({ node: holder }) => [holder, nodes.at(holder).blocks.size]),
          before,
          name,
        );
        for (const stage of stages)
          assert.ok(![...nodes.at(stage.node).blocks.keys()].some((block) => block.startsWith("new")), name);
      }
    }
  });

  test(`a ${mode} chain holds a bounded number of pieces, however slow its last node is`, async () => {
    let held = 0;
    let most = 0;
    const window = 3;
    const transport = new ProcessTransport<Uint8Array>(undefined, window);
    // Counts what the first node has read and the last one has not written: what must lie in between.
    const clock = new VirtualClock();
    const store: ClusterOptions["store"] = (node, blocks) => ({
      read: async (...parameters) => {
        if (node === "n0") most = Math.max(most, ++held);
        return blocks.read(...parameters);
      },
      create: async (...parameters) => {
        const writer = await blocks.create(...parameters);
        if (node !== "n5") return writer;
        return {
          ...writer,
          write: async (offset, piece) => {
            await new Promise<void>((resolve) => clock.after(100, resolve));
            held--;
            return writer.write(offset, piece);
          },
        };
      },
    });
    const { nodes, program } = pipeline(mode, { transport, clock, store });
    await nodes.run(program);
    assert.equal(written(nodes).length, 6);
    assert.ok(most >= window && most <= 5 * (window + 1) + 1, `${most} pieces were under way`);
    assert.ok(nodes.clock.now() >= PIECES * 100);
  });
}

test("a stage that computes ahead is held back by back-pressure at once", async () => {
  // Two nodes and a window of one: the first may be one piece ahead on the wire and one in hand.
  const reads: number[] = [];
  const writes: number[] = [];
  const clock = new VirtualClock();
  const store: ClusterOptions["store"] = (node, blocks) => ({
    read: (block, offset, length) => (reads.push(offset / PIECE_BYTES - writes.length), blocks.read(block, offset, length)),
    create: async (...parameters) => {
      const writer = await blocks.create(...parameters);
      return {
        ...writer,
        write: async (offset, piece) => {
          await new Promise<void>((resolve) => clock.after(10, resolve));
          writes.push(offset);
          return writer.write(offset, piece);
        },
      };
    },
  });
  const nodes = cluster({ clock, store, transport: new ProcessTransport(undefined, 1) });
  nodes.at("a").blocks.set("x", randomBytes(PIECES * PIECE_BYTES, 1));
  await nodes.run(copyProgram("push"));
  assert.deepEqual(nodes.at("b").blocks.get("y"), nodes.at("a").blocks.get("x"));
  assert.ok(Math.max(...reads) <= 2, `the reader was ${Math.max(...reads)} pieces ahead`);
});

/** Copies block x of node a to block y of node b. */
function copyProgram(mode: ProgramMode): Program {
  return {
    version: 1,
    mode,
    streamBytes: PIECES * PIECE_BYTES,
    pieceBytes: PIECE_BYTES,
    stages: [
      {
        name: "from",
        node: "a",
        field: 8,
        registers: 1,
        outputs: [0],
        instructions: [{ operation: "LOAD", to: 0, block: "x", offset: 0 }],
      },
      {
        name: "to",
        node: "b",
        field: 8,
        registers: 1,
        outputs: [],
        instructions: [
          { operation: "LOAD", to: 0, stage: "from", output: 0 },
          { operation: "WRITE", from: 0, block: "y", offset: 0 },
        ],
      },
    ],
  };
}

test("in pull mode nothing is read before the last stage asks, in push mode the first begins by itself", async () => {
  for (const mode of MODES) {
    const reads: string[] = [];
    const store: ClusterOptions["store"] = (_, blocks) => ({
      read: (block, offset, length) => (reads.push(block), blocks.read(block, offset, length)),
      create: (...parameters) => blocks.create(...parameters),
    });
    // Signals back to the reader are lost: in pull mode it is never asked.
    const transport = new ProcessTransport<Uint8Array>(({ bytes }, deliver) => bytes > 0 && deliver(), 4);
    const nodes = cluster({ store, transport });
    nodes.at("a").blocks.set("x", randomBytes(PIECES * PIECE_BYTES, 1));
    const error = await failureOf(nodes, copyProgram(mode));
    assert.equal(error.code, "HOP_STALLED");
    assert.equal(reads.length, mode === "pull" ? 0 : 4);
  }
});

test("a commit that fails takes back the commits that were made", async () => {
  for (const fault of [broken, () => NEVER]) {
    const { nodes, program } = pipeline("pull", { store: faulty("commit", 0, fault, "n3") });
    const error = await failureOf(nodes, program);
    assert.equal(error.code, fault === broken ? "HOP_FAILED" : "HOP_STALLED");
    assert.match(error.message, /^node "n3": committing block "block-3"/);
    assert.deepEqual(written(nodes), []);
  }
});

test("an abort that fails is told with the reason for it", async () => {
  const store: ClusterOptions["store"] = (node, blocks) => ({
    read: (block, offset, length) => (node === "n5" && offset > 0 ? broken() : blocks.read(block, offset, length)),
    create: async (...parameters) => ({
      ...(await blocks.create(...parameters)),
      abort: () => Promise.reject(new Error("disk gone")),
    }),
  });
  const { nodes, program } = pipeline("push", { store });
  const error = await failureOf(nodes, program);
  assert.match(
    error.message,
    /^stage "hop-5" on node "n5".*input\/output error; and taking back what was written failed: .*disk gone/,
  );
});

test("blocks that are missing, short, or there already are refused by name", async () => {
  const missing = pipeline("pull");
  missing.nodes.at("n2").blocks.delete("part-2");
  assert.match(
    (await failureOf(missing.nodes, missing.program)).message,
    /node "n2", instruction \d+ \(LOAD\): .*there is no block "part-2"/,
  );
  const short = pipeline("push");
  short.nodes.at("n1").blocks.set("part-1", new Uint8Array(100));
  assert.match((await failureOf(short.nodes, short.program)).message, /node "n1".*block "part-1" has 100 bytes; 128 are needed/);
  const there = pipeline("pull");
  there.nodes.at("n4").blocks.set("block-4", new Uint8Array(1));
  assert.match((await failureOf(there.nodes, there.program)).message, /node "n4".*there is a block "block-4" already/);
  assert.deepEqual(there.nodes.at("n4").blocks.get("block-4"), new Uint8Array(1));
});

test("a store or a peer that gives pieces of another length is refused", async () => {
  const store: ClusterOptions["store"] = (_, blocks) => ({
    read: async () => new Uint8Array(3),
    create: (...parameters) => blocks.create(...parameters),
  });
  const { nodes, program } = pipeline("push", { store });
  assert.match((await failureOf(nodes, program)).message, /3 bytes were read; the program needs 64/);
  const wire = (node: string, transport: Transport<Uint8Array>): Transport<Uint8Array> => ({
    input: (address) => transport.input(address),
    output: (address) => {
      const output = transport.output(address);
      if (node !== "n1") return output;
      return { room: () => output.room(), send: (piece) => output.send(piece.subarray(1)), fail: (error) => output.fail(error) };
    },
  });
  const cut = pipeline("pull", { wire });
  assert.match(
    (await failureOf(cut.nodes, cut.program)).message,
    /^stage "hop-1" on node "n1": .*a piece of 63 bytes came; the program needs 64/,
  );
});

test("a node without a runner is refused before anything runs", async () => {
  const { program } = pipeline("pull");
  await assert.rejects(runProgram(program, new Map()), { code: "INVALID_ARGUMENT", message: /no runner for node "n0"/ });
});

test("one output loaded from a register twice put out, and a queue, carry the same bytes", async () => {
  const nodes = cluster();
  const bytes = randomBytes(1000, 3);
  nodes.at("a").blocks.set("x", bytes);
  const write = (name: string, output: number) =>
    ({
      name,
      node: name,
      field: 8,
      registers: 1,
      outputs: [],
      instructions: [
        { operation: "LOAD", to: 0, stage: "fan", output },
        { operation: "WRITE", from: 0, block: "y", offset: 0 },
      ],
    }) as const;
  await nodes.run({
    version: 1,
    mode: "push",
    streamBytes: 1000,
    pieceBytes: 300,
    stages: [
      {
        name: "fan",
        node: "a",
        field: 8,
        registers: 1,
        outputs: [0, 0],
        instructions: [
          { operation: "LOAD", to: 0, block: "x", offset: 0 },
          { operation: "PUSH", from: 0, queue: "q" },
        ],
      },
      {
        name: "queue",
        node: "a",
        field: 8,
        registers: 2,
        outputs: [],
        instructions: [
          { operation: "POP", to: 1, queue: "q" },
          { operation: "COPY", to: 0, from: 1 },
          { operation: "IADD", to: 0, from: 1 },
          { operation: "WRITE", from: 0, block: "zero", offset: 0 },
          { operation: "WRITE", from: 1, block: "same", offset: 0 },
        ],
      },
      write("b", 0),
      write("c", 1),
    ],
  });
  assert.deepEqual(nodes.at("b").blocks.get("y"), bytes);
  assert.deepEqual(nodes.at("c").blocks.get("y"), bytes);
  assert.deepEqual(nodes.at("a").blocks.get("same"), bytes);
  assert.deepEqual(nodes.at("a").blocks.get("zero"), new Uint8Array(1000));
});

test("the bytes of a program need not exist for it to run", async () => {
  const clock = new VirtualClock();
  const blocks = {
    read: async (_block: string, _offset: number, length: number) => ({ length }),
    create: async () => ({ write: async () => undefined, commit: async () => undefined, abort: async () => undefined }),
  };
  const transport = new ProcessTransport<{ length: number }>();
  const runners = new Map(
    ["a", "b"].map((node) => [node, new NodeRunner({ node, blocks, transport, arithmetic: symbolicArithmetic, clock })]),
  );
  await clock.run(runProgram(copyProgram("pull"), runners));
  assert.equal(clock.now(), 0);
});

test("a virtual clock tells when nothing is left that could end the work", async () => {
  await assert.rejects(new VirtualClock().run(NEVER), /nothing is left to happen/);
});

test("memory blocks show nothing before commit, and nothing after abort", async () => {
  const blocks = new MemoryBlocks();
  const writer = await blocks.create("a", 4);
  await writer.write(0, Uint8Array.of(1, 2, 3, 4));
  await assert.rejects(blocks.read("a", 0, 1), /there is no block "a"/);
  await writer.commit();
  assert.deepEqual(await blocks.read("a", 1, 2), Uint8Array.of(2, 3));
  await writer.abort();
  await assert.rejects(blocks.read("a", 0, 1), /there is no block "a"/);
});
