// DATA/daemon.json: which process serves the store. Absent when none does. A leftover of a killed daemon is known by its
// process being gone, one that was copied along with its store by the directory that it names.

import fs from "node:fs/promises";
import path from "node:path";
import { type Note, readNote } from "./note-file.ts";
import { directoryOf, startOf } from "./process.ts";

/** `processStart` as startOf, `directory` as directoryOf of DATA. */
const FIELDS = { pid: "count", processStart: "text", directory: "name", version: "text", startedAt: "text" } as const;
export type DaemonDescription = Note<typeof FIELDS>;

const fileOf = (data: string): string => path.join(data, "daemon.json");

/** Notes that this process serves the store. */
export async function writeDaemon(data: string, daemon: { version: string; startedAt: Date }): Promise<void> {
  const note: DaemonDescription = {
    pid: process.pid,
    processStart: (await startOf(process.pid)) ?? "",
    directory: (await directoryOf(data)) ?? "?",
    version: daemon.version,
    startedAt: daemon.startedAt.toISOString(),
  };
  await fs.writeFile(fileOf(data), `${JSON.stringify(note)}\n`, { mode: 0o600 });
}

export async function removeDaemon(data: string): Promise<void> {
  await fs.rm(fileOf(data), { force: true });
}

/** The store's running daemon, or null. Rejects with AdminError where this user may not look. */
export async function readDaemon(data: string): Promise<DaemonDescription | null> {
  const daemon = await readNote(fileOf(data), FIELDS);
  if (daemon === null || daemon.directory !== (await directoryOf(data))) return null;
  return (await startOf(daemon.pid)) === daemon.processStart ? daemon : null;
}
