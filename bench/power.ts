// `npm run bench -- power --seeds 2000`: the power cut tests of each part with many more seeds than `npm test` has. A part
// that fails prints what its test printed, the seed among it.

import { spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { formatTable } from "../admin/format.ts";
import { parsePartOptions } from "./part-options.ts";
import type { BenchOptions } from "./run.ts";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

interface Part {
  about: string;
  /** Below dist/test/. */
  file: string;
  /** Of the tests in it, those with seeds. */
  tests: RegExp;
  /** A seed of one part costs more than one of another: the share of --seeds that it gets. */
  share: number;
}

const PARTS: Part[] = [
  { about: "log", file: "storage/local-log.js", tests: /after power cuts/, share: 1 },
  { about: "segments, index, start-up, trim", file: "storage/segment-crash.js", tests: /power cut/, share: 1 },
  { about: "compaction", file: "storage/segment-compact.js", tests: /the power goes/, share: 1 },
  { about: "stripes on disks", file: "replication/stripes-on-disks.js", tests: /after a power cut/, share: 1 },
  { about: "stripes, damage", file: "replication/stripes.js", tests: /whatever is lost, damaged/, share: 1 },
  { about: "namespace, log and table", file: "fs/namespace/random.js", tests: /over power cuts/, share: 0.1 },
  { about: "mount and namespace", file: "fs/crash.js", tests: /survives a power cut/, share: 0.1 },
  { about: "cleaner, inline data", file: "fs/cleaner-crash.js", tests: /the power goes|leaves the table/, share: 0.1 },
];

interface Row {
  part: string;
  firstSeed: number;
  seeds: number;
  seconds: number;
  passed: boolean;
  output: string;
}

/** Of what a test printed when it failed, so much of the end is kept. */
const OUTPUT_CHARACTERS_MAX = 20_000;

async function runPart(part: Part, firstSeed: number, seeds: number): Promise<Row> {
  const begin = performance.now();
  const words = ["--enable-source-maps", "--test", `--test-name-pattern=${part.tests.source}`, "--test-reporter=tap"];
  const child = spawn(process.execPath, [...words, path.join(root, "dist/test", part.file)], {
    cwd: root,
    env: { ...process.env, CAIRN_SEED: String(firstSeed), CAIRN_SEEDS: String(seeds) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  for await (const chunk of child.stdout) output = (output + String(chunk)).slice(-OUTPUT_CHARACTERS_MAX);
  const code = child.exitCode ?? (await new Promise((resolve) => child.once("close", resolve)));
  // A pattern that matches nothing would pass, too.
  const passed = code === 0 && /^# pass [1-9]/m.test(output);
  const seconds = Math.round((performance.now() - begin) / 100) / 10;
  return { part: part.about, firstSeed, seeds, seconds, passed, output: passed ? "" : output };
}

const HELP = `usage: npm run bench -- power [--seeds N] [--first S] [--part WORD] [--json]

  --seeds N     how many seeds (default 2000; parts whose seeds are long get a tenth)
  --first S     the first seed (default 1000)
  --part WORD   only the parts with this word in their name
`;

export async function run({ json, parameters }: BenchOptions): Promise<void> {
  const numbers = { seeds: 2000, first: 1000 };
  const options = parsePartOptions(parameters, { help: HELP, numbers, word: "part", parts: PARTS, nameOf: ({ about }) => about });
  if (options === null) return;
  const { seeds, first } = options.numbers;
  const rows: Row[] = [];
  for (const part of options.parts) {
    const row = await runPart(part, first, Math.max(1, Math.round(seeds * part.share)));
    process.stderr.write(`${row.part}: ${row.seeds} seeds, ${row.seconds} s, ${row.passed ? "passed" : "FAILED"}\n${row.output}`);
    rows.push(row);
  }
  if (json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else {
    const table = rows.map((row) => [row.part, row.seeds, row.seconds, row.passed ? "passed" : "FAILED"]);
    console.log(formatTable(["part", "seeds", "seconds", "result"], table));
  }
  if (rows.some(({ passed }) => !passed)) process.exitCode = 1;
}
