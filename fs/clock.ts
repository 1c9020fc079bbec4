// The date beside the time that only goes forward: one object has both, so that a mount and the namespace of one process agree.
//
// Intervals (leases, limits, deadlines, ages) are measured with nowMs(): somebody may set the date at any moment, and no lease
// becomes longer or shorter by that. The date is for the stamps that programs see, and for comparing such stamps with it.

import { type Clock, systemClock } from "../storage/clock.ts";
import type { TimeStamp } from "./messages.ts";

export interface DatedClock extends Clock {
  /** The date in ms since 1970, with a fraction where the system has one. It jumps, also back, where somebody sets it: no interval may be measured with it. */
  dateMs(): number;
}

/** The date as stat(2) has it. */
export function timeStamp(dateMs: number): TimeStamp {
  const seconds = Math.floor(dateMs / 1000);
  return { seconds, nanoseconds: Math.min(999_999_999, Math.floor((dateMs - seconds * 1000) * 1e6)) };
}

/** Rounding of Date and of performance.now. More between them means that somebody has set the date. */
const ROUNDING_MS = 2;
/** A date that goes back by less is held until it has caught up: a file's stamps do not go back while the date is slewed. */
const HELD_MS = 1000;

/** The system's: `after` does not keep the process alive. `date` and `steady` are what it reads, in ms. */
export function systemDatedClock(date = Date.now, steady = systemClock.nowMs): DatedClock {
  let last = 0;
  let base = date() - steady();
  return {
    nowMs: steady,
    dateMs() {
      let now = base + steady();
      const wall = date();
      if (now - wall > ROUNDING_MS || wall - now > ROUNDING_MS) {
        base = wall - steady();
        now = wall;
      }
      if (now > last || last - now > HELD_MS) last = now;
      return last;
    },
    after(delayMs, action) {
      const timer = setTimeout(action, delayMs);
      timer.unref();
      return () => clearTimeout(timer);
    },
  };
}
