// Wall time, injected: a simulation drives it, and one process has one idea of now for the mount and the namespace alike.
// What only measures and waits takes storage/clock.ts, whose time says nothing of the date.

import type { Clock } from "../storage/clock.ts";
import type { TimeStamp } from "./messages.ts";

export interface WallClock extends Pick<Clock, "after"> {
  /** Wall time in ms since 1970, with a fraction where the system has one. Never goes back within a process. */
  now(): number;
  /** Calls `action` once, `delayMs` from now. Returns what cancels it. Does not keep the process alive. */
  after(delayMs: number, action: () => void): () => void;
}

/** The time as stat(2) has it. */
export function timeStamp(nowMs: number): TimeStamp {
  const seconds = Math.floor(nowMs / 1000);
  return { seconds, nanoseconds: Math.min(999_999_999, Math.floor((nowMs - seconds * 1000) * 1e6)) };
}

/** The system's clock. Follows Date (so that a corrected system clock is followed) with performance.now's fraction. */
export function systemWallClock(): WallClock {
  let last = 0;
  let base = Date.now() - performance.now();
  return {
    now() {
      let now = base + performance.now();
      const wall = Date.now();
      // The fraction may differ from Date by its own rounding; more means that somebody set the clock.
      if (now - wall > 2 || wall - now > 2) {
        base = wall - performance.now();
        now = wall;
      }
      if (now > last || last - now > 1000) last = now;
      return last;
    },
    after(delayMs, action) {
      const timer = setTimeout(action, delayMs);
      timer.unref();
      return () => clearTimeout(timer);
    },
  };
}
