// The one path from a call to the log: attempt -> where something is missing, bring it about and attempt again -> append
// the entry -> make it true in memory.

import { FsError } from "../errno.ts";
import { timeStamp } from "../clock.ts";
import type { InodeId } from "../types.ts";
import type { LogIndex } from "../../storage/log.ts";
import { ENTRY_MAX_BYTES, type EntryKind, EntryWriter } from "./entry.ts";
import { ended } from "./leases.ts";
import type { Server } from "./server.ts";
import type { ServerSession } from "./sessions.ts";
import type { Miss } from "./state.ts";
import { type Call, INTERRUPTED, Transaction } from "./transaction.ts";

/** Attempts of one call before it is given up: each brings something nearer, and the deepest walk (rename's loop check) takes one a directory. */
const ATTEMPTS_MAX = 100_000;
/** A call that needs more attempts may need more records at once than the caches keep: from here on they forget nothing until it is over. */
const ATTEMPTS_BEFORE_HOLD = 16;

/** Whoever asked does not wait for it any more: it is not done. */
export class GivenUp extends FsError {
  constructor(kind: EntryKind) {
    super("EINTR", `${kind}: given up by whoever asked`);
  }
}

export class Transactions {
  readonly #server: Server;
  readonly #tx: Transaction;
  readonly #writer = new EntryWriter();

  constructor(server: Server) {
    this.#server = server;
    this.#tx = new Transaction(server.state, server.leases);
  }

  #begin(session: ServerSession | null, call: Call | null): void {
    this.#tx.start(session, call, timeStamp(this.#server.clock.dateMs()));
  }

  /** Appends the transaction's entry, if it has one, and makes it true. */
  #finish(kind: EntryKind): void {
    const tx = this.#tx;
    if (!tx.dirty) {
      tx.finish(this.#server.overlay.index);
      return;
    }
    const changes = tx.encode(this.#writer, kind);
    const entry = this.#writer.finish();
    if (entry.length > ENTRY_MAX_BYTES)
      throw new FsError(
        "EMSGSIZE",
        `${kind}: its log entry would have ${entry.length} bytes; at most ${ENTRY_MAX_BYTES} are taken`,
      );
    const index = this.#append(entry);
    const { overlay, ticks } = this.#server;
    for (const change of changes) {
      change.bytes = entry;
      overlay.set(change.prefix, change.rest, change.start < 0 ? null : change);
    }
    overlay.index = index;
    tx.apply(index);
    for (const stripe of tx.newlyDead()) ticks.becameDead(stripe, index);
  }

  /** One transaction: `run` is attempted until everything that it needs is in memory, and not any more once the signal is aborted (GivenUp). The reply itself, or a throw, where nothing has to be waited for. */
  runNow<T>(kind: EntryKind, session: ServerSession | null, run: (tx: Transaction) => T, signal?: AbortSignal): T | Promise<T> {
    const call = this.#server.leases.quiet ? null : {};
    if (this.#mustWait()) return this.#runSlowly(kind, session, run, signal);
    try {
      return this.attempt(kind, session, call, run);
    } catch (error) {
      if (error !== INTERRUPTED) throw error;
      return this.#runSlowly(kind, session, run, signal);
    }
  }

  /** One attempt; throws INTERRUPTED where something is missing. */
  attempt<T>(kind: EntryKind, session: ServerSession | null, call: Call | null, run: (tx: Transaction) => T): T {
    if (session !== null && session.ended) throw ended();
    this.#begin(session, call);
    const reply = run(this.#tx);
    this.#finish(kind);
    return reply;
  }

  /** Where the log takes no entry, nothing has changed: the call is refused, and the next one may find the log able again (a disk that was full). */
  #append(entry: Uint8Array): LogIndex {
    try {
      return this.#server.log.append(entry);
    } catch (error) {
      throw this.refusal("append to the log", error);
    }
  }

  /** The error of a call that the log or the table did not carry. */
  refusal(action: string, error: unknown): FsError {
    const { code, message } = error as { code?: string; message?: string };
    this.#server.trace(`namespace: ${action} failed: ${message ?? String(error)}`);
    return new FsError(code === "ENOSPC" ? "ENOSPC" : "EIO", `${action}: ${message ?? String(error)}`, { cause: error });
  }

  #mustWait(): boolean {
    const { overlay, log, limits } = this.#server;
    return overlay.full || log.pendingBytes > limits.logPendingBytes;
  }

  async #room(): Promise<void> {
    const { overlay, log, limits } = this.#server;
    try {
      if (overlay.full) await overlay.apply();
      if (log.pendingBytes > limits.logPendingBytes) await log.drained();
    } catch (error) {
      throw this.refusal("write what waits", error);
    }
  }

  async #runSlowly<T>(
    kind: EntryKind,
    session: ServerSession | null,
    run: (tx: Transaction) => T,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const { state, leases } = this.#server;
    const call: Call = {};
    const gates = new Set<InodeId>();
    const pinned: Miss[] = [];
    let held = false;
    try {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        while (this.#mustWait()) await this.#room();
        if (signal?.aborted) throw new GivenUp(kind);
        if (attempt === ATTEMPTS_BEFORE_HOLD) {
          state.hold(1);
          held = true;
        }
        try {
          return this.attempt(kind, session, call, run);
        } catch (error) {
          if (error !== INTERRUPTED) throw error;
        }
        await this.#bringAbout(session, call, gates, pinned);
      }
      throw new FsError("EIO", `${kind}: gave up after ${ATTEMPTS_MAX} attempts to have everything in memory that it needs`);
    } finally {
      if (held) state.hold(-1);
      state.pin(pinned, -1);
      leases.release(gates);
    }
  }

  /** `pinned` gets what stays in memory until the call is over. */
  async #bringAbout(session: ServerSession | null, call: Call, gates: Set<InodeId>, pinned: Miss[]): Promise<void> {
    const { state, leases, ticks, room } = this.#server;
    const { blocked, misses } = this.#tx;
    if (blocked !== null) {
      await leases.clear(blocked.inode, blocked.othersAtMost, blocked.names, session, call, gates);
      return;
    }
    for (const miss of misses) {
      if (miss.kind === "cut") await ticks.cutUntil(miss.inode, miss.until);
      if (miss.kind === "room") {
        await room.make(miss.bytes);
        call.roomMade = true;
      }
    }
    const loads = misses.filter(({ kind }) => kind !== "cut" && kind !== "room");
    state.pin(loads, 1);
    for (const miss of loads) pinned.push(miss);
    if (loads.length > 0) await state.load(loads);
  }
}
