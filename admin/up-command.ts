// `cairn up`: create the store where there is none, mount it, serve until told to stop.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Command, Option } from "commander";
import { print, storeCommand } from "./command.ts";
import { type Daemon, DEFAULT_DISKS, DEFAULT_SCHEME, startDaemon, type StartOptions } from "./daemon.ts";
import { AdminError } from "./errors.ts";
import { formatBytes } from "./format.ts";
import { parseCount } from "./rate.ts";
import type { StatusReport } from "./api.ts";

/** Replaying the longest log that is kept takes well under a minute; a first start a second. */
const DETACH_TIMEOUT_MS = 120_000;
/** The parent of a detached daemon hands it the pipe on which it says how its start went, under this number. */
const READY_DESCRIPTOR = 3;

interface UpOptions {
  data: string;
  mount: string;
  disks?: number;
  disk?: string[];
  scheme?: string;
  detach?: boolean;
  json?: boolean;
  allowOther: boolean;
}

type Ready = { status: StatusReport; created: boolean } | { error: { code: AdminError["code"]; message: string } };

function startOptions(options: UpOptions): StartOptions {
  if (options.disk && options.disks)
    throw new AdminError("usage", "--disk names each disk and --disks counts directories to make: give one of them");
  return {
    data: path.resolve(options.data),
    mount: path.resolve(options.mount),
    disks: options.disks ?? null,
    diskPaths: options.disk?.map((directory) => path.resolve(directory)) ?? null,
    scheme: options.scheme ?? null,
    allowOther: options.allowOther,
  };
}

/** How to name a path in a hint: as short as the person would type it. */
function short(directory: string): string {
  const relative = path.relative(process.cwd(), directory);
  return relative && !relative.startsWith("..") ? relative : directory;
}

function readyText({ status, created }: { status: StatusReport; created: boolean }, detached: boolean): string {
  const mount = short(status.mounts[0].path);
  const data = short(status.store.data);
  const dataOption = data === "cairn-data" ? "" : ` --data ${data}`;
  const usable = status.disks.filter((disk) => disk.state === "active").length;
  return [
    `store    ${status.store.data} (${created ? "created" : "found"}): ${usable} disks, ${status.store.scheme}, ${formatBytes(status.space.freeBytes)} free`,
    `mounted  ${status.mounts[0].path}`,
    ...status.problems.map((problem) => `warning  ${problem}`),
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

/** Runs until a signal, `cairn down`, or the last mount being taken away from outside; resolves when all is flushed and closed. */
async function serve(daemon: Daemon): Promise<void> {
  let asked = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    asked++;
    if (asked === 1) {
      process.stderr.write(`cairn: ${signal}: flushing and unmounting (again to give up waiting)\n`);
      daemon.stop();
    } else {
      process.stderr.write("cairn: stopped without waiting; what was not yet flushed is lost\n");
      process.exit(130);
    }
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.on("SIGHUP", () => daemon.stop());
  await daemon.stopped;
}

async function runForeground(options: UpOptions): Promise<void> {
  const ready = (value: Ready): void => {
    if (process.env.CAIRN_DETACHED) fs.writeSync(READY_DESCRIPTOR, `${JSON.stringify(value)}\n`);
  };
  let daemon: Daemon;
  let created: boolean;
  try {
    ({ daemon, created } = await startDaemon(startOptions(options), (text) =>
      process.stderr.write(`${new Date().toISOString()} ${text}\n`),
    ));
    const status = await daemon.status();
    ready({ status, created });
    if (process.env.CAIRN_DETACHED) fs.closeSync(READY_DESCRIPTOR);
    else print(options, { created, status }, () => readyText({ status, created }, false));
  } catch (error) {
    const code = error instanceof AdminError ? error.code : "internal";
    ready({ error: { code, message: (error as Error).message } });
    throw error;
  }
  await serve(daemon);
  if (!process.env.CAIRN_DETACHED && !options.json) process.stdout.write("stopped\n");
}

/** Starts the same command in a process of its own and waits until it serves. */
async function runDetached(options: UpOptions): Promise<void> {
  const checked = startOptions(options);
  const program = fileURLToPath(new URL("../../cairn.cjs", import.meta.url));
  const words = ["up", "--data", checked.data, "--mount", checked.mount];
  if (checked.disks) words.push("--disks", String(checked.disks));
  for (const directory of checked.diskPaths ?? []) words.push("--disk", directory);
  if (checked.scheme) words.push("--scheme", checked.scheme);
  if (!checked.allowOther) words.push("--no-allow-other");
  const tracing = path.join(path.dirname(checked.data), `.${path.basename(checked.data)}.trace`);
  const traceFile = fs.existsSync(checked.data) ? path.join(checked.data, "trace") : tracing;
  fs.mkdirSync(path.dirname(traceFile), { recursive: true });
  const output = fs.openSync(traceFile, "a", 0o600);
  const child = spawn(process.execPath, ["--enable-source-maps", program, ...words], {
    detached: true,
    stdio: ["ignore", output, output, "pipe"],
    env: { ...process.env, CAIRN_DETACHED: "1" },
  });
  fs.closeSync(output);
  const answer = await waitReady(child, traceFile);
  child.unref();
  if (traceFile === tracing && fs.existsSync(checked.data)) fs.renameSync(tracing, path.join(checked.data, "trace"));
  if ("error" in answer) throw new AdminError(answer.error.code, answer.error.message);
  print(options, answer, () => readyText(answer, true));
}

function waitReady(child: ReturnType<typeof spawn>, traceFile: string): Promise<Ready> {
  return new Promise((resolve, reject) => {
    let text = "";
    const pipe = child.stdio[READY_DESCRIPTOR] as import("node:stream").Readable;
    const timer = setTimeout(() => {
      child.kill("SIGTERM");
      reject(new AdminError("refused", `the daemon does not serve after ${DETACH_TIMEOUT_MS / 1000} s; see ${traceFile}`));
    }, DETACH_TIMEOUT_MS);
    const settle = (action: () => void): void => {
      clearTimeout(timer);
      action();
    };
    pipe.setEncoding("utf8");
    pipe.on("data", (chunk: string) => {
      text += chunk;
      if (text.endsWith("\n")) settle(() => resolve(JSON.parse(text) as Ready));
    });
    child.on("error", (error) => settle(() => reject(error)));
    child.on("exit", (code, signal) =>
      settle(() =>
        reject(new AdminError("refused", `the daemon ended at its start (${signal ?? `exit code ${code}`}); see ${traceFile}`)),
      ),
    );
  });
}

export function upCommand(): Command {
  const examples = [
    "cairn up",
    "cairn up --data /srv/cairn --mount /mnt/team --detach",
    "cairn up --disk /mnt/a/cairn --disk /mnt/b/cairn --disk /mnt/c/cairn --scheme copies:3",
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
    .option("--detach", "return when the mount serves, and go on in the background")
    .option("--no-allow-other", "let only this user see the mount (others see it by default where that is permitted)")
    .action(async (options: UpOptions) => {
      await (options.detach ? runDetached(options) : runForeground(options));
      // Handles of libraries may linger; everything of ours is flushed and closed here.
      if (!options.detach) process.exit(process.exitCode ?? 0);
    });
}
