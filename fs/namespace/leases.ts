// Which session may cache what, and who must give it up before a change.
//
// Gates. A call that has to recall an inode's leases closes a gate on that inode and keeps it until the call is over.
// While the gate is closed, a session whose recall is still under way may go on with what needs no recall itself (a
// mount answers its pending reads, and writes back, before it gives a lease up), but is granted nothing; all others
// wait at the gate. So nobody can cache again what was just recalled before the change is made.
// A call never waits at a gate while it holds one: it opens its own, waits, and starts over. So there is no cycle.
//
// A mount must answer a recall without waiting for changes that it has itself asked for (they may wait at the gate).
// A reply to a request sent before the recall was answered must not be cached.

import { FsError } from "../errno.ts";
import type { LeaseMode, SessionEvents } from "../messages.ts";
import type { ByteString, InodeId, SessionId } from "../types.ts";
import type { Clock } from "../../storage/clock.ts";

export type LeaseLevel = 1 | 2 | 3;
export const KNOWN = 1;
export const SHARED = 2;
export const EXCLUSIVE = 3;
const MODES: readonly LeaseMode[] = ["known", "known", "shared", "exclusive"];

/** EINVAL where another process asked for something else. */
export function leaseLevel(mode: LeaseMode): LeaseLevel {
  if (mode === "known") return KNOWN;
  if (mode === "shared") return SHARED;
  if (mode === "exclusive") return EXCLUSIVE;
  throw new FsError("EINVAL", `there is no lease ${String(mode).slice(0, 20)}; there are known, shared and exclusive`);
}

/** The part of a session that leases are about. */
export interface SessionLeases {
  readonly id: SessionId;
  readonly events: SessionEvents;
  /** How long a recall may take before the session is ended. */
  readonly limitMs: number;
  readonly holds: Map<InodeId, LeaseLevel>;
  /** Its requests are refused. What it holds it holds until `gone`: its mount may not know yet, and trust what it caches. */
  ended: boolean;
  /** Of a session that was ended: resolves when its mount cannot trust any more what it caches. */
  readonly gone: Promise<void>;
  /** Whether its mount works, perhaps at writing much back to slow disks: something was heard of it within the limit. */
  isHeard(now: number): boolean;
}

/** A mount that does not answer a recall and is heard of all the same has so many times its limit: what it writes back would be lost. */
const HEARD_LIMITS = 3;
/** A timer so late was not served in time; what has come meanwhile is read within as long. */
const LATE_MS = 250;

class Gate {
  readonly owner: object;
  /** Sessions whose recall is under way. */
  readonly recalling = new Set<SessionLeases>();
  /** Sessions that forgot the names asked for and keep their lease on the directory. */
  readonly answered = new Set<SessionLeases>();
  readonly opened: Promise<void>;
  open!: () => void;

  constructor(owner: object) {
    this.owner = owner;
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }
}

export class Leases {
  readonly #sessions = new Map<SessionId, SessionLeases>();
  readonly #gates = new Map<InodeId, Gate>();
  /** Sessions whose mounts have said that they have the inode open for writing. Who holds it exclusively need not. */
  readonly #writers = new Map<InodeId, Set<SessionLeases>>();
  readonly #clock: Clock;
  readonly #expire: (session: SessionLeases, reason: string) => void;
  /** True while no call can conflict with another session. */
  quiet = true;

  constructor(clock: Clock, expire: (session: SessionLeases, reason: string) => void) {
    this.#clock = clock;
    this.#expire = expire;
  }

  add(session: SessionLeases): void {
    this.#sessions.set(session.id, session);
    this.#settle();
  }

  /** Nothing that it holds is in anybody's way any more. */
  remove(session: SessionLeases): void {
    session.ended = true;
    session.holds.clear();
    for (const inode of this.#writers.keys()) this.setWriting(session, inode, false);
    this.#sessions.delete(session.id);
    this.#settle();
  }

  #settle(): void {
    this.quiet = this.#sessions.size <= 1 && this.#gates.size === 0;
  }

  sessions(): Iterable<SessionLeases> {
    return this.#sessions.values();
  }

  grant(session: SessionLeases, inode: InodeId, level: LeaseLevel): void {
    if (this.#gates.size > 0 && level > KNOWN && this.#gates.get(inode)?.recalling.has(session)) level = KNOWN;
    const held = session.holds.get(inode);
    if (held === undefined || held < level) session.holds.set(inode, level);
    if (level > KNOWN && this.#writers.size > 0 && this.#isWrittenByOthers(inode, session))
      session.events.writtenElsewhere?.(inode);
  }

  /** Notes that the session's mount has the inode, which it knows, open for writing, or not any more. */
  setWriting(session: SessionLeases, inode: InodeId, open: boolean): void {
    const writers = this.#writers.get(inode);
    if (!open) {
      writers?.delete(session);
      if (writers?.size === 0) this.#writers.delete(inode);
      return;
    }
    if (session.ended || !session.holds.has(inode)) return;
    if (writers === undefined) this.#writers.set(inode, new Set([session]));
    else writers.add(session);
    for (const other of this.#sessions.values())
      if (other !== session && (other.holds.get(inode) ?? 0) > KNOWN) other.events.writtenElsewhere?.(inode);
  }

  #isWrittenByOthers(inode: InodeId, session: SessionLeases): boolean {
    const writers = this.#writers.get(inode);
    return writers !== undefined && (writers.size > 1 || !writers.has(session));
  }

  /** Whether another session that goes on holds what the level does not go together with. */
  conflicts(inode: InodeId, level: LeaseLevel, session: SessionLeases): boolean {
    const othersAtMost = level === EXCLUSIVE ? KNOWN : level === SHARED ? SHARED : EXCLUSIVE;
    for (const other of this.#sessions.values())
      if (other !== session && !other.ended && (other.holds.get(inode) ?? 0) > othersAtMost) return true;
    return false;
  }

  /** Whether the session is just giving up a lease on the inode. */
  beingRecalled(inode: InodeId, session: SessionLeases): boolean {
    return this.#gates.get(inode)?.recalling.has(session) ?? false;
  }

  known(inode: InodeId): boolean {
    for (const session of this.#sessions.values()) if (session.holds.has(inode)) return true;
    return false;
  }

  knownToOthers(inode: InodeId, session: SessionLeases | null): boolean {
    if (this.#sessions.size <= 1) return false;
    for (const other of this.#sessions.values()) if (other !== session && other.holds.has(inode)) return true;
    return false;
  }

  /** Whether the call may go on: no other session holds more than `othersAtMost`, and no gate is in its way. */
  free(inode: InodeId, othersAtMost: LeaseLevel, session: SessionLeases | null, call: object | null): boolean {
    const gate = this.#gates.get(inode);
    const mine = gate !== undefined && gate.owner === call;
    if (gate !== undefined && !mine && !(session !== null && gate.recalling.has(session))) return false;
    for (const other of this.#sessions.values()) {
      if (other === session || (other.holds.get(inode) ?? 0) <= othersAtMost) continue;
      if (!mine || !gate.answered.has(other)) return false;
    }
    return true;
  }

  /** Brings about that `free` holds for the call, or waits for the gate in its way. `owned` are the gates that the call holds. */
  async clear(
    inode: InodeId,
    othersAtMost: LeaseLevel,
    names: readonly ByteString[] | undefined,
    session: SessionLeases | null,
    call: object,
    owned: Set<InodeId>,
  ): Promise<void> {
    let gate = this.#gates.get(inode);
    if (gate !== undefined && gate.owner !== call) {
      this.release(owned);
      await gate.opened;
      return;
    }
    if (gate === undefined) {
      gate = new Gate(call);
      this.#gates.set(inode, gate);
      owned.add(inode);
      this.#settle();
    }
    const recalls: Promise<void>[] = [];
    for (const other of this.#sessions.values()) {
      if (other === session || (other.holds.get(inode) ?? 0) <= othersAtMost || gate.answered.has(other)) continue;
      recalls.push(this.#recall(other, inode, names === undefined ? othersAtMost : SHARED, names, gate));
    }
    await Promise.all(recalls);
  }

  async #recall(
    session: SessionLeases,
    inode: InodeId,
    level: LeaseLevel,
    names: readonly ByteString[] | undefined,
    gate: Gate,
  ): Promise<void> {
    if (session.ended) return session.gone;
    gate.recalling.add(session);
    const outcome = await withLimit(this.#clock, session, () => session.events.recall(inode, MODES[level], names));
    gate.recalling.delete(session);
    if (outcome !== "done" && !session.ended) this.#expire(session, `inode ${inode} was recalled and the session ${outcome}`);
    if (session.ended) return session.gone;
    if (names !== undefined) gate.answered.add(session);
    const held = session.holds.get(inode);
    if (held !== undefined && held > level) session.holds.set(inode, level);
  }

  release(owned: Set<InodeId>): void {
    for (const inode of owned) {
      const gate = this.#gates.get(inode);
      this.#gates.delete(inode);
      gate?.open();
    }
    owned.clear();
    this.#settle();
  }
}

async function withLimit(clock: Clock, session: SessionLeases, action: () => Promise<void>): Promise<string> {
  const { limitMs } = session;
  const begin = clock.nowMs();
  let cancel = (): void => {};
  const late = new Promise<string>((resolve) => {
    const look = (dueAt: number): void => {
      const now = clock.nowMs();
      // A timer that is late means that this process was stopped: the answer may have come meanwhile and lie unread.
      const waits = now - dueAt >= LATE_MS || (session.isHeard(now) && now - begin < HEARD_LIMITS * limitMs);
      if (!waits) return resolve(`did not answer within ${Math.round(now - begin)} ms`);
      cancel = clock.after(LATE_MS, () => look(now + LATE_MS));
    };
    cancel = clock.after(limitMs, () => look(begin + limitMs));
  });
  const done = Promise.resolve()
    .then(action)
    .then(
      () => "done",
      (error: unknown) => `failed: ${error instanceof Error ? error.message : String(error)}`,
    );
  const outcome = await Promise.race([late, done]);
  cancel();
  return outcome;
}

/** A lease that a session asked for cannot be given because the session is over. */
export function ended(): FsError {
  return new FsError("ESTALE", "the session is over");
}
