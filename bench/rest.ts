// What a store at rest must say of itself: nothing in use, and every count as a walk finds it.

import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { StatusReport, TaskReport } from "../admin/api.ts";

const program = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../cairn.cjs");
const WALK_TIMEOUT_MS = 300_000;
/** Closing reaches the daemon after close(2) has returned; written data, removed files and dead stripes go by ticks. */
const REST_MAX_MS = 60_000;
const LOOK_AGAIN_MS = 1000;

const execute = promisify(execFile);

async function cairn(data: string, command: string): Promise<string> {
  const ran = await execute(process.execPath, [program, command, "--data", data, "--json"], {
    timeout: WALK_TIMEOUT_MS,
    maxBuffer: 64 * 1024 * 1024,
  });
  return ran.stdout;
}

async function statusOf(data: string): Promise<StatusReport> {
  return JSON.parse(await cairn(data, "status")) as StatusReport;
}

/** Inodes with a name, each once, as a program finds them. */
async function walkInodes(mount: string): Promise<number> {
  const { stdout } = await execute("find", [mount, "-printf", "%i\n"], {
    timeout: WALK_TIMEOUT_MS,
    maxBuffer: 256 * 1024 * 1024,
  });
  return new Set(stdout.split("\n").filter(Boolean)).size;
}

async function differences(data: string, mount: string): Promise<string[]> {
  const inodes = await walkInodes(mount);
  const fsck = JSON.parse((await cairn(data, "fsck")).trim().split("\n").at(-1)!) as TaskReport;
  const status = await statusOf(data);
  const found: string[] = [];
  const compare = (what: string, is: number | null | undefined, should: number): void => {
    if (is !== should) found.push(`${what}: ${is}, it should be ${should}`);
  };
  for (const { path: where, counts } of status.mounts)
    if (counts !== null) for (const [name, count] of Object.entries(counts)) compare(`${where}: ${name}`, count, 0);
  compare("buffers lent", status.daemon.buffersLent, 0);
  compare("inodes, by a walk of all names", status.inodes, inodes);
  compare("stripes, by fsck", status.stripes.total, fsck.counts.stripes);
  const blocks = status.disks.reduce((sum, disk) => sum + disk.blocks, 0);
  compare("blocks, by fsck", blocks, fsck.counts.blocks);
  for (const disk of status.disks)
    compare(`disk ${disk.id}: segments, by its folder`, disk.segments, fs.readdirSync(path.join(disk.path, "segments")).length);
  return found;
}

/** What is in use though nobody uses it, or is counted otherwise than a walk finds it; empty where all is well. Waits for rest. */
export async function compareAtRest(data: string, mount: string, restMaxMs: number = REST_MAX_MS): Promise<string[]> {
  const endMs = performance.now() + restMaxMs;
  for (;;) {
    const found = await differences(data, mount);
    if (found.length === 0 || performance.now() > endMs) return found;
    await sleep(LOOK_AGAIN_MS);
  }
}
