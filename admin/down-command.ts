// `cairn down`: the daemon flushes, unmounts and ends.

import path from "node:path";
import type { Command } from "commander";
import { setTimeout as sleep } from "node:timers/promises";
import { callDaemon } from "./client.ts";
import { type CommonOptions, print, storeCommand } from "./command.ts";
import { readDaemon } from "./daemon-file.ts";
import { endProcess } from "./end-process.ts";
import { AdminError } from "./errors.ts";
import { type RegisteredMount, registeredMounts } from "./mount-register.ts";

/** Flushing 128 MiB of buffered writes to slow disks takes seconds; after this something is wrong. */
const STOP_TIMEOUT_MS = 60_000;

interface Stopped {
  /** The daemon's process. */
  stopped: number | null;
  /** Mounts of other processes, which wait for a daemon now. */
  mounts: { path: string; pid: number }[];
}

function stoppedText({ mounts }: Stopped): string {
  const waiting = mounts.map(
    ({ path: where, pid }) =>
      `${where} (process ${pid}) is still mounted and waits for the daemon; \`cairn unmount ${where}\` ends it`,
  );
  return ["stopped", ...waiting].join("\n");
}

async function down(options: CommonOptions & { all?: boolean }): Promise<void> {
  const daemon = await readDaemon(options.data);
  const mounts = (): Promise<RegisteredMount[]> => registeredMounts(path.resolve(options.data));
  if (options.all) for (const mount of await mounts()) await endProcess(mount, STOP_TIMEOUT_MS);
  await callDaemon(options.data, "POST", "/v1/stop");
  const giveUpAt = performance.now() + STOP_TIMEOUT_MS;
  while (await readDaemon(options.data)) {
    if (performance.now() > giveUpAt)
      throw new AdminError(
        "refused",
        `the daemon (process ${daemon?.pid}) has not stopped within ${STOP_TIMEOUT_MS / 1000} s; is a program still using a mount?`,
      );
    await sleep(50);
  }
  const left = (await mounts()).map(({ path: where, pid }) => ({ path: where, pid }));
  print(options, { stopped: daemon?.pid ?? null, mounts: left } satisfies Stopped, stoppedText);
}

export function downCommand(): Command {
  return storeCommand(
    "down",
    "flush, unmount and stop the daemon. Mounts of `cairn mount` stay and wait for the next `cairn up`",
    ["cairn down", "cairn down --all", "cairn down --data /srv/cairn"],
  )
    .option("--all", "end the mounts of `cairn mount`, too, first of all")
    .action(down);
}
