// `cairn disk add|remove|replace|list`.

import path from "node:path";
import { Command } from "commander";
import type { DiskReport, StatusReport } from "./api.ts";
import { callDaemon, followTask } from "./client.ts";
import { type CommonOptions, print, storeCommand, taskCommand } from "./command.ts";
import { diskTable } from "./status-command.ts";
import { showTask } from "./progress.ts";
import { repairRateOption } from "./rate.ts";

type RepairOptions = CommonOptions & { repairRate?: number };

function listCommand(): Command {
  return storeCommand("list", "list the store's disks", ["cairn disk list", "cairn disk list --json"]).action(
    async (options: CommonOptions) => {
      const { disks } = await callDaemon<StatusReport>(options.data, "GET", "/v1/status");
      print(options, disks, diskTable);
    },
  );
}

function addCommand(): Command {
  return storeCommand("add", "take a directory (or the mountpoint of a drive) as a new disk", [
    "cairn disk add /mnt/drive-7/cairn",
  ])
    .argument("<directory>", "an empty directory, or one that does not exist yet")
    .action(async (directory: string, options: CommonOptions) => {
      const disk = await callDaemon<DiskReport>(options.data, "POST", "/v1/disks", { path: path.resolve(directory) });
      print(options, disk, () => `disk ${disk.id} added: ${disk.path}`);
    });
}

function removeCommand(): Command {
  const examples = ["cairn disk remove 3", "cairn disk remove 3 --repair-rate 50M", "cairn disk remove /mnt/drive-3/cairn"];
  return taskCommand(
    "remove",
    "move everything off a disk, then let it go; the same command goes on after an interruption",
    examples,
  )
    .argument("<disk>", "number or directory of the disk")
    .addOption(repairRateOption())
    .action(async (disk: string, options: RepairOptions) => {
      const body = { kind: "remove-disk", disk, repairBytesPerSecond: options.repairRate ?? null };
      await showTask(followTask(options.data, "POST", "/v1/tasks", body), options.json ?? false, {
        text: ({ title, counts: { moved = 0 } }) => `${title}: done, ${moved} blocks moved; its directory may be deleted`,
      });
    });
}

function replaceCommand(): Command {
  const examples = ["cairn disk replace 2", "cairn disk replace 2 --repair-rate 1G", "cairn disk replace 2 /mnt/new-drive/cairn"];
  return taskCommand(
    "replace",
    "rebuild a lost or failing disk's blocks on a new one; the same command goes on after an interruption",
    examples,
  )
    .argument("<disk>", "number or directory of the disk")
    .argument("[directory]", "directory of the new disk (default: the old one's, emptied)")
    .addOption(repairRateOption())
    .action(async (disk: string, directory: string | undefined, options: RepairOptions) => {
      const body = {
        kind: "replace-disk",
        disk,
        path: directory ? path.resolve(directory) : null,
        repairBytesPerSecond: options.repairRate ?? null,
      };
      await showTask(followTask(options.data, "POST", "/v1/tasks", body), options.json ?? false, {
        text: ({ title, counts: { rebuilt = 0 }, findings }) =>
          [...findings, `${title}: done, ${rebuilt} blocks rebuilt`].join("\n"),
      });
    });
}

export function diskCommand(): Command {
  return new Command("disk")
    .description("list, add, remove and replace disks")
    .addHelpText("after", "\nExamples:\n  $ cairn disk list\n  $ cairn disk replace 2")
    .addCommand(listCommand())
    .addCommand(addCommand())
    .addCommand(removeCommand())
    .addCommand(replaceCommand());
}
