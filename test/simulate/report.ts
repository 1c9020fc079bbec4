// What a campaign shows while it runs (a bar on a terminal, a line now and then elsewhere) and at its end.

import cliProgress from "cli-progress";
import type { CampaignTotals } from "./campaign.ts";

const PLAIN_LINE_INTERVAL_MS = 5000;

export interface CampaignDisplay {
  update(totals: CampaignTotals): void;
  /** Prints text above what is shown. */
  say(text: string): void;
  stop(): void;
}

/** `goal`: what the bar counts to. */
export function campaignDisplay(goal: { runs: number; operations: number }): CampaignDisplay {
  return process.stderr.isTTY ? terminalDisplay(goal) : plainDisplay(goal);
}

function progressOf(goal: { runs: number; operations: number }, { runs, operations }: CampaignTotals): number {
  return Math.min(1, Math.max(runs / goal.runs, operations / goal.operations));
}

function describeTotals({ runs, operations, violations }: CampaignTotals, seconds: number): string {
  const rate = Math.round(operations / Math.max(seconds, 0.001));
  return `${runs} runs, ${operations} operations (${rate}/s), ${violations.length} violations`;
}

function terminalDisplay(goal: { runs: number; operations: number }): CampaignDisplay {
  const format = "[{bar}] {percentage} % | {text} | ETA {eta_formatted}";
  const bar = new cliProgress.SingleBar({ format, hideCursor: true, stream: process.stderr, clearOnComplete: true });
  const began = performance.now();
  let text = "";
  let share = 0;
  const start = (): void => bar.start(1000, Math.round(share * 1000), { text });
  start();
  return {
    update(totals) {
      text = describeTotals(totals, (performance.now() - began) / 1000);
      share = progressOf(goal, totals);
      bar.update(Math.round(share * 1000), { text });
    },
    say(words) {
      bar.stop();
      console.log(words);
      start();
    },
    stop: () => bar.stop(),
  };
}

function plainDisplay(goal: { runs: number; operations: number }): CampaignDisplay {
  const began = performance.now();
  let nextAt = 0;
  return {
    update(totals) {
      const now = performance.now();
      if (now < nextAt) return;
      nextAt = now + PLAIN_LINE_INTERVAL_MS;
      const percent = Math.floor(progressOf(goal, totals) * 100);
      process.stderr.write(`simulate: ${percent} %, ${describeTotals(totals, (now - began) / 1000)}\n`);
    },
    say: (words) => console.log(words),
    stop() {},
  };
}

/** The last words: what was done, and each violation's seed and kind. */
export function summarize(totals: CampaignTotals, seconds: number, steps: number): string {
  const lines: string[] = [];
  if (totals.violations.length > 0) {
    lines.push("seed        kind of violation");
    for (const { seed, kind } of totals.violations) lines.push(`${String(seed).padEnd(11)} ${kind}`);
    lines.push(`once more: npm run simulate -- --seed SEED --steps ${steps}`, "");
  }
  const parts = Object.entries(totals.counts).filter(([name]) => name !== "operations").map(([name, count]) => `${count} ${name}`); // prettier-ignore
  lines.push(`${describeTotals(totals, seconds)} in ${seconds.toFixed(1)} s (${parts.join(", ")})`);
  return lines.join("\n");
}
