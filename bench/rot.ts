// `npm run bench -- rot --rounds 20`: on a real daemon under load, bits of two disks' segment files change and segment files
// are deleted, again and again. What programs read must be right all the time (they wrote it), and a scrub must mend all.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Random, randomBelow, seededRandom } from "../storage/seeded-random.ts";
import { makeStore, type Store } from "../test/fixture/store.ts";
import { roundsOf } from "./rounds.ts";
import type { BenchOptions } from "./run.ts";

const worker = path.join(path.dirname(fileURLToPath(import.meta.url)), "rot-worker.js");
const PROGRAMS = 3;
const DISKS = 6;
/** rs:4+2 and copies:3 survive as many. */
const DISKS_HURT = 2;
const FLIPS = 40;
const WORK_MS = 1500;
/** Segment files are reserved ahead; what is behind this has hardly been written yet. */
const FLIPPED_BYTES = 16 * 1024 * 1024;

/** Changes bits in segment files of the disk, and deletes one in four of them. */
function hurt(disk: string, random: Random): number {
  const folder = path.join(disk, "segments");
  const files = fs.readdirSync(folder).map((name) => path.join(folder, name));
  let changes = 0;
  for (const name of files) {
    if (random() < 0.25) {
      fs.rmSync(name, { force: true });
      changes++;
      continue;
    }
    const file = fs.openSync(name, "r+");
    const { size } = fs.fstatSync(file);
    const byte = Buffer.alloc(1);
    for (let flip = 0; flip < FLIPS && size > 0; flip++) {
      const at = randomBelow(random, Math.min(size, FLIPPED_BYTES));
      fs.readSync(file, byte, 0, 1, at);
      byte[0] ^= 1 << randomBelow(random, 8);
      fs.writeSync(file, byte, 0, 1, at);
      changes++;
    }
    fs.closeSync(file);
  }
  return changes;
}

export interface RotReport {
  rounds: number;
  changes: number;
  reads: number;
  problems: string[];
}

export async function rotRounds(
  store: Store,
  rounds: number,
  seed: number,
  progress: (text: string) => void,
): Promise<RotReport> {
  const random = seededRandom(seed);
  const report: RotReport = { rounds: 0, changes: 0, reads: 0, problems: [] };
  await store.start();
  const programs = Array.from({ length: PROGRAMS }, (_, index) =>
    spawn(process.execPath, [worker, path.join(store.mount, `program-${index}`), String(seed + index)], {
      stdio: ["pipe", "pipe", "inherit"],
    }),
  );
  const outputs = programs.map(async ({ stdout }) => {
    let text = "";
    for await (const chunk of stdout) text += String(chunk);
    return text;
  });
  for (let round = 1; round <= rounds && report.problems.length === 0; round++) {
    await new Promise((resolve) => setTimeout(resolve, WORK_MS));
    const first = randomBelow(random, DISKS);
    for (let count = 0; count < DISKS_HURT; count++)
      report.changes += hurt(path.join(store.data, `disk-${((first + count) % DISKS) + 1}`), random);
    await new Promise((resolve) => setTimeout(resolve, WORK_MS));
    // A disk that lost files may have failed as a whole: it is replaced, the rest is scrubbed.
    const { disks } = await store.json<{ disks: { id: number; state: string }[] }>("status");
    for (const { id, state } of disks) {
      if (state !== "failed") continue;
      const replaced = await store.cairn("disk", "replace", String(id));
      if (replaced.code !== 0) report.problems.push(`round ${round}, disk replace ${id}: ${replaced.stderr}`);
    }
    for (const words of [["scrub"], ["fsck", "--verify"]]) {
      const ran = await store.cairn(...words);
      if (ran.code !== 0)
        report.problems.push(`round ${round}, cairn ${words.join(" ")}: ${ran.stdout.slice(-800)} ${ran.stderr.slice(-800)}`);
    }
    report.rounds = round;
    progress(`round ${round}: ${report.changes} changes of disks, ${report.problems.length} problems`);
  }
  for (const { stdin } of programs) stdin.end();
  for (const text of await Promise.all(outputs)) {
    const { reads, problem } = JSON.parse(text) as { reads: number; problem: string | null };
    report.reads += reads;
    if (problem !== null) report.problems.push(problem);
  }
  return report;
}

export async function run({ json, parameters }: BenchOptions): Promise<void> {
  const about = "changes bits and deletes segment files of two disks under load: reads must be right, scrub must mend";
  const { rounds, seed } = await roundsOf("rot", about, 20, parameters);
  const store = makeStore("rot");
  try {
    const report = await rotRounds(store, rounds, seed, (text) => process.stderr.write(`\r${text}`));
    process.stderr.write("\n");
    if (json) process.stdout.write(`${JSON.stringify({ seed, ...report }, null, 2)}\n`);
    else {
      const { reads, changes, problems } = report;
      console.log(
        `seed ${seed}: ${report.rounds} rounds, ${changes} changes of disks, ${reads} reads, ${problems.length} problems`,
      );
      for (const problem of problems) console.log(problem);
    }
    if (report.problems.length > 0) process.exitCode = 1;
  } finally {
    await store.destroy();
  }
}
