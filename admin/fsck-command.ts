// `cairn fsck`: check the whole store, while it is used, and mend what can be mended.

import type { Command } from "commander";
import { followTask } from "./client.ts";
import { type CommonOptions, taskCommand } from "./command.ts";
import { showTask } from "./progress.ts";

export function fsckCommand(): Command {
  const examples = [
    "cairn fsck",
    "cairn fsck --verify --repair",
    "cairn fsck --json | tail -n 1 | jq '.problems[], .lostFiles[]?'",
  ];
  return taskCommand(
    "fsck",
    "check names, inodes, extents, stripes and blocks against one another (exit code 4 where problems remain)",
    examples,
  )
    .option("--verify", "read every block and check its bytes too")
    .option(
      "--repair",
      "mend what can be mended without losing what could be live: counts and lists; names (orphans and directories within themselves go to /lost+found); extents that overlap or lie behind a file's end (of two that differ one goes to /lost+found); stripes without a record, from their blocks; damaged records (their bytes go to DATA/namespace/quarantine, what they said is found again where it can be); stripes that lack blocks; blocks that belong to nothing",
    )
    .action(async (options: CommonOptions & { verify?: boolean; repair?: boolean }) => {
      const body = { kind: "fsck", verify: options.verify ?? false, repair: options.repair ?? false };
      await showTask(followTask(options.data, "POST", "/v1/tasks", body), options.json ?? false, {
        text: ({ counts: { stripes = 0, blocks = 0, problems = 0, repaired = 0 }, findings }) => {
          const result = problems === 0 ? "no problem found" : `${problems} problems found, ${repaired} repaired`;
          return [...findings, `${stripes} stripes and ${blocks} blocks checked: ${result}`].join("\n");
        },
        remains: ({ counts: { problems = 0, repaired = 0 } }) => {
          if (problems <= repaired) return null;
          const advice = options.repair
            ? "what is left cannot be mended without losing something"
            : "`cairn fsck --repair` mends what can be mended";
          return `${problems - repaired} problems remain; ${advice}`;
        },
      });
    });
}
