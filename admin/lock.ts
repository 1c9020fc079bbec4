// DATA/lock: one daemon a store. flock(2) ends with the process, however it ends.

import path from "node:path";
import { check, files, openFlags } from "../native/files.ts";
import { AdminError } from "./errors.ts";

async function openLock(file: string): Promise<number> {
  try {
    return check(await files.open(file, openFlags.readWrite | openFlags.create), "open", file);
  } catch (error) {
    throw new AdminError(
      "refused",
      `cannot lock the store: ${(error as Error).message}; its owner has to start it, on a filesystem that can be written to`,
      { cause: error },
    );
  }
}

/** Takes the lock; returns what gives it back. Refused where another process has it. */
export async function lockStore(data: string): Promise<() => Promise<void>> {
  const file = path.join(data, "lock");
  const descriptor = await openLock(file);
  const result = files.lock(descriptor);
  if (result < 0) {
    await files.close(descriptor);
    throw new AdminError(
      "refused",
      `the store ${data} is served by another daemon already; see \`cairn status --data ${data}\`, or stop it with \`cairn down --data ${data}\``,
    );
  }
  return async () => {
    await files.close(descriptor);
  };
}
