// `cairn scrub`: verify every block of every stripe, and repair what is missing or damaged.

import type { Command } from "commander";
import { followTask } from "./client.ts";
import { type CommonOptions, taskCommand } from "./command.ts";
import { showTask } from "./progress.ts";
import { repairRateOption } from "./rate.ts";

export function scrubCommand(): Command {
  const examples = ["cairn scrub", "cairn scrub --repair-rate 50M", "cairn scrub --verify-only --json | tail -n 1 | jq .counts"];
  return taskCommand("scrub", "verify all blocks and repair what is missing or damaged", examples)
    .option("--verify-only", "report damage, repair nothing")
    .addOption(repairRateOption())
    .action(async (options: CommonOptions & { verifyOnly?: boolean; repairRate?: number }) => {
      const body = { kind: "scrub", verifyOnly: options.verifyOnly ?? false, repairBytesPerSecond: options.repairRate ?? null };
      await showTask(followTask(options.data, "POST", "/v1/tasks", body), options.json ?? false, {
        text: ({ counts: { stripes = 0, damaged = 0, repaired = 0, unrepaired = 0 }, findings }) =>
          [...findings, `${stripes} stripes checked, ${damaged} damaged, ${repaired} repaired, ${unrepaired} not repaired`].join(
            "\n",
          ),
        remains: ({ counts: { unrepaired = 0 } }) =>
          unrepaired > 0
            ? `${unrepaired} stripes are not fully redundant; see \`cairn status\`: replace failed disks with \`cairn disk replace\``
            : null,
      });
    });
}
