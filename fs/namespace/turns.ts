// Whose turn it is to lock an inode, among sessions whose programs do not wait for a lock but ask again (F_SETLK, LOCK_NB).
//
// Such a program sleeps between its tries. Beside a nearer one that takes the lock again as soon as it gave it up, it would
// hardly ever find it free: SQLite needs three locks in a row, and sleeps up to 100 ms between tries. So who was refused
// because of another session's lock has the next turn. During it, an owner of another session that holds nothing on the
// inode is kept waiting before it gets a first lock, also one that would wait for it (F_SETLKW); who holds something goes on,
// so that nobody waits for himself.
//
// 1. A turn ends when its session has had every lock that it asked for and holds none any more; at the latest TURN_MAX_MS
//    after its last refusal. One that ended too early for the session's next try is remembered for TURN_MAX_MS: the next is longer.
// 2. A request is kept waiting once, for one turn: no longer than that.
// 3. Only one turn an inode: whoever else is refused meanwhile gets none. Who was kept waiting for a writer has the next:
//    so writers alternate, and readers get in each other's way for one turn at most.

import type { Clock } from "../../storage/clock.ts";
import type { FsError } from "../errno.ts";
import type { InodeId, SessionId } from "../types.ts";

/** SQLite comes again after 1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100, 100 ... ms: a turn lasts longer than the next pause, from the second refusal on twice as long as the one before, so that a program that does not come again delays others little. */
const TURN_MIN_MS = 10;
const TURN_MAX_MS = 120;
/** Inodes with turns; beyond that nobody is given one. Also inodes whose last turn is remembered. */
export const TURNS_MAX = 4096;
/** Requests that are kept waiting for one turn; others are not. */
export const KEPT_WAITING_MAX = 1024;

/** A request that comes too early. */
export interface Early {
  session: SessionId;
  /** Makes its attempt. */
  go: () => void;
  refuse: (error: FsError) => void;
}

interface Turn {
  session: SessionId;
  lengthMs: number;
  /** The session has had a lock since it was last refused. */
  served: boolean;
  /** It has had one for writing in this turn. */
  wrote: boolean;
  waiting: Early[];
  cancelTimer: () => void;
}

/** Whose turn it was last. */
interface Last {
  session: SessionId;
  /** Of its next one. */
  lengthMs: number;
  until: number;
}

export class Turns {
  readonly #clock: Clock;
  readonly #turns = new Map<InodeId, Turn>();
  /** The oldest first. */
  readonly #last = new Map<InodeId, Last>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The session was refused because of another session's lock. */
  refused(inode: InodeId, session: SessionId): void {
    const turn = this.#turns.get(inode);
    if (turn === undefined) {
      if (this.#turns.size >= TURNS_MAX) return;
      this.#begin(inode, session, this.#firstLength(inode, session));
    } else if (turn.session === session) {
      turn.lengthMs = Math.min(2 * turn.lengthMs, TURN_MAX_MS);
      turn.served = false;
      this.#prolong(inode, turn);
    }
  }

  /** Whether it is another session's turn. */
  isOthers(inode: InodeId, session: SessionId): boolean {
    const turn = this.#turns.get(inode);
    return turn !== undefined && turn.session !== session && turn.waiting.length < KEPT_WAITING_MAX;
  }

  /** Keeps a request waiting until the turn that `isOthers` found is over. */
  keepWaiting(inode: InodeId, early: Early): void {
    this.#turns.get(inode)!.waiting.push(early);
  }

  /** The session has got a lock. */
  served(inode: InodeId, session: SessionId, toWrite: boolean): void {
    const turn = this.#turns.get(inode);
    if (turn?.session !== session) return;
    turn.served = true;
    turn.wrote ||= toWrite;
  }

  /** The session holds nothing on the inode any more. */
  left(inode: InodeId, session: SessionId): void {
    const turn = this.#turns.get(inode);
    if (turn?.session === session && turn.served) this.#end(inode, turn);
  }

  releaseSession(session: SessionId, error: FsError): void {
    for (const [inode, turn] of [...this.#turns]) {
      const gone = turn.waiting.filter((early) => early.session === session);
      turn.waiting = turn.waiting.filter((early) => early.session !== session);
      for (const { refuse } of gone) refuse(error);
      if (turn.session === session) this.#end(inode, turn);
    }
  }

  #begin(inode: InodeId, session: SessionId, lengthMs: number): void {
    const turn = { session, lengthMs, served: false, wrote: false, waiting: [], cancelTimer: () => {} };
    this.#turns.set(inode, turn);
    this.#prolong(inode, turn);
  }

  #firstLength(inode: InodeId, session: SessionId): number {
    const last = this.#last.get(inode);
    return last?.session === session && this.#clock.nowMs() <= last.until ? last.lengthMs : TURN_MIN_MS;
  }

  #remember(inode: InodeId, { session, lengthMs, served }: Turn): void {
    this.#last.delete(inode);
    if (this.#last.size >= TURNS_MAX) this.#last.delete(this.#last.keys().next().value!);
    const nextMs = served ? lengthMs : Math.min(2 * lengthMs, TURN_MAX_MS);
    this.#last.set(inode, { session, lengthMs: nextMs, until: this.#clock.nowMs() + TURN_MAX_MS });
  }

  #prolong(inode: InodeId, turn: Turn): void {
    turn.cancelTimer();
    turn.cancelTimer = this.#clock.after(turn.lengthMs, () => this.#end(inode, turn));
  }

  #end(inode: InodeId, turn: Turn): void {
    const { waiting, wrote, cancelTimer } = turn;
    cancelTimer();
    this.#turns.delete(inode);
    this.#remember(inode, turn);
    if (wrote && waiting.length > 0) this.#begin(inode, waiting[0].session, TURN_MAX_MS);
    for (const { go } of waiting) go();
  }
}
