// Takes connections of mounts in other processes, and serves each a session of its own.

import net from "node:net";
import { systemClock } from "../fs/clock.ts";
import { serveSession } from "../fs/session-server.ts";
import type { MountReport } from "./api.ts";
import { listenPrivately } from "./private-socket.ts";
import type { RunningStore } from "./running-store.ts";

/** A mount that hangs delays others by at most this. */
export const SESSION_TIME_LIMIT_MS = 10_000;
/** Connections beyond this are refused. */
const CONNECTIONS_MAX = 256;

export interface SessionListener {
  /** Sessions of mounts in other processes. */
  list(): MountReport[];
  close(): Promise<void>;
}

/** Listens on the socket, which only the store's owner may open; a leftover socket file is replaced. */
export async function listenForSessions(store: RunningStore, socket: string): Promise<SessionListener> {
  const { namespace, blocks, trace, description } = store;
  const clock = systemClock();
  const sessions = new Map<net.Socket, { report: MountReport | null; close(): void }>();
  const server = net.createServer((stream) => {
    const session = { report: null as MountReport | null, close: () => {} };
    sessions.set(stream, session);
    const served = serveSession({
      stream,
      blocks,
      clock,
      trace,
      scheme: description.scheme,
      timeLimitMs: SESSION_TIME_LIMIT_MS,
      openSession: async (events, name, pid) => {
        const opened = await namespace.openSession(events, { expires: true, limitMs: SESSION_TIME_LIMIT_MS });
        session.report = { path: name, session: opened.id, pid, requests: 0 };
        return opened;
      },
      heard: () => {
        if (session.report) session.report.requests++;
      },
      closed: () => sessions.delete(stream),
    });
    session.close = () => served.close();
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listenPrivately(server, socket);
  return {
    list: () => [...sessions.values()].flatMap(({ report }) => (report ? [report] : [])),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const session of sessions.values()) session.close();
      }),
  };
}
