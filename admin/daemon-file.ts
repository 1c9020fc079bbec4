// DATA/daemon.json: where the running daemon of a store answers: `socket` the control API, `sessions` mounts of other
// processes. Absent when none runs; a leftover of a killed
// daemon is recognised by its process being gone.

import { createHash } from "node:crypto";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { type Note, readNote } from "./note-file.ts";

const FIELDS = { pid: "count", socket: "name", sessions: "name", version: "text", startedAt: "text" } as const;
export type DaemonDescription = Note<typeof FIELDS>;

/** sockaddr_un.sun_path holds 108 bytes with its final NUL (unix(7)). */
const SOCKET_PATH_MAX_BYTES = 107;

/** DATA/NAME, or where that is too long for a socket address a name in the temporary directory. */
export function socketPath(data: string, name: "control.sock" | "session.sock"): string {
  const direct = path.resolve(data, name);
  if (Buffer.byteLength(direct) <= SOCKET_PATH_MAX_BYTES) return direct;
  return path.join(os.tmpdir(), `cairn-${createHash("sha256").update(direct).digest("hex").slice(0, 16)}.sock`);
}

export async function writeDaemon(data: string, daemon: DaemonDescription): Promise<void> {
  await fs.writeFile(path.join(data, "daemon.json"), `${JSON.stringify(daemon)}\n`, { mode: 0o600 });
}

export async function removeDaemon(data: string): Promise<void> {
  await fs.rm(path.join(data, "daemon.json"), { force: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** The store's running daemon, or null. */
export async function readDaemon(data: string): Promise<DaemonDescription | null> {
  const daemon = await readNote(path.join(data, "daemon.json"), FIELDS);
  return daemon !== null && isAlive(daemon.pid) ? daemon : null;
}
