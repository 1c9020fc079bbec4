// The Unix sockets of a store: DATA/control.sock and DATA/session.sock. The data directory is its owner's alone (private.ts),
// and both ends ask the kernel who the other is (SO_PEERCRED): a socket could stand there of before the directory was closed.
//
// A socket's address holds 107 bytes (sockaddr_un, unix(7)), a data directory's path may be longer. Then the directory is
// opened and the socket named through its descriptor, so that no socket lies where others could guess its name.

import fs from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { check, files } from "../native/files.ts";
import { AdminError } from "./errors.ts";

export type SocketName = "control.sock" | "session.sock";

const ADDRESS_MAX_BYTES = 107;
const CONNECT_TIMEOUT_MS = 10_000;

export function socketPath(data: string, name: SocketName): string {
  return path.resolve(data, name);
}

/** What names the socket to the kernel; `release` when it is not asked for again. */
async function addressOf(socket: string): Promise<{ address: string; release: () => Promise<void> }> {
  if (Buffer.byteLength(socket) <= ADDRESS_MAX_BYTES) return { address: socket, release: async () => {} };
  const directory = await fs.open(path.dirname(socket), "r");
  return {
    address: `/proc/self/fd/${directory.fd}/${path.basename(socket)}`,
    release: () => directory.close(),
  };
}

/** Node keeps the descriptor of a socket to itself. */
function peerOf(stream: net.Socket): number {
  const { fd } = (stream as unknown as { _handle: { fd: number } | null })._handle ?? { fd: -1 };
  return check(files.peerUser(fd), "ask who is connected to", "the socket");
}

/** Of whom a daemon takes connections: of its own user, and of root. */
function mayConnect(stream: net.Socket): boolean {
  try {
    return [0, process.getuid!()].includes(peerOf(stream));
  } catch {
    return false; // it is closed again
  }
}

/** Binds the server to the socket, mode 0600; a leftover socket file is replaced. Connections of other users are closed at once. Resolves with what takes the socket away once the server is closed. */
export async function listenPrivately(server: net.Server, socket: string): Promise<() => Promise<void>> {
  const { address, release } = await addressOf(socket);
  // Before any other listener: none of them sees a connection that is refused here.
  const [...others] = server.listeners("connection") as ((stream: net.Socket) => void)[];
  server.removeAllListeners("connection");
  server.on("connection", (stream: net.Socket) => {
    if (mayConnect(stream)) for (const listener of others) listener.call(server, stream);
    else stream.destroy();
  });
  await fs.rm(socket, { force: true });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(address, resolve);
    });
    await fs.chmod(socket, 0o600);
  } catch (error) {
    await release();
    throw error;
  }
  return async () => {
    await fs.rm(socket, { force: true });
    await release();
  };
}

/** Connects to the socket. Rejects where nobody answers, or the one who does is neither this user, root, nor the data directory's owner. */
export async function connectPrivately(socket: string): Promise<net.Socket> {
  const { address, release } = await addressOf(socket);
  const stream = net.connect(address);
  try {
    await new Promise<void>((resolve, reject) => {
      stream.setTimeout(CONNECT_TIMEOUT_MS, () => reject(new Error(`no answer within ${CONNECT_TIMEOUT_MS / 1000} s`)));
      stream.once("connect", resolve);
      stream.once("error", reject);
    });
    const [peer, { uid: owner }] = [peerOf(stream), await fs.stat(path.dirname(socket))];
    if (![0, process.getuid!(), owner].includes(peer))
      throw new AdminError("refused", `user ${peer} answers at ${socket}, and the store belongs to user ${owner}`);
  } catch (error) {
    stream.destroy();
    throw error;
  } finally {
    await release();
  }
  stream.setTimeout(0);
  return stream;
}
