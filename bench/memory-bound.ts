// `npm run bench -- memory`: how much memory a daemon takes that a kernel keeps a million inodes of, that has written and
// read a large file, and that has 100,000 files open at once. Resident memory is the kernel's figure (VmRSS; VmHWM, reset
// before each step, is its peak); heap and buffers are the daemon's own.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "commander";
import type { StatusReport } from "../admin/api.ts";
import { formatBytes, formatTable } from "../admin/format.ts";
import type { BenchOptions } from "./run.ts";

const program = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../cairn.cjs");
const COMMAND_TIMEOUT_MS = 600_000;
const FILES_PER_DIRECTORY = 1000;
const CHUNK_BYTES = 1024 * 1024;
/** Descriptors that a program needs beside those of the files that it opens. */
const DESCRIPTORS_SPARE = 1000;

interface Options {
  files: number;
  fileBytes: number;
  writers: number;
  largeMib: number;
  open: number;
  dir: string;
  limitMb: number;
  json: boolean;
}

interface Step {
  step: string;
  seconds: number;
  residentBytes: number;
  peakBytes: number;
  heapBytes: number;
  bufferBytes: number;
  inodes: number;
}

// The programs on the mount, each in a process of its own: node -e "...work(KIND, DIRECTORY, FROM, TO, BYTES)".

function fileName(directory: string, number: number): string {
  return path.join(directory, String(Math.floor(number / FILES_PER_DIRECTORY)), String(number % FILES_PER_DIRECTORY));
}

/** Bytes that tell one file from another. */
function contentOf(number: number, bytes: number): Buffer {
  return Buffer.alloc(bytes, `file ${number} `);
}

function readWhole(descriptor: number, into: Buffer): number {
  let done = 0;
  for (let count = 1; count > 0 && done < into.length; done += count)
    count = fs.readSync(descriptor, into, done, into.length - done, done);
  return done;
}

function checkFile(descriptor: number, number: number, buffer: Buffer): void {
  const count = readWhole(descriptor, buffer);
  if (!buffer.subarray(0, count).equals(contentOf(number, buffer.length)))
    throw new Error(`file ${number} reads back wrong (${count} of ${buffer.length} bytes)`);
}

const WORK: Record<string, (directory: string, from: number, to: number, bytes: number) => void | Promise<void>> = {
  make(directory, from, to, bytes) {
    for (let number = from; number < to; number++) {
      if (number % FILES_PER_DIRECTORY === 0 || number === from)
        fs.mkdirSync(path.dirname(fileName(directory, number)), { recursive: true });
      fs.writeFileSync(fileName(directory, number), contentOf(number, bytes));
    }
  },
  read(directory, from, to, bytes) {
    const buffer = Buffer.alloc(bytes);
    for (let number = from; number < to; number++) {
      const file = fs.openSync(fileName(directory, number), "r");
      checkFile(file, number, buffer);
      fs.closeSync(file);
    }
  },
  /** Opens all and reads through each; keeps them open until its input ends. */
  async open(directory, from, to, bytes) {
    const files: number[] = [];
    for (let number = from; number < to; number++) files.push(fs.openSync(fileName(directory, number), "r"));
    const buffer = Buffer.alloc(bytes);
    for (const [index, file] of files.entries()) checkFile(file, from + index, buffer);
    process.stdout.write("open\n");
    await once(process.stdin.resume(), "end");
    for (const file of files) fs.closeSync(file);
  },
  writeLarge(directory, _from, chunks) {
    const file = fs.openSync(path.join(directory, "large"), "w");
    for (let chunk = 0; chunk < chunks; chunk++)
      fs.writeSync(file, contentOf(chunk, CHUNK_BYTES), 0, CHUNK_BYTES, chunk * CHUNK_BYTES);
    fs.fsyncSync(file);
    fs.closeSync(file);
  },
  readLarge(directory, _from, chunks) {
    const file = fs.openSync(path.join(directory, "large"), "r");
    const buffer = Buffer.alloc(CHUNK_BYTES);
    for (let chunk = 0; chunk < chunks; chunk++) {
      const count = fs.readSync(file, buffer, 0, CHUNK_BYTES, chunk * CHUNK_BYTES);
      if (count !== CHUNK_BYTES || !buffer.equals(contentOf(chunk, CHUNK_BYTES)))
        throw new Error(`the large file reads back wrong at MiB ${chunk}`);
    }
    fs.closeSync(file);
  },
};

/** Runs in a process of its own. */
export async function work(kind: string, directory: string, from: number, to: number, bytes: number): Promise<void> {
  await WORK[kind](directory, from, to, bytes);
}

function start(kind: string, directory: string, from: number, to: number, bytes: number): ChildProcess {
  const call = [kind, directory, from, to, bytes].map((value) => JSON.stringify(value)).join(",");
  const script = `import(${JSON.stringify(import.meta.url)}).then((m) => m.work(${call}))`;
  return spawn(process.execPath, ["-e", script], { stdio: ["pipe", "pipe", "inherit"] });
}

async function ended(child: ChildProcess, kind: string): Promise<void> {
  const code = child.exitCode ?? (await once(child, "exit"))[0];
  if (code !== 0) throw new Error(`the program that should ${kind} ended with ${code}`);
}

function cairn(words: readonly string[]): string {
  const ran = spawnSync(process.execPath, [program, ...words], { encoding: "utf8", timeout: COMMAND_TIMEOUT_MS });
  if (ran.status !== 0) throw new Error(`cairn ${words.join(" ")}: ${ran.stderr || ran.stdout || ran.status}`);
  return ran.stdout;
}

/** A figure of /proc/PID/status, in bytes. */
function kernelFigure(pid: number, name: string): number {
  const line = fs
    .readFileSync(`/proc/${pid}/status`, "latin1")
    .split("\n")
    .find((text) => text.startsWith(`${name}:`));
  return Number(/\d+/.exec(line ?? "")?.[0] ?? Number.NaN) * 1024;
}

class Measuring {
  readonly steps: Step[] = [];
  readonly #data: string;
  readonly #json: boolean;

  constructor(data: string, json: boolean) {
    this.#data = data;
    this.#json = json;
  }

  status(): StatusReport {
    return JSON.parse(cairn(["status", "--data", this.#data, "--json"])) as StatusReport;
  }

  /** Runs a step with the peak set back before it. */
  async step(name: string, action: () => Promise<void>): Promise<void> {
    const { pid } = this.status().daemon;
    fs.writeFileSync(`/proc/${pid}/clear_refs`, "5");
    const startedAt = performance.now();
    await action();
    const seconds = (performance.now() - startedAt) / 1000;
    const peakBytes = kernelFigure(pid, "VmHWM");
    const { daemon, inodes } = this.status();
    const { heapBytes, bufferBytes } = daemon;
    const residentBytes = kernelFigure(pid, "VmRSS");
    this.steps.push({ step: name, seconds, residentBytes, peakBytes, heapBytes, bufferBytes, inodes });
    if (!this.#json)
      process.stderr.write(
        `${name}: ${seconds.toFixed(1)} s, resident ${formatBytes(residentBytes)}, peak ${formatBytes(peakBytes)}\n`,
      );
  }
}

async function inParallel(kind: string, directory: string, options: Options): Promise<void> {
  const share = Math.ceil(options.files / options.writers / FILES_PER_DIRECTORY) * FILES_PER_DIRECTORY;
  const programs: Promise<void>[] = [];
  for (let from = 0; from < options.files; from += share)
    programs.push(ended(start(kind, directory, from, Math.min(from + share, options.files), options.fileBytes), kind));
  await Promise.all(programs);
}

/** How many files one program may have open: Node raises its own limit to the hard one. */
function openPerProgram(): number {
  const limit = /^Max open files\s+\d+\s+(\d+)/m.exec(fs.readFileSync("/proc/self/limits", "latin1"));
  return (limit === null ? 1024 : Number(limit[1])) - DESCRIPTORS_SPARE;
}

async function holdOpen(measuring: Measuring, directory: string, options: Options): Promise<void> {
  const programs: ChildProcess[] = [];
  const share = openPerProgram();
  const opened = async (child: ChildProcess): Promise<void> => {
    const [first] = (await Promise.race([once(child.stdout!, "data"), once(child, "exit")])) as [unknown];
    if (String(first) !== "open\n") throw new Error(`a program that should open ${share} files ended`);
  };
  try {
    await measuring.step(`${options.open} files open, each read`, async () => {
      for (let from = 0; from < options.open; from += share)
        programs.push(start("open", directory, from, Math.min(from + share, options.open), options.fileBytes));
      await Promise.all(programs.map(opened));
    });
    await measuring.step("all closed", async () => {
      for (const { stdin } of programs) stdin!.end();
      await Promise.all(programs.map((child) => ended(child, "close")));
    });
  } finally {
    for (const child of programs) child.kill();
  }
}

async function measure(options: Options): Promise<void> {
  const scratch = fs.mkdtempSync(path.join(options.dir, "cairn-memory-"));
  const data = path.join(scratch, "data");
  const mount = path.join(scratch, "mnt");
  const measuring = new Measuring(data, options.json);
  try {
    cairn(["up", "--data", data, "--mount", mount, "--detach"]);
    await measuring.step("started", () => sleep(1000));
    await measuring.step(`${options.files} files made`, () => inParallel("make", mount, options));
    await measuring.step(`${options.files} files read`, () => inParallel("read", mount, options));
    const chunks = (options.largeMib * 1024 * 1024) / CHUNK_BYTES;
    await measuring.step(`${options.largeMib} MiB written`, () => ended(start("writeLarge", mount, 0, chunks, 0), "write"));
    fs.writeFileSync("/proc/sys/vm/drop_caches", "1");
    await measuring.step(`${options.largeMib} MiB read`, () => ended(start("readLarge", mount, 0, chunks, 0), "read"));
    await holdOpen(measuring, mount, options);
    await measuring.step("cairn fsck", async () => void cairn(["fsck", "--data", data]));
    await measuring.step("10 s later", () => sleep(10_000));
    report(measuring.steps, options);
  } finally {
    spawnSync(process.execPath, [program, "down", "--data", data], { timeout: COMMAND_TIMEOUT_MS });
    fs.rmSync(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 });
  }
}

function report(steps: readonly Step[], { json, limitMb }: Options): void {
  const peakBytes = Math.max(...steps.map((step) => step.peakBytes));
  const within = peakBytes <= limitMb * 1e6;
  if (!within) process.exitCode = 1;
  if (json) {
    process.stdout.write(`${JSON.stringify({ steps, peakBytes, limitBytes: limitMb * 1e6, within })}\n`);
    return;
  }
  const rows = steps.map((step) => [
    step.step,
    step.seconds.toFixed(1),
    (step.residentBytes / 1e6).toFixed(0),
    (step.peakBytes / 1e6).toFixed(0),
    (step.heapBytes / 1e6).toFixed(0),
    (step.bufferBytes / 1e6).toFixed(0),
    step.inodes,
  ]);
  process.stdout.write(
    `${formatTable(["step", "s", "resident MB", "peak MB", "heap MB", "buffers MB", "inodes"], rows)}\npeak ${(peakBytes / 1e6).toFixed(0)} MB, bound ${limitMb} MB\n`,
  );
}

function parseNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError(`it is "${text}" and should be a whole number below 10^9`);
  return Number(text);
}

/** The bench's command, for bench/run.ts. */
export async function run({ json, parameters }: BenchOptions): Promise<void> {
  const command = new Command("memory")
    .description("resident memory with many files known, a large file written and read, many files open")
    .option("--files <n>", "small files made and read", parseNumber, 1_000_000)
    .option("--file-bytes <n>", "bytes of each", parseNumber, 4096)
    .option("--writers <n>", "programs that make and read them at once", parseNumber, 3)
    .option("--large-mib <n>", "size of the large file", parseNumber, 8192)
    .option("--open <n>", "files open at once", parseNumber, 100_000)
    .option("--limit-mb <n>", "exit code 1 where the peak is above this (MB of 10^6 bytes)", parseNumber, 600)
    .option("--dir <dir>", "where to work", os.tmpdir())
    .option("--json", "one JSON document instead of a table")
    .action((options: Omit<Options, "json">) => measure({ ...options, json }));
  await command.parseAsync(parameters, { from: "user" });
}
