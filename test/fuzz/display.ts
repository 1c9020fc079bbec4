// What `npm run fuzz` shows while it works: one line that changes on a terminal, a plain line now and then elsewhere.

import type { Progress, Watcher } from "./campaign.ts";

const PLAIN_LINE_INTERVAL_MS = 10_000;
const TERMINAL_INTERVAL_MS = 200;

export interface FuzzDisplay extends Watcher {
  stop(): void;
}

/** `minutes`: how long it goes on; 0 where that is not known. */
export function fuzzDisplay(minutes: number): FuzzDisplay {
  const terminal = process.stderr.isTTY;
  const began = performance.now();
  let nextAt = 0;
  return {
    update(progress) {
      const now = performance.now();
      if (now < nextAt) return;
      nextAt = now + (terminal ? TERMINAL_INTERVAL_MS : PLAIN_LINE_INTERVAL_MS);
      const text = `fuzz: ${describe(progress, (now - began) / 1000, minutes)}`;
      process.stderr.write(terminal ? `\r${text}\x1b[K` : `${text}\n`);
    },
    say(text) {
      process.stderr.write(`${terminal ? "\r\x1b[K" : ""}fuzz: ${text}\n`);
    },
    stop() {
      if (terminal) process.stderr.write("\r\x1b[K");
    },
  };
}

function describe({ seed, runs, operations, note }: Progress, seconds: number, minutes: number): string {
  const what = seed === null ? "replay" : `seed ${seed}`;
  const rate = Math.round(operations / Math.max(seconds, 0.001));
  const time = `${(seconds / 60).toFixed(1)}${minutes > 0 ? ` of ${minutes}` : ""} min`;
  return `${what}, ${runs} runs done, ${operations} operations (${rate}/s), ${time}${note ? `; a difference: ${note}` : ""}`;
}
