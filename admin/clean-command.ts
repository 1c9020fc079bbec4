// `cairn clean`: give the space of overwritten and deleted data back to the disks, now and all of it.

import type { Command } from "commander";
import type { CleanerReport } from "../fs/cleaner.ts";
import { callDaemon, followTask } from "./client.ts";
import { type CommonOptions, print, taskCommand } from "./command.ts";
import { AdminError } from "./errors.ts";
import { formatBytes } from "./format.ts";
import { showTask } from "./progress.ts";
import { parseRate } from "./rate.ts";

type CleanOptions = CommonOptions & { rate?: number; pause?: boolean; resume?: boolean };

export function cleanCommand(): Command {
  const examples = ["cairn clean", "cairn clean --rate 50M", "cairn clean --pause", "cairn clean --resume"];
  const summary = "rewrite sparse stripes and scattered files, and give the space of deleted data back to the disks";
  return taskCommand("clean", `${summary} (this also goes on slowly in the background)`, examples)
    .option("--rate <bytes>", "move at most this many bytes a second (suffixes K, M, G)", parseRate)
    .option("--pause", "stop cleaning in the background")
    .option("--resume", "begin it again")
    .action(async (options: CleanOptions) => {
      if (options.pause || options.resume) return setPaused(options);
      const body = { kind: "clean", rateBytesPerSecond: options.rate ?? null };
      await showTask(followTask(options.data, "POST", "/v1/tasks", body), options.json ?? false, {
        text: ({ counts: { moved = 0, compacted = 0 } }) =>
          `${formatBytes(moved)} moved into full stripes, ${formatBytes(compacted)} compacted on disks`,
      });
    });
}

async function setPaused(options: CleanOptions): Promise<void> {
  if (options.pause && options.resume) throw new AdminError("usage", "give --pause or --resume, not both");
  const report = await callDaemon<CleanerReport>(options.data, "POST", "/v1/cleaner", { paused: options.pause === true });
  print(options, report, ({ state }) => `cleaner: ${state}`);
}
