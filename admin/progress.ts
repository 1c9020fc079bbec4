// Shows a running task: a bar on a terminal, a line now and then elsewhere, one JSON line a change with --json
// and a summary as the last line.

import cliProgress from "cli-progress";
import type { TaskReport } from "./api.ts";
import { AdminError } from "./errors.ts";
import { formatBytes, formatPercent } from "./format.ts";

const PLAIN_LINE_INTERVAL_MS = 5_000;
/** What shells give for a program that Ctrl-C ended: 128 + SIGINT. */
const INTERRUPTED = 130;

function amount(task: TaskReport, value: number): string {
  return task.unit === "bytes" ? formatBytes(value) : `${value} ${task.unit}`;
}

interface Display {
  update(task: TaskReport): void;
  stop(): void;
}

function terminalDisplay(): Display {
  const bar = new cliProgress.SingleBar({
    format: "{title} [{bar}] {percentage} % | {amounts} | ETA {eta_formatted}",
    hideCursor: true,
    stream: process.stderr,
  });
  let started = false;
  return {
    update(task) {
      const payload = { title: task.title, amounts: `${amount(task, task.done)} of ${amount(task, task.total)}` };
      if (!started) bar.start(Math.max(task.total, 1), task.done, payload);
      started = true;
      bar.setTotal(Math.max(task.total, 1));
      bar.update(task.done, payload);
    },
    stop() {
      if (started) bar.stop();
    },
  };
}

function plainDisplay(): Display {
  let nextAt = 0;
  return {
    update(task) {
      if (performance.now() < nextAt) return;
      nextAt = performance.now() + PLAIN_LINE_INTERVAL_MS;
      process.stderr.write(
        `${task.title}: ${amount(task, task.done)} of ${amount(task, task.total)} (${formatPercent(task.done, task.total)})\n`,
      );
    },
    stop() {},
  };
}

function jsonDisplay(): Display {
  return {
    update(task) {
      if (task.state !== "running") return;
      const { problems: _problems, lostFiles: _lostFiles, ...progress } = task;
      process.stdout.write(`${JSON.stringify({ type: "progress", ...progress })}\n`);
    },
    stop() {},
  };
}

/** What a command says of its task when that has ended. */
export interface Ending {
  /** For a person. */
  text(report: TaskReport): string;
  /** What is wrong still, though the task is done: the command then ends as degraded. */
  remains?(report: TaskReport): string | null;
}

/** Shows the task until it has ended, and what came of it. Throws AdminError where it failed, was cancelled, or something remains wrong. */
export async function showTask(reports: AsyncIterable<TaskReport>, json: boolean, { text, remains }: Ending): Promise<void> {
  const report = await follow(reports, json);
  const summary = { type: "summary", ...report };
  if (report.state === "running") {
    const message = `the daemon stopped while the task was running: ${report.title}; it goes on at the next start`;
    throw new AdminError("unavailable", message, { document: summary });
  }
  if (report.state !== "done")
    throw new AdminError("refused", `${report.title}: ${report.error ?? report.state}`, { document: summary });
  if (!json) process.stdout.write(`${text(report)}\n`);
  const wrong = remains?.(report) ?? null;
  if (wrong !== null) throw new AdminError("degraded", wrong, { document: summary });
  if (json) process.stdout.write(`${JSON.stringify(summary)}\n`);
}

/** Shows the task as it goes on. Returns its last report. */
async function follow(reports: AsyncIterable<TaskReport>, json: boolean): Promise<TaskReport> {
  const display = json ? jsonDisplay() : process.stderr.isTTY ? terminalDisplay() : plainDisplay();
  let last: TaskReport | null = null;
  const detach = (): void => {
    display.stop();
    const what = last ? last.title : "the task";
    process.stderr.write(`cairn: ${what} goes on in the daemon; \`cairn status\` shows it, the same command follows it again\n`);
    process.exit(INTERRUPTED);
  };
  process.once("SIGINT", detach);
  try {
    for await (const report of reports) {
      last = report;
      display.update(report);
    }
  } finally {
    process.off("SIGINT", detach);
    display.stop();
  }
  if (!last) throw new AdminError("internal", "the daemon ended the task without a report");
  return last;
}
