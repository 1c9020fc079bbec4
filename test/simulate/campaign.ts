// Many seeds on several processes. A violation is noted and the rest goes on; a process that dies, takes too much memory
// or does not come to an end is a violation of the seed that it had, and another takes its place.

import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { SeedResult, SeedWork } from "./seeds.ts";
import type { WorkerAnswer } from "./worker.ts";

export interface CampaignOptions {
  firstSeed: number;
  steps: number;
  /** Ends when so many seeds were run, or so many operations judged, whichever is given. */
  runs: number;
  operations: number;
  jobs: number;
  shrink: boolean;
  dangers?: SeedWork["dangers"];
  /** The module that a worker runs. */
  worker?: URL;
  limits?: Partial<WorkerLimits>;
  onResult?(result: SeedResult, totals: CampaignTotals): void;
  signal?: AbortSignal;
}

export interface CampaignTotals {
  runs: number;
  operations: number;
  counts: Record<string, number>;
  violations: { seed: number; kind: string; text: string }[];
}

interface WorkerLimits {
  /** A worker that holds more between two runs is replaced. */
  idleBytes: number;
  /** A worker that holds more during a run is killed. One run of 5,000 steps takes about 400 MiB. */
  residentBytes: number;
  /** A run that takes longer does not end, says the campaign. */
  runMs: number;
  /** A worker is replaced after so many runs in any case. */
  runs: number;
}

const MIB = 2 ** 20;
const LIMITS: WorkerLimits = { idleBytes: 700 * MIB, residentBytes: 2048 * MIB, runMs: 900_000, runs: 100 };
const WATCH_INTERVAL_MS = 1000;
/** Of what a dying worker prints, so much of the end is kept. */
const OUTPUT_CHARACTERS_MAX = 4000;
/** There is a worker on each core: threads for collection only take turns with them (a tenth of the CPU time). */
const NODE_OPTIONS = ["--enable-source-maps", "--single-threaded-gc", "--max-semi-space-size=32", "--max-old-space-size=1200"];
const PAGE_BYTES = 4096;

export async function runCampaign(options: CampaignOptions): Promise<CampaignTotals> {
  const totals: CampaignTotals = { runs: 0, operations: 0, counts: {}, violations: [] };
  let given = 0;
  const next = (): SeedWork | null => {
    const { firstSeed, steps, shrink, dangers, runs, operations, signal } = options;
    if (signal?.aborted === true || given >= runs || totals.operations >= operations) return null;
    return { seed: firstSeed + given++, steps, shrink, dangers };
  };
  const done = (result: SeedResult): void => {
    add(totals, result);
    options.onResult?.(result, totals);
  };
  const jobs = Math.min(options.jobs, options.runs);
  await Promise.all(Array.from({ length: jobs }, () => work(options, next, done)));
  totals.violations.sort((a, b) => a.seed - b.seed);
  return totals;
}

function add(totals: CampaignTotals, { seed, counts, violation }: SeedResult): void {
  totals.runs++;
  totals.operations += counts.operations ?? 0;
  for (const [name, count] of Object.entries(counts)) totals.counts[name] = (totals.counts[name] ?? 0) + count;
  if (violation !== null) totals.violations.push({ seed, ...violation });
}

async function work(options: CampaignOptions, next: () => SeedWork | null, done: (result: SeedResult) => void): Promise<void> {
  const limits = { ...LIMITS, ...options.limits };
  let worker: Worker | null = null;
  const stop = (): void => worker?.end();
  options.signal?.addEventListener("abort", stop, { once: true });
  try {
    for (let seed = next(); seed !== null; seed = next()) {
      worker ??= new Worker(options.worker ?? new URL("worker.js", import.meta.url), limits);
      const result = await worker.run(seed);
      if (options.signal?.aborted === true) return;
      done(result);
      if (!worker.spent) continue;
      worker.end();
      worker = null;
    }
  } finally {
    options.signal?.removeEventListener("abort", stop);
    worker?.end();
  }
}

class Worker {
  readonly #limits: WorkerLimits;
  readonly #process: ChildProcess;
  #output = "";
  #runs = 0;
  #idleBytes = 0;
  #ended: string | null = null;
  #answer: ((answer: WorkerAnswer | null) => void) | null = null;

  constructor(module: URL, limits: WorkerLimits) {
    this.#limits = limits;
    this.#process = fork(fileURLToPath(module), [], { execArgv: NODE_OPTIONS, stdio: ["ignore", "pipe", "pipe", "ipc"] });
    for (const stream of [this.#process.stdout!, this.#process.stderr!])
      stream.on("data", (chunk) => (this.#output = (this.#output + String(chunk)).slice(-OUTPUT_CHARACTERS_MAX)));
    this.#process.on("message", (answer: WorkerAnswer) => this.#answer?.(answer));
    this.#process.on("error", (error) => this.#over(`could not be run: ${error.message}`));
    this.#process.once("close", (code, signal) => this.#over(`ended with ${signal ?? code}`));
  }

  /** Nothing more should be asked of it. */
  get spent(): boolean {
    return this.#ended !== null || this.#runs >= this.#limits.runs || this.#idleBytes > this.#limits.idleBytes;
  }

  async run(work: SeedWork): Promise<SeedResult> {
    this.#runs++;
    const watch = this.#watch();
    const answer = await new Promise<WorkerAnswer | null>((resolve) => {
      this.#answer = resolve;
      if (this.#ended === null) this.#process.send(work, () => {});
      else resolve(null);
    });
    clearInterval(watch);
    this.#answer = null;
    if (answer !== null) {
      this.#idleBytes = answer.residentBytes;
      return answer.result;
    }
    const text = `the process of seed ${work.seed} ${this.#ended}\n${this.#output}`;
    return { seed: work.seed, counts: {}, violation: { kind: `process: ${this.#ended}`, text } };
  }

  end(): void {
    if (this.#ended === null) this.#process.kill("SIGKILL");
  }

  #watch(): NodeJS.Timeout {
    const untilMs = performance.now() + this.#limits.runMs;
    return setInterval(() => {
      const bytes = residentBytes(this.#process.pid!);
      if (bytes > this.#limits.residentBytes) this.#kill(`took more than ${Math.round(this.#limits.residentBytes / MIB)} MiB`);
      else if (performance.now() > untilMs) this.#kill(`was not over after ${this.#limits.runMs} ms`);
    }, WATCH_INTERVAL_MS);
  }

  #kill(why: string): void {
    this.end();
    this.#over(why);
  }

  #over(how: string): void {
    this.#ended ??= how;
    this.#answer?.(null);
  }
}

function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * PAGE_BYTES;
  } catch {
    return 0;
  }
}
