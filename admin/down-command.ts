// `cairn down`: the daemon flushes, unmounts and ends.

import type { Command } from "commander";
import { setTimeout as sleep } from "node:timers/promises";
import { callDaemon } from "./client.ts";
import { type CommonOptions, print, storeCommand } from "./command.ts";
import { readDaemon } from "./daemon-file.ts";
import { AdminError } from "./errors.ts";

/** Flushing 128 MiB of buffered writes to slow disks takes seconds; after this something is wrong. */
const STOP_TIMEOUT_MS = 60_000;

export function downCommand(): Command {
  return storeCommand("down", "flush, unmount everything and stop the daemon", [
    "cairn down",
    "cairn down --data /srv/cairn",
  ]).action(async (options: CommonOptions) => {
    const daemon = await readDaemon(options.data);
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
    print(options, { stopped: daemon?.pid ?? null }, () => "stopped");
  });
}
