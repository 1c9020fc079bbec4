// The namespace server: carries out requests of sessions as transactions over the table, in the order of the log.
//
// How a call runs: attempt (transaction.ts) -> where something is missing, bring it about and attempt again -> append
// the entry to the log -> make it true in memory -> reply. An attempt with all in memory runs to its end without
// giving the event loop up. What is in the log reaches the table later, many changes at once (overlay.ts).
//
// Above 600 lines because the table of operations, sessions with their exactly-once replies, and the one path from a
// call to the log share their order of steps; each operation itself is in a file of its concept.

import { FsError } from "../errno.ts";
import type { HeldLease, HeldLock, OperationName, Reply, Request, Session, SessionEvents, Statistics } from "../messages.ts";
import { type InodeId, ROOT_INODE, S_IFDIR, type SessionId, type StripeId } from "../types.ts";
import type { Log, LogIndex } from "../../storage/log.ts";
import type { Table } from "../../storage/table.ts";
import type { Stripe } from "../../replication/stripe.ts";
import { acquire, getAttributes, setAttributes } from "./attributes.ts";
import { checkNamespace, mend, type Mending, type Problem } from "./check.ts";
import { type Clock, systemClock, timeStamp } from "../clock.ts";
import { type EntryKind, EntryWriter } from "./entry.ts";
import { commit, extents, PIECE_BYTES, reshape, share } from "./files.ts";
import { after, id8, idFrom, TAG_ANSWER, TAG_EXTENT, TAG_META, TAG_SESSION } from "./keys.ts";
import { Identities } from "./identities.ts";
import { ended, leaseLevel, type LeaseLevel, Leases, type SessionLeases } from "./leases.ts";
import { Locks } from "./locks.ts";
import { getXattr, listXattrs, removeXattr, setXattr } from "./xattrs.ts";
import { link, list, lookup, make, makeUnnamed, newInode, parent, readLink, rename, unlink } from "./names.ts";
import { openTable, replay } from "./recovery.ts";
import { Resumption } from "./resumption.ts";
import { encodeNumber } from "./records.ts";
import { type Overlay, type OverlayLimits } from "./overlay.ts";
import { type Relocation, relocationOf } from "./relocation.ts";
import type { Services } from "./services.ts";
import { State } from "./state.ts";
import { type StripeDirectory, stripeDirectory } from "./stripe-directory.ts";
import { Ticks } from "./ticks.ts";
import { INTERRUPTED, Transaction } from "./transaction.ts";

export interface NamespaceOptions {
  table: Table;
  log: Log;
  clock?: Clock;
  /** How the namespace gets rid of blocks on disks, and how much room there is. Without it stripes are only forgotten. */
  stripes?: StripeHooks;
  /** Receives one line for each thing worth knowing. */
  trace?: (line: string) => void;
  limits?: Partial<NamespaceLimits>;
  /** Owner and permissions of the root directory of a new store. */
  root?: { mode: number; uid: number; gid: number };
  /** Whether a durable session of before this start, with what it gave as its owner, may come back. By default each may. */
  awaits?: (owner: string) => boolean;
}

export interface StripeHooks {
  /** Removes all blocks of the stripes from every disk that is there. Called only when the log entry that dropped them is durable. May be called again for the same ones. */
  remove(stripes: readonly Stripe[]): Promise<void>;
  /** Removes blocks of stripes that were never committed, wherever they are: the ids, their scheme and disks unknown. */
  removeUncommitted(first: StripeId, count: number, except: ReadonlySet<StripeId>): Promise<void>;
  space(): { totalBytes: number; freeBytes: number };
}

export interface NamespaceLimits extends OverlayLimits {
  /** Decoded records kept in memory. */
  cacheBytes: number;
  /** Callers wait while the log has this much to write. */
  logPendingBytes: number;
  /** The table is written at least this often while there are changes. */
  applyIntervalMs: number;
  trimIntervalMs: number;
  /** How long a dead stripe's blocks stay, for readers that are just using them. */
  deadStripeGraceMs: number;
  /** Replies kept for each durable session. */
  answersPerSession: number;
  sessions: number;
  /** How long after a start everyone else waits for durable sessions to come back (resumption.ts). */
  resumeMs: number;
}

const DEFAULT_LIMITS: NamespaceLimits = {
  cacheBytes: 64 * 1024 * 1024,
  applyRecords: 16 * 1024,
  maximumRecords: 128 * 1024,
  maximumBytes: 64 * 1024 * 1024,
  logPendingBytes: 32 * 1024 * 1024,
  applyIntervalMs: 1000,
  trimIntervalMs: 10_000,
  deadStripeGraceMs: 2_000,
  answersPerSession: 256,
  sessions: 1024,
  resumeMs: 10_000,
};

/** Attempts of one call before it is given up: each brings something nearer, and the deepest walk (rename's loop check) takes one a directory. */
const ATTEMPTS_MAX = 100_000;
/** Records of the table looked at in one scan for a file's next extent. */
const NEXT_EXTENT_RECORDS_MAX = 4096;
/** A call that needs more attempts may need more records at once than the caches keep: from here on they forget nothing until it is over. */
const ATTEMPTS_BEFORE_HOLD = 16;
const DEFAULT_SESSION_LIMIT_MS = 10_000;

export interface SessionOptions {
  /** How long the session may take to give up a lease (and, with `expires`, be unheard) before it is ended. */
  limitMs?: number;
  /** The session ends when nothing is heard of it for limitMs: for mounts in other processes. */
  expires?: boolean;
  /** It outlives the server: replies to changes are stored with the state, so that a repeated request is answered and not done twice. */
  durable?: boolean;
  /** Of a durable session: text kept with it, for NamespaceOptions.awaits. */
  owner?: string;
  /** A durable session of before a restart of the server. */
  resume?: SessionId;
}

/** A session as the server sees it. */
export interface NamespaceSession extends Session {
  /** For transports that may repeat a request: the same number gets the same reply. Numbers grow by one. */
  callNumbered<Name extends OperationName>(number: number, operation: Name, request: Request<Name>): Promise<Reply<Name>>;
  /** The session was heard of. Every call says so by itself. */
  heard(): void;
  /** Resumed after a restart of the server, and not yet done with saying what it held: it makes no calls until `reclaimed`. */
  readonly reclaiming: boolean;
  /** Says what a resumed session held. ESTALE where another holds what conflicts: the session cannot go on then. */
  reclaim(leases: readonly HeldLease[], locks: readonly HeldLock[]): void;
  /** That was all. Resolves when every other session had its turn, too: from then on there may be changes. */
  reclaimed(): Promise<void>;
}

export interface Namespace {
  openSession(events: SessionEvents, options?: SessionOptions): Promise<NamespaceSession>;
  /** Ends a session as its time limit would. */
  expireSession(id: SessionId, reason: string): void;
  /** A bounded piece of background work; true where more is waiting. Call it every 50 to 100 ms, and again at once on true. */
  tick(): Promise<boolean>;
  /** Everything acknowledged is durable in the log. */
  sync(): Promise<void>;
  /** Everything acknowledged so far outlives this process (not the machine). Undefined where that is so already. */
  written(): Promise<void> | undefined;
  /** Writes all changes to the table. */
  apply(): Promise<void>;
  readonly stripes: StripeDirectory;
  /** For moving what files hold to better places (relocation.ts). */
  readonly relocation: Relocation;
  /** Compares everything with everything (check.ts), as it is at one moment; changes may go on meanwhile. */
  check(): AsyncIterable<Problem>;
  /** Mends what the check found and called mendable. False where it has become impossible. */
  mend(mending: Mending): Promise<boolean>;
  status(): NamespaceStatus;
  close(): Promise<void>;
}

export interface NamespaceStatus {
  inodes: number;
  sessions: number;
  logTail: LogIndex;
  appliedIndex: LogIndex;
  waitingRecords: number;
  unnamedInodes: number;
  cutInodes: number;
  deadStripes: number;
}

class ServerSession implements SessionLeases {
  readonly id: SessionId;
  readonly events: SessionEvents;
  readonly limitMs: number;
  readonly expires: boolean;
  readonly durable: boolean;
  readonly holds = new Map<InodeId, LeaseLevel>();
  /** Requests under way and replies stored, by number. */
  readonly answers = new Map<number, Promise<unknown>>();
  ended = false;
  reclaiming = false;
  lastHeard = 0;

  constructor(id: SessionId, events: SessionEvents, options: SessionOptions) {
    this.id = id;
    this.events = events;
    this.limitMs = options.limitMs ?? DEFAULT_SESSION_LIMIT_MS;
    this.expires = options.expires ?? false;
    this.durable = options.durable ?? false;
  }
}

type Operation = (tx: Transaction, request: never, services: Services) => unknown;

/** One row an operation: what carries it out, and what its log entry says it came from ("none": changes nothing). */
const OPERATIONS: Partial<Record<OperationName, readonly [Operation, EntryKind]>> = {
  lookup: [lookup, "none"],
  parent: [parent, "none"],
  getAttributes: [getAttributes, "none"],
  setAttributes: [setAttributes, "setAttributes"],
  make: [make, "make"],
  makeUnnamed: [makeUnnamed, "makeUnnamed"],
  link: [link, "link"],
  unlink: [unlink, "unlink"],
  rename: [rename, "rename"],
  readLink: [readLink, "none"],
  list: [list, "none"],
  getXattr: [getXattr, "none"],
  setXattr: [setXattr, "setXattr"],
  listXattrs: [listXattrs, "none"],
  removeXattr: [removeXattr, "removeXattr"],
  extents: [extents, "none"],
  reserveStripes: [reserveStripes, "reserveStripes"],
  commit: [commit, "commit"],
  reshape: [reshape, "reshape"],
  share: [share, "share"],
  acquire: [acquire, "none"],
};

/** What is kept of a reply. */
function storedAnswer(name: OperationName, reply: unknown): unknown {
  return name === "commit" ? { gone: (reply as Reply<"commit">).gone } : reply;
}

/** Stripe numbers that one request may reserve. */
const RESERVE_MAX = 4096;

function reserveStripes(tx: Transaction, { count }: Request<"reserveStripes">, services: Services): Reply<"reserveStripes"> {
  if (!(Number.isInteger(count) && count >= 1 && count <= RESERVE_MAX))
    throw new FsError("EINVAL", `reserveStripes: ${count} numbers; 1 to ${RESERVE_MAX} are given`);
  return { first: services.reserveStripes(tx, count) };
}

/** Opens the namespace in this table and log, carrying out what the log has and the table lacks; makes a new one where both are empty. Throws where they do not belong together, or a record is damaged or of a newer version. */
export async function openNamespace(options: NamespaceOptions): Promise<Namespace> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const { overlay, isNew } = await openTable(options.table, options.log, limits);
  await replay(overlay, options.log);
  const server = new Server(options, limits, overlay);
  if (isNew) server.createRoot(options.root ?? { mode: 0o755, uid: 0, gid: 0 });
  await server.start();
  return server;
}

/** @internal Shared with the parts of the server (ticks, stripe directory). */
export class Server implements Namespace {
  readonly overlay: Overlay;
  readonly state: State;
  readonly leases: Leases;
  readonly locks = new Locks();
  readonly limits: NamespaceLimits;
  readonly clock: Clock;
  readonly hooks: StripeHooks | undefined;
  readonly log: Log;
  readonly table: Table;
  readonly ticks: Ticks;
  readonly identities: Identities;
  readonly resumption: Resumption;
  readonly stripes: StripeDirectory;
  readonly relocation: Relocation;
  readonly trace: (line: string) => void;
  readonly #sessions = new Map<SessionId, ServerSession>();
  readonly #tx: Transaction;
  readonly #writer = new EntryWriter();
  #closed = false;

  constructor(options: NamespaceOptions, limits: NamespaceLimits, overlay: Overlay) {
    this.overlay = overlay;
    this.limits = limits;
    this.log = options.log;
    this.table = options.table;
    this.clock = options.clock ?? systemClock();
    this.hooks = options.stripes;
    this.trace = options.trace ?? (() => {});
    this.state = new State(overlay, limits.cacheBytes);
    this.leases = new Leases(this.clock, (session, reason) => this.#end(session as ServerSession, reason));
    this.#tx = new Transaction(this.state, this.leases);
    this.ticks = new Ticks(this);
    this.identities = new Identities(this.overlay, this.ticks, options.stripes);
    this.resumption = new Resumption(this.clock, limits.resumeMs, options.awaits ?? (() => true), (id) => this.#notResumed(id));
    this.stripes = stripeDirectory(this);
    this.relocation = relocationOf(this);
  }

  createRoot(root: { mode: number; uid: number; gid: number }): void {
    this.#begin(null, null);
    const tx = this.#tx;
    const inode = newInode(tx, ROOT_INODE, S_IFDIR | (root.mode & 0o7777), root.uid, root.gid);
    inode.parent = ROOT_INODE;
    tx.add(inode);
    tx.raw(`${TAG_META}format`, "", (writer) => encodeNumber(writer, 1));
    this.identities.countInodes(tx, 1);
    this.#finish("create-store");
  }

  async start(): Promise<void> {
    await this.resumption.start(this.overlay);
    await this.identities.start((session) => this.resumption.awaits(session));
    await this.ticks.start();
  }

  // Transactions.

  #begin(session: ServerSession | null, call: object | null): void {
    this.#tx.start(session, call, timeStamp(this.clock.now()));
  }

  /** Appends the transaction's entry, if it has one, and makes it true. */
  #finish(kind: EntryKind): void {
    const tx = this.#tx;
    if (!tx.dirty) {
      tx.finish(this.overlay.index);
      return;
    }
    const changes = tx.encode(this.#writer, kind);
    const entry = this.#writer.finish();
    const index = this.#append(entry);
    const { overlay } = this;
    for (const change of changes) {
      change.bytes = entry;
      overlay.set(change.prefix, change.rest, change.start < 0 ? null : change);
    }
    overlay.index = index;
    tx.apply(index);
    for (const stripe of tx.newlyDead()) this.ticks.becameDead(stripe, index);
  }

  /** One transaction: `run` is attempted until everything that it needs is in memory. */
  async transact<T>(kind: EntryKind, session: ServerSession | null, run: (tx: Transaction) => T): Promise<T> {
    return this.#transactNow(kind, session, run);
  }

  /** The reply itself, or a throw, where nothing has to be waited for. */
  #transactNow<T>(kind: EntryKind, session: ServerSession | null, run: (tx: Transaction) => T): T | Promise<T> {
    const call = this.leases.quiet ? null : {};
    if (this.#mustWait()) return this.#transactSlowly(kind, session, run);
    try {
      return this.#attempt(kind, session, call, run);
    } catch (error) {
      if (error !== INTERRUPTED) throw error;
      return this.#transactSlowly(kind, session, run);
    }
  }

  #attempt<T>(kind: EntryKind, session: ServerSession | null, call: object | null, run: (tx: Transaction) => T): T {
    if (session !== null && session.ended) throw ended();
    this.#begin(session, call);
    const reply = run(this.#tx);
    this.#finish(kind);
    return reply;
  }

  /** Where the log takes no entry, nothing has changed: the call is refused, and the next one may find the log able again (a disk that was full). */
  #append(entry: Uint8Array): LogIndex {
    try {
      return this.log.append(entry);
    } catch (error) {
      throw this.#refusal("append to the log", error);
    }
  }

  #refusal(action: string, error: unknown): FsError {
    const { code, message } = error as { code?: string; message?: string };
    this.trace(`namespace: ${action} failed: ${message ?? String(error)}`);
    return new FsError(code === "ENOSPC" ? "ENOSPC" : "EIO", `${action}: ${message ?? String(error)}`, { cause: error });
  }

  #mustWait(): boolean {
    return this.overlay.full || this.log.pendingBytes > this.limits.logPendingBytes;
  }

  async #room(): Promise<void> {
    try {
      if (this.overlay.full) await this.overlay.apply();
      if (this.log.pendingBytes > this.limits.logPendingBytes) await this.log.drained();
    } catch (error) {
      throw this.#refusal("write what waits", error);
    }
  }

  async #transactSlowly<T>(kind: EntryKind, session: ServerSession | null, run: (tx: Transaction) => T): Promise<T> {
    const call = {};
    const gates = new Set<InodeId>();
    let held = false;
    try {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        while (this.#mustWait()) await this.#room();
        if (attempt === ATTEMPTS_BEFORE_HOLD) {
          this.state.hold(1);
          held = true;
        }
        try {
          return this.#attempt(kind, session, call, run);
        } catch (error) {
          if (error !== INTERRUPTED) throw error;
        }
        await this.#bringAbout(session, call, gates);
      }
      throw new FsError("EIO", `${kind}: gave up after ${ATTEMPTS_MAX} attempts to have everything in memory that it needs`);
    } finally {
      if (held) this.state.hold(-1);
      this.leases.release(gates);
    }
  }

  async #bringAbout(session: ServerSession | null, call: object, gates: Set<InodeId>): Promise<void> {
    const { blocked, misses } = this.#tx;
    if (blocked !== null) {
      await this.leases.clear(blocked.inode, blocked.othersAtMost, blocked.names, session, call, gates);
      return;
    }
    for (const miss of misses) if (miss.kind === "cut") await this.ticks.cutUntil(miss.inode, miss.until);
    const loads = misses.filter((miss) => miss.kind !== "cut");
    if (loads.length > 0) await this.state.load(loads);
  }

  // Sessions.

  async openSession(events: SessionEvents, options: SessionOptions = {}): Promise<NamespaceSession> {
    const { resume } = options;
    if (resume === undefined && this.resumption.pending) await this.resumption.over;
    if (this.#closed) throw new FsError("ENOTCONN", "the namespace is closed");
    if (this.#sessions.size >= this.limits.sessions)
      throw new FsError("EAGAIN", `${this.#sessions.size} sessions are open, the limit is ${this.limits.sessions}`);
    const id = resume ?? (await this.transact("session", null, (tx) => this.identities.allocateSession(tx)));
    const session = new ServerSession(id, events, options);
    session.lastHeard = this.clock.now();
    if (resume !== undefined) await this.#resume(session);
    else if (options.durable) await this.#makeDurable(session, options.owner ?? "");
    this.#sessions.set(id, session);
    this.leases.add(session);
    return this.#handleOf(session);
  }

  #handleOf(session: ServerSession): NamespaceSession {
    const call: Session["call"] = (operation, request) => this.#call(session, operation, request);
    return {
      id: session.id,
      call,
      callNow: (operation, request) => this.#callNow(session, operation, request),
      callNumbered: (number, operation, request) => this.#callNumbered(session, number, operation, request),
      heard: () => {
        session.lastHeard = this.clock.now();
      },
      get reclaiming() {
        return session.reclaiming;
      },
      reclaim: (leases, locks) => this.#reclaim(session, leases, locks),
      reclaimed: () => {
        session.reclaiming = false;
        this.resumption.settled(session.id);
        return this.resumption.over;
      },
      close: async () => this.#end(session, null),
    };
  }

  async #makeDurable(session: ServerSession, owner: string): Promise<void> {
    await this.transact("session", session, (tx) =>
      tx.raw(TAG_SESSION + id8(session.id), "", (writer) => writer.raw(Buffer.from(owner))),
    );
  }

  async #resume(session: ServerSession): Promise<void> {
    if (!this.resumption.take(session.id)) throw new FsError("ESTALE", `session ${session.id} is not one that can be resumed`);
    for (const [number, reply] of await this.identities.answers(session.id)) session.answers.set(number, Promise.resolve(reply));
    const ids = this.identities.awaitedStripes(session.id);
    const used = await this.transact("none", null, (tx) => {
      tx.wantStripes(ids);
      return new Set(ids.filter((id) => tx.stripe(id) !== null));
    });
    if (!this.resumption.awaits(session.id)) throw new FsError("ESTALE", `session ${session.id} came back too late`);
    this.identities.sessionResumed(session.id, used);
    session.reclaiming = true;
  }

  #reclaim(session: ServerSession, leases: readonly HeldLease[], locks: readonly HeldLock[]): void {
    if (session.ended) throw ended();
    if (!session.reclaiming) throw new FsError("EINVAL", `session ${session.id} has nothing to reclaim`);
    session.lastHeard = this.clock.now();
    for (const { inode, mode } of leases) {
      const level = leaseLevel(mode);
      if (this.leases.conflicts(inode, level, session))
        throw new FsError("ESTALE", `another session holds a lease on inode ${inode} already`);
      this.leases.grant(session, inode, level);
    }
    for (const { inode, lock } of locks) this.locks.restore(session.id, inode, lock);
  }

  /** A session of before this start has not come back in time: what it left is cleared away. */
  #notResumed(id: SessionId): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) return this.#end(session, "it did not say in time what it holds");
    this.trace(`namespace: session ${id} of before the start has not come back`);
    this.identities.sessionEnded(id);
    this.ticks.forgetSession(id);
  }

  async #call<Name extends OperationName>(session: ServerSession, name: Name, request: Request<Name>): Promise<Reply<Name>> {
    return this.#callNow(session, name, request);
  }

  #callNow<Name extends OperationName>(
    session: ServerSession,
    name: Name,
    request: Request<Name>,
  ): Reply<Name> | Promise<Reply<Name>> {
    if (session.expires) session.lastHeard = this.clock.now();
    const operation = OPERATIONS[name];
    if (operation === undefined) return this.#callOther(session, name, request);
    if (name === "extents")
      return this.#callExtents(session, request as Request<"extents">) as Reply<Name> | Promise<Reply<Name>>;
    if (name === "reshape") return this.#callPieces(session, request as Request<"reshape">) as Promise<Reply<Name>>;
    const [run, kind] = operation;
    return this.#transactNow(kind, session, (tx) => run(tx, request as never, this.identities)) as Reply<Name>;
  }

  /** fallocate(2) over much of a file, piece by piece: each is a transaction, and a repeated piece changes nothing. */
  async #callPieces(session: ServerSession, request: Request<"reshape">): Promise<Reply<"reshape">> {
    const whole =
      request.kind === "collapse" ||
      request.kind === "insert" ||
      request.length <= PIECE_BYTES ||
      request.length !== Math.trunc(request.length);
    if (whole) return this.transact("reshape", session, (tx) => reshape(tx, request, this.identities));
    const { attributes } = await this.transact("none", session, (tx) => getAttributes(tx, request));
    // At least this much is not there yet: refused before any of the pieces.
    if (request.kind !== "punch") this.identities.checkSpace(Math.max(0, request.length - attributes.allocatedBytes));
    const end = request.offset + request.length;
    for (let offset = request.offset; ;) {
      const length = Math.min(end - offset, PIECE_BYTES);
      const piece = { ...request, offset, length };
      const reply = await this.transact("reshape", session, (tx) => reshape(tx, piece, this.identities));
      offset += length;
      if (request.kind === "punch" && offset < end) offset = Math.max(offset, await this.nextExtent(request.inode, offset));
      if (offset >= end) return reply;
    }
  }

  /** The reply, and where it found nothing, how far nothing is to be found: files may be sparse over petabytes. */
  #callExtents(session: ServerSession, request: Request<"extents">): Reply<"extents"> | Promise<Reply<"extents">> {
    const reply = this.#transactNow("none", session, (tx) => extents(tx, request));
    if (reply instanceof Promise) return reply.then((found) => this.#reachOfExtents(request, found));
    return this.#reachOfExtents(request, reply);
  }

  #reachOfExtents(request: Request<"extents">, reply: Reply<"extents">): Reply<"extents"> | Promise<Reply<"extents">> {
    if (reply.extents.length > 0 || reply.end >= request.to) return reply;
    return this.nextExtent(request.inode, reply.end).then((next) => ({
      ...reply,
      end: Math.min(request.to, Math.max(reply.end, next)),
    }));
  }

  /** Where the inode's first extent at or behind the offset begins, as far as its key says; Infinity where there is none. */
  async nextExtent(inode: InodeId, offset: number): Promise<number> {
    let found = Infinity;
    const prefix = TAG_EXTENT + id8(inode);
    let from = prefix + id8(offset);
    const to = after(prefix);
    // Usually the first record is it; where many have been removed that the table still has, one at a time takes minutes.
    for (let looked = 1; found === Infinity && from < to; looked = Math.min(looked * 16, NEXT_EXTENT_RECORDS_MAX)) {
      from = await this.overlay.scan(from, to, looked, (records, bound) => {
        if (records.length > 0) found = idFrom(records[0].key, prefix.length);
        return bound;
      });
    }
    return found;
  }

  /** Operations that are not transactions over the table. */
  async #callOther<Name extends OperationName>(session: ServerSession, name: Name, request: Request<Name>): Promise<Reply<Name>> {
    if (session.ended) throw ended();
    const reply = await this.#other(session, name, request);
    if (session.ended) throw ended();
    return (reply ?? {}) as Reply<Name>;
  }

  #other(session: ServerSession, name: OperationName, request: unknown): unknown {
    switch (name) {
      case "sync":
        return this.sync();
      case "statistics":
        return this.#statistics();
      case "forget":
        return this.#forget(session, (request as Request<"forget">).inodes);
      case "lock": {
        const { inode, lock, wait, ticket } = request as Request<"lock">;
        return this.locks.lock(session.id, inode, lock, wait, ticket);
      }
      case "cancelLock":
        return this.locks.cancel(session.id, (request as Request<"cancelLock">).ticket);
      case "testLock": {
        const { inode, lock } = request as Request<"testLock">;
        return { conflict: this.locks.test(session.id, inode, lock) };
      }
      case "releaseLocks": {
        const { inode, kind, owner } = request as Request<"releaseLocks">;
        return this.locks.releaseOwner(session.id, inode, kind, owner);
      }
      default:
        throw new FsError("ENOSYS", `operation ${String(name)} is unknown`);
    }
  }

  #forget(session: ServerSession, inodes: readonly InodeId[]): void {
    for (const inode of inodes) if (session.holds.delete(inode)) this.ticks.forgotten(inode);
  }

  #statistics(): Statistics {
    return { ...(this.hooks?.space() ?? { totalBytes: 0, freeBytes: 0 }), inodes: this.overlay.inodes };
  }

  async #callNumbered<Name extends OperationName>(
    session: ServerSession,
    number: number,
    name: Name,
    request: Request<Name>,
  ): Promise<Reply<Name>> {
    const stored = session.answers.get(number);
    if (stored !== undefined) return this.#answerAgain(session, name, request, await stored) as Promise<Reply<Name>>;
    const [run, kind] = OPERATIONS[name] ?? [null, "none"];
    // Pieces of a large fallocate(2) are transactions of their own, and repeated ones change nothing.
    const reply =
      run === null || kind === "none" || name === "reshape" || !session.durable
        ? this.#call(session, name, request)
        : (this.transact(kind, session, (tx) => this.#answered(tx, session, number, name, run, request)) as Promise<Reply<Name>>);
    session.answers.set(number, reply);
    // What failed has changed nothing: asked again, it is tried again.
    reply.then(
      (done) => name === "commit" && session.answers.set(number, Promise.resolve(storedAnswer(name, done))),
      () => session.answers.delete(number),
    );
    this.#dropAnswers(session, number);
    return reply;
  }

  /** A commit's attributes are looked up again: there may be thousands, and they need not be those of then. */
  async #answerAgain(session: ServerSession, name: OperationName, request: unknown, stored: unknown): Promise<unknown> {
    if (name !== "commit" || (stored as Reply<"commit">).attributes !== undefined) return stored;
    const { files } = request as Request<"commit">;
    const attributes = await this.transact("none", session, (tx) => {
      tx.wantInodes(files.map(({ inode }) => inode));
      return files.flatMap(({ inode }) => tx.find(inode)?.attributes() ?? []);
    });
    return { ...(stored as object), attributes };
  }

  /** The reply goes into the state together with what it replies to. */
  #answered(
    tx: Transaction,
    session: ServerSession,
    number: number,
    name: OperationName,
    run: Operation,
    request: unknown,
  ): unknown {
    const reply = run(tx, request as never, this.identities);
    const prefix = TAG_ANSWER + id8(session.id);
    const text = Buffer.from(JSON.stringify(storedAnswer(name, reply)));
    tx.raw(prefix, id8(number), (writer) => writer.raw(text));
    const old = number - this.limits.answersPerSession;
    if (old >= 0) tx.raw(prefix, id8(old), null);
    return reply;
  }

  #dropAnswers(session: ServerSession, number: number): void {
    const old = number - this.limits.answersPerSession;
    for (const kept of session.answers.keys()) {
      if (kept > old) break;
      session.answers.delete(kept);
    }
  }

  expireSession(id: SessionId, reason: string): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) this.#end(session, reason);
  }

  /** Tells the sessions that know these inodes that their bytes lie elsewhere now. */
  tellMoved(inodes: ReadonlySet<InodeId>): void {
    for (const { events, holds } of this.#sessions.values()) {
      const known = [...inodes].filter((inode) => holds.has(inode));
      if (known.length > 0) events.moved?.(known);
    }
  }

  /** Ends sessions that were not heard of. */
  expireUnheard(): void {
    const now = this.clock.now();
    for (const session of this.#sessions.values()) {
      const silentMs = now - session.lastHeard;
      if (session.expires && silentMs > session.limitMs)
        this.#end(session, `nothing was heard of it for ${Math.round(silentMs)} ms, the limit is ${session.limitMs}`);
    }
  }

  #end(session: ServerSession, reason: string | null): void {
    if (session.ended) return;
    const held = [...session.holds.keys()];
    this.leases.remove(session);
    this.#sessions.delete(session.id);
    this.locks.releaseSession(session.id);
    for (const inode of held) this.ticks.forgotten(inode);
    this.identities.sessionEnded(session.id);
    if (session.durable) this.ticks.forgetSession(session.id);
    this.resumption.settled(session.id);
    if (reason === null) return;
    this.trace(`namespace: session ${session.id} was ended: ${reason}`);
    session.events.expired();
  }

  // The daemon's side.

  tick(): Promise<boolean> {
    return this.ticks.run();
  }

  async sync(): Promise<void> {
    try {
      await this.log.sync(this.overlay.index);
    } catch (error) {
      throw this.#refusal("sync the log", error);
    }
  }

  written(): Promise<void> | undefined {
    if (this.log.pendingBytes === 0) return undefined;
    return this.log.drained().catch((error: unknown) => {
      // On a full disk the log goes on by itself once there is space.
      if ((error as { code?: string }).code !== "ENOSPC") throw this.#refusal("write the log", error);
    });
  }

  apply(): Promise<void> {
    return this.overlay.apply();
  }

  async *check(): AsyncGenerator<Problem> {
    const snapshot = await this.overlay.snapshot();
    try {
      yield* checkNamespace(snapshot);
    } finally {
      await snapshot.close();
    }
  }

  mend(mending: Mending): Promise<boolean> {
    return this.transact("repair", null, (tx) => mend(tx, mending));
  }

  status(): NamespaceStatus {
    return {
      inodes: this.overlay.inodes,
      sessions: this.#sessions.size,
      logTail: this.log.tail(),
      appliedIndex: this.overlay.appliedIndex,
      waitingRecords: this.overlay.waiting,
      ...this.ticks.status(),
    };
  }

  /** Ends all sessions, durable ones so that they can be resumed; writes everything to the table and makes it durable. Log and table stay open: they are the caller's. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.resumption.abandon();
    for (const session of [...this.#sessions.values()]) {
      if (session.durable) this.leases.remove(session);
      else this.#end(session, null);
    }
    await this.ticks.stop();
    try {
      await this.overlay.apply();
      await this.overlay.apply();
      await this.overlay.trim();
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOSPC") throw error;
      // What the table lacks is in the log, and the next start takes it up from there.
      await this.log.sync(this.overlay.index);
      this.trace(`namespace: not all was written to the table at the end, the log has it: ${(error as Error).message}`);
    }
  }
}
