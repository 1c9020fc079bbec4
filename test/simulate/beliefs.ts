// What a mount believes to hold is at most what the namespace granted: looked at after each round. A mount that holds more would
// answer from caches that nobody takes back from it.
//
// A lease is granted before the mount hears of it, and given up by the mount before the namespace hears of that: so this holds at
// every moment, also while requests and recalls are on their way. Locks are compared with the model, in both directions.

import type { HeldLease, HeldLock, LeaseMode } from "../../fs/messages.ts";
import type { Server } from "../../fs/namespace/server.ts";
import type { ServerSession } from "../../fs/namespace/sessions.ts";
import { type InodeId, ROOT_INODE, type SessionId } from "../../fs/types.ts";
import type { HeldLock as ModelLock } from "./model.ts";
import type { Scene } from "./scene.ts";
import { Violation } from "./story.ts";

/** After a restart the namespace waits so long for sessions to come back; a lock of a file that was closed meanwhile is given up then. */
const LOCKS_LAG_MS = 15_000;
const LOOK_MS = 20;

const LEVELS: Record<LeaseMode, number> = { known: 1, shared: 2, exclusive: 3 };
const NAMES = ["nothing", "known", "shared", "exclusive"];

export async function checkBeliefs(scene: Scene): Promise<void> {
  const { world } = scene;
  if (!world.up || scene.failing > 0) return;
  await scene.within(LOCKS_LAG_MS, LOOK_MS, async () => locksProblem(scene));
  for (const mount of world.kernels.keys()) checkMount(scene, mount);
}

function checkMount({ world, renewals, slots }: Scene, mount: number): void {
  const { session, held } = world.beliefs(mount);
  const { server } = world;
  if (world.renewals(mount) !== renewals[mount])
    throw new Violation(`mount ${mount} has taken up another session, and nothing had happened to it`);
  const granted = sessionOf(server, session);
  if (granted === undefined) throw new Violation(`the session of mount ${mount} is over, and nothing had happened to it`);
  const open = new Set(slots[mount].flatMap((file) => (file === null ? [] : [file.inode])));
  // A session that took the place of another was told of what is open only: the rest is looked up again before it is used.
  const problem = leaseProblem(held, granted.holds, (inode) => renewals[mount] === 0 || open.has(inode));
  if (problem !== null) throw new Violation(`mount ${mount} believes to hold more than it was granted: ${problem}`);
}

export function sessionOf(server: Server, id: SessionId): ServerSession | undefined {
  for (const session of server.leases.sessions()) if (session.id === id) return session as ServerSession;
  return undefined;
}

/** null, or which lease is larger at the mount than at the namespace. `counts`: whether it must be known to the namespace that the mount knows the inode. */
export function leaseProblem(
  held: Iterable<HeldLease>,
  granted: ReadonlyMap<InodeId, number>,
  counts: (inode: InodeId) => boolean,
): string | null {
  for (const { inode, mode } of held) {
    const level = granted.get(inode) ?? 0;
    if (level >= LEVELS[mode]) continue;
    // The root is known from the start, and never freed.
    if (mode === "known" && (inode === ROOT_INODE || !counts(inode))) continue;
    return `inode ${inode} is ${mode} to it, and ${NAMES[level]} to the namespace`;
  }
  return null;
}

/** null, or which lock the namespace holds for a program that has none, or a program without the namespace. */
function locksProblem({ world, model }: Scene): string | null {
  const { server } = world;
  if (server.resumption.pending) return "a session is still to come back";
  const there = describeLocks(server.locks.held());
  const expected = describeLocks(locksOf(model.nodes));
  for (const lock of there) if (!expected.has(lock)) return `the namespace holds a lock that no program has: ${lock}`;
  for (const lock of expected) if (!there.has(lock)) return `a program has a lock that the namespace does not hold: ${lock}`;
  return null;
}

type AnyLock = Pick<ModelLock, "kind" | "owner" | "start" | "end"> & { type: string };

function* locksOf(nodes: Scene["model"]["nodes"]): Generator<{ inode: InodeId; lock: AnyLock }> {
  for (const [inode, { locks }] of nodes) for (const lock of locks) yield { inode, lock };
}

/** One text for each range of one type: neighbours joined, so that both sides say the same. */
function describeLocks(locks: Iterable<HeldLock | { inode: InodeId; lock: AnyLock }>): Set<string> {
  const byOwner = new Map<string, AnyLock[]>();
  for (const { inode, lock } of locks) {
    const key = `${lock.kind} ${lock.type} of ${inode} by ${lock.owner}`;
    byOwner.set(key, [...(byOwner.get(key) ?? []), lock]);
  }
  const texts = new Set<string>();
  for (const [key, ranges] of byOwner) {
    ranges.sort((a, b) => a.start - b.start);
    let [{ start, end }] = ranges;
    for (const next of [...ranges.slice(1), null]) {
      if (next !== null && next.start <= end + 1) end = Math.max(end, next.end);
      else {
        texts.add(`${key} [${start}, ${end}]`);
        if (next !== null) ({ start, end } = next);
      }
    }
  }
  return texts;
}
