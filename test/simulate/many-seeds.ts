// What runs many seeds: goes on after violations and dead processes, ends at its goal, says everything at the end.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import test, { type TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { type CampaignOptions, runCampaign } from "./campaign.ts";
import { summarize } from "./report.ts";

const PLAN = { firstSeed: 1, steps: 10, runs: 6, operations: Infinity, jobs: 2, shrink: false };

/** A worker that answers each seed with the result of `judge`. */
function workerOf(context: TestContext, judge: string): URL {
  const directory = mkdtempSync(path.join(os.tmpdir(), "simulate-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, "worker.mjs");
  const answer = "process.send({ result: { seed, counts: { operations: 10 }, violation }, residentBytes: 1 })";
  writeFileSync(
    file,
    `process.on("message", ({ seed }) => { let violation = null; ${judge}; ${answer}; });
     process.once("disconnect", () => process.exit());`,
  );
  return pathToFileURL(file);
}

test("the simulation goes on after a violation, and names its seed and kind at the end", async (context) => {
  const worker = workerOf(context, `if (seed % 3 === 2) violation = { kind: "kind " + seed, text: "text" }`);
  const totals = await runCampaign({ ...PLAN, worker });
  assert.equal(totals.runs, 6);
  assert.equal(totals.operations, 60);
  assert.deepEqual(
    totals.violations.map(({ seed, kind }) => [seed, kind]),
    [
      [2, "kind 2"],
      [5, "kind 5"],
    ],
  );
  assert.match(summarize(totals, 2, 10), /2 +kind 2\n5 +kind 5\n[^]*6 runs, 60 operations \(30\/s\), 2 violations/);
});

test("a process that dies is a violation of the seed that it had, and the rest is run by another", async (context) => {
  const worker = workerOf(context, `if (seed === 3) { console.error("last words"); process.exit(7); }`);
  const { runs, operations, violations } = await runCampaign({ ...PLAN, worker });
  assert.deepEqual([runs, operations], [6, 50]);
  assert.equal(violations.length, 1);
  assert.equal(violations[0].seed, 3);
  assert.equal(violations[0].kind, "process: ended with 7");
  assert.match(violations[0].text, /last words/);
});

test("a run that does not end, and one that takes too much memory, are violations", async (context) => {
  const worker = workerOf(
    context,
    `if (seed === 2) for (;;); if (seed === 3) { globalThis.much = Buffer.alloc(400e6, 1); return; }`,
  );
  const limits = { runMs: 3000, residentBytes: 300e6 };
  const { runs, violations } = await runCampaign({ ...PLAN, runs: 4, worker, limits });
  assert.equal(runs, 4);
  assert.deepEqual(violations.map(({ kind }) => kind).sort(), [
    "process: took more than 286 MiB",
    "process: was not over after 3000 ms",
  ]);
});

test("a campaign ends when the operations asked for were judged", async (context) => {
  const worker = workerOf(context, "");
  const options: CampaignOptions = { ...PLAN, runs: Infinity, operations: 45, jobs: 1, worker };
  const { runs, operations } = await runCampaign(options);
  assert.deepEqual([runs, operations], [5, 50]);
});

test("a worker is replaced after some runs", async (context) => {
  const worker = workerOf(context, `violation = { kind: String(process.pid), text: "" }`);
  const { violations } = await runCampaign({ ...PLAN, jobs: 1, worker, limits: { runs: 2 } });
  assert.equal(new Set(violations.map(({ kind }) => kind)).size, 3);
});

test("real seeds on two processes are judged without a violation", async () => {
  const { runs, operations, counts, violations } = await runCampaign({
    ...PLAN,
    steps: 60,
    runs: 2,
    dangers: { strike: 0, hello: 0, burst: 0, evict: 0 },
  });
  assert.deepEqual(violations, []);
  assert.equal(runs, 2);
  assert.ok(operations > 60 && operations <= 120, `${operations} operations`);
  assert.ok(counts.restarts >= 2);
});
