// The sessions of the server: opened, resumed after a restart with what they held, expired, ended.

import { FsError } from "../errno.ts";
import type { HeldLease, HeldLock, SessionEvents } from "../messages.ts";
import type { InodeId, SessionId } from "../types.ts";
import { id8, TAG_SESSION } from "./keys.ts";
import { ended, leaseLevel, type LeaseLevel, type SessionLeases } from "./leases.ts";
import type { NamespaceSession, SessionOptions } from "./namespace.ts";
import type { Server } from "./server.ts";

const DEFAULT_SESSION_LIMIT_MS = 10_000;
/** Many turns of the event loop, and little beside the limit. */
const UNHEARD_AGAIN_MS = 250;

export class ServerSession implements SessionLeases {
  readonly id: SessionId;
  readonly events: SessionEvents;
  readonly limitMs: number;
  readonly expires: boolean;
  readonly durable: boolean;
  readonly holds = new Map<InodeId, LeaseLevel>();
  /** Requests under way and replies stored, by number. */
  readonly answers = new Map<number, Promise<unknown>>();
  /** Numbers of the replies that are in the state, oldest first. */
  readonly storedAnswers = new Set<number>();
  /** Of requests that are done piece by piece and not done yet: up to which offset they are, by number. */
  readonly doneTo = new Map<number, number>();
  newestNumber = 0;
  /** Numbers below the newest that were not answered when it was sent. */
  unanswered: readonly number[] = [];
  ended = false;
  reclaiming = false;
  lastHeard = 0;
  /** When it was first found unheard for too long. */
  unheardSince = Infinity;

  constructor(id: SessionId, events: SessionEvents, options: SessionOptions) {
    this.id = id;
    this.events = events;
    this.limitMs = options.limitMs ?? DEFAULT_SESSION_LIMIT_MS;
    this.expires = options.expires ?? false;
    this.durable = options.durable ?? false;
  }

  /** Of one in this process nothing is heard apart from its answers. */
  isHeard(now: number): boolean {
    return this.expires && now - this.lastHeard < this.limitMs;
  }
}

export class Sessions {
  readonly #server: Server;
  readonly #sessions = new Map<SessionId, ServerSession>();
  #closed = false;

  constructor(server: Server) {
    this.#server = server;
  }

  get size(): number {
    return this.#sessions.size;
  }

  async open(events: SessionEvents, options: SessionOptions = {}): Promise<NamespaceSession> {
    const { resume } = options;
    if (resume === undefined && this.#server.resumption.pending) await this.#server.resumption.over;
    if (this.#closed) throw new FsError("ENOTCONN", "the namespace is closed");
    if (this.#sessions.size >= this.#server.limits.sessions)
      throw new FsError("EAGAIN", `${this.#sessions.size} sessions are open, the limit is ${this.#server.limits.sessions}`);
    const id = resume ?? (await this.#server.transact("session", null, (tx) => this.#server.identities.allocateSession(tx)));
    const session = new ServerSession(id, events, options);
    session.lastHeard = this.#server.clock.nowMs();
    if (resume !== undefined) await this.#resume(session);
    else if (options.durable) await this.#makeDurable(session, options.owner ?? "");
    this.#sessions.set(id, session);
    this.#server.leases.add(session);
    return this.#handleOf(session);
  }

  #handleOf(session: ServerSession): NamespaceSession {
    const { clock, calls, answers, resumption } = this.#server;
    return {
      id: session.id,
      call: (operation, request, signal) => calls.call(session, operation, request, { signal }),
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
      close: async () => this.end(session, null),
    };
  }

  async #makeDurable(session: ServerSession, owner: string): Promise<void> {
    await this.#server.transact("session", session, (tx) =>
      tx.raw(TAG_SESSION + id8(session.id), "", (writer) => writer.raw(Buffer.from(owner))),
    );
  }

  async #resume(session: ServerSession): Promise<void> {
    if (!this.#server.resumption.take(session.id))
      throw new FsError("ESTALE", `session ${session.id} is not one that can be resumed`);
    for (const [number, reply] of await this.#server.identities.answers(session.id)) {
      const { doneTo } = reply as { doneTo?: number };
      if (doneTo === undefined) session.answers.set(number, Promise.resolve(reply));
      else session.doneTo.set(number, doneTo);
      session.storedAnswers.add(number);
      session.newestNumber = number;
    }
    const ids = this.#server.identities.awaitedStripes(session.id);
    const used = await this.#server.transact("none", null, (tx) => {
      tx.wantStripes(ids);
      return new Set(ids.filter((id) => tx.stripe(id) !== null));
    });
    if (!this.#server.resumption.awaits(session.id)) throw new FsError("ESTALE", `session ${session.id} came back too late`);
    this.#server.identities.sessionResumed(session.id, used);
    session.reclaiming = true;
  }

  #reclaim(session: ServerSession, leases: readonly HeldLease[], locks: readonly HeldLock[]): void {
    if (session.ended) throw ended();
    if (!session.reclaiming) throw new FsError("EINVAL", `session ${session.id} has nothing to reclaim`);
    session.lastHeard = this.#server.clock.nowMs();
    for (const { inode, mode } of leases) {
      if (!(Number.isSafeInteger(inode) && inode > 0)) throw new FsError("EINVAL", `a lease on inode ${inode} cannot be`);
      const level = leaseLevel(mode);
      if (this.#server.leases.conflicts(inode, level, session))
        throw new FsError("ESTALE", `another session holds a lease on inode ${inode} already`);
      this.#server.leases.grant(session, inode, level);
    }
    for (const { inode, lock } of locks) this.#server.locks.restore(session.id, inode, lock);
  }

  /** A session of before this start has not come back in time: what it left is cleared away. */
  notResumed(id: SessionId): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) return this.end(session, "it did not say in time what it holds");
    this.#server.trace(`namespace: session ${id} of before the start has not come back`);
    this.#server.identities.sessionEnded(id);
    this.#server.ticks.forgetSession(id);
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

  /** The reason is told where it was not the session itself that ended. */
  end(session: ServerSession, reason: string | null): void {
    if (session.ended) return;
    const held = [...session.holds.keys()];
    this.#server.leases.remove(session);
    this.#sessions.delete(session.id);
    this.#server.locks.releaseSession(session.id);
    for (const inode of held) this.#server.ticks.forgotten(inode);
    this.#server.identities.sessionEnded(session.id);
    if (session.durable) this.#server.ticks.forgetSession(session.id);
    this.#server.resumption.settled(session.id);
    if (reason === null) return;
    this.#server.trace(`namespace: session ${session.id} was ended: ${reason}`);
    session.events.expired();
  }

  /** Ends all, durable ones so that they can be resumed; no more are opened. */
  close(): void {
    this.#closed = true;
    for (const session of [...this.#sessions.values()]) {
      if (session.durable) this.#server.leases.remove(session);
      else this.end(session, null);
    }
  }
}
