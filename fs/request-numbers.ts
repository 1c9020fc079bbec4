// The numbers of a session's requests that change something. The server keeps the reply to each until it is told that the
// reply has come: every numbered request says which before it are not answered. So one that waits long holds nobody else up.
//
// At most UNANSWERED_MAX are not answered at a time, and the last of them are kept for what a flush needs: others wait for
// what is flushed, so a flush must not wait behind them. Who waits for a number does so in turn, and until the deadline.

import type { Place } from "../replication/connection.ts";
import type { Clock } from "../storage/clock.ts";
import { FsError } from "./errno.ts";
import type { OperationName } from "./messages.ts";
import { type NumberRuns, runsOf } from "./number-runs.ts";

/** What the server keeps for each session: replies of a few hundred bytes. */
export const UNANSWERED_MAX = 512;
/** A mount has one commit on its way, one of access times, and one reservation of stripe numbers; the rest is for who comes later. */
export const UNANSWERED_FLUSH = 64;
/** More than one mount has programs. */
export const NUMBERS_WAITING_MAX = 10_000;

/** A request's number, and the numbers before it whose replies have not come. */
export interface Numbered {
  number: number;
  unanswered: NumberRuns;
}

interface Waiter {
  operation: OperationName;
  resolve: (numbered: Numbered) => void;
  cancelTimer: () => void;
}

export class RequestNumbers {
  readonly #clock: Clock;
  /** Ascending, as numbers are given out. */
  readonly #unanswered = new Map<number, OperationName>();
  readonly #waiting = new Set<Waiter>();
  #next = 1;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The next number, or null where the request has to `wait` for one. */
  take(operation: OperationName, place: Place): Numbered | null {
    const most = place === "flush" ? UNANSWERED_MAX : UNANSWERED_MAX - UNANSWERED_FLUSH;
    if (this.#unanswered.size >= most || (place !== "flush" && this.#waiting.size > 0)) return null;
    return this.#give(operation);
  }

  /** Resolves with a number when there is one for it. ETIMEDOUT, EAGAIN where too many wait. */
  wait(operation: OperationName, deadlineMs: number): Promise<Numbered> {
    if (this.#waiting.size >= NUMBERS_WAITING_MAX)
      return Promise.reject(new FsError("EAGAIN", `${operation}: ${NUMBERS_WAITING_MAX} changes wait for their turn already`));
    return new Promise((resolve, reject) => {
      const late = (): void => {
        this.#waiting.delete(waiter);
        reject(
          new FsError("ETIMEDOUT", `${operation}: ${this.#unanswered.size} changes before it are not answered; it was not sent`),
        );
      };
      const waiter: Waiter = { operation, resolve, cancelTimer: this.#clock.after(deadlineMs, late) };
      this.#waiting.add(waiter);
    });
  }

  /** The reply has come, or nobody waits for it any more. */
  settle(number: number): void {
    this.#unanswered.delete(number);
    for (const waiter of this.#waiting) {
      if (this.#unanswered.size >= UNANSWERED_MAX - UNANSWERED_FLUSH) return;
      this.#waiting.delete(waiter);
      waiter.cancelTimer();
      waiter.resolve(this.#give(waiter.operation));
    }
  }

  /** Numbers whose replies have not come, with what was asked. */
  unanswered(): Iterable<[number, OperationName]> {
    return this.#unanswered;
  }

  #give(operation: OperationName): Numbered {
    const number = this.#next++;
    const unanswered = runsOf(this.#unanswered.keys());
    this.#unanswered.set(number, operation);
    return { number, unanswered };
  }
}
