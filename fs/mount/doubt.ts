// A change whose answer did not come: the namespace may have made it, or not. The program is told so (EIO, ETIMEDOUT), and
// what is believed here of before the change must not outlive that: it is asked for again.

import type { OperationName, Request } from "../messages.ts";
import type { InodeId } from "../types.ts";
import type { Core } from "./core.ts";

/** The errors of a request that was sent, and of whose fate nothing is known. The namespace may refuse with them as well: then it is asked for nothing. */
const DOUBTFUL: readonly unknown[] = ["EIO", "ETIMEDOUT", "ENOTCONN"];

export function isDoubtful(error: unknown): boolean {
  return DOUBTFUL.includes((error as { code?: unknown } | null)?.code);
}

/** Forgets the attributes of all inodes (which ones a rename replaced is not known), and everything about those that the request names. */
export function doubt(core: Core, request: Request<OperationName>): void {
  const { inodes, caches } = core;
  const { inode, parent, newParent, to } = request as Partial<Record<string, InodeId>>;
  core.changes++;
  inodes.unlearnAll();
  for (const named of new Set([inode, parent, newParent, to])) {
    if (named === undefined) continue;
    const file = inodes.file(named);
    // The lease is held; but with it goes what was known under it, and whoever comes next asks. Not where something is written under it.
    if (file === undefined || !(file.dirty || file.placing > 0)) inodes.reduced(named, "known");
    // A page that is being read is locked until that read is answered.
    void caches?.invalidateInode(named, 0, 0).catch(() => {});
  }
  void caches?.incrementEpoch().catch(() => {});
}
