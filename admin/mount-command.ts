// `cairn mount DIR` and `cairn unmount DIR`: further mounts of a running store, each a process of its own.

import fs from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { findMount as findInMountTable, forceUnmount } from "../fs/mount/mountpoint.ts";
import type { StatusReport } from "./api.ts";
import { callDaemon } from "./client.ts";
import { readDaemon } from "./daemon-file.ts";
import { type CommonOptions, print, storeCommand } from "./command.ts";
import { announceFailure, announceReady, isDetached, startDetached } from "./detach.ts";
import { endProcess, gone, signalled } from "./end-process.ts";
import { AdminError } from "./errors.ts";
import { isServing, registeredMounts, registerMount, unregisterMount, type RegisteredMount } from "./mount-register.ts";
import { parseSeconds } from "./rate.ts";
import { stopOnSignals, traceToStandardError } from "./serve.ts";

/** Writing back 128 MiB to slow disks takes seconds; after this something is wrong. */
const UNMOUNT_TIMEOUT_MS = 60_000;
/** Without a daemon nothing can be written back: a mount that has not ended by then is killed. */
const CUT_OFF_TIMEOUT_MS = 10_000;

type MountOptions = CommonOptions & { foreground?: boolean; allowOther: boolean };

async function serveMount(directory: string, options: MountOptions): Promise<void> {
  try {
    // Here and not above, as in up-command.ts.
    const { startMountProcess } = await import("./mount-process.ts");
    const mounted = await startMountProcess(
      { data: path.resolve(options.data), directory, allowOther: options.allowOther },
      traceToStandardError,
    );
    const unregister = await registerMount(path.resolve(options.data), mounted.mountpoint);
    stopOnSignals(() => void mounted.unmount());
    announceReady({ path: mounted.mountpoint, pid: process.pid });
    if (!isDetached())
      print(
        options,
        { path: mounted.mountpoint, pid: process.pid },
        (mount) => `mounted on ${mount.path}; Ctrl-C flushes and unmounts`,
      );
    await mounted.closed.finally(unregister);
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

/** The path as the mount table has it; the last component is not looked into: it may be a dead mount. */
async function mountpointOf(directory: string): Promise<string> {
  const parent = await fs.realpath(path.dirname(directory)).catch(() => path.dirname(directory));
  return path.join(parent, path.basename(directory));
}

function isNoMount(directory: string, mounts: readonly { path: string }[]): AdminError {
  const list = mounts.map((candidate) => candidate.path).join(", ") || "none";
  return new AdminError("refused", `${directory} is not a mount of this store (mounts: ${list})`);
}

type UnmountOptions = CommonOptions & { wait?: number };

async function unmount(directory: string, options: UnmountOptions): Promise<void> {
  const absolute = path.resolve(directory);
  const where = await mountpointOf(absolute);
  const daemon = await readDaemon(path.resolve(options.data));
  const mount = await (daemon === null
    ? unmountCutOff(options.data, where, options.wait ?? CUT_OFF_TIMEOUT_MS)
    : unmountServed(options.data, [where, absolute], options.wait ?? UNMOUNT_TIMEOUT_MS));
  print(options, mount, () => `unmounted ${mount.path}`);
}

/** `where`: the names that it may have. */
async function unmountServed(data: string, where: readonly string[], timeoutMs: number): Promise<{ path: string; pid: number }> {
  const { mounts, daemon } = await callDaemon<StatusReport>(data, "GET", "/v1/status");
  const mount = mounts.find((candidate) => where.includes(candidate.path));
  if (mount === undefined) {
    // A mount that is just cut off from this daemon has no session with it.
    const registered = (await registeredMounts(path.resolve(data))).find((candidate) => where.includes(candidate.path));
    if (registered === undefined) throw isNoMount(where[0], mounts);
    await endProcess(registered, timeoutMs);
    return registered;
  }
  if (mount.pid === daemon.pid) await callDaemon(data, "DELETE", `/v1/mounts?path=${encodeURIComponent(mount.path)}`);
  else await endProcess(mount, timeoutMs);
  return mount;
}

/** Ends the process of a mount whose daemon is not there, by force if need be, and takes the mount off. What was not synced is lost: there is nobody who could store it. */
async function unmountCutOff(data: string, where: string, timeoutMs: number): Promise<{ path: string; pid: number }> {
  const mounts = await registeredMounts(path.resolve(data));
  const mount = mounts.find((candidate) => candidate.path === where);
  if (mount === undefined) {
    const stale = await findInMountTable(where);
    if (stale?.source !== `cairn:${path.resolve(data)}`) throw isNoMount(where, mounts);
    await forceUnmount(where);
    return { path: where, pid: 0 };
  }
  await endCutOff(mount, timeoutMs);
  if ((await findInMountTable(where)) !== undefined) await forceUnmount(where);
  await unregisterMount(path.resolve(data), mount.pid);
  return mount;
}

async function endCutOff(mount: RegisteredMount, timeoutMs: number): Promise<void> {
  const serving = (): Promise<boolean> => isServing(mount);
  if ((await signalled(mount, "SIGTERM")) && (await gone(serving, timeoutMs))) return;
  await signalled(mount, "SIGKILL");
  if (!(await gone(serving, CUT_OFF_TIMEOUT_MS)))
    throw new AdminError("refused", `process ${mount.pid}, which serves ${mount.path}, cannot be killed`);
}

export function unmountCommand(): Command {
  return storeCommand(
    "unmount",
    "write back and end one mount; the daemon and other mounts go on. Without a daemon the mount is ended all the same",
    ["cairn unmount ./second"],
  )
    .argument("<directory>", "where it is mounted")
    .option(
      "--wait <seconds>",
      `how long its process may take to end (default: ${UNMOUNT_TIMEOUT_MS / 1000}; ${CUT_OFF_TIMEOUT_MS / 1000} without a daemon, then it is killed)`,
      parseSeconds,
    )
    .action(unmount);
}
