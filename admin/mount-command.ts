// `cairn mount DIR` and `cairn unmount DIR`: further mounts of a running store, each a process of its own.

import fs from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { setTimeout as sleep } from "node:timers/promises";
import type { MountReport, StatusReport } from "./api.ts";
import { callDaemon } from "./client.ts";
import { type CommonOptions, print, storeCommand } from "./command.ts";
import { announceFailure, announceReady, isDetached, startDetached } from "./detach.ts";
import { AdminError } from "./errors.ts";
import { startMountProcess } from "./mount-process.ts";
import { stopOnSignals, traceToStandardError } from "./serve.ts";

/** Writing back 128 MiB to slow disks takes seconds; after this something is wrong. */
const UNMOUNT_TIMEOUT_MS = 60_000;

type MountOptions = CommonOptions & { foreground?: boolean; allowOther: boolean };

async function serveMount(directory: string, options: MountOptions): Promise<void> {
  try {
    const mounted = await startMountProcess(
      { data: path.resolve(options.data), directory, allowOther: options.allowOther },
      traceToStandardError,
    );
    stopOnSignals(() => void mounted.unmount());
    announceReady({ path: mounted.mountpoint, pid: process.pid });
    if (!isDetached())
      print(
        options,
        { path: mounted.mountpoint, pid: process.pid },
        (mount) => `mounted on ${mount.path}; Ctrl-C flushes and unmounts`,
      );
    await mounted.closed;
  } catch (error) {
    announceFailure(error);
    throw error;
  }
  // The connection's and libraries' handles may linger; everything is written back here.
  process.exit(process.exitCode ?? 0);
}

async function startMount(directory: string, options: MountOptions): Promise<void> {
  const words = [
    "mount",
    directory,
    "--data",
    path.resolve(options.data),
    "--foreground",
    ...(options.allowOther ? [] : ["--no-allow-other"]),
  ];
  await callDaemon<StatusReport>(options.data, "GET", "/v1/status");
  const mount = await startDetached<{ path: string; pid: number }>(words, path.join(path.resolve(options.data), "trace"));
  print(options, mount, () => `mounted on ${mount.path} (process ${mount.pid}); \`cairn unmount ${directory}\` ends it`);
}

export function mountCommand(): Command {
  return storeCommand("mount", "mount a running store at one more directory, in a process of its own", [
    "cairn mount ./second",
    "cairn mount /srv/files --data /srv/cairn",
    "cairn mount ./second --foreground",
  ])
    .argument("<directory>", "an empty directory, or one to be made")
    .option("--foreground", "stay and serve until Ctrl-C")
    .option("--no-allow-other", "let only this user see the mount")
    .action((directory: string, options: MountOptions) =>
      (options.foreground ? serveMount : startMount)(path.resolve(directory), options),
    );
}

async function findMount(data: string, directory: string): Promise<MountReport> {
  const { mounts } = await callDaemon<StatusReport>(data, "GET", "/v1/status");
  const parent = await fs.realpath(path.dirname(directory)).catch(() => path.dirname(directory));
  const real = path.join(parent, path.basename(directory));
  const mount = mounts.find((candidate) => candidate.path === real || candidate.path === directory);
  if (!mount)
    throw new AdminError(
      "refused",
      `${directory} is not a mount of this store (mounts: ${mounts.map((candidate) => candidate.path).join(", ") || "none"})`,
    );
  return mount;
}

async function unmount(directory: string, options: CommonOptions): Promise<void> {
  const mount = await findMount(options.data, path.resolve(directory));
  const { daemon } = await callDaemon<StatusReport>(options.data, "GET", "/v1/status");
  if (mount.pid === daemon.pid) await callDaemon(options.data, "DELETE", `/v1/mounts?path=${encodeURIComponent(mount.path)}`);
  else await endProcess(mount);
  print(options, mount, () => `unmounted ${mount.path}`);
}

async function endProcess({ pid, path: where }: MountReport): Promise<void> {
  const giveUpAt = Date.now() + UNMOUNT_TIMEOUT_MS;
  try {
    process.kill(pid, "SIGTERM");
    while (Date.now() < giveUpAt) {
      process.kill(pid, 0);
      await sleep(50);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return;
    throw new AdminError("refused", `cannot end process ${pid}, which serves ${where}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  throw new AdminError(
    "refused",
    `process ${pid}, which serves ${where}, has not ended within ${UNMOUNT_TIMEOUT_MS / 1000} s; is a program still using the mount?`,
  );
}

export function unmountCommand(): Command {
  return storeCommand("unmount", "write back and end one mount; the daemon and other mounts go on", ["cairn unmount ./second"])
    .argument("<directory>", "where it is mounted")
    .action(unmount);
}
