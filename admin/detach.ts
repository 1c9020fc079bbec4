// Starting this program again as a background process, and hearing from it whether it serves.

import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { AdminError, type AdminErrorCode } from "./errors.ts";

/** Replaying the longest log that is kept takes well under a minute; a first start a second. */
const READY_TIMEOUT_MS = 120_000;
/** The parent hands a detached process the pipe on which it says how its start went, under this number. */
const READY_DESCRIPTOR = 3;
/** Characters of the trace that are shown where a process ends without saying why. */
const TRACE_SHOWN_MAX = 2000;
const GIVE_UP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const DETACHED_VARIABLE = "CAIRN_DETACHED";

export function isDetached(): boolean {
  return process.env[DETACHED_VARIABLE] !== undefined;
}

type Answer<T> = { ready: T } | { error: { code: AdminErrorCode; message: string } };

function announce<T>(answer: Answer<T>): void {
  if (!isDetached()) return;
  try {
    fs.writeSync(READY_DESCRIPTOR, `${JSON.stringify(answer)}\n`);
  } catch (error) {
    // Who started it was killed meanwhile: it was asked for all the same.
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
  fs.closeSync(READY_DESCRIPTOR);
}

/** In a detached process: tells the parent that it serves. Does nothing in the foreground. */
export function announceReady<T>(ready: T): void {
  announce({ ready });
}

/** In a detached process: tells the parent why it does not serve. Does nothing in the foreground. */
export function announceFailure(error: unknown): void {
  announce({ error: { code: error instanceof AdminError ? error.code : "internal", message: (error as Error).message } });
}

function openTrace(file: string): number {
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    return fs.openSync(file, "a", 0o600);
  } catch (error) {
    const text = `cannot write ${file}: ${(error as Error).message}; the data directory should be one that you may write to: name another with --data`;
    throw new AdminError("refused", text, { cause: error });
  }
}

/** The end of what was traced. */
function lastText(traceFile: string): string {
  return fs.readFileSync(traceFile, "utf8").slice(-TRACE_SHOWN_MAX).trim();
}

/** Runs `cairn WORDS` in the background with its output appended to traceFile. Resolves with what it announced; rejects with AdminError where it does not come to serve. */
export async function startDetached<T>(words: readonly string[], traceFile: string): Promise<T> {
  const program = fileURLToPath(new URL("../../cairn.cjs", import.meta.url));
  const output = openTrace(traceFile);
  const child = spawn(process.execPath, ["--enable-source-maps", program, ...words], {
    detached: true,
    stdio: ["ignore", output, output, "pipe"],
    env: { ...process.env, [DETACHED_VARIABLE]: "1" },
  });
  fs.closeSync(output);
  // Whoever gives up waiting does not want it to serve.
  let gaveUp: NodeJS.Signals | null = null;
  const giveUp = (signal: NodeJS.Signals): void => {
    gaveUp = signal;
    child.kill(signal);
  };
  for (const signal of GIVE_UP_SIGNALS) process.on(signal, giveUp);
  const answer = await new Promise<Answer<T>>((resolve, reject) => {
    let text = "";
    const refuse = (message: string): void =>
      reject(new AdminError("refused", `${message}: ${lastText(traceFile) || "it said nothing"}`));
    const timer = setTimeout(() => {
      child.kill("SIGTERM");
      refuse(`cairn ${words[0]} does not serve after ${READY_TIMEOUT_MS / 1000} s`);
    }, READY_TIMEOUT_MS);
    const pipe = child.stdio[READY_DESCRIPTOR] as Readable;
    pipe.setEncoding("utf8");
    pipe.on("data", (chunk: string) => {
      text += chunk;
      if (!text.endsWith("\n")) return;
      clearTimeout(timer);
      resolve(JSON.parse(text) as Answer<T>);
    });
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      if (gaveUp !== null) process.exit(128 + os.constants.signals[gaveUp]);
      // What it announced may still be in the pipe.
      setImmediate(() => refuse(`cairn ${words[0]} ended at its start (${signal ?? `exit code ${code}`})`));
    });
  });
  for (const signal of GIVE_UP_SIGNALS) process.off(signal, giveUp);
  child.unref();
  if ("error" in answer) throw new AdminError(answer.error.code, answer.error.message);
  return answer.ready;
}
