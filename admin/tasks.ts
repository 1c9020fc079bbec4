// The tasks of a daemon: long work with progress, that one or many may follow. At most one of a kind on a subject
// runs at a time; asking again for the same follows the one that runs.

import { EventEmitter, once, setMaxListeners } from "node:events";
import { type Pace, TaskPace, Throttle } from "../replication/throttle.ts";
import type { Clock } from "../storage/clock.ts";
import type { LostFileReport, ProblemReport, TaskReport } from "./api.ts";
import { AdminError } from "./errors.ts";

/** Ended tasks that are kept for `cairn status`. */
export const ENDED_TASKS_MAX = 20;
/** Findings kept in a report; the counts go on. */
const FINDINGS_MAX = 100;
/** Problems and lost files kept in a report. */
export const PROBLEMS_MAX = 1000;
/** Followers get at most one report in this time, and the last one always. */
const REPORT_INTERVAL_MS = 200;
/** And one in this time also where nothing has changed, so that they know it goes on. */
const REPORT_AGAIN_MS = 15_000;

/** What a task's work is given to report with. */
export interface TaskProgress {
  advance(done: number, total: number): void;
  count(name: string, by?: number): void;
  finding(line: string): void;
  problem(problem: ProblemReport): void;
  lostFile(file: LostFileReport): void;
  readonly signal: AbortSignal;
  /** Asked before bytes are moved. */
  readonly pace: Pace;
}

export interface TaskDescription {
  kind: TaskReport["kind"];
  /** What it works on, so that the same is not started twice. */
  subject: string;
  title: string;
  unit: TaskReport["unit"];
  run(progress: TaskProgress): Promise<void>;
}

class Task implements TaskProgress {
  readonly report: TaskReport;
  readonly subject: string;
  readonly ended: Promise<void>;
  readonly pace: TaskPace;
  #abort = new AbortController();
  #changes = new EventEmitter().setMaxListeners(0);

  constructor(id: number, description: TaskDescription, pace: (signal: AbortSignal) => TaskPace) {
    this.subject = description.subject;
    // Everything that waits for its pace listens: as many as the task works on at once.
    setMaxListeners(0, this.signal);
    this.pace = pace(this.signal);
    const { kind, title, unit } = description;
    this.report = {
      id,
      kind,
      title,
      unit,
      state: "running",
      done: 0,
      total: 0,
      startedAt: new Date().toISOString(),
      endedAt: null,
      error: null,
      counts: {},
      findings: [],
    };
    this.ended = this.#run(description);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  async #run(description: TaskDescription): Promise<void> {
    try {
      await description.run(this);
      this.report.state = "done";
    } catch (error) {
      this.report.state = this.signal.aborted ? "cancelled" : "failed";
      this.report.error = (error as Error).message;
    }
    this.report.endedAt = new Date().toISOString();
    this.#changes.emit("change");
  }

  advance(done: number, total: number): void {
    this.report.done = done;
    this.report.total = total;
    this.#changes.emit("change");
  }

  count(name: string, by = 1): void {
    this.report.counts[name] = (this.report.counts[name] ?? 0) + by;
  }

  finding(line: string): void {
    if (this.report.findings.length < FINDINGS_MAX) this.report.findings.push(line);
    else if (this.report.findings.length === FINDINGS_MAX) this.report.findings.push("... and more");
  }

  problem(problem: ProblemReport): void {
    const problems = (this.report.problems ??= []);
    if (problems.length < PROBLEMS_MAX) problems.push(problem);
  }

  lostFile(file: LostFileReport): void {
    const files = (this.report.lostFiles ??= []);
    if (files.length < PROBLEMS_MAX) files.push(file);
  }

  cancel(): void {
    this.#abort.abort(new Error("cancelled"));
  }

  /** Resolves at the next change, or after REPORT_AGAIN_MS. */
  async #change(): Promise<void> {
    const changed = once(this.#changes, "change", { signal: AbortSignal.timeout(REPORT_AGAIN_MS) });
    await changed.catch(() => {});
  }

  async *follow(): AsyncIterable<TaskReport> {
    while (this.report.state === "running") {
      yield this.report;
      await new Promise((resolve) => setTimeout(resolve, REPORT_INTERVAL_MS));
      if (this.report.state === "running") await this.#change();
    }
    yield this.report;
  }
}

export class Tasks {
  readonly #clock: Clock;
  readonly #throttle: Throttle;
  #tasks: Task[] = [];
  #nextId = 1;

  /** The throttle is what tasks share that were not given a rate of their own. */
  constructor(clock: Clock, throttle: Throttle) {
    this.#clock = clock;
    this.#throttle = throttle;
  }

  /** Starts the work, or finds it running already, and holds it to the rate where one is given. */
  start(description: TaskDescription, bytesPerSecond: number | null = null): Task {
    const running = this.#findRunning(description);
    if (!running) return this.#begin(description, bytesPerSecond);
    if (bytesPerSecond !== null) running.pace.setRate(bytesPerSecond);
    return running;
  }

  #findRunning(description: TaskDescription): Task | undefined {
    return this.#tasks.find(
      (task) => task.report.state === "running" && task.report.kind === description.kind && task.subject === description.subject,
    );
  }

  #begin(description: TaskDescription, bytesPerSecond: number | null): Task {
    const pace = (signal: AbortSignal): TaskPace => {
      const own = bytesPerSecond === null ? this.#throttle : new Throttle(this.#clock, bytesPerSecond);
      return new TaskPace(this.#clock, own, signal);
    };
    const task = new Task(this.#nextId++, description, pace);
    this.#tasks.push(task);
    const ended = this.#tasks.filter((other) => other.report.state !== "running");
    if (ended.length > ENDED_TASKS_MAX) this.#tasks.splice(this.#tasks.indexOf(ended[0]), 1);
    return task;
  }

  find(id: number): Task {
    const task = this.#tasks.find((candidate) => candidate.report.id === id);
    if (!task) throw new AdminError("refused", `there is no task ${id}`);
    return task;
  }

  /** Without what only who follows a task is told. */
  list(): TaskReport[] {
    return this.#tasks.map(({ report: { problems: _problems, lostFiles: _lostFiles, ...report } }) => report);
  }

  /** Ends all that run; they go on where their work is recorded, at the next start. */
  async stop(): Promise<void> {
    for (const task of this.#tasks) if (task.report.state === "running") task.cancel();
    await Promise.all(this.#tasks.map((task) => task.ended));
  }
}
