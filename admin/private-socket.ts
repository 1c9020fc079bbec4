// Listening on a Unix socket that only its owner may open.

import fs from "node:fs/promises";
import type net from "node:net";

/** Binds the server to the socket, mode 0600; a leftover socket file is replaced. */
export async function listenPrivately(server: net.Server, socket: string): Promise<void> {
  await fs.rm(socket, { force: true });
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(socket, resolve);
    });
  } finally {
    process.umask(before);
  }
}
