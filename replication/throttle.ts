// Holds background work to a rate of bytes, so that programs on the mount keep their latency.
import { type Clock, sleep } from "../storage/clock.ts";

/** Unspent allowance is kept for this long: short pauses are caught up, long ones do not end in a burst. */
const BURST_MS = 250;

export class Throttle {
  readonly #clock: Clock;
  /** Bytes per second; may be changed at any time. Infinity: no limit. */
  bytesPerSecond: number;
  #freeAtMs = -Infinity;

  constructor(clock: Clock, bytesPerSecond: number = Infinity) {
    this.#clock = clock;
    this.bytesPerSecond = bytesPerSecond;
  }

  /** Resolves when these bytes may be moved. */
  async spend(bytes: number): Promise<void> {
    if (this.bytesPerSecond === Infinity) return;
    const nowMs = this.#clock.nowMs();
    const startMs = Math.max(this.#freeAtMs, nowMs - BURST_MS);
    this.#freeAtMs = startMs + (bytes / this.bytesPerSecond) * 1000;
    if (startMs > nowMs) await sleep(this.#clock, startMs - nowMs);
  }
}
