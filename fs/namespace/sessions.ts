// The sessions of the server: opened, resumed after a restart with what they held, expired, ended.

import type { Clock } from "../../storage/clock.ts";
import { FsError } from "../errno.ts";
import type { HeldLease, HeldLock, SessionEvents } from "../messages.ts";
import type { NumberRuns } from "../number-runs.ts";
import type { InodeId, SessionId } from "../types.ts";
import { id8, TAG_SESSION } from "./keys.ts";
import { ended, leaseLevel, type LeaseLevel, type SessionLeases } from "./leases.ts";
import type { NamespaceSession, SessionOptions } from "./namespace.ts";
import type { Server } from "./server.ts";
import { encodeSession, type SessionRecord } from "./session-record.ts";

const DEFAULT_SESSION_LIMIT_MS = 10_000;
/** Many turns of the event loop, and little beside the limit. */
const UNHEARD_AGAIN_MS = 250;

/** What a session has for its life. */
type SessionTerms = Omit<SessionRecord, "over">;

export class ServerSession implements SessionLeases {
  readonly id: SessionId;
  readonly events: SessionEvents;
  readonly limitMs: number;
  readonly expires: boolean;
  readonly durable: boolean;
  readonly owner: string;
  readonly holds = new Map<InodeId, LeaseLevel>();
  /** Requests under way and replies stored, by number. */
  readonly answers = new Map<number, Promise<unknown>>();
  /** Numbers of the replies that are in the state, oldest first. */
  readonly storedAnswers = new Set<number>();
  /** Of requests that are done piece by piece and not done yet: up to which offset they are, by number. */
  readonly doneTo = new Map<number, number>();
  newestNumber = 0;
  /** Numbers below the newest that were not answered when it was sent. */
  unanswered: NumberRuns = [];
  ended = false;
  readonly gone: Promise<void>;
  resolveGone!: () => void;
  #mountKnows = false;
  #tellMountKnows!: () => void;
  readonly #told: Promise<void>;
  reclaiming = false;
  lastHeard = 0;
  /** When it was first found unheard for too long. */
  unheardSince = Infinity;

  constructor(id: SessionId, events: SessionEvents, { limitMs, owner }: SessionTerms, options: SessionOptions) {
    this.id = id;
    this.events = events;
    this.limitMs = limitMs;
    this.expires = options.expires ?? false;
    this.durable = options.durable ?? false;
    this.owner = owner;
    this.gone = new Promise((resolve) => (this.resolveGone = resolve));
    this.#told = new Promise((resolve) => (this.#tellMountKnows = resolve));
  }

  /** One in this process works for as long as this process does. */
  isHeard(nowMs: number): boolean {
    return !this.expires || nowMs - this.lastHeard < this.limitMs;
  }

  /** Its mount knows that it is over, or is gone. */
  mountKnows(): void {
    this.#mountKnows = true;
    this.#tellMountKnows();
  }

  /** How much longer its mount may trust what it caches: for the limit after its last word, and not when it knows that the session is over. */
  trustedForMs(clock: Clock): number {
    if (!this.expires || this.#mountKnows) return 0;
    return Math.max(0, this.lastHeard + this.limitMs - clock.nowMs());
  }

  /** Resolves when its mount trusts nothing any more. */
  async trustedNoMore(clock: Clock): Promise<void> {
    const leftMs = this.trustedForMs(clock);
    if (leftMs === 0) return;
    let cancel = (): void => {};
    const late = new Promise<void>((resolve) => (cancel = clock.after(leftMs, resolve)));
    await Promise.race([late, this.#told]);
    cancel();
  }
}

export class Sessions {
  readonly #server: Server;
  readonly #sessions = new Map<SessionId, ServerSession>();
  /** Ended, and not gone. */
  readonly #leaving = new Map<SessionId, ServerSession>();
  /** How many are just being opened. */
  #opening = 0;
  #closed = false;

  constructor(server: Server) {
    this.#server = server;
  }

  get size(): number {
    return this.#sessions.size;
  }

  async open(events: SessionEvents, options: SessionOptions = {}): Promise<NamespaceSession> {
    const { resume, former, limitMs = DEFAULT_SESSION_LIMIT_MS, owner = "" } = options;
    if (former !== undefined) this.#mountKnows(former);
    const { sessions: limit } = this.#server.limits;
    const count = this.#sessions.size + this.#leaving.size + this.#opening;
    if (count >= limit) throw new FsError("EAGAIN", `${count} sessions are open, the limit is ${limit}`);
    this.#opening++;
    try {
      if (resume === undefined && this.#server.resumption.pending) await this.#server.resumption.over;
      if (this.#closed) throw new FsError("ENOTCONN", "the namespace is closed");
      const session = await (resume === undefined
        ? this.#begin(events, { limitMs, owner }, options)
        : this.#resume(events, resume, options));
      this.#sessions.set(session.id, session);
      this.#server.leases.add(session);
      return this.#handleOf(session);
    } finally {
      this.#opening--;
    }
  }

  async #begin(events: SessionEvents, terms: SessionTerms, options: SessionOptions): Promise<ServerSession> {
    const id = await this.#server.transact("session", null, (tx) => this.#server.identities.allocateSession(tx));
    const session = new ServerSession(id, events, terms, options);
    session.lastHeard = this.#server.clock.nowMs();
    if (options.durable) await this.#record(id, { over: false, ...terms });
    return session;
  }

  /** Its mount has come for another session: it trusts nothing any more that it had under this one. */
  #mountKnows(former: SessionId): void {
    this.#leaving.get(former)?.mountKnows();
    this.#server.resumption.mountKnows(former);
  }

  async #record(id: SessionId, record: SessionRecord): Promise<void> {
    await this.#server.transact("session", null, (tx) =>
      tx.raw(TAG_SESSION + id8(id), "", (writer) => encodeSession(writer, record)),
    );
  }

  #handleOf(session: ServerSession): NamespaceSession {
    const { clock, calls, answers, resumption } = this.#server;
    return {
      id: session.id,
      call: (operation, request, signal) => calls.call(session, operation, request, { signal }),
      limitMs: session.limitMs,
      callNow: (operation, request) => calls.callNow(session, operation, request),
      callNumbered: (number, operation, request, options) => answers.call(session, number, operation, request, options),
      heard: () => {
        session.lastHeard = clock.nowMs();
      },
      get reclaiming() {
        return session.reclaiming;
      },
      reclaim: (leases, locks) => this.#reclaim(session, leases, locks),
      reclaimed: async (unanswered = [], learning = []) => {
        await answers.reclaim(session, unanswered, learning);
        session.reclaiming = false;
        resumption.settled(session.id);
        await resumption.over;
        // Its mount was kept waiting, perhaps as long as its time limit: what it says next is on its way only now.
        session.lastHeard = clock.nowMs();
      },
      get othersReclaim() {
        return resumption.pending ? resumption.over : undefined;
      },
      fail: (reason) => this.end(session, reason),
      close: (stored) => {
        session.mountKnows();
        this.end(session, null, stored);
        return session.gone;
      },
    };
  }

  async #resume(events: SessionEvents, id: SessionId, options: SessionOptions): Promise<ServerSession> {
    const { resumption, identities } = this.#server;
    const record = resumption.take(id);
    if (record === null) throw new FsError("ESTALE", `session ${id} is not one that can be resumed`);
    const session = new ServerSession(id, events, record, options);
    session.lastHeard = this.#server.clock.nowMs();
    for (const [number, reply] of await identities.answers(id)) {
      const { doneTo } = reply as { doneTo?: number };
      if (doneTo === undefined) session.answers.set(number, Promise.resolve(reply));
      else session.doneTo.set(number, doneTo);
      session.storedAnswers.add(number);
      session.newestNumber = number;
    }
    const ids = identities.awaitedStripes(id);
    const used = await this.#server.transact("none", null, (tx) => {
      tx.wantStripes(ids);
      return new Set(ids.filter((stripe) => tx.stripe(stripe) !== null));
    });
    if (!resumption.awaits(id)) throw new FsError("ESTALE", `session ${id} came back too late`);
    identities.sessionResumed(id, used);
    session.reclaiming = true;
    return session;
  }

  #reclaim(session: ServerSession, leases: readonly HeldLease[], locks: readonly HeldLock[]): void {
    if (session.ended) throw ended();
    if (!session.reclaiming) throw new FsError("EINVAL", `session ${session.id} has nothing to reclaim`);
    session.lastHeard = this.#server.clock.nowMs();
    this.#server.resumption.heard(session.id);
    for (const { inode, mode, writing } of leases) {
      if (!(Number.isSafeInteger(inode) && inode > 0)) throw new FsError("EINVAL", `a lease on inode ${inode} cannot be`);
      const level = leaseLevel(mode);
      if (this.#server.leases.conflicts(inode, level, session))
        throw new FsError("ESTALE", `another session holds a lease on inode ${inode} already`);
      this.#server.leases.grant(session, inode, level);
      if (writing) this.#server.leases.setWriting(session, inode, true);
    }
    for (const { inode, lock } of locks) this.#server.locks.restore(session.id, inode, lock);
  }

  /** A session of before this start has not come back in time: what it left is cleared away. Resolves when it cannot come back after another start either. */
  async notResumed(id: SessionId): Promise<void> {
    const session = this.#sessions.get(id);
    if (session !== undefined) return this.end(session, "it did not say in time what it holds");
    if (this.#leaving.has(id)) return;
    this.#server.trace(`namespace: session ${id} of before the start has not come back`);
    await this.#noteOver(id, { limitMs: 0, owner: "" });
    this.#server.identities.sessionEnded(id);
    this.#server.ticks.forgetSession(id);
  }

  /** From here on the session cannot be resumed, whatever happens to the server. Where the log takes nothing, nobody else can change anything either. */
  async #noteOver(id: SessionId, terms: SessionTerms): Promise<void> {
    try {
      await this.#record(id, { over: true, ...terms });
    } catch (error) {
      this.#server.trace(`namespace: session ${id} is over, and the log does not have it: ${(error as Error).message}`);
    }
  }

  expire(id: SessionId, reason: string): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) this.end(session, reason);
  }

  /** Tells the sessions that know these inodes that their bytes lie elsewhere now. */
  tellMoved(inodes: ReadonlySet<InodeId>): void {
    for (const { events, holds } of this.#sessions.values()) {
      const known = [...inodes].filter((inode) => holds.has(inode));
      if (known.length > 0) events.moved?.(known);
    }
  }

  /** Ends sessions that were not heard of. Found twice, some time apart: a server that was itself stopped must first read what has come meanwhile. */
  expireUnheard(): void {
    const now = this.#server.clock.nowMs();
    for (const session of this.#sessions.values()) {
      const silentMs = now - session.lastHeard;
      if (!session.expires || silentMs <= session.limitMs || this.#server.resumption.pending) session.unheardSince = Infinity;
      else if (session.unheardSince === Infinity) session.unheardSince = now;
      else if (now - session.unheardSince >= UNHEARD_AGAIN_MS)
        this.end(session, `nothing was heard of it for ${Math.round(silentMs)} ms, the limit is ${session.limitMs}`);
    }
  }

  /** Requests are refused from here on. The reason is told where it was not the mount that ended it. */
  end(session: ServerSession, reason: string | null, stored: Promise<void> | void = undefined): void {
    if (session.ended) return;
    session.ended = true;
    this.#sessions.delete(session.id);
    if (reason !== null) {
      this.#server.trace(`namespace: session ${session.id} was ended: ${reason}`);
      stored = session.events.expired(this.#server.locks.lockedBy(session.id));
    }
    if (session.durable || session.expires) void this.#leave(session, stored);
    else this.#clearAway(session, stored);
  }

  /** What the session holds, said or (after a restart) still unsaid, stays in the others' way until nothing can bring it back, and its mount must know that it is over. */
  async #leave(session: ServerSession, stored: Promise<void> | void): Promise<void> {
    const { clock } = this.#server;
    this.#leaving.set(session.id, session);
    if (session.durable) await this.#noteOver(session.id, { limitMs: session.trustedForMs(clock), owner: session.owner });
    await session.trustedNoMore(clock);
    this.#server.resumption.settled(session.id);
    this.#leaving.delete(session.id);
    if (!this.#closed) this.#clearAway(session, stored);
  }

  #clearAway(session: ServerSession, stored: Promise<void> | void): void {
    const { leases, locks, ticks, identities } = this.#server;
    const held = [...session.holds.keys()];
    leases.remove(session);
    locks.releaseSession(session.id);
    for (const inode of held) ticks.forgotten(inode);
    const sweep = (): void => {
      identities.sessionEnded(session.id);
      if (session.durable) ticks.forgetSession(session.id);
    };
    if (stored === undefined) sweep();
    else void stored.then(sweep);
    session.resolveGone();
  }

  /** Ends all, durable ones so that they can be resumed; no more are opened. */
  close(): void {
    this.#closed = true;
    for (const session of [...this.#sessions.values()]) {
      if (session.durable) this.#server.leases.remove(session);
      else this.end(session, null);
    }
    for (const session of this.#leaving.values()) {
      this.#server.leases.remove(session);
      session.resolveGone();
    }
  }
}
