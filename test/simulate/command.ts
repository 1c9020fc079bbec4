// `npm run simulate -- --seed S --steps N [--runs R] [--operations N] [--jobs J] [--dangers [none,]NAME=ROUNDS,...] [--no-shrink]`: runs the simulation from
// a seed, or from many seeds on several processes, until R were run or N operations were judged. Where something is
// wrong it prints the seed, makes the run as small as it can, prints that, and goes on with the next seed; at the end
// what was done and which seeds failed. Exit status 1 if any did. One seed alone runs in this process.

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { type CampaignTotals, runCampaign } from "./campaign.ts";
import { campaignDisplay, summarize } from "./report.ts";
import { runSeed } from "./seeds.ts";
import { type Dangers, DANGERS } from "./steps.ts";

export async function simulate(words: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...words],
    options: {
      seed: { type: "string", default: "1" },
      steps: { type: "string", default: "5000" },
      runs: { type: "string" },
      operations: { type: "string" },
      jobs: { type: "string", default: String(availableParallelism()) },
      dangers: { type: "string", default: "" },
      "no-shrink": { type: "boolean", default: false },
    },
  });
  const number = (option: "seed" | "steps" | "runs" | "operations" | "jobs", fallback: number): number => {
    const value = values[option] === undefined ? fallback : Number(values[option]);
    if (Number.isInteger(value) && value >= 1) return value;
    if (value === Infinity && values[option] === undefined) return value;
    throw new Error(`--${option} ${values[option]}: must be a whole number of at least 1`);
  };
  const operations = number("operations", Infinity);
  const runs = number("runs", operations === Infinity ? 1 : Infinity);
  const dangers = dangersIn(values.dangers);
  const plan = {
    dangers,
    firstSeed: number("seed", 1),
    steps: number("steps", 5000),
    runs,
    operations,
    shrink: !values["no-shrink"],
  };
  const began = performance.now();
  const totals = runs === 1 ? await runAlone(plan) : await runMany(plan, number("jobs", 1));
  console.log(summarize(totals, (performance.now() - began) / 1000, plan.steps));
  if (totals.violations.length > 0) process.exitCode = 1;
}

/** "strike=20,cut=0": rounds between two of a kind, on average; 0: never. "none,strike=20": nothing else. */
function dangersIn(text: string): Partial<Dangers> {
  const dangers: Partial<Dangers> = {};
  for (const part of text.split(",").filter((word) => word !== "")) {
    if (part === "none") {
      for (const name of Object.keys(DANGERS) as (keyof Dangers)[]) dangers[name] = 0;
      continue;
    }
    const [name, rounds] = part.split("=");
    if (!(name in DANGERS) || !/^\d+$/.test(rounds ?? ""))
      throw new Error(`--dangers ${part}: must be NAME=ROUNDS, of ${Object.keys(DANGERS).join(", ")}; 0 rounds: never`);
    dangers[name as keyof Dangers] = Number(rounds);
  }
  return dangers;
}

interface Plan {
  dangers: Partial<Dangers>;
  firstSeed: number;
  steps: number;
  runs: number;
  operations: number;
  shrink: boolean;
}

async function runAlone({ firstSeed, steps, shrink, dangers }: Plan): Promise<CampaignTotals> {
  const { counts, violation } = await runSeed({ seed: firstSeed, steps, shrink, dangers });
  if (violation !== null) console.log(`seed ${firstSeed}, ${steps} steps: ${violation.text}`);
  const violations = violation === null ? [] : [{ seed: firstSeed, ...violation }];
  return { runs: 1, operations: counts.operations ?? 0, counts, violations };
}

async function runMany(plan: Plan, jobs: number): Promise<CampaignTotals> {
  const display = campaignDisplay(plan);
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.once("SIGINT", interrupt);
  try {
    return await runCampaign({
      ...plan,
      jobs,
      signal: stop.signal,
      onResult: ({ seed, violation }, totals) => {
        if (violation !== null) display.say(`\nseed ${seed}, ${plan.steps} steps: ${violation.text}\n`);
        display.update(totals);
      },
    });
  } finally {
    process.off("SIGINT", interrupt);
    display.stop();
    if (stop.signal.aborted) process.exitCode = 130;
  }
}
