// `npm run fuzz`: reads its words, runs a campaign, says what was found.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { Campaign, type Finding, Interrupted, type Plan } from "./campaign.ts";
import { fuzzDisplay } from "./display.ts";
import { problemOf } from "./run.ts";

const HELP = `npm run fuzz -- [--seed S] [--minutes M] [--operations N] [--runs R] [--replay FILE] [--no-shrink] [--json]

Random operations of several programs on two mounts of a store, with restarts and kills between, compared one by one
with the same operations on ext4. What differs is made small, printed, and kept in a file that can be replayed.

  --seed S         the first seed (1); each further run takes the next
  --minutes M      no new run begins after so many minutes (10)
  --runs R         at most so many runs
  --operations N   steps of one run (1500)
  --replay FILE    carries out the steps of a file instead
  --no-shrink      do not look for fewer steps
  --json           the result as one JSON document

Examples:
  npm run fuzz -- --seed 1 --minutes 60             an hour of seeds
  npm run fuzz -- --seed 17 --runs 1                one seed
  npm run fuzz -- --replay /tmp/cairn-fuzz-17.steps --no-shrink

Exit codes: 0 no difference, 1 a difference, 2 usage, 130 interrupted.
`;

const DONE = 0;
const DIFFERS = 1;
const USAGE = 2;
const INTERRUPTED = 130;

interface Options {
  plan: Plan;
  /** Steps to carry out instead of seeds. */
  replay: string[] | null;
  json: boolean;
}

class Usage extends Error {}

function wholeNumber(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Usage(`--${name} ${text}: it must be a whole number of at least 1`);
  return value;
}

/** null where only the help was asked for. */
function read(words: readonly string[]): Options | null {
  const text = { type: "string" } as const;
  const flag = { type: "boolean", default: false } as const;
  const options = {
    seed: text,
    minutes: text,
    runs: text,
    operations: text,
    replay: text,
    "no-shrink": flag,
    json: flag,
    help: flag,
  };
  let values;
  try {
    ({ values } = parseArgs({ args: [...words], options }));
  } catch (error) {
    throw new Usage((error as Error).message);
  }
  if (values.help) return null;
  return {
    plan: {
      firstSeed: wholeNumber("seed", values.seed, 1),
      steps: wholeNumber("operations", values.operations, 1500),
      runs: wholeNumber("runs", values.runs, Number.MAX_SAFE_INTEGER),
      minutes: wholeNumber("minutes", values.minutes, 10),
      shrink: !values["no-shrink"],
    },
    replay: values.replay === undefined ? null : stepsOf(values.replay),
    json: values.json,
  };
}

/** The steps of a file: one a line; empty lines and comments do not count. */
function stepsOf(file: string): string[] {
  let text;
  try {
    text = fs.readFileSync(file, "latin1");
  } catch (error) {
    throw new Usage(`--replay ${file}: ${(error as Error).message}`);
  }
  const steps = text.split("\n").map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#")); // prettier-ignore
  const problem = steps.map(problemOf).find((problem) => problem !== null);
  if (problem) throw new Usage(`--replay ${file}: ${problem}`);
  return steps;
}

/** Returns the exit code. */
export async function fuzz(words: readonly string[]): Promise<number> {
  try {
    const options = read(words);
    if (options) return await carryOut(options);
    process.stdout.write(HELP);
    return DONE;
  } catch (error) {
    if (!(error instanceof Usage)) throw error;
    process.stderr.write(`fuzz: ${error.message}\n\n${HELP}`);
    return USAGE;
  }
}

async function carryOut({ plan, replay, json }: Options): Promise<number> {
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, interrupt);
  const display = fuzzDisplay(replay ? 0 : plan.minutes);
  const campaign = new Campaign(stop.signal, display);
  try {
    const finding = replay ? await campaign.find(replay, plan.shrink) : await campaign.seeds(plan);
    display.stop();
    print(finding, campaign, json);
    return finding ? DIFFERS : DONE;
  } catch (error) {
    display.stop();
    // Ctrl-C reaches the programs and the daemon, too: what ends for it is no difference.
    if (!(error instanceof Interrupted) && !stop.signal.aborted) {
      process.stderr.write(`fuzz: seed ${campaign.seed}:\n`);
      throw error;
    }
    process.stderr.write(`fuzz: interrupted in seed ${campaign.seed}, after ${campaign.operations} operations\n`);
    return INTERRUPTED;
  } finally {
    await campaign.destroy();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, interrupt);
  }
}

function print(finding: Finding | null, { runs, operations, refused }: Campaign, json: boolean): void {
  const counts = `${runs} runs, ${operations} operations, ${refused} of them refused by both`;
  if (json) return void console.log(JSON.stringify({ runs, operations, refused, finding }, null, 2));
  if (!finding) return void console.log(`no difference: ${counts}`);
  const file = path.join(os.tmpdir(), `cairn-fuzz-${finding.seed ?? "replay"}.steps`);
  const about = finding.shownAgain ? "" : " (it did not show again, or was not tried: all steps until there)";
  const head = finding.seed === null ? [] : [`# seed ${finding.seed}`];
  const note = finding.text.split("\n").map((line) => `# ${line}`);
  fs.writeFileSync(file, `${[...head, ...note, ...finding.steps].join("\n")}\n`, "latin1");
  console.log(`a difference${finding.seed === null ? "" : ` with seed ${finding.seed}`}: ${finding.text}\n`);
  console.log(`${finding.steps.length} steps${about}:`);
  console.log(finding.steps.map((step) => `  ${step}`).join("\n"));
  console.log(`\nonce more: npm run fuzz -- --replay ${file} --no-shrink\n${counts}`);
}
