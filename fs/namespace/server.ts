// The namespace server: its parts, and what the daemon asks of it (namespace.ts). The parts know one another through it.

import type { Log } from "../../storage/log.ts";
import type { Table } from "../../storage/table.ts";
import { systemDatedClock, type DatedClock } from "../clock.ts";
import type { SessionEvents } from "../messages.ts";
import { type InodeId, ROOT_INODE, S_IFDIR, type SessionId } from "../types.ts";
import { Answers } from "./answers.ts";
import { Calls } from "./calls.ts";
import { checkNamespace } from "./check.ts";
import type { CheckOptions, Problem } from "./check-walk.ts";
import type { EntryKind } from "./entry.ts";
import { Identities } from "./identities.ts";
import { InlineCount } from "./inline-count.ts";
import { after, describeKey, id8, idFrom, keyBytes, PROMISED_KEY, TAG_EXTENT, TAG_META } from "./keys.ts";
import { Leases } from "./leases.ts";
import { Locks } from "./locks.ts";
import { findLostFiles, type Loss, type LostFile } from "./lost-files.ts";
import { makeLostAndFound } from "./lost-and-found.ts";
import { damagedBytes } from "./mend-damaged.ts";
import { hidesData, keepHidden } from "./mend-extents.ts";
import { mend, type Mending } from "./mend.ts";
import { newInode } from "./names.ts";
import type {
  Namespace,
  NamespaceLimits,
  NamespaceOptions,
  NamespaceSession,
  NamespaceStatus,
  SessionOptions,
  StripeHooks,
} from "./namespace.ts";
import type { Overlay } from "./overlay.ts";
import { decodeNumber, encodeNumber, openValue } from "./records.ts";
import { FORMAT } from "./recovery.ts";
import { type Relocation, relocationOf } from "./relocation.ts";
import { Resumption } from "./resumption.ts";
import { Room } from "./room.ts";
import { type ServerSession, Sessions } from "./sessions.ts";
import { State } from "./state.ts";
import { type StripeDirectory, stripeDirectory } from "./stripe-directory.ts";
import { Ticks } from "./ticks.ts";
import type { Transaction } from "./transaction.ts";
import { Transactions } from "./transactions.ts";

/** Records of the table looked at in one scan for a file's next extent. */
const NEXT_EXTENT_RECORDS_MAX = 4096;

/** @internal Shared with the parts of the server. */
export class Server implements Namespace {
  readonly overlay: Overlay;
  readonly state: State;
  readonly leases: Leases;
  readonly locks: Locks;
  readonly limits: NamespaceLimits;
  readonly clock: DatedClock;
  readonly hooks: StripeHooks | undefined;
  readonly recordSpace: NamespaceOptions["recordSpace"];
  readonly log: Log;
  readonly table: Table;
  readonly ticks: Ticks;
  readonly identities: Identities;
  readonly room: Room;
  readonly resumption: Resumption;
  readonly stripes: StripeDirectory;
  readonly relocation: Relocation;
  readonly inlineCount: InlineCount;
  readonly trace: (line: string) => void;
  readonly #quarantine: NamespaceOptions["quarantine"];
  readonly transactions: Transactions;
  readonly sessions: Sessions;
  readonly calls: Calls;
  readonly answers: Answers;
  #closed = false;

  constructor(options: NamespaceOptions, limits: NamespaceLimits, overlay: Overlay) {
    this.overlay = overlay;
    this.limits = limits;
    this.log = options.log;
    this.table = options.table;
    this.clock = options.clock ?? systemDatedClock();
    this.locks = new Locks(this.clock);
    this.hooks = options.stripes;
    this.recordSpace = options.recordSpace;
    this.trace = options.trace ?? (() => {});
    this.#quarantine = options.quarantine;
    this.state = new State(overlay, limits.cacheBytes);
    this.leases = new Leases(this.clock, (session, reason) => this.sessions.end(session as ServerSession, reason));
    this.transactions = new Transactions(this);
    this.sessions = new Sessions(this);
    this.calls = new Calls(this);
    this.answers = new Answers(this);
    this.ticks = new Ticks(this);
    this.room = new Room(this);
    this.inlineCount = new InlineCount(limits.inlineFileBytes);
    this.identities = new Identities(this.overlay, this.ticks, this.inlineCount, this.room);
    this.resumption = new Resumption({
      clock: this.clock,
      limitMs: limits.resumeMs,
      awaits: options.awaits ?? (() => true),
      notResumed: (id) => this.sessions.notResumed(id),
    });
    this.stripes = stripeDirectory(this);
    this.relocation = relocationOf(this);
  }

  createRoot(root: { mode: number; uid: number; gid: number }): void {
    this.transactions.attempt("create-store", null, null, (tx) => {
      const inode = newInode(tx, ROOT_INODE, S_IFDIR | (root.mode & 0o7777), root.uid, root.gid);
      inode.parent = ROOT_INODE;
      tx.add(inode);
      tx.raw(`${TAG_META}format`, "", (writer) => encodeNumber(writer, FORMAT));
      this.identities.countInodes(tx, 1);
    });
  }

  async start(): Promise<void> {
    this.state.promisedBytes = await this.overlay.get([PROMISED_KEY], ([value]) =>
      value === null ? 0 : decodeNumber(openValue(PROMISED_KEY, value)),
    );
    await this.resumption.start(this.overlay);
    await this.identities.start((session) => this.resumption.awaits(session));
    await this.ticks.start();
  }

  /** One transaction: `run` is attempted until everything that it needs is in memory. */
  async transact<T>(
    kind: EntryKind,
    session: ServerSession | null,
    run: (tx: Transaction) => T,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.transactions.runNow(kind, session, run, signal);
  }

  openSession(events: SessionEvents, options: SessionOptions = {}): Promise<NamespaceSession> {
    return this.sessions.open(events, options);
  }

  expireSession(id: SessionId, reason: string): void {
    this.sessions.expire(id, reason);
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

  expireUnheard(): void {
    this.sessions.expireUnheard();
  }

  tick(): Promise<boolean> {
    return this.ticks.run();
  }

  async sync(): Promise<void> {
    try {
      await this.log.sync(this.overlay.index);
    } catch (error) {
      throw this.transactions.refusal("sync the log", error);
    }
  }

  written(): Promise<void> | undefined {
    if (this.log.pendingBytes === 0) return undefined;
    return this.log.drained().catch((error: unknown) => {
      // On a full disk the log goes on by itself once there is space.
      if ((error as { code?: string }).code !== "ENOSPC") throw this.transactions.refusal("write the log", error);
    });
  }

  apply(): Promise<void> {
    return this.overlay.apply();
  }

  async *check(options: CheckOptions = {}): AsyncGenerator<Problem> {
    const snapshot = await this.overlay.snapshot();
    try {
      yield* checkNamespace(snapshot, options);
    } finally {
      await snapshot.close();
    }
  }

  async lostFiles(loss: Loss): Promise<LostFile[]> {
    const snapshot = await this.overlay.snapshot();
    try {
      return await findLostFiles(snapshot, loss);
    } finally {
      await snapshot.close();
    }
  }

  async mend(mending: Mending): Promise<boolean> {
    if (mending.kind === "inodes") {
      this.overlay.recount(mending.difference);
      return true;
    }
    // What is cached of them may come from the flags that are wrong.
    if (mending.kind === "attributes") this.state.forget(mending.inode);
    if (mending.kind === "lost" || mending.kind === "lostDirectory") return this.#mendLost(mending);
    if (mending.kind === "extents" && !(await this.#keepHidden(mending))) return false;
    if (mending.kind === "damaged" && !(await this.#putIntoQuarantine(mending.key))) return false;
    const needsPlace = mending.kind === "orphan" || mending.kind === "loop";
    if (needsPlace && !(await this.#haveLostAndFound())) return false;
    return this.transact("repair", null, (tx) => mend(tx, mending, this.identities));
  }

  /** What overlapping extents hide is kept first: a crash in between leaves it twice. */
  async #keepHidden({ inode, window }: Mending & { kind: "extents" }): Promise<boolean> {
    const hides = await this.transact("none", null, (tx) => hidesData(tx, inode, window));
    if (!hides) return true;
    if (!(await this.#haveLostAndFound())) return false;
    return this.transact("make", null, (tx) => keepHidden(tx, inode, window, this.identities));
  }

  /** The damaged record's bytes are durable elsewhere before it goes. */
  async #putIntoQuarantine(key: string): Promise<boolean> {
    const value = await this.transact("none", null, (tx) => damagedBytes(tx, key));
    if (value === null) return true;
    if (this.#quarantine === undefined) return false;
    const { bytes, start, end } = value;
    await this.#quarantine({ what: describeKey(key), key: keyBytes(key), value: bytes.slice(start, end) });
    return true;
  }

  #haveLostAndFound(): Promise<boolean> {
    return this.transact("make", null, (tx) => makeLostAndFound(tx, this.identities));
  }

  /** An inode that was left without a name by a crash in between is an orphan to the next check. */
  async #mendLost(mending: Mending & { kind: "lost" | "lostDirectory" }): Promise<boolean> {
    const made = await this.transact("make", null, (tx) => mend(tx, mending, this.identities));
    const named = mending.kind === "lost" ? mending.names > 0 : mending.parent !== null;
    if (!made || named) return made;
    return this.mend({ kind: "orphan", inode: mending.inode, difference: 0 });
  }

  space(): { totalBytes: number; freeBytes: number } {
    return this.room.space();
  }

  status(): NamespaceStatus {
    return {
      inodes: this.overlay.inodes,
      promisedBytes: this.state.promisedBytes,
      sessions: this.sessions.size,
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
    this.sessions.close();
    await this.ticks.stop();
    await this.state.settled();
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
