// What is done at a mountpoint before mounting.

import fs from "node:fs/promises";
import { cleanStaleMount } from "../fs/mount/mountpoint.ts";
import { AdminError } from "./errors.ts";

/** Takes a dead mount away and makes the directory if only it is missing. True where it was made here. */
export async function prepareMountpoint(directory: string): Promise<boolean> {
  await cleanStaleMount(directory);
  try {
    await fs.mkdir(directory);
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return false;
    throw new AdminError("refused", `cannot make the mountpoint ${directory}: ${message}`, { cause: error });
  }
}
