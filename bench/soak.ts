// `npm run bench -- soak`: mixed load on a mount for a time, with a line of figures now and then: the daemon's memory,
// the latency of a small operation, what the store holds. What should stay flat is compared between the second and the
// last quarter; at the end `cairn fsck` compares the store with itself.

import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import fsp from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import type { StatusReport } from "../admin/api.ts";
import { formatBytes, formatTable } from "../admin/format.ts";
import { parseCount } from "../admin/rate.ts";
import { compareAtRest } from "./rest.ts";
import type { BenchOptions } from "./run.ts";

const program = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../cairn.cjs");
const COMMAND_TIMEOUT_MS = 300_000;
/** Files that a worker keeps: what it makes beyond replaces the oldest. */
const FILES_PER_WORKER = 500;
const LARGE_FILE_BYTES = 24 * 1024 * 1024;

interface Sample {
  seconds: number;
  residentBytes: number;
  heapBytes: number;
  bufferBytes: number;
  latencyP50Ms: number;
  latencyP99Ms: number;
  operations: number;
  stripes: number;
  inodes: number;
}

/** Runs in a process of its own: makes, overwrites, reads, renames and removes files until the parent goes away. */
export async function soakWorker(directory: string, seed: number): Promise<void> {
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % below;
  };
  const block = Buffer.alloc(LARGE_FILE_BYTES, seed);
  let done = 0;
  process.on("message", () => process.send!(done));
  process.on("disconnect", () => process.exit(0));
  for (; ; done++) {
    const file = path.join(directory, `f${random(FILES_PER_WORKER)}`);
    const kind = random(100);
    if (kind < 40) await fsp.writeFile(file, block.subarray(0, 1 + random(64 * 1024)));
    else if (kind < 60) await fsp.readFile(file).catch(() => null);
    else if (kind < 70) await fsp.rename(file, path.join(directory, `f${random(FILES_PER_WORKER)}`)).catch(() => null);
    else if (kind < 80) await fsp.rm(file, { force: true });
    else if (kind < 90) await overwrite(file, block, random);
    else if (kind < 99) await fsp.readdir(directory);
    else await fsp.writeFile(path.join(directory, `large${random(3)}`), block);
  }
}

async function overwrite(file: string, block: Buffer, random: (below: number) => number): Promise<void> {
  const handle = await fsp.open(file, "r+").catch(() => null);
  if (!handle) return;
  await handle.write(block, 0, 1 + random(8192), random(32 * 1024));
  if (random(4) === 0) await handle.sync();
  await handle.close();
}

function cairn(words: readonly string[]): string {
  const ran = spawnSync(process.execPath, [program, ...words], { encoding: "utf8", timeout: COMMAND_TIMEOUT_MS });
  if (ran.status !== 0) throw new Error(`cairn ${words.join(" ")}: ${ran.stderr || ran.status}`);
  return ran.stdout;
}

/** Times of create, write, fsync, stat and unlink of a small file, in ms. */
async function probe(directory: string, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < count; index++) {
    const startedAt = performance.now();
    const file = path.join(directory, `probe${index}`);
    const handle = await fsp.open(file, "w");
    await handle.write("probe");
    await handle.sync();
    await handle.close();
    await fsp.rm(file);
    times.push(performance.now() - startedAt);
  }
  return times.sort((left, right) => left - right);
}

async function soak({ minutes, dir, json }: { minutes: number; dir: string; json: boolean }): Promise<void> {
  const scratch = fs.mkdtempSync(path.join(dir, "cairn-soak-"));
  const data = path.join(scratch, "data");
  const mount = path.join(scratch, "mnt");
  cairn(["up", "--data", data, "--mount", mount, "--detach"]);
  const workers = [1, 2].map((seed) => {
    const directory = path.join(mount, `worker${seed}`);
    spawnSync("mkdir", [directory], { timeout: 20_000 });
    const script = `import(${JSON.stringify(import.meta.url)}).then((m) => m.soakWorker(${JSON.stringify(directory)}, ${seed}))`;
    return spawn(process.execPath, ["-e", script], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  });
  const samples: Sample[] = [];
  try {
    const startedAt = performance.now();
    while (performance.now() - startedAt < minutes * 60_000) {
      await sleep(Math.min(30_000, (minutes * 60_000) / 24));
      const times = await probe(mount, 50);
      const counts = await Promise.all(
        workers.map(
          (worker) =>
            new Promise<number>((resolve) => (worker.once("message", (count) => resolve(count as number)), worker.send("count"))),
        ),
      );
      const status = JSON.parse(cairn(["status", "--data", data, "--json"])) as StatusReport;
      samples.push({
        seconds: Math.round((performance.now() - startedAt) / 1000),
        residentBytes: status.daemon.residentBytes,
        heapBytes: status.daemon.heapBytes,
        bufferBytes: status.daemon.bufferBytes,
        latencyP50Ms: times[25],
        latencyP99Ms: times[49],
        operations: counts.reduce((sum, count) => sum + count, 0),
        stripes: status.stripes.total,
        inodes: status.inodes,
      });
      if (!json)
        process.stderr.write(
          `${samples.at(-1)!.seconds} s: ${formatBytes(samples.at(-1)!.residentBytes)} resident, ${samples.at(-1)!.operations} operations\n`,
        );
    }
    await Promise.all(workers.map((worker) => new Promise((resolve) => (worker.once("exit", resolve), worker.disconnect()))));
    const leaks = await compareAtRest(data, mount);
    const fsck = spawnSync(process.execPath, [program, "fsck", "--data", data], {
      encoding: "utf8",
      timeout: COMMAND_TIMEOUT_MS,
    });
    report(samples, { exitCode: fsck.status, text: fsck.stdout.trim(), leaks }, json);
    if (fsck.status !== 0 || leaks.length > 0) process.exitCode = 1;
  } finally {
    for (const worker of workers) worker.kill();
    spawnSync(process.execPath, [program, "down", "--data", data], { timeout: COMMAND_TIMEOUT_MS });
    fs.rmSync(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 });
  }
}

function report(
  samples: readonly Sample[],
  fsck: { exitCode: number | null; text: string; leaks: string[] },
  json: boolean,
): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ samples, fsck })}\n`);
    return;
  }
  const rows = samples.map((sample) => [
    sample.seconds,
    formatBytes(sample.residentBytes),
    formatBytes(sample.heapBytes),
    formatBytes(sample.bufferBytes),
    sample.latencyP50Ms.toFixed(2),
    sample.latencyP99Ms.toFixed(2),
    sample.operations,
    sample.inodes,
    sample.stripes,
  ]);
  process.stdout.write(
    `${formatTable(["s", "resident", "heap", "buffers", "p50 ms", "p99 ms", "operations", "inodes", "stripes"], rows)}\nfsck: exit code ${fsck.exitCode}: ${fsck.text}\nat rest: ${fsck.leaks.join("; ") || "nothing leaked, all counts agree"}\n`,
  );
  const quarter = Math.max(1, Math.floor(samples.length / 4));
  const growth = (of: (sample: Sample) => number): string =>
    (median(samples.slice(-quarter), of) / median(samples.slice(quarter, 2 * quarter), of)).toFixed(2);
  // The first quarter is warm-up: files are being made, caches fill, code is compiled.
  process.stdout.write(
    `medians, last quarter / second quarter: resident ${growth((sample) => sample.residentBytes)}, heap ${growth((sample) => sample.heapBytes)}, buffers ${growth((sample) => sample.bufferBytes)}, p50 ${growth((sample) => sample.latencyP50Ms)}, p99 ${growth((sample) => sample.latencyP99Ms)}, inodes ${growth((sample) => sample.inodes)}, stripes ${growth((sample) => sample.stripes)}\n`,
  );
}

function median(part: readonly Sample[], of: (sample: Sample) => number): number {
  const values = part.map(of).sort((left, right) => left - right);
  return values.length === 0 ? Number.NaN : values[Math.floor(values.length / 2)];
}

/** The bench's command, for bench/run.ts. */
export async function run({ json, parameters }: BenchOptions): Promise<void> {
  const command = new Command("soak")
    .description("mixed load for a time: memory, latency and counts should stay flat")
    .option("--minutes <n>", "how long", parseCount, 30)
    .option("--dir <dir>", "where to work", os.tmpdir())
    .action((options: { minutes: number; dir: string }) => soak({ ...options, json }));
  await command.parseAsync(parameters, { from: "user" });
}
