// A store's directories are its owner's alone: who can read them can read every file, whatever its mode.

import { constants } from "node:fs";
import fs from "node:fs/promises";
import path from "node:path";

/** What anybody but the owner may do. */
const OTHERS = 0o077;

/**
 * Takes every right of other users away from the directory and, where it was open, from all files and directories in it.
 * Links and other filesystems are left alone. Returns a sentence for the owner where it was open, else null.
 */
export async function closeToOthers(directory: string): Promise<string | null> {
  const { mode, uid, dev } = await fs.stat(directory);
  if ((mode & OTHERS) === 0) return null;
  const open = `${directory} was open to other users (mode ${(mode & 0o7777).toString(8)})`;
  try {
    await fs.chmod(directory, mode & 0o7700);
    await closeBelow(directory, dev);
    if (((await fs.stat(directory)).mode & OTHERS) !== 0) throw new Error("its filesystem does not keep modes");
  } catch (error) {
    return `${open} and cannot be closed: ${(error as Error).message}; user ${uid}, its owner, has to take their rights away, or others may read every file`;
  }
  return `${open}: it is closed now, and what was in it may have been read`;
}

async function closeBelow(directory: string, device: number): Promise<void> {
  for (const entry of await fs.readdir(directory, { withFileTypes: true })) {
    if (!entry.isFile() && !entry.isDirectory()) continue;
    const name = path.join(directory, entry.name);
    // Through a descriptor: others may still have been exchanging names for links.
    const file = await fs.open(name, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { mode, dev } = await file.stat();
      if (dev !== device) continue;
      await file.chmod(mode & 0o7700);
    } finally {
      await file.close();
    }
    if (entry.isDirectory()) await closeBelow(name, device);
  }
}
