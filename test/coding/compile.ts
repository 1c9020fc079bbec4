import assert from "node:assert/strict";
import test from "node:test";
import { CodingError } from "../../coding/code.ts";
import type { Code } from "../../coding/code.ts";
import { compileConversion, convertedBlockBytes } from "../../coding/compile-conversion.ts";
import { compileEncodeAtNode, compileEncodeChain, compileRapidRaidEncode } from "../../coding/compile-encode.ts";
import { compileRepairAtNode, compileRepairPipeline } from "../../coding/compile-repair.ts";
import { decodeProgram, encodeProgram, parseProgram, printProgram } from "../../coding/program-codec.ts";
import type { Program, ProgramMode } from "../../coding/program.ts";
import type { RapidRaid } from "../../coding/rapidraid.ts";
import { parseScheme } from "../../coding/scheme.ts";
import { complement } from "../../coding/subsets.ts";
import { trafficOf } from "../../coding/traffic.ts";
import { cluster, randomBytes, range } from "./runner-cluster.ts";
import type { Cluster } from "./runner-cluster.ts";

/** Longer than three pieces, and with a short last one. */
const BLOCK_BYTES = 1000;
const PIECE_BYTES = 256;
const MODES: ProgramMode[] = ["pull", "push"];

const place = (node: number | string, block: string) => ({ node: `n${node}`, block });

/** All n blocks of a code, computed directly. */
function allBlocks(code: Code, data: readonly Uint8Array[]): Uint8Array[] {
  const made = range(code.systematic ? code.totalBlocks - code.dataBlocks : code.totalBlocks).map(
    () => new Uint8Array(data[0].length),
  );
  code.encode(data, made);
  return code.systematic ? [...data, ...made] : made;
}

function dataOf(code: Code, length = BLOCK_BYTES): Uint8Array[] {
  return range(code.dataBlocks).map((block) => randomBytes(length, block + 1));
}

/** Runs a program that went through both of its written forms. */
async function runWritten(nodes: Cluster, program: Program): Promise<void> {
  const read = parseProgram(printProgram(decodeProgram(encodeProgram(program))));
  assert.deepEqual(read, program);
  await nodes.run(read);
}

for (const mode of MODES) {
  const options = { blockBytes: BLOCK_BYTES, pieceBytes: PIECE_BYTES, mode };

  for (const scheme of ["rs:4+2", "rs:1+3", "rs:11+5", "copies:3", "rapidraid:4+2", "rapidraid:11+5"]) {
    const code = parseScheme(scheme);
    const data = dataOf(code);
    const expected = allBlocks(code, data);
    const first = code.systematic ? code.dataBlocks : 0;
    const places = {
      data: data.map((_, index) => place(index, `data-${index}`)),
      blocks: range(code.totalBlocks - first).map((index) => place(first + index, `block-${first + index}`)),
    };

    for (const where of ["one node of its own", "a node with data and a new block", "a chain"]) {
      test(`${scheme} is encoded at ${where} by ${mode} as it is directly`, async () => {
        const nodes = cluster();
        data.forEach((bytes, index) => nodes.at(`n${index}`).blocks.set(`data-${index}`, bytes));
        const program =
          where === "a chain"
            ? compileEncodeChain(code, places, options)
            : compileEncodeAtNode(code, places, where === "one node of its own" ? "encoder" : "n0", options);
        await runWritten(nodes, program);
        for (let block = first; block < code.totalBlocks; block++) {
          assert.deepEqual(nodes.at(`n${block}`).blocks.get(`block-${block}`), expected[block], `block ${block}`);
        }
      });
    }
  }

  for (const scheme of ["rapidraid:4+4", "rapidraid:4+2", "rapidraid:11+5", "rapidraid:1+1"]) {
    test(`${scheme} is encoded by its pipeline with ${mode} as it is directly`, async () => {
      const code = parseScheme(scheme) as RapidRaid;
      const { dataBlocks, totalBlocks } = code;
      const data = dataOf(code);
      const nodes = cluster();
      data.forEach((bytes, part) => {
        nodes.at(`n${part}`).blocks.set(`part-${part}`, bytes);
        nodes.at(`n${totalBlocks - dataBlocks + part}`).blocks.set(`part-${part}`, bytes);
      });
      const places = {
        nodes: range(totalBlocks).map((node) => `n${node}`),
        parts: range(dataBlocks).map((part) => `part-${part}`),
        blocks: range(totalBlocks).map((block) => `block-${block}`),
      };
      const program = compileRapidRaidEncode(code, places, options);
      await runWritten(nodes, program);
      allBlocks(code, data).forEach((bytes, block) =>
        assert.deepEqual(nodes.at(`n${block}`).blocks.get(`block-${block}`), bytes),
      );
      assert.equal(trafficOf(program).movedBytes, (totalBlocks - 1) * BLOCK_BYTES);
    });
  }

  for (const [scheme, lost] of [
    ["rs:4+2", [1]],
    ["rs:4+2", [0, 5]],
    ["rs:11+5", [2, 7, 11, 12, 15]],
    ["copies:3", [0, 2]],
    ["rapidraid:4+4", [5]],
    ["rapidraid:11+5", [0, 8, 15]],
  ] as const) {
    for (const shape of ["at one node", "as a pipeline"]) {
      test(`blocks ${lost.join(", ")} of ${scheme} are repaired ${shape} by ${mode}`, async () => {
        const code = parseScheme(scheme);
        const blocks = allBlocks(code, dataOf(code));
        const nodes = cluster();
        complement(code.totalBlocks, lost).forEach((block) => nodes.at(`n${block}`).blocks.set("b", blocks[block]));
        const places = {
          blocks: range(code.totalBlocks).map((block) => place(lost.includes(block as never) ? `new-${block}` : block, "b")),
          lost,
        };
        const program =
          shape === "at one node"
            ? compileRepairAtNode(code, places, `nnew-${lost[0]}`, options)
            : compileRepairPipeline(code, places, options);
        await runWritten(nodes, program);
        lost.forEach((block) => assert.deepEqual(nodes.at(`nnew-${block}`).blocks.get("b"), blocks[block], `block ${block}`));
      });
    }
  }

  for (const [from, to, missing] of [
    ["rs:4+2", "rs:8+3", []],
    ["rs:4+2", "rs:6+3", [1, 4]],
    ["copies:3", "rs:4+2", [0]],
    ["rs:4+2", "copies:2", [3]],
    ["rapidraid:4+2", "rs:4+2", [0, 2]],
    ["rs:5+2", "rapidraid:11+5", [1]],
    ["rapidraid:11+5", "rs:10+4", [0, 1, 2]],
    ["rs:3+1", "rs:3+2", []],
  ] as const) {
    test(`${from} is converted to ${to} by ${mode} without blocks ${missing.join(", ") || "missing"}`, async () => {
      const oldCode = parseScheme(from);
      const newCode = parseScheme(to);
      const blockBytes = 1320;
      const data = dataOf(oldCode, blockBytes);
      const nodes = cluster();
      const present = complement(oldCode.totalBlocks, missing);
      const blocks = allBlocks(oldCode, data);
      present.forEach((block) => nodes.at(`n${block}`).blocks.set(`old-${block}`, blocks[block]));
      const places = {
        from: range(oldCode.totalBlocks).map((block) => place(block, `old-${block}`)),
        present,
        to: range(newCode.totalBlocks).map((block) => place(block, `new-${block}`)),
      };
      await runWritten(nodes, compileConversion(oldCode, newCode, places, "n1", { ...options, blockBytes, pieceBytes: 100 }));
      const all = Buffer.concat(data);
      const newBytes = convertedBlockBytes(oldCode, newCode, blockBytes);
      assert.equal(newBytes * newCode.dataBlocks, all.length);
      const newData = range(newCode.dataBlocks).map(
        (index) => new Uint8Array(all.subarray(index * newBytes, (index + 1) * newBytes)),
      );
      allBlocks(newCode, newData).forEach((bytes, block) =>
        assert.deepEqual(nodes.at(`n${block}`).blocks.get(`new-${block}`), bytes, `block ${block}`),
      );
    });
  }
}

test("a pipelined repair loads no card with more than one block for each block repaired", () => {
  const code = parseScheme("rs:8+3");
  const places = (lost: number[]) => ({ blocks: range(11).map((block) => place(block, "b")), lost });
  const options = { blockBytes: 4096 };
  const pipeline = trafficOf(compileRepairPipeline(code, places([2]), options));
  assert.deepEqual(pipeline, { movedBytes: 8 * 4096, mostInBytes: 4096, mostOutBytes: 4096 });
  const atNode = trafficOf(compileRepairAtNode(code, places([2]), "n2", options));
  assert.deepEqual(atNode, { movedBytes: 8 * 4096, mostInBytes: 8 * 4096, mostOutBytes: 4096 });
  const two = trafficOf(compileRepairPipeline(code, places([2, 9]), options));
  assert.deepEqual([two.mostInBytes, two.mostOutBytes], [2 * 4096, 2 * 4096]);
});

test("a repair of RapidRAID reads fewer than k blocks where dependencies allow it", () => {
  const code = parseScheme("rapidraid:4+4");
  const program = compileRepairPipeline(
    code,
    { blocks: range(8).map((block) => place(block, "b")), lost: [5] },
    { blockBytes: 64 },
  );
  assert.equal(trafficOf(program).movedBytes, 3 * 64);
});

test("compilers refuse what cannot be done by name", () => {
  const code = parseScheme("rs:4+2");
  const rapid = parseScheme("rapidraid:4+4") as RapidRaid;
  const blocks = range(6).map((block) => place(block, "b"));
  const options = { blockBytes: 64 };
  const refuses = (action: () => unknown, expected: CodingError["code"], message: RegExp) =>
    assert.throws(
      action,
      (error: unknown) => error instanceof CodingError && error.code === expected && message.test(error.message),
    );
  refuses(
    () => compileEncodeChain(code, { data: blocks, blocks: [] }, options),
    "INVALID_ARGUMENT",
    /rs:4\+2: 6 places for data given; it must be 4/,
  );
  refuses(
    () => compileEncodeAtNode(code, { data: blocks.slice(2), blocks }, "n0", options),
    "INVALID_ARGUMENT",
    /6 places for new blocks given; it must be 2/,
  );
  refuses(
    () => compileRepairAtNode(code, { blocks, lost: [0, 1, 2] }, "n0", options),
    "UNDECODABLE",
    /cannot repair block 0, 1, 2 from blocks 3, 4, 5/,
  );
  refuses(() => compileRepairAtNode(code, { blocks, lost: [6] }, "n0", options), "INVALID_ARGUMENT", /no block 6/);
  refuses(() => compileRepairAtNode(code, { blocks, lost: [] }, "n0", options), "INVALID_ARGUMENT", /no lost block/);
  const eight = range(8).map((block) => place(block, "b"));
  refuses(
    () => compileRepairPipeline(rapid, { blocks: eight, lost: [7], present: [0, 1, 4, 5] }, options),
    "UNDECODABLE",
    /cannot repair block 7/,
  );
  refuses(
    () => compileRapidRaidEncode(rapid, { nodes: [], parts: [], blocks: [] }, options),
    "INVALID_ARGUMENT",
    /0 places for nodes/,
  );
  const conversion = { from: blocks, to: range(9).map((block) => place(block, "new")) };
  refuses(
    () => compileConversion(code, parseScheme("rs:6+3"), conversion, "n0", options),
    "INVALID_ARGUMENT",
    /has 64 bytes; it must be a multiple of 3/,
  );
  refuses(
    () => compileConversion(code, parseScheme("rs:6+3"), { ...conversion, present: [0, 1] }, "n0", { blockBytes: 63 }),
    "UNDECODABLE",
    /blocks 0, 1 do not give back/,
  );
});
