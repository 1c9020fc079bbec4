// What a mount believes to hold, against what the namespace has granted. Nobody recalls what it does not know of, so at every
// quiet moment the first is at most the second.

import type { LeaseMode } from "../../fs/messages.ts";
import type { Mount } from "../../fs/mount/mount.ts";
import { EXCLUSIVE, KNOWN, type LeaseLevel, SHARED } from "../../fs/namespace/leases.ts";
import type { Namespace } from "../../fs/namespace/namespace.ts";
import type { Server } from "../../fs/namespace/server.ts";
import { type InodeId, ROOT_INODE } from "../../fs/types.ts";

const LEVELS: Record<LeaseMode, LeaseLevel> = { known: KNOWN, shared: SHARED, exclusive: EXCLUSIVE };

export interface Mounted {
  mount: Mount;
  /** Its session was replaced: what it has not open the new one need not know. */
  renewed?: boolean;
}

/** A line for each inode on which the mount believes to hold more than its session does. Ask when neither has anything to do: no request, recall or forget under way. */
export async function ungranted({ mount, renewed = false }: Mounted, namespace: Namespace): Promise<string[]> {
  const server = namespace as Server;
  const session = [...server.leases.sessions()].find(({ id }) => id === mount.session.id);
  const found: string[] = [];
  for (const { inode, mode, open } of mount.held()) {
    const granted = session?.holds.get(inode) ?? 0;
    if (granted >= LEVELS[mode]) continue;
    // The root has no need to be known, nor has what is gone.
    const matters = mode !== "known" || (inode !== ROOT_INODE && (open || !renewed) && (await isThere(server, inode)));
    if (matters) found.push(`session ${mount.session.id}, inode ${inode}: believes ${mode}, granted ${MODES[granted]}`);
  }
  return found;
}

const MODES = ["nothing", "known", "shared", "exclusive"];

async function isThere(server: Server, inode: InodeId): Promise<boolean> {
  return (await server.transact("none", null, (tx) => tx.find(inode))) !== null;
}
