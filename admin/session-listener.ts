// Takes connections of mounts in other processes, and serves their sessions.

import fs from "node:fs";
import net from "node:net";
import { systemDatedClock } from "../fs/clock.ts";
import { SessionServer } from "../fs/session-server.ts";
import type { MountReport } from "./api.ts";
import { listenPrivately } from "./private-socket.ts";
import type { RunningStore } from "./running-store.ts";

/** Connections beyond this are closed at once. A mount that was served before tries again and again; `cairn mount` fails. */
export const CONNECTIONS_MAX = 256;

export interface SessionListener {
  /** Sessions of mounts in other processes. */
  list(): MountReport[];
  close(): Promise<void>;
}

/** Whose a session is, as text that the namespace keeps. */
interface Owner {
  pid: number;
}

/** Whether the process is there and no zombie. */
function isAlive(pid: number): boolean {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}

/** Whether the session of before a restart may come back: its process is there, or one that has its number. */
export function mayComeBack(owner: string): boolean {
  try {
    return isAlive((JSON.parse(owner) as Owner).pid);
  } catch {
    return false;
  }
}

/** Listens on the socket, which only the store's owner may open; a leftover socket file is replaced. */
export async function listenForSessions(store: RunningStore, socket: string, timeLimitMs: number): Promise<SessionListener> {
  const { namespace, blocks, trace, description } = store;
  const sessions = new SessionServer({
    blocks,
    clock: systemDatedClock(),
    trace,
    store: description.uuid,
    scheme: description.scheme,
    timeLimitMs,
    isAlive,
    written: () => namespace.written(),
    openSession: (events, { pid, resume }) =>
      namespace.openSession(events, {
        expires: true,
        durable: true,
        limitMs: timeLimitMs,
        owner: JSON.stringify({ pid } satisfies Owner),
        resume,
      }),
  });
  const server = net.createServer((stream) => sessions.serve(stream));
  server.maxConnections = CONNECTIONS_MAX;
  server.on("drop", () => trace(`sessions: a mount was turned away, ${CONNECTIONS_MAX} are connected, which is the limit`));
  const removeSocket = await listenPrivately(server, socket);
  return {
    list: () =>
      sessions
        .list()
        .map(({ mountpoint, session, pid, requests }) => ({ path: mountpoint, session, pid, requests, counts: null })),
    close: () =>
      new Promise((resolve) => {
        server.close(() => void removeSocket().then(resolve, resolve));
        sessions.close();
      }),
  };
}
