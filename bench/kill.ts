// `npm run bench -- kill --rounds 200`: a real daemon is killed with SIGKILL at a random moment under load, started again,
// and everything that was synced must be there, renames whole, changes in order, and `cairn fsck` without a finding.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { randomBelow, seededRandom } from "../storage/seeded-random.ts";
import { makeStore, run as runProgram, type Store } from "../test/fixture/store.ts";
import { roundsOf } from "./rounds.ts";
import type { BenchOptions } from "./run.ts";

const worker = path.join(path.dirname(fileURLToPath(import.meta.url)), "kill-worker.js");
const KINDS = ["overwrite", "overwrite", "rename", "create"];
const WORK_MS_MIN = 150;
const WORK_MS_MAX = 1500;
const VERIFY_LIMIT_MS = 60_000;
/** The whole store is checked so often: it takes longer than a round. */
const FSCK_EVERY = 10;

export interface KillReport {
  rounds: number;
  begun: number;
  durable: number;
  problems: string[];
}

export async function killRounds(
  store: Store,
  rounds: number,
  seed: number,
  progress: (text: string) => void,
): Promise<KillReport> {
  const random = seededRandom(seed);
  const report: KillReport = { rounds: 0, begun: 0, durable: 0, problems: [] };
  await store.start();
  for (let round = 1; round <= rounds; round++) {
    const place = path.join(store.mount, `round-${round}`);
    const programs = KINDS.map((kind, index) => ({
      kind,
      directory: path.join(place, String(index)),
      journal: path.join(store.directory, `journal-${round}-${index}`),
      seed: String(randomBelow(random, 2 ** 31)),
    }));
    // Not by the programs: one that starts late would make it below the mountpoint.
    await runProgram("mkdir", ["-p", ...programs.map(({ directory }) => directory)]);
    const running = programs.map(({ kind, directory, journal, seed }) =>
      spawn(process.execPath, [worker, "write", kind, directory, journal, seed], { stdio: "ignore" }),
    );
    const ended = running.map((child) => new Promise((resolve) => child.once("exit", resolve)));
    await new Promise((resolve) => setTimeout(resolve, WORK_MS_MIN + random() * (WORK_MS_MAX - WORK_MS_MIN)));
    await store.kill();
    for (const child of running) child.kill("SIGKILL");
    await Promise.all(ended);
    await store.start();
    const check = async ({ kind, directory, journal, seed }: (typeof programs)[number]): Promise<void> => {
      const words = [worker, "verify", kind, directory, journal, seed];
      const ran = await runProgram(process.execPath, words, { timeoutMs: VERIFY_LIMIT_MS });
      if (ran.code !== 0) report.problems.push(`round ${round}, ${kind}: the check failed: ${ran.stderr.slice(-500)}`);
      else {
        const { problem, begun, durable } = JSON.parse(ran.stdout) as { problem: string | null; begun: number; durable: number };
        report.begun += begun;
        report.durable += durable;
        if (problem !== null) report.problems.push(`round ${round}, ${kind}: ${problem}`);
      }
      for (const name of [`${journal}.begun`, `${journal}.durable`]) fs.rmSync(name, { force: true });
    };
    await Promise.all(programs.map(check));
    if (round % FSCK_EVERY === 0 || round === rounds) {
      const checked = await store.cairn("fsck");
      if (checked.code !== 0)
        report.problems.push(`round ${round}, cairn fsck: ${checked.stdout.slice(-1500)} ${checked.stderr}`);
    }
    await runProgram("rm", ["-rf", place], { timeoutMs: VERIFY_LIMIT_MS });
    report.rounds = round;
    progress(`round ${round}: ${report.begun} changes begun, ${report.durable} durable, ${report.problems.length} problems`);
    if (report.problems.length > 0) return report;
  }
  return report;
}

export async function run({ json, parameters }: BenchOptions): Promise<void> {
  const { rounds, seed } = await roundsOf(
    "kill",
    "kills the daemon under load and checks what is there afterwards",
    200,
    parameters,
  );
  const store = makeStore("kill");
  try {
    const report = await killRounds(store, rounds, seed, (text) => process.stderr.write(`\r${text}`));
    process.stderr.write("\n");
    if (json) process.stdout.write(`${JSON.stringify({ seed, ...report }, null, 2)}\n`);
    else
      console.log([`seed ${seed}: ${report.rounds} rounds, ${report.problems.length} problems`, ...report.problems].join("\n"));
    if (report.problems.length > 0) process.exitCode = 1;
  } finally {
    await store.destroy();
  }
}
