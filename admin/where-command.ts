// `cairn where FILE`: each extent, its stripe, and the disk, file and offset of each block.

import fs from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import type { StatusReport, WhereReport } from "./api.ts";
import { callDaemon } from "./client.ts";
import { type CommonOptions, print, storeCommand } from "./command.ts";
import { AdminError } from "./errors.ts";
import { formatTable } from "./format.ts";

/** The inode number of a file, which must lie on one of the store's mounts. */
async function inodeOf(data: string, file: string): Promise<number> {
  const { mounts } = await callDaemon<StatusReport>(data, "GET", "/v1/status");
  let real: string;
  let inode: number;
  let device: number;
  try {
    real = path.join(await fs.realpath(path.dirname(path.resolve(file))), path.basename(path.resolve(file)));
    ({ ino: inode, dev: device } = await fs.lstat(file));
  } catch (error) {
    throw new AdminError("refused", `cannot look at ${file}: ${(error as Error).message}`, { cause: error });
  }
  for (const mount of mounts) {
    if (real !== mount.path && !real.startsWith(`${mount.path}/`)) continue;
    if ((await fs.stat(mount.path)).dev === device) return inode;
  }
  const names = mounts.map((mount) => mount.path).join(", ") || "none";
  throw new AdminError("refused", `${file} is not on a mount of this store (mounts: ${names}); name the store with --data`);
}

function whereText(file: string, where: WhereReport): string {
  if (where.extents.length === 0) return `${file}: inode ${where.inode}, ${where.size} bytes, no extents`;
  const rows = where.extents.flatMap((extent) => {
    const range = `${extent.offset}+${extent.length}`;
    if (extent.kind !== "stripe")
      return [[range, extent.kind === "inline" ? "in the namespace table" : "reserved, unwritten", "", "", "", ""]];
    const stripe = `${extent.stripe} at ${extent.stripeOffset}`;
    return extent.blocks.map((block, position) => [
      position === 0 ? range : "",
      position === 0 ? stripe : "",
      position === 0 ? extent.scheme! : "",
      block.index,
      `disk ${block.disk}${block.state === "good" ? "" : ` (${block.state})`}`,
      block.file ? `${block.file} at ${block.offset}` : "-",
    ]);
  });
  return `${file}: inode ${where.inode}, ${where.size} bytes\n${formatTable(["extent", "stripe", "scheme", "block", "disk", "place"], rows)}`;
}

export function whereCommand(): Command {
  const examples = ["cairn where mnt/movie.mkv", "cairn where mnt/notes.txt --json"];
  return storeCommand("where", "show where the bytes of a file are: stripes, disks, files and offsets", examples)
    .argument("<file>", "a file on a mount of the store")
    .action(async (file: string, options: CommonOptions) => {
      const inode = await inodeOf(options.data, file);
      const where = await callDaemon<WhereReport>(options.data, "GET", `/v1/where?inode=${inode}`);
      print(options, where, (result) => whereText(file, result));
    });
}
