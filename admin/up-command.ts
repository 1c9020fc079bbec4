// `cairn up`: create the store where there is none, mount it, serve until told to stop.

import fs from "node:fs";
import path from "node:path";
import { type Command, Option } from "commander";
import { print, storeCommand } from "./command.ts";
import type { Daemon, StartOptions } from "./daemon.ts";
import { DEFAULT_DISKS, DEFAULT_REPAIR_RATE, DEFAULT_SCHEME, SESSION_TIME_LIMIT_MS } from "./defaults.ts";
import { AdminError } from "./errors.ts";
import { announceFailure, announceReady, isDetached, startDetached } from "./detach.ts";
import { formatBytes } from "./format.ts";
import { stopOnSignals, traceToStandardError } from "./serve.ts";
import { parseCount, parseRate, parseSeconds } from "./rate.ts";
import type { StatusReport } from "./api.ts";

interface UpOptions {
  data: string;
  mount: string;
  disks?: number;
  disk?: string[];
  scheme?: string;
  repairRate?: number;
  sessionLimit?: number;
  detach?: boolean;
  json?: boolean;
  allowOther: boolean;
}

interface Ready {
  status: StatusReport;
  created: boolean;
  /** How the store was found, where its owner should know. */
  notices: readonly string[];
}

function startOptions(options: UpOptions): StartOptions {
  if (options.disk && options.disks)
    throw new AdminError("usage", "--disk names each disk and --disks counts directories to make: give one of them");
  return {
    data: path.resolve(options.data),
    mount: path.resolve(options.mount),
    disks: options.disks ?? null,
    diskPaths: options.disk?.map((directory) => path.resolve(directory)) ?? null,
    scheme: options.scheme ?? null,
    repairBytesPerSecond: options.repairRate ?? null,
    sessionLimitMs: options.sessionLimit ?? null,
    allowOther: options.allowOther,
  };
}

/** How to name a path in a hint: as short as the person would type it. */
function short(directory: string): string {
  const relative = path.relative(process.cwd(), directory);
  return relative && !relative.startsWith("..") ? relative : directory;
}

function readyText({ status, created, notices }: Ready, detached: boolean): string {
  const mount = short(status.mounts[0].path);
  const data = short(status.store.data);
  const dataOption = data === "cairn-data" ? "" : ` --data ${data}`;
  const usable = status.disks.filter((disk) => disk.state === "active").length;
  return [
    `store    ${status.store.data} (${created ? "created" : "found"}): ${usable} disks, ${status.store.scheme}, ${formatBytes(status.space.freeBytes)} free`,
    `mounted  ${status.mounts[0].path}`,
    ...[...notices, ...status.problems].map((problem) => `warning  ${problem}`),
    "",
    "Try:",
    `  cp -r /usr/include ${mount}/`,
    `  npx cairn status${dataOption}`,
    `  npx cairn where ${mount}/include/stdio.h${dataOption}`,
    "",
    detached
      ? `It serves in the background (process ${status.daemon.pid}); \`npx cairn down${dataOption}\` stops it.`
      : "Ctrl-C flushes, unmounts and stops.",
  ].join("\n");
}

async function runForeground(options: UpOptions): Promise<void> {
  let daemon: Daemon | null = null;
  let asked = false;
  // From the first moment: a store that is just being made is finished before it is stopped.
  stopOnSignals(() => {
    asked = true;
    daemon?.stop();
  });
  try {
    // Here and not above: loading a daemon takes as long as all else that `cairn status` does.
    const { startDaemon } = await import("./daemon.ts");
    const started = await startDaemon(startOptions(options), traceToStandardError);
    daemon = started.daemon;
    if (!asked) {
      const ready: Ready = { status: await daemon.status(), created: started.created, notices: daemon.notices };
      announceReady(ready);
      if (!isDetached()) print(options, ready, () => readyText(ready, false));
    }
  } catch (error) {
    // Nothing goes on that nobody was told of.
    await daemon?.end().catch(() => {});
    announceFailure(error);
    throw error;
  }
  if (asked) daemon.stop();
  await daemon.stopped;
  if (!isDetached() && !options.json) process.stdout.write("stopped\n");
}

/** Starts the same command in a process of its own and waits until it serves. */
async function runDetached(options: UpOptions): Promise<void> {
  const { data, mount, disks, diskPaths, scheme, repairBytesPerSecond, sessionLimitMs, allowOther } = startOptions(options);
  const words = ["up", "--data", data, "--mount", mount];
  if (disks) words.push("--disks", String(disks));
  for (const directory of diskPaths ?? []) words.push("--disk", directory);
  if (scheme) words.push("--scheme", scheme);
  if (repairBytesPerSecond) words.push("--repair-rate", String(repairBytesPerSecond));
  if (sessionLimitMs) words.push("--session-limit", String(sessionLimitMs / 1000));
  if (!allowOther) words.push("--no-allow-other");
  // A data directory that does not exist yet must stay empty until the store is made in it.
  const final = path.join(data, "trace");
  const first = fs.existsSync(data) ? final : path.join(path.dirname(data), `.${path.basename(data)}.trace`);
  try {
    const ready = await startDetached<Ready>(words, first);
    print(options, ready, () => readyText(ready, true));
  } finally {
    if (first !== final) settleTrace(first, final);
  }
}

/** Moves the trace of a first start to its place. Where no data directory was made, nobody would look for it, and its text was shown. */
function settleTrace(first: string, final: string): void {
  if (!fs.existsSync(first)) return;
  if (fs.existsSync(path.dirname(final))) fs.renameSync(first, final);
  else fs.rmSync(first, { force: true });
}

export function upCommand(): Command {
  const examples = [
    "cairn up",
    "cairn up --data /srv/cairn --mount /mnt/team --detach",
    "cairn up --disk /mnt/a/cairn --disk /mnt/b/cairn --disk /mnt/c/cairn --scheme copies:3",
    "cairn up --repair-rate 100M",
  ];
  return storeCommand("up", "create the store where there is none, mount it, and serve it", examples)
    .option("--mount <dir>", "where to mount it; made if its parent directory is there", "./mnt")
    .option("--disks <n>", `make this many disk directories in the data directory (default: ${DEFAULT_DISKS})`, parseCount)
    .option(
      "--disk <dir>",
      "use this directory as a disk; repeat it for each disk",
      (value: string, all: string[] | undefined) => [...(all ?? []), value],
    )
    .addOption(new Option("--scheme <scheme>", `redundancy of what is written: rs:K+M or copies:R (default: ${DEFAULT_SCHEME})`))
    .option(
      "--repair-rate <bytes>",
      `let repair, rebuild and drain read and write at most this many bytes a second, so that programs keep their speed (suffixes K, M, G; default: what the store was given last, ${DEFAULT_REPAIR_RATE / 1024 ** 2}M at first)`,
      parseRate,
    )
    .option(
      "--session-limit <seconds>",
      `let a mount in a process of its own that hangs delay others by at most this (default: ${SESSION_TIME_LIMIT_MS / 1000})`,
      parseSeconds,
    )
    .option("--detach", "return when the mount serves, and go on in the background")
    .option("--no-allow-other", "let only this user see the mount (others see it by default where that is permitted)")
    .action(async (options: UpOptions) => {
      await (options.detach ? runDetached(options) : runForeground(options));
      // Handles of libraries may linger; everything of ours is flushed and closed here.
      if (!options.detach) process.exit(process.exitCode ?? 0);
    });
}
