// Time as the namespace sees it, so that a simulation can drive it.

import type { TimeStamp } from "../messages.ts";

export interface Clock {
  /** Milliseconds since 1970; may have a fraction. */
  now(): number;
  /** Calls back once after so many ms; returns a function that takes it back. Does not keep the process alive. */
  after(milliseconds: number, callback: () => void): () => void;
}

export const realClock: Clock = {
  now: () => Date.now(),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

export function timeStamp(milliseconds: number): TimeStamp {
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanoseconds: Math.min(999_999_999, Math.floor((milliseconds - seconds * 1000) * 1e6)) };
}
