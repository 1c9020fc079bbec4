// One part of the mounts bench, and how it starts its programs: node processes, so that the bench itself never touches a
// mount and can end whatever hangs.

import { type ChildProcess, fork } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Store } from "../../test/fixture/store.ts";
import type { SecondMount } from "../../test/fixture/second-mount.ts";
import type { ProgramName } from "./worker.ts";
import type { WorkReport } from "./work.ts";

const workerFile = path.join(path.dirname(fileURLToPath(import.meta.url)), "worker.js");
/** Beyond the time that a program works by itself: an operation may take its limit, and be found to hang. */
const GRACE_MS = 90_000;

export type Figures = Record<string, number | string>;

export interface PartContext {
  readonly store: Store;
  /** Served by the daemon. */
  readonly one: string;
  readonly second: SecondMount;
  readonly seconds: number;
  readonly transactions: number;
  violation(text: string): void;
  /** Runs a program in a process of its own. `stop` sets its Work's `ended`. */
  start<T>(program: ProgramName, parameters: unknown, seconds?: number): Running<T>;
}

export interface Running<T> {
  /** Its result; null where it had to be killed or died, which is a violation already. */
  readonly result: Promise<(T & { work: WorkReport }) | null>;
  stop(): void;
}

export interface Part {
  name: string;
  about: string;
  /** Sessions of its mounts are ended by intent. */
  endsSessions?: true;
  run(context: PartContext): Promise<Figures>;
}

/** Starts programs and keeps their processes, so that `killAll` leaves none behind. */
export class Programs {
  readonly #children = new Set<ChildProcess>();
  readonly #violation: (text: string) => void;
  #ended = false;

  constructor(violation: (text: string) => void) {
    this.#violation = violation;
  }

  start<T>(program: ProgramName, parameters: unknown, seconds = 0): Running<T> {
    if (this.#ended) return { result: Promise.resolve(null), stop: () => {} };
    const child = fork(workerFile, [program, JSON.stringify(parameters)], { execArgv: ["--max-old-space-size=128"] });
    this.#children.add(child);
    const result = new Promise<(T & { work: WorkReport }) | null>((resolve) => {
      const timer = setTimeout(
        () => {
          this.#violation(`${program}: did not end within ${seconds + GRACE_MS / 1000} s`);
          child.kill("SIGKILL");
          resolve(null);
        },
        seconds * 1000 + GRACE_MS,
      );
      let reported = false;
      child.on("message", (message: { violation?: string; result?: T & { work: WorkReport } }) => {
        if (message.violation !== undefined) this.#violation(`${program}: ${message.violation}`);
        if (message.result === undefined) return;
        reported = true;
        resolve(message.result);
        child.kill("SIGKILL");
      });
      child.once("exit", (code, signal) => {
        clearTimeout(timer);
        this.#children.delete(child);
        if (!reported && signal !== "SIGKILL") this.#violation(`${program}: ended with ${signal ?? code}`);
        resolve(null);
      });
    });
    return { result, stop: () => child.connected && child.send("stop") };
  }

  /** Ends all; no more are started. */
  killAll(): void {
    this.#ended = true;
    for (const child of this.#children) child.kill("SIGKILL");
  }
}

/** The longest operation of some programs, as figures. */
export function longest(reports: readonly ({ work: WorkReport } | null)[]): Figures {
  let [operations, longestMs, what] = [0, 0, ""];
  for (const report of reports) {
    operations += report?.work.operations ?? 0;
    if (report && report.work.longestMs > longestMs) [longestMs, what] = [report.work.longestMs, report.work.longest];
  }
  return { operations, "longest operation, ms": Math.round(longestMs), "which was": what };
}
