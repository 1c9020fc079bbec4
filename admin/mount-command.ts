// `cairn mount DIR` and `cairn unmount DIR`.

import path from "node:path";
import type { Command } from "commander";
import type { MountReport } from "./api.ts";
import { callDaemon } from "./client.ts";
import { type CommonOptions, print, storeCommand } from "./command.ts";

export function mountCommand(): Command {
  return storeCommand("mount", "mount the store at one more directory", [
    "cairn mount ./second",
    "cairn mount /srv/files --data /srv/cairn",
  ])
    .argument("<directory>", "an empty directory, or one that does not exist yet")
    .action(async (directory: string, options: CommonOptions) => {
      const mount = await callDaemon<MountReport>(options.data, "POST", "/v1/mounts", { path: path.resolve(directory) });
      print(options, mount, () => `mounted on ${mount.path}`);
    });
}

export function unmountCommand(): Command {
  return storeCommand("unmount", "end one mount; the daemon and other mounts go on", ["cairn unmount ./second"])
    .argument("<directory>", "where it is mounted")
    .action(async (directory: string, options: CommonOptions) => {
      const mount = await callDaemon<MountReport>(
        options.data,
        "DELETE",
        `/v1/mounts?path=${encodeURIComponent(path.resolve(directory))}`,
      );
      print(options, mount, () => `unmounted ${mount.path}`);
    });
}
