import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import test from "node:test";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../../admin/code-command.js", import.meta.url));

/** Runs `cairn code ...` in a process of its own, as exit codes and output are the process's. */
function code(...parameters: string[]): Promise<{ status: number; output: string; errors: string }> {
  const script = `const { codeCommand } = await import(${JSON.stringify(program)}); await codeCommand().parseAsync(process.argv.slice(1), { from: "user" });`;
  return new Promise((resolve) => {
    execFile(process.execPath, ["--input-type=module", "-e", script, "--", ...parameters], (error, output, errors) =>
      resolve({ status: error ? Number(error.code) : 0, output, errors }),
    );
  });
}

test("code info tells what a scheme survives and costs", async () => {
  const { status, output } = await code("info", "rapidraid:11+5");
  assert.equal(status, 0);
  assert.match(output, /survives +any 3 losses/);
  assert.match(output, /^4 +1820 +1 +\{9, 10, 14, 15\}$/m);
  assert.match(output, /^5 +4368 +21$/m);
  assert.match(output, /^5 % +0\.00880 %$/m);
  assert.match(output, /encode, rs:11\+5 at one node +15 +11 +4/);
  assert.match(output, /encode, pipelined +15 +1 +1/);
});

test("code info --json is one document", async () => {
  const { status, output } = await code("info", "rs:4+2", "--json", "--block-bytes", "1000");
  assert.equal(status, 0);
  const info = JSON.parse(output);
  assert.deepEqual(
    [info.scheme, info.dataBlocks, info.parityBlocks, info.totalBlocks, info.storageFactor, info.guaranteedLosses],
    ["rs:4+2", 4, 2, 6, 1.5, 2],
  );
  assert.deepEqual(
    info.losses.map((row: { undecodable: number }) => row.undecodable),
    [0, 0],
  );
  assert.deepEqual(
    info.lossProbability.map((row: { unavailability: number }) => row.unavailability),
    [0.001, 0.01, 0.05],
  );
  assert.equal(info.encode.classical.movedBytes, 5000);
  assert.equal(info.repair.pipelined.mostInBytes, 1000);
});

test("code search finds coefficients again by their seed", async () => {
  const [first, again, other] = await Promise.all([
    code("search", "rapidraid:4+4", "--json"),
    code("search", "rapidraid:4+4", "--json", "--seed", "1"),
    code("search", "rapidraid:4+4", "--json", "--seed", "2"),
  ]);
  assert.equal(first.status, 0);
  assert.equal(first.output, again.output);
  assert.notEqual(first.output, other.output);
  const found = JSON.parse(first.output);
  assert.deepEqual(
    [found.scheme, found.undecodable, found.sets, found.sampled, found.listed],
    ["rapidraid:4+4", 1, 70, false, [[0, 1, 4, 5]]],
  );
  const { output } = await code("search", "rapidraid:6+3");
  assert.match(output, /undecodable +0 of all 84 sets of 6 blocks \(no coefficients have fewer\)/);
});

test("what is no scheme is refused with exit code 2", async () => {
  const cases: [string[], RegExp][] = [
    [["info", "rs:4"], /must be rs:K\+M, as rs:4\+2/],
    [["info", "rapidraid:4+5"], /1 <= M <= K/],
    [["search", "rs:4+2"], /must be rapidraid:K\+M/],
    [["search", "rapidraid:3+4"], /1 <= M <= K/],
  ];
  for (const [parameters, message] of cases) {
    const { status, output, errors } = await code(...parameters);
    assert.deepEqual([status, output], [2, ""], parameters.join(" "));
    assert.match(errors, message);
  }
  const { status, output } = await code("info", "x:1", "--json");
  assert.equal(status, 2);
  assert.equal(JSON.parse(output).error.code, "INVALID_SCHEME");
  for (const bad of [
    ["info"],
    ["info", "rs:4+2", "--block-bytes", "3"],
    ["search", "rapidraid:4+2", "--seed", "-1"],
    ["nothing"],
  ]) {
    assert.notEqual((await code(...bad)).status, 0, bad.join(" "));
  }
});

test("help has examples", async () => {
  for (const parameters of [["--help"], ["info", "--help"], ["search", "--help"]]) {
    const { status, output } = await code(...parameters);
    assert.equal(status, 0);
    assert.match(output, /Examples:\n {2}\$ cairn code /);
  }
});
