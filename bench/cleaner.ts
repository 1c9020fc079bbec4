// How much the disks hold for what lives, before and after the cleaner: files are
// written, overwritten at random and partly removed on a mount, then `cairn clean` runs.

import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { BenchOptions } from "./run.ts";

const execute = promisify(execFile);
const program = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../cairn.cjs");
const FILES = 8;
const FILE_BYTES = 64 * 1024 * 1024;
/** Of each file: 4000 times 8 KiB is half of it. */
const OVERWRITES = 4000;
const PIECE_BYTES = 8192;
const FACTOR = 1.5;

interface Phase {
  phase: string;
  seconds: number;
  liveBytes: number;
  diskBytes: number;
  /** diskBytes / (liveBytes * storage factor). */
  ratio: number;
}

function diskBytes(data: string): number {
  let bytes = 0;
  for (const disk of fs.readdirSync(data).filter((name) => name.startsWith("disk-"))) {
    const segments = path.join(data, disk, "segments");
    for (const name of fs.readdirSync(segments)) bytes += fs.statSync(path.join(segments, name)).blocks * 512;
  }
  return bytes;
}

/** In a process of its own: the mount's daemon is another one, and a stuck mount must not hang this one. */
const WORK = `
import os, random, sys
random.seed(1)
files, size, overwrites, piece = map(int, sys.argv[2:])
os.chdir(sys.argv[1])
for index in range(files):
    fd = os.open(f"file-{index}", os.O_RDWR | os.O_CREAT)
    for at in range(0, size, 1 << 20): os.pwrite(fd, random.randbytes(1 << 20), at)
    os.fsync(fd)
    for _ in range(overwrites): os.pwrite(fd, random.randbytes(piece), random.randrange(size // piece) * piece)
    os.fsync(fd)
    os.close(fd)
for index in range(0, files, 4): os.remove(f"file-{index}")
`;

async function measure(directory: string): Promise<Phase[]> {
  const data = path.join(directory, "data");
  const mount = path.join(directory, "mnt");
  const cairn = (...words: string[]) => execute(process.execPath, [program, ...words, "--data", data]);
  const phases: Phase[] = [];
  const timed = async (phase: string, work: () => Promise<unknown>): Promise<void> => {
    const started = performance.now();
    await work();
    const seconds = (performance.now() - started) / 1000;
    const names = await fs.promises.readdir(mount);
    const sizes = await Promise.all(names.map(async (name) => (await fs.promises.stat(path.join(mount, name))).size));
    const liveBytes = sizes.reduce((sum, size) => sum + size, 0);
    const bytes = diskBytes(data);
    phases.push({ phase, seconds, liveBytes, diskBytes: bytes, ratio: bytes / (liveBytes * FACTOR) });
  };
  await cairn("up", "--mount", mount, "--detach");
  try {
    const parameters = [FILES, FILE_BYTES, OVERWRITES, PIECE_BYTES].map(String);
    await timed("written, overwritten, removed", () => execute("python3", ["-c", WORK, mount, ...parameters]));
    await timed("cleaned", () => cairn("clean"));
    await timed("cleaned again", () => cairn("clean"));
  } finally {
    await cairn("down");
  }
  return phases;
}

export async function run({ json }: BenchOptions): Promise<void> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "cairn-bench-cleaner-"));
  try {
    const phases = await measure(directory);
    if (json) {
      console.log(JSON.stringify(phases, null, 2));
      return;
    }
    console.log(
      `${"phase".padEnd(32)}${"seconds".padStart(9)}${"live MiB".padStart(10)}${"disks MiB".padStart(11)}${"ratio".padStart(7)}`,
    );
    for (const { phase, seconds, liveBytes, diskBytes: bytes, ratio } of phases) {
      const mib = (value: number): string => (value / 1024 ** 2).toFixed(0);
      console.log(
        `${phase.padEnd(32)}${seconds.toFixed(1).padStart(9)}${mib(liveBytes).padStart(10)}${mib(bytes).padStart(11)}${ratio.toFixed(2).padStart(7)}`,
      );
    }
    console.log("ratio: bytes on the disks / (live bytes x 1.5, the factor of rs:4+2)");
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}
