// `npm run bench -- real`: the big inputs that take too long for tests: many small files, and one file larger than memory
// caches, each written, read back and compared on a directory of the local filesystem and on a mount of six disks.
// --files N (50000), --bytes N (8589934592), --directory DIR: where both are made (the system's temp directory).
import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { BenchOptions } from "./run.ts";

const PIECE_BYTES = 1024 * 1024;
const FILES_A_DIRECTORY = 1000;

interface Row {
  name: string;
  seconds: number;
}

/** Deterministic bytes of one piece, different for every index, without the cost of making them anew. */
function pieceMaker(): (index: number) => Buffer {
  const block = Buffer.alloc(2 * PIECE_BYTES);
  for (let at = 0, state = 1; at < block.length; at += 4) block.writeUInt32LE((state = (state * 1664525 + 1013904223) >>> 0), at);
  return (index) => {
    const piece = Buffer.from(block.subarray((index * 4099) % PIECE_BYTES, ((index * 4099) % PIECE_BYTES) + PIECE_BYTES));
    piece.writeDoubleLE(index, 0);
    return piece;
  };
}

function timed(rows: Row[], name: string, action: () => void): void {
  const start = performance.now();
  action();
  rows.push({ name, seconds: (performance.now() - start) / 1000 });
}

/** Beside what the kernel has cached; needs root, else reads are warm. */
function dropCaches(): void {
  spawnSync("sync");
  spawnSync("sh", ["-c", "echo 3 > /proc/sys/vm/drop_caches"], { stdio: "ignore" });
}

function smallFile(index: number): string {
  return `file ${index}\n`.repeat((index % 300) + 1);
}

function smallPath(directory: string, index: number): string {
  return path.join(directory, `d${Math.floor(index / FILES_A_DIRECTORY)}`, `f${index}`);
}

function manyFiles(directory: string, files: number, rows: Row[]): void {
  timed(rows, `create ${files} small files`, () => {
    for (let i = 0; i < files; i++) {
      if (i % FILES_A_DIRECTORY === 0) mkdirSync(path.dirname(smallPath(directory, i)), { recursive: true });
      writeFileSync(smallPath(directory, i), smallFile(i));
    }
  });
  dropCaches();
  timed(rows, "list and count them, cold", () => {
    let count = 0;
    for (const name of readdirSync(directory)) count += readdirSync(path.join(directory, name)).length;
    if (count !== files) throw new Error(`${directory}: ${count} files are listed, ${files} were made`);
  });
  timed(rows, "read and compare them, cold", () => {
    for (let i = 0; i < files; i++) {
      if (readFileSync(smallPath(directory, i), "latin1") !== smallFile(i))
        throw new Error(`${smallPath(directory, i)}: other bytes than written`);
    }
  });
  timed(rows, "remove them", () => rmSync(directory, { recursive: true }));
}

function bigFile(file: string, bytes: number, rows: Row[]): void {
  const piece = pieceMaker();
  const count = Math.ceil(bytes / PIECE_BYTES);
  const written = createHash("sha1");
  timed(rows, `write ${(bytes / 2 ** 30).toFixed(1)} GiB with fsync`, () => {
    const descriptor = openSync(file, "w");
    for (let i = 0; i < count; i++) {
      const data = piece(i);
      written.update(data);
      writeSync(descriptor, data);
    }
    fsyncSync(descriptor);
    closeSync(descriptor);
  });
  dropCaches();
  const read = createHash("sha1");
  timed(rows, "read it back, cold", () => {
    const descriptor = openSync(file, "r");
    const buffer = Buffer.alloc(PIECE_BYTES);
    for (let got = readSync(descriptor, buffer); got > 0; got = readSync(descriptor, buffer))
      read.update(buffer.subarray(0, got));
    closeSync(descriptor);
  });
  if (read.digest("hex") !== written.digest("hex")) throw new Error(`${file}: other bytes than written`);
  timed(rows, "remove it", () => rmSync(file));
}

function runOn(directory: string, files: number, bytes: number): Row[] {
  const rows: Row[] = [];
  mkdirSync(path.join(directory, "small"));
  manyFiles(path.join(directory, "small"), files, rows);
  bigFile(path.join(directory, "big"), bytes, rows);
  return rows;
}

function cairn(...parameters: string[]): void {
  const program = path.join(path.dirname(fileURLToPath(import.meta.url)), "../admin/cairn.js");
  const result = spawnSync(process.execPath, [program, ...parameters], { encoding: "utf8" });
  if (result.status !== 0) throw new Error(`cairn ${parameters.join(" ")}: ${result.stderr || result.error?.message}`);
}

export function run({ json, parameters }: BenchOptions): void {
  const { values } = parseArgs({
    args: parameters,
    options: {
      files: { type: "string", default: "50000" },
      bytes: { type: "string", default: String(8 * 2 ** 30) },
      directory: { type: "string", default: os.tmpdir() },
    },
  });
  const base = mkdtempSync(path.join(values.directory, "cairn-bench-"));
  const [local, data, mount] = ["local", "data", "mnt"].map((name) => path.join(base, name));
  for (const directory of [local, mount]) mkdirSync(directory);
  try {
    const reference = runOn(local, Number(values.files), Number(values.bytes));
    cairn("up", "--data", data, "--mount", mount, "--detach");
    try {
      const rows = runOn(mount, Number(values.files), Number(values.bytes));
      report(rows, reference, json);
    } finally {
      cairn("down", "--data", data);
    }
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

function report(rows: Row[], reference: Row[], json: boolean): void {
  const all = rows.map(({ name, seconds }, i) => ({
    name,
    local: reference[i].seconds,
    mount: seconds,
    ratio: reference[i].seconds / seconds,
  }));
  if (json) return console.log(JSON.stringify(all));
  console.log(`${"".padEnd(36)}${"local s".padStart(10)}${"mount s".padStart(10)}${"ratio".padStart(8)}`);
  for (const row of all) {
    console.log(
      `${row.name.padEnd(36)}${row.local.toFixed(2).padStart(10)}${row.mount.toFixed(2).padStart(10)}${row.ratio.toFixed(2).padStart(8)}`,
    );
  }
  console.log("every byte read was compared with what was written");
}
