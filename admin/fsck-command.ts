// `cairn fsck`: check the whole store, while it is used, and mend what can be mended.

import type { Command } from "commander";
import { followTask } from "./client.ts";
import { type CommonOptions, storeCommand } from "./command.ts";
import { AdminError } from "./errors.ts";
import { showTask } from "./progress.ts";

export function fsckCommand(): Command {
  const examples = ["cairn fsck", "cairn fsck --verify --repair", "cairn fsck --json | tail -n 1 | jq .counts"];
  return storeCommand(
    "fsck",
    "check names, inodes, extents, stripes and blocks against one another (exit code 4 where problems remain)",
    examples,
  )
    .option("--verify", "read every block and check its bytes too")
    .option("--repair", "mend counts, stripes that lack blocks, and remove blocks that belong to nothing")
    .action(async (options: CommonOptions & { verify?: boolean; repair?: boolean }) => {
      const body = { kind: "fsck", verify: options.verify ?? false, repair: options.repair ?? false };
      const report = await showTask(followTask(options.data, "POST", "/v1/tasks", body), options.json ?? false);
      const { stripes = 0, problems = 0, repaired = 0 } = report.counts;
      if (!options.json) {
        for (const line of report.findings) process.stdout.write(`${line}\n`);
        const result = problems === 0 ? "no problem found" : `${problems} problems found, ${repaired} repaired`;
        process.stdout.write(`${stripes} stripes and ${report.total} blocks checked: ${result}\n`);
      }
      if (problems > repaired) {
        const advice = options.repair
          ? "what is left cannot be mended without losing something"
          : "`cairn fsck --repair` mends what can be mended";
        throw new AdminError("degraded", `${problems - repaired} problems remain; ${advice}`);
      }
    });
}
