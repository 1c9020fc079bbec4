// `npm run bench -- mounts`: two mounts of one store, one in the daemon and one in a process of its own, used hard at once.
// Each part has a store of its own, prints its figures, and ends with `cairn fsck`; any violation makes the exit code 1.

import fs from "node:fs";
import path from "node:path";
import { mountAgain } from "../test/fixture/second-mount.ts";
import { makeStore, type Store } from "../test/fixture/store.ts";
import { appendsPart } from "./mounts/appends.ts";
import { killedPart } from "./mounts/killed.ts";
import { namesPart } from "./mounts/names.ts";
import { type Figures, type Part, Programs } from "./mounts/part.ts";
import { recordsPart } from "./mounts/records.ts";
import { sqlitePart } from "./mounts/sqlite.ts";
import { stoppedPart } from "./mounts/stopped.ts";
import type { BenchOptions } from "./run.ts";
import { parsePartOptions } from "./part-options.ts";

const PARTS: Part[] = [sqlitePart, namesPart, recordsPart, appendsPart, stoppedPart, killedPart];
const VIOLATIONS_MAX = 100;

const HELP = `usage: npm run bench -- mounts [--transactions N] [--seconds S] [--only WORD] [--json]

  --transactions N   of SQLite, through both mounts together (default 10000)
  --seconds S        how long names and records are worked on; appends a quarter of it (default 60)
  --only WORD        only the parts with this word in their name:
${PARTS.map(({ name, about }) => `                       ${name.padEnd(8)} ${about}\n`).join("")}`;

interface Row {
  part: string;
  seconds: number;
  figures: Figures;
  violations: string[];
}

async function runPart(part: Part, options: { seconds: number; transactions: number }): Promise<Row> {
  const violations: string[] = [];
  const violation = (text: string): void => {
    if (violations.length < VIOLATIONS_MAX) violations.push(text);
    process.stderr.write(`${part.name}: VIOLATION: ${text}\n`);
  };
  const begin = performance.now();
  const store = makeStore(`mounts-${part.name}`);
  const programs = new Programs(violation);
  let figures: Figures = {};
  const interrupted = (signal: NodeJS.Signals): void => {
    process.stderr.write(`${part.name}: ${signal}: ending its programs and taking its mounts away\n`);
    programs.killAll();
    void store.destroy().finally(() => process.exit(130));
  };
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) process.once(signal, interrupted);
  try {
    await store.start();
    const second = await mountAgain(store, "second");
    const start = programs.start.bind(programs);
    figures = await part.run({ store, one: store.mount, second, ...options, violation, start });
    // What a mount held unsynced is lost with its session: that must not happen to one that is alive.
    const ended = sessionsEnded(store);
    if (part.endsSessions) figures["sessions ended"] = ended.length;
    else for (const line of ended) violation(line);
    const checked = await store.cairn("fsck");
    if (checked.code !== 0) violation(`cairn fsck: ${checked.stdout.slice(-1500)} ${checked.stderr.slice(-1500)}`);
  } catch (error) {
    violation(error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    for (const signal of signals) process.off(signal, interrupted);
    programs.killAll();
    await store.destroy();
  }
  return { part: part.name, seconds: Math.round((performance.now() - begin) / 1000), figures, violations };
}

/** What the daemon and its mounts noted of sessions that ended while their mount was there. */
function sessionsEnded({ data, output }: Store): string[] {
  const trace = path.join(data, "trace");
  const lines = [...output.split("\n"), ...(fs.existsSync(trace) ? fs.readFileSync(trace, "utf8").split("\n") : [])];
  return lines.filter((line) => /session \d+.*(over|ended)/.test(line));
}

function describe({ part, seconds, figures, violations }: Row): string {
  const list = Object.entries(figures).map(([name, value]) => `  ${name}: ${value}\n`);
  return `${part}: ${seconds} s, ${violations.length === 0 ? "no violation" : `${violations.length} VIOLATIONS`}\n${list.join("")}`;
}

export async function run({ json, parameters }: BenchOptions): Promise<void> {
  const numbers = { transactions: 10_000, seconds: 60 };
  const options = parsePartOptions(parameters, { help: HELP, numbers, word: "only", parts: PARTS, nameOf: ({ name }) => name });
  if (options === null) return;
  const rows: Row[] = [];
  for (const part of options.parts) {
    const row = await runPart(part, options.numbers);
    rows.push(row);
    (json ? process.stderr : process.stdout).write(describe(row));
  }
  if (json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  if (rows.some(({ violations }) => violations.length > 0)) process.exitCode = 1;
}
