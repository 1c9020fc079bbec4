// Makes and opens disks as a store's description names them.

import fs from "node:fs/promises";
import path from "node:path";
import { openSegmentBlocks, type SegmentBlocks } from "../storage/segment-blocks.ts";
import { checkDiskIdentity, createDiskIdentity, DISK_IDENTITY_FILE } from "../storage/disk-identity.ts";
import { RealDirectory } from "../storage/real-directory.ts";
import { RocksTable } from "../storage/rocks-table.ts";
import { AdminError } from "./errors.ts";
import { closeToOthers } from "./private.ts";

/** Of each disk's index. An entry is some 350 bytes; the index is small beside the blocks, and those used lately are in memory decoded. */
const INDEX_MEMORY = { writeBufferBytes: 4 * 1024 * 1024, blockCache: false };

/** Makes the directory a disk of the store. Refuses one that is not empty. */
export async function createDisk(directory: string, store: string, disk: number): Promise<void> {
  let names: string[] = [];
  try {
    names = await fs.readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
      throw new AdminError("refused", `cannot use ${directory} as a disk: ${(error as Error).message}`, { cause: error });
    }
  }
  const others = names.filter((name) => name !== "lost+found");
  if (others.length > 0) {
    const what = others.includes(DISK_IDENTITY_FILE) ? "it is a disk already" : `it has ${others.slice(0, 3).join(", ")}`;
    throw new AdminError("refused", `cannot use ${directory} as a disk: it should be an empty directory, but ${what}`);
  }
  try {
    await fs.mkdir(directory, { recursive: true });
    await closeToOthers(directory);
    await createDiskIdentity(new RealDirectory(directory), { store, disk });
  } catch (error) {
    await removeNewDisk(directory);
    throw new AdminError("refused", `cannot make a disk in ${directory}: ${(error as Error).message}`, { cause: error });
  }
}

/** Takes back what createDisk made, as far as it can: the directory stays where it holds anything else. */
export async function removeNewDisk(directory: string): Promise<void> {
  await fs.rm(path.join(directory, DISK_IDENTITY_FILE), { force: true }).catch(() => {});
  await fs.rmdir(directory).catch(() => {});
}

/** Opens the disk's blocks. Rejects where the directory is missing, is another disk, or cannot be read; the text says which. */
export async function openDisk(
  directory: string,
  store: string,
  disk: number,
  trace: (text: string) => void,
): Promise<SegmentBlocks> {
  const files = new RealDirectory(directory);
  // Before anything is looked at or mended in it: what is not this disk's would pass for damage.
  await checkDiskIdentity(files, { store, disk });
  return openSegmentBlocks({
    directory: files,
    identity: { store, disk },
    index: {
      open: () => RocksTable.open(`${directory}/index`, INDEX_MEMORY),
      reset: () => files.remove("index"),
    },
    now: () => performance.now(),
    onDamage: (damage) => trace(`disk ${disk}: ${damage.text}`),
  });
}
