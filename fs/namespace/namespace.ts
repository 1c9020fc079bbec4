// What the namespace server offers, and opening it. It carries out requests of sessions as transactions over the table,
// in the order of the log.
//
// How a call runs (transactions.ts): attempt (transaction.ts) -> where something is missing, bring it about and attempt
// again -> append the entry to the log -> make it true in memory -> reply. An attempt with all in memory runs to its end
// without giving the event loop up. What is in the log reaches the table later, many changes at once (overlay.ts).

import type { HeldLease, HeldLock, OperationName, Reply, Request, Session, SessionEvents } from "../messages.ts";
import type { NumberRuns } from "../number-runs.ts";
import { UNANSWERED_MAX } from "../request-numbers.ts";
import type { SessionId, StripeId } from "../types.ts";
import type { Log, LogIndex } from "../../storage/log.ts";
import type { Table } from "../../storage/table.ts";
import type { Stripe } from "../../replication/stripe.ts";
import type { CheckOptions, Problem } from "./check-walk.ts";
import type { Loss, LostFile } from "./lost-files.ts";
import type { Mending } from "./mend.ts";
import type { DatedClock } from "../clock.ts";
import { openTable, replay } from "./recovery.ts";
import type { OverlayLimits } from "./overlay.ts";
import type { Relocation } from "./relocation.ts";
import { Server } from "./server.ts";
import type { StripeDirectory } from "./stripe-directory.ts";

export interface NamespaceOptions {
  table: Table;
  log: Log;
  clock?: DatedClock;
  /** Of the medium that has log and table. Without it they are taken to have room. */
  recordSpace?: () => Promise<{ totalBytes: number; freeBytes: number }>;
  /** How the namespace gets rid of blocks on disks, and how much room there is. Without it stripes are only forgotten. */
  stripes?: StripeHooks;
  /** Receives one line for each thing worth knowing. */
  trace?: (line: string) => void;
  limits?: Partial<NamespaceLimits>;
  /** Owner and permissions of the root directory of a new store. */
  root?: { mode: number; uid: number; gid: number };
  /** Keeps the bytes of a damaged record that is about to be removed; resolves when they are durable. Without it damaged records stay. */
  quarantine?: (record: DamagedRecord) => Promise<void>;
  /** Whether a durable session of before this start, with what it gave as its owner, may come back. By default each may. */
  awaits?: (owner: string) => boolean;
}

export interface DamagedRecord {
  /** Which record, for people. */
  what: string;
  key: Uint8Array;
  value: Uint8Array;
}

export interface StripeHooks {
  /** Removes all blocks of the stripes from every disk that is there. Called only when the log entry that dropped them is durable. May be called again for the same ones. */
  remove(stripes: readonly Stripe[]): Promise<void>;
  /** Removes blocks of stripes that were never committed, wherever they are: the ids, their scheme and disks unknown. */
  removeUncommitted(first: StripeId, count: number, except: ReadonlySet<StripeId>): Promise<void>;
  space(): { totalBytes: number; freeBytes: number };
  /** Makes what space() says true of this moment. With `release` the disks first give back what deleted blocks held. Takes a bounded time. Absent: space() is always true. */
  measure?(release: boolean): Promise<void>;
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
  /** Numbered requests that a session may have unanswered: their replies are kept. */
  unanswered: number;
  /** What a file may get inline, short ranges counted as 1 KiB, before it is moved to a stripe. */
  inlineFileBytes: number;
  sessions: number;
  /** How long after a start everyone else waits at least for durable sessions to come back (resumption.ts). */
  resumeMs: number;
}

const DEFAULT_LIMITS: NamespaceLimits = {
  cacheBytes: 48 * 1024 * 1024,
  applyRecords: 16 * 1024,
  maximumRecords: 128 * 1024,
  maximumBytes: 64 * 1024 * 1024,
  logPendingBytes: 32 * 1024 * 1024,
  applyIntervalMs: 1000,
  trimIntervalMs: 10_000,
  deadStripeGraceMs: 2_000,
  unanswered: UNANSWERED_MAX,
  inlineFileBytes: 2 * 1024 * 1024,
  sessions: 1024,
  resumeMs: 10_000,
};

export interface SessionOptions {
  /** How long the session may take to give up a lease before it is ended: three times as long where it is heard of meanwhile, and where it is in this process. With `expires` also how long it may be unheard. A session that is resumed keeps the limit that it had. */
  limitMs?: number;
  /** The session ends when nothing is heard of it for limitMs: for mounts in other processes. */
  expires?: boolean;
  /** It outlives the server: replies to changes are stored with the state, so that a repeated request is answered and not done twice. */
  durable?: boolean;
  /** Of a durable session: text kept with it, for NamespaceOptions.awaits. */
  owner?: string;
  /** A durable session of before a restart of the server. */
  resume?: SessionId;
  /** The session that the mount had before this one. It knows that it is over, so nobody need wait any longer for that. */
  former?: SessionId;
}

export interface NumberedOptions {
  /** Numbers below this one whose replies have not come. The replies to all others need not be kept any more. */
  unanswered?: NumberRuns;
  /** As of NamespaceSession.call. */
  signal?: AbortSignal;
}

export interface Answered<Name extends OperationName> {
  reply: Reply<Name>;
  /** It was carried out before. The reply grants nothing, but that the session knows the inode of a make, makeUnnamed or link. */
  repeated: boolean;
}

/** A session as the server sees it. */
export interface NamespaceSession extends Session {
  /** As in Session. With the signal aborted, what has not been done yet is not done: nobody waits for it. */
  call<Name extends OperationName>(operation: Name, request: Request<Name>, signal?: AbortSignal): Promise<Reply<Name>>;
  /** For transports that may repeat a request: the same number gets the same reply. Numbers grow by one. */
  callNumbered<Name extends OperationName>(
    number: number,
    operation: Name,
    request: Request<Name>,
    options?: NumberedOptions,
  ): Promise<Answered<Name>>;
  /** The time limit that it goes by. */
  readonly limitMs: number;
  /** The session was heard of. Every call says so by itself. */
  heard(): void;
  /** Resumed after a restart of the server, and not yet done with saying what it held: it makes no calls until `reclaimed`. */
  readonly reclaiming: boolean;
  /** Says what a resumed session held. ESTALE where another holds what conflicts: the session cannot go on then. */
  reclaim(leases: readonly HeldLease[], locks: readonly HeldLock[]): void;
  /** That was all, and these numbered requests wait for their replies; by those of `learning` the mount comes to know an inode. Resolves when every other session had its turn, too: from then on there may be changes. */
  reclaimed(unanswered?: readonly number[], learning?: readonly number[]): Promise<void>;
  /** Resolves when every session of before the start had its turn to say what it held; undefined where that is so. Until then the session makes no calls, whatever it has said of itself. */
  readonly othersReclaim: Promise<void> | undefined;
  /** Ends the session, whose mount may not know. What it holds is in the others' way until it must know: for its limit, or until it comes for another (SessionOptions.former). close() is for mounts that know, or are gone. */
  fail(reason: string): void;
  /** Ends the session, whose mount knows or is gone. `stored` resolves when nothing is being stored any more under the numbers that it reserved: what it did not commit is removed then. */
  close(stored?: Promise<void>): Promise<void>;
}

export interface Namespace {
  openSession(events: SessionEvents, options?: SessionOptions): Promise<NamespaceSession>;
  /** Ends a session as its time limit would. */
  expireSession(id: SessionId, reason: string): void;
  /** Ends the sessions that were not heard of for their limits. tick() does so, too; call it every 250 ms besides, for a tick may wait long for disks. */
  expireUnheard(): void;
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
  check(options?: CheckOptions): AsyncIterable<Problem>;
  /** Mends what the check found and called mendable. False where it has become impossible. */
  mend(mending: Mending): Promise<boolean>;
  /** Which files have bytes in what is lost, and what they are called. Walks everything. */
  lostFiles(loss: Loss): Promise<LostFile[]>;
  status(): NamespaceStatus;
  /** In bytes of data under the store's scheme. What is promised to reserved ranges is not free. */
  space(): { totalBytes: number; freeBytes: number };
  close(): Promise<void>;
}

export interface NamespaceStatus {
  inodes: number;
  /** Reserved in files and not written yet. */
  promisedBytes: number;
  sessions: number;
  logTail: LogIndex;
  appliedIndex: LogIndex;
  waitingRecords: number;
  unnamedInodes: number;
  cutInodes: number;
  deadStripes: number;
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
