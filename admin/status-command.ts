// `cairn status`: mounts, disks with space, health, what is degraded.

import type { Command } from "commander";
import type { DiskReport, StatusReport } from "./api.ts";
import { callDaemon } from "./client.ts";
import { type CommonOptions, print, storeCommand } from "./command.ts";
import { exitCodes } from "./errors.ts";
import { formatBytes, formatPercent, formatTable } from "./format.ts";

export function diskTable(disks: readonly DiskReport[]): string {
  return formatTable(
    ["disk", "state", "used", "free", "size", "blocks", "errors", "path"],
    disks.map((disk) => [
      disk.id,
      disk.state,
      `${formatBytes(disk.blockBytes)}`,
      formatBytes(disk.freeBytes),
      formatBytes(disk.totalBytes),
      disk.blocks,
      disk.readErrors + disk.writeErrors,
      disk.reason ? `${disk.path} (${disk.reason})` : disk.path,
    ]),
  );
}

function cleanerText(cleaner: StatusReport["cleaner"]): string {
  const { state, movedBytes, compactedBytes, passBytes, passMovedBytes, storedBytes, neededBytes, error } = cleaner;
  const busy = state === "moving" ? ` ${formatBytes(passMovedBytes)} of ${formatBytes(passBytes)}` : "";
  const waste = storedBytes > 0 ? `, ${formatBytes(Math.max(0, storedBytes - neededBytes))} could be given back` : "";
  const why = error === null ? "" : ` (the last pass ended early: ${error})`;
  return `${state}${busy}, ${formatBytes(movedBytes)} moved, ${formatBytes(compactedBytes)} compacted${waste}${why}`;
}

function reservedText(reservedBytes: number): string {
  return reservedBytes > 0 ? `; ${formatBytes(reservedBytes)} of the used are reserved by files and not written yet` : "";
}

function statusText(status: StatusReport): string {
  const { store, daemon, space, stripes } = status;
  const used = space.totalBytes - space.freeBytes;
  const lines = [
    `store    ${store.data} (${store.scheme}, ${store.uuid})`,
    `daemon   process ${daemon.pid}, version ${daemon.version}, up since ${daemon.startedAt}, ${formatBytes(daemon.residentBytes)} resident`,
    `health   ${status.health}`,
    ...status.problems.map((problem) => `         ${problem}`),
    `space    ${formatBytes(space.freeBytes)} free of ${formatBytes(space.totalBytes)} (${formatPercent(used, space.totalBytes)} used), after redundancy${reservedText(space.reservedBytes)}`,
    `files    ${status.inodes} inodes`,
    `stripes  ${stripes.total} in all, ${stripes.degraded} degraded, ${stripes.unreadable} unreadable`,
    `repair   at most ${formatBytes(store.repairBytesPerSecond)} a second`,
    `cleaner  ${cleanerText(status.cleaner)}`,
    "",
    status.mounts.length
      ? formatTable(
          ["mount", "session", "requests", "open"],
          status.mounts.map(({ path, session, requests, counts }) => [
            path,
            session,
            requests,
            counts === null ? "-" : counts.openFiles + counts.openDirectories,
          ]),
        )
      : "no mounts",
    "",
    diskTable(status.disks),
  ];
  const running = status.tasks.filter((task) => task.state === "running");
  if (running.length) {
    lines.push(
      "",
      formatTable(
        ["task", "kind", "progress", "title"],
        running.map((task) => [task.id, task.kind, formatPercent(task.done, task.total), task.title]),
      ),
    );
  }
  return lines.join("\n");
}

export function statusCommand(): Command {
  const examples = ["cairn status", "cairn status --data /srv/cairn --json | jq .health"];
  return storeCommand("status", "show mounts, disks, space and health (exit code 4 where data cannot be read)", examples).action(
    async (options: CommonOptions) => {
      const status = await callDaemon<StatusReport>(options.data, "GET", "/v1/status");
      print(options, status, statusText);
      if (status.health === "damaged") process.exitCode = exitCodes.degraded;
    },
  );
}
