// What must not remain when nothing is under way: inodes without names that nobody has open, and anything of sessions that are over
// (reserved stripe numbers, stored replies, their own records, what they knew). The namespace clears these away behind, so they get some time.

import { after, idFrom, TAG_ANSWER, TAG_RESERVATION, TAG_SESSION, TAG_UNNAMED } from "../../fs/namespace/keys.ts";
import { SERVER_SESSION } from "../../fs/namespace/identities.ts";
import { openValue } from "../../fs/namespace/records.ts";
import type { Server } from "../../fs/namespace/server.ts";
import { type InodeId, ROOT_INODE } from "../../fs/types.ts";
import { sessionOf } from "./beliefs.ts";
import type { Scene } from "./scene.ts";

/** Mounts forget twice a second, the namespace clears away every 75 ms; a disk that does not answer is given up after 30 s. */
const CLEARED_MAX_MS = 45_000;
const LOOK_MS = 250;
const RECORDS_MAX = 1 << 16;

/** Lets time pass until nothing remains that should not. Throws a Violation where it stays. */
export async function checkRemains(scene: Scene): Promise<void> {
  const { world } = scene;
  if (!world.up || scene.failing > 0) return;
  await scene.settleFull();
  scene.counts.quiesced++;
  await scene.within(CLEARED_MAX_MS, LOOK_MS, () => remainsProblem(scene));
}

async function remainsProblem(scene: Scene): Promise<string | null> {
  const { server } = scene.world;
  if (server.resumption.pending) return "a session is still to come back";
  return knownProblem(scene) ?? (await recordsProblem(server));
}

/** What the namespace counts as known to a mount, the mount must know: else the inode stays when it loses its names. */
function knownProblem({ world, slots }: Scene): string | null {
  for (const mount of world.kernels.keys()) {
    const { session, held } = world.beliefs(mount);
    const granted = sessionOf(world.server, session);
    if (granted === undefined) return `the session of mount ${mount} is not there`;
    const known = new Set([...held].map(({ inode }) => inode));
    for (const inode of granted.holds.keys())
      if (!known.has(inode) && inode !== ROOT_INODE) return `inode ${inode} is held for mount ${mount}, which has forgotten it`;
    for (const file of slots[mount])
      if (file !== null && !granted.holds.has(file.inode))
        return `inode ${file.inode} is open on mount ${mount} and not held for it`;
  }
  return null;
}

async function recordsProblem(server: Server): Promise<string | null> {
  const { overlay, leases } = server;
  const live = new Set<number>([SERVER_SESSION, ...[...leases.sessions()].map(({ id }) => id)]);
  const unnamed = await overlay.scan(TAG_UNNAMED, after(TAG_UNNAMED), RECORDS_MAX, (records) =>
    records.map(({ key }) => idFrom(key, 1) as InodeId).find((inode) => !leases.known(inode)),
  );
  if (unnamed !== undefined) return `inode ${unnamed} has no name, nobody holds it, and it remains`;
  const reserved = await overlay.scan(TAG_RESERVATION, after(TAG_RESERVATION), RECORDS_MAX, (records) =>
    records.map(({ key, value }) => ({ first: idFrom(key, 1), session: openValue(key, value).varint() })),
  );
  for (const { first, session } of reserved)
    if (!live.has(session)) return `stripe numbers from ${first} are reserved by session ${session}, which is over`;
  for (const [tag, what] of [
    [TAG_SESSION, "the record"],
    [TAG_ANSWER, "replies"],
  ]) {
    const ids = await overlay.scan(tag, after(tag), RECORDS_MAX, (records) => records.map(({ key }) => idFrom(key, 1)));
    const over = ids.find((id) => !live.has(id));
    if (over !== undefined) return `${what} of session ${over}, which is over, remain`;
  }
  return null;
}
