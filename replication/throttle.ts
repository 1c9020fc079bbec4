// Holds background work to a rate of bytes, so that programs on the mount keep their latency.
import type { Clock } from "../storage/clock.ts";

/** Unspent allowance is kept for this long: short pauses are caught up, long ones do not end in a burst. */
const BURST_MS = 250;

/** What work asks before it moves bytes. */
export interface Pace {
  /** Resolves when these bytes may be moved. */
  spend(bytes: number): Promise<void>;
}

export class Throttle implements Pace {
  readonly #clock: Clock;
  /** Bytes per second; may be changed at any time. Infinity: no limit. */
  bytesPerSecond: number;
  #freeAtMs = -Infinity;

  constructor(clock: Clock, bytesPerSecond: number = Infinity) {
    this.#clock = clock;
    this.bytesPerSecond = bytesPerSecond;
  }

  /** Also resolves as soon as the signal aborts: work that is to end does the rest of its step without waiting. */
  async spend(bytes: number, signal?: AbortSignal): Promise<void> {
    if (this.bytesPerSecond === Infinity || signal?.aborted) return;
    const nowMs = this.#clock.nowMs();
    const startMs = Math.max(this.#freeAtMs, nowMs - BURST_MS);
    this.#freeAtMs = startMs + (bytes / this.bytesPerSecond) * 1000;
    if (startMs > nowMs) await this.#wait(startMs - nowMs, signal);
  }

  #wait(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const cancel = this.#clock.after(delayMs, end);
      signal?.addEventListener("abort", end);
    });
  }
}

/** The pace of one task: that of a throttle, which it may share with others, until it is given a rate of its own. Once the signal aborts it waits for nothing. */
export class TaskPace implements Pace {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #throttle: Throttle;

  constructor(clock: Clock, throttle: Throttle, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
    this.#throttle = throttle;
  }

  /** From the next spend on. */
  setRate(bytesPerSecond: number): void {
    this.#throttle = new Throttle(this.#clock, bytesPerSecond);
  }

  spend(bytes: number): Promise<void> {
    return this.#throttle.spend(bytes, this.#signal);
  }
}
