// A mount in a process of its own: connects to a store's daemon, mounts, serves until it is unmounted or told to stop.

import path from "node:path";
import { systemDatedClock } from "../fs/clock.ts";
import type { SessionEvents } from "../fs/messages.ts";
import { mountFilesystem, type Mounted } from "../fs/mount/channel.ts";
import { Mount } from "../fs/mount/mount.ts";
import { RemoteSession } from "../fs/remote-session.ts";
import { allocateAligned, raiseOpenFiles } from "../native/files.ts";
import { StripeStore } from "../replication/stripes.ts";
import { readDaemon } from "./daemon-file.ts";
import { AdminError, noDaemon } from "./errors.ts";
import { prepareMountpoint } from "./mountpoint.ts";
import { connectPrivately, socketPath } from "./private-socket.ts";
import { schemesOf } from "./running-store.ts";

export interface MountProcessOptions {
  /** Absolute paths. */
  data: string;
  directory: string;
  allowOther: boolean;
}

/** Connects and mounts. Resolves when the mount serves; `closed` of the result resolves when it has ended and everything is written back. */
export async function startMountProcess(options: MountProcessOptions, trace: (text: string) => void): Promise<Mounted> {
  raiseOpenFiles();
  if ((await readDaemon(options.data)) === null) throw await noDaemon(options.data);
  const { session, deliverTo } = await openSession(socketPath(options.data, "session.sock"), options.directory, trace);
  try {
    await prepareMountpoint(options.directory);
    const mount = await Mount.open({
      openSession: (events) => {
        deliverTo(events);
        return session;
      },
      stripes: new StripeStore({
        client: session.blocks,
        scheme: session.scheme,
        onDamage: (damage) => trace(`damage: ${JSON.stringify(damage)}`),
      }),
      schemes: schemesOf(session.scheme),
      allocate: allocateAligned,
      trace,
    });
    return await mountFilesystem({
      mountpoint: options.directory,
      handlers: (caches) => {
        mount.attach(caches);
        return mount;
      },
      options: { source: `cairn:${options.data}`, allowOther: options.allowOther ? undefined : false },
      trace,
    });
  } catch (error) {
    await session.close();
    throw new AdminError("refused", (error as Error).message, { cause: error });
  }
}

/** The session is there before the mount whose events it delivers; until then it holds nothing that could be recalled. */
async function openSession(
  socket: string,
  directory: string,
  trace: (text: string) => void,
): Promise<{ session: RemoteSession; deliverTo: (events: SessionEvents) => void }> {
  let receiver: SessionEvents | null = null;
  const events: Required<SessionEvents> = {
    recall: (inode, mode, names) => receiver?.recall(inode, mode, names) ?? Promise.resolve(),
    repeated: () => receiver?.repeated?.(),
    moved: (inodes) => receiver?.moved?.(inodes),
    writtenElsewhere: (inode) => receiver?.writtenElsewhere?.(inode),
    held: () => receiver?.held?.() ?? [],
    lapsed: () => receiver?.lapsed?.(),
    renewed: (locked) => receiver?.renewed?.(locked),
    expired: () => receiver?.expired(),
  };
  try {
    const session = await RemoteSession.open({
      connect: () => connectPrivately(socket),
      mountpoint: path.resolve(directory),
      pid: process.pid,
      clock: systemDatedClock(),
      events,
      trace,
    });
    return { session, deliverTo: (target) => (receiver = target) };
  } catch (error) {
    throw new AdminError("unavailable", `cannot open a session with the daemon at ${socket}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
