// What the programs of the mounts bench have in common. They run in processes of their own (worker.ts), several lanes side
// by side in each; every operation on a mount goes through `timed`, so that one which hangs is found while it does.

export const OPERATION_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 1000;
const VIOLATIONS_MAX = 20;

export interface WorkReport {
  violations: string[];
  operations: number;
  longestMs: number;
  longest: string;
}

export class Work {
  readonly report: WorkReport = { violations: [], operations: 0, longestMs: 0, longest: "" };
  ended = false;
  readonly #pending = new Map<number, { what: string; begin: number; told: boolean }>();
  readonly #tell: (violation: string) => void;

  /** @param tell - Gets each violation at once: the process may be killed before it can report. */
  constructor(tell: (violation: string) => void) {
    this.#tell = tell;
    setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  violation(text: string): void {
    if (this.report.violations.length >= VIOLATIONS_MAX) return;
    this.report.violations.push(text);
    this.#tell(text);
  }

  /** Sets `ended` after this time. */
  endAfter(seconds: number): void {
    setTimeout(() => (this.ended = true), seconds * 1000).unref();
  }

  async timed<T>(what: string, action: () => Promise<T>): Promise<T> {
    const operation = { what, begin: performance.now(), told: false };
    const number = ++this.report.operations;
    this.#pending.set(number, operation);
    try {
      return await action();
    } finally {
      this.#pending.delete(number);
      const tookMs = performance.now() - operation.begin;
      if (tookMs > this.report.longestMs) Object.assign(this.report, { longestMs: tookMs, longest: what });
    }
  }

  /** Runs lanes side by side; one that throws has violated what it is about, and ends. */
  async lanes(lanes: readonly (() => Promise<void>)[]): Promise<void> {
    const guarded = lanes.map(async (lane) => {
      try {
        await lane();
      } catch (error) {
        this.violation(`failed: ${error instanceof Error ? error.message : String(error)}`);
      }
    });
    await Promise.all(guarded);
  }

  #look(): void {
    for (const operation of this.#pending.values()) {
      const tookMs = performance.now() - operation.begin;
      if (operation.told || tookMs < OPERATION_LIMIT_MS) continue;
      operation.told = true;
      this.violation(`takes longer than ${OPERATION_LIMIT_MS / 1000} s: ${operation.what}`);
    }
  }
}

export function isErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}
