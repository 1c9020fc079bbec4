// `cairn scrub`: verify every block of every stripe, and repair what is missing or damaged.

import type { Command } from "commander";
import { followTask } from "./client.ts";
import { type CommonOptions, storeCommand } from "./command.ts";
import { AdminError } from "./errors.ts";
import { showTask } from "./progress.ts";
import { repairRateOption } from "./rate.ts";

export function scrubCommand(): Command {
  const examples = ["cairn scrub", "cairn scrub --repair-rate 50M", "cairn scrub --verify-only --json"];
  return storeCommand("scrub", "verify all blocks and repair what is missing or damaged", examples)
    .option("--verify-only", "report damage, repair nothing")
    .addOption(repairRateOption())
    .action(async (options: CommonOptions & { verifyOnly?: boolean; repairRate?: number }) => {
      const body = { kind: "scrub", verifyOnly: options.verifyOnly ?? false, repairBytesPerSecond: options.repairRate ?? null };
      const report = await showTask(followTask(options.data, "POST", "/v1/tasks", body), options.json ?? false);
      const { stripes = 0, damaged = 0, repaired = 0, unrepaired = 0 } = report.counts;
      if (!options.json) {
        for (const line of report.findings) process.stdout.write(`${line}\n`);
        process.stdout.write(
          `${stripes} stripes checked, ${damaged} damaged, ${repaired} repaired, ${unrepaired} not repaired\n`,
        );
      }
      if (unrepaired > 0)
        throw new AdminError(
          "degraded",
          `${unrepaired} stripes are not fully redundant; see \`cairn status\`: replace failed disks with \`cairn disk replace\``,
        );
    });
}
