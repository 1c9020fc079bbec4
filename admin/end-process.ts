// How the process of a mount is asked to end, and waited for.

import { setTimeout as sleep } from "node:timers/promises";
import { AdminError } from "./errors.ts";

const LOOK_EVERY_MS = 50;

interface Serving {
  pid: number;
  /** Where it is mounted. */
  path: string;
}

/** Asks the process to end. Rejects with AdminError where it has not ended by then. */
export async function endProcess({ pid, path: where }: Serving, timeoutMs: number): Promise<void> {
  if (!(await signalled({ pid, path: where }, "SIGTERM"))) return;
  if (await gone(() => signalled({ pid, path: where }, 0), timeoutMs)) return;
  throw new AdminError(
    "refused",
    `process ${pid}, which serves ${where}, has not ended within ${timeoutMs / 1000} s; is a program still using the mount?`,
  );
}

/** False where the process is gone. */
export async function signalled({ pid, path: where }: Serving, signal: NodeJS.Signals | 0): Promise<boolean> {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    const text = `cannot end process ${pid}, which serves ${where}: ${(error as Error).message}`;
    throw new AdminError("refused", text, { cause: error });
  }
}

/** Whether it is gone within that time. */
export async function gone(isThere: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  for (const giveUpAt = performance.now() + timeoutMs; performance.now() < giveUpAt; await sleep(LOOK_EVERY_MS))
    if (!(await isThere())) return true;
  return false;
}
