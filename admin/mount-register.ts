// DATA/mounts/PID.json: which process serves a mount of its own where, so that it can be ended when no daemon tells.

import fs from "node:fs/promises";
import path from "node:path";
import { type Note, readNote } from "./note-file.ts";
import { directoryOf, startOf } from "./process.ts";

const DIRECTORY = "mounts";

/** `startedAt` as startOf, `directory` as directoryOf of DATA: the notes of a copied store mean nothing. */
const FIELDS = { pid: "count", startedAt: "text", directory: "name", path: "name" } as const;
export type RegisteredMount = Note<typeof FIELDS>;

const fileOf = (data: string, pid: number): string => path.join(data, DIRECTORY, `${pid}.json`);

/** Notes that this process serves the mount. Returns what takes the note away. */
export async function registerMount(data: string, mountpoint: string): Promise<() => Promise<void>> {
  const { pid } = process;
  const mount: RegisteredMount = {
    pid,
    startedAt: (await startOf(pid)) ?? "",
    directory: (await directoryOf(data)) ?? "?",
    path: mountpoint,
  };
  await fs.mkdir(path.join(data, DIRECTORY), { recursive: true, mode: 0o700 });
  // Whole or not at all: a note that cannot be read is taken away.
  const unfinished = path.join(data, DIRECTORY, `${pid}.new`);
  await fs.writeFile(unfinished, `${JSON.stringify(mount)}\n`, { mode: 0o600 });
  await fs.rename(unfinished, fileOf(data, pid));
  return () => unregisterMount(data, pid);
}

export async function unregisterMount(data: string, pid: number): Promise<void> {
  await fs.rm(fileOf(data, pid), { force: true });
}

/** Whether the process that registered is still there. */
export async function isServing(mount: RegisteredMount): Promise<boolean> {
  return (await startOf(mount.pid)) === mount.startedAt;
}

/** The mounts that are registered and whose process is there; notes of others are taken away. */
export async function registeredMounts(data: string): Promise<RegisteredMount[]> {
  const names = await fs.readdir(path.join(data, DIRECTORY)).catch(() => []);
  const directory = await directoryOf(data);
  const mounts: RegisteredMount[] = [];
  for (const name of names) {
    const file = path.join(data, DIRECTORY, name);
    const mount = await readNote(file, FIELDS);
    if (mount !== null && mount.directory === directory && (await isServing(mount))) mounts.push(mount);
    else if (/^\d+\.json$/.test(name)) await fs.rm(file, { force: true });
  }
  return mounts;
}
