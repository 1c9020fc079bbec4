// `npm run bench -- workload`: one workload on an ext4 directory, on a mount of six disks with rs:4+2 beside it, and
// on the in-memory filesystem on the same binding, section by section in turn, so that all three see the same noise.
// Prints each figure and its ratios as a table, or JSON.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { formatTable } from "../admin/format.ts";
import type { BenchOptions } from "./run.ts";

const SECTIONS = ["seq_write,seq_read,rand_io", "warm_read", "small_files", "readdir", "tar", "meta", "fsync_create"] as const;
/** What the in-memory filesystem is the ceiling for; it has no disk, so figures of data and fsync say nothing there, except of what the kernel holds. */
const MEMORY_SECTIONS = new Set<string>(["warm_read", "small_files", "readdir", "tar", "meta"]);
const SECTION_TIMEOUT_MS = 540_000;

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const program = path.join(root, "cairn.cjs");

type Figures = Record<string, unknown>;

interface Target {
  name: string;
  directory: string;
  sections: (section: string) => boolean;
  options: string[];
  stop(): void;
}

function text(command: string, words: readonly string[]): string {
  const ran = spawnSync(command, words, { encoding: "utf8", timeout: 120_000 });
  if (ran.status !== 0) throw new Error(`${command} ${words.join(" ")}: ${ran.stderr || ran.error?.message || ran.status}`);
  return ran.stdout;
}

function pinned(pin: string | undefined, command: string, words: readonly string[]): [string, string[]] {
  return pin === undefined ? [command, [...words]] : ["taskset", ["-c", pin, command, ...words]];
}

function localTarget(scratch: string): Target {
  const directory = path.join(scratch, "local");
  fs.mkdirSync(directory);
  return { name: "local", directory, sections: () => true, options: [], stop() {} };
}

function mountTarget(scratch: string, scheme: string, pin: string | undefined): Target {
  const data = path.join(scratch, "data");
  const mount = path.join(scratch, "mnt");
  const up = pinned(pin, process.execPath, [program, "up", "--data", data, "--mount", mount, "--scheme", scheme, "--detach"]);
  const down = [program, "down", "--data", data];
  text(...up);
  const remount = `'${process.execPath}' ${down.join(" ")} && ${up[0]} ${up[1].join(" ")}`;
  const options = ["--remount", remount, "--cpu-match", `up --data ${data}`];
  return { name: "cairn", directory: mount, sections: () => true, options, stop: () => void text(process.execPath, down) };
}

async function memoryTarget(scratch: string, pin: string | undefined): Promise<Target> {
  const directory = path.join(scratch, "memory");
  fs.mkdirSync(directory);
  const server: ChildProcess = spawn(
    ...pinned(pin, process.execPath, [path.join(root, "dist/bench/memory-mount.js"), directory]),
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  await new Promise<void>((resolve, reject) => {
    server.stdout!.on("data", (chunk: Buffer) => chunk.toString().includes("ready") && resolve());
    server.once("exit", (code) => reject(new Error(`the in-memory filesystem ended with ${code}`)));
  });
  return {
    name: "memory",
    directory,
    sections: (section) => MEMORY_SECTIONS.has(section),
    options: ["--cpu-match", `memory-mount.js ${directory}`],
    stop: () => void server.kill("SIGTERM"),
  };
}

function runSection(target: Target, section: string, scratch: string, pin: string | undefined): Promise<Figures> {
  const words = [target.directory, "--name", target.name, "--only", section, "--tmp", scratch, ...target.options];
  const child = spawn(...pinned(pin, path.join(root, "bench/workload/workload.sh"), words), {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: SECTION_TIMEOUT_MS,
  });
  let output = "";
  child.stdout!.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) =>
      code === 0 ? resolve(JSON.parse(output) as Figures) : reject(new Error(`${target.name}, ${section}: exit code ${code}`)),
    );
  });
}

/** Seconds and CPU are better when smaller; rates when larger. The ratio is above 1 where the first is better. */
function ratio(key: string, value: unknown, base: unknown): string {
  if (typeof value !== "number" || typeof base !== "number" || value === 0 || base === 0) return "-";
  return (/(_s)$/.test(key) && !/_per_s$/.test(key) ? base / value : value / base).toFixed(2);
}

function show(value: unknown): string {
  if (typeof value === "number")
    return value >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
  return value === undefined ? "-" : String(value);
}

function table(results: Record<string, Figures>): string {
  const hidden = new Set(["name", "dir", "date", "all", "foreign_cpu", "section_s"]);
  const keys = [...new Set(Object.values(results).flatMap((figures) => Object.keys(figures)))].filter(
    (key) => !hidden.has(key) && !/_cpu_|_p99_|_direct$/.test(key),
  );
  const { local = {}, cairn = {}, memory = {} } = results;
  return formatTable(
    ["figure", "local", "cairn", "memory", "cairn/local", "cairn/memory"],
    keys.map((key) => [
      key,
      show(local[key]),
      show(cairn[key]),
      show(memory[key]),
      ratio(key, cairn[key], local[key]),
      ratio(key, cairn[key], memory[key]),
    ]),
  );
}

interface Options {
  dir: string;
  only?: string;
  targets: string;
  scheme: string;
  pin?: string;
  json: boolean;
}

async function compare(options: Options): Promise<void> {
  for (const needed of ["python3", "fio"]) {
    if (spawnSync(needed, ["--version"]).status !== 0)
      throw new Error(`${needed} is missing; as root: apt-get install ${needed}`);
  }
  const scratch = fs.mkdtempSync(path.join(options.dir, "cairn-bench-"));
  const wanted = new Set(options.targets.split(","));
  const targets: Target[] = [];
  const results: Record<string, Figures> = {};
  try {
    if (wanted.has("local")) targets.push(localTarget(scratch));
    if (wanted.has("cairn")) targets.push(mountTarget(scratch, options.scheme, options.pin));
    if (wanted.has("memory")) targets.push(await memoryTarget(scratch, options.pin));
    const only = options.only?.split(",");
    for (const section of SECTIONS.filter((names) => !only || names.split(",").some((name) => only.includes(name)))) {
      for (const target of targets.filter((candidate) => candidate.sections(section))) {
        Object.assign((results[target.name] ??= {}), await runSection(target, section, scratch, options.pin));
      }
    }
    process.stdout.write(options.json ? `${JSON.stringify(results)}\n` : `${table(results)}\n`);
  } finally {
    for (const target of targets) {
      try {
        target.stop();
      } catch (error) {
        process.stderr.write(`${(error as Error).message}\n`);
      }
    }
    fs.rmSync(scratch, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}

/** The bench's command, for bench/run.ts. */
export async function run({ json, parameters }: BenchOptions): Promise<void> {
  const command = new Command("workload")
    .description("the filesystem workload on ext4, on a mount and in memory, side by side")
    .option("--dir <dir>", "where to work: a directory on the disk that is compared with", os.tmpdir())
    .option("--only <sections>", "comma-separated: seq_write, warm_read, small_files, readdir, tar, meta, fsync_create")
    .option("--targets <names>", "comma-separated: local, cairn, memory", "local,cairn,memory")
    .option("--scheme <scheme>", "scheme of the mount", "rs:4+2")
    .addOption(new Option("--pin <cpus>", "keep program and daemon on these processors (taskset -c)"))
    .action((options: Options) => compare({ ...options, json }));
  await command.parseAsync(parameters, { from: "user" });
}
