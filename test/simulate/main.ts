// `npm run simulate -- --seed S --steps N [--runs R]`: runs the simulation from a seed, or from many one after another,
// and where something is wrong prints the seed, makes the run as small as it can, and prints that.

import { parseArgs } from "node:util";
import { Runner, Violation } from "./runner.ts";
import { shrink } from "./shrink.ts";
import { DANGERS, describeStep, makeRounds, type Round } from "./steps.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    steps: { type: "string", default: "5000" },
    runs: { type: "string", default: "1" },
    shrink: { type: "boolean", default: true },
    "no-shrink": { type: "boolean", default: false },
  },
});

const firstSeed = Number(values.seed);
const totals: Record<string, number> = {};
let violations = 0;
const started = performance.now();
for (let seed = firstSeed; seed < firstSeed + Number(values.runs); seed++) {
  const rounds = makeRounds(seed, Number(values.steps), DANGERS);
  const problem = await attempt(seed, rounds);
  if (problem === null) continue;
  violations++;
  console.log(`seed ${seed}, ${values.steps} steps: ${problem}`);
  if (!values["no-shrink"]) await printSmallest(seed, rounds);
}
const seconds = (performance.now() - started) / 1000;
const parts = Object.entries(totals).map(([name, count]) => `${count} ${name}`);
console.log(`${parts.join(", ")} in ${seconds.toFixed(1)} s; ${violations} runs with a violation`);
process.exitCode = violations > 0 ? 1 : 0;

async function attempt(seed: number, rounds: readonly Round[]): Promise<string | null> {
  try {
    const { counts } = await Runner.run(seed, rounds);
    for (const [name, count] of Object.entries(counts)) totals[name] = (totals[name] ?? 0) + count;
    return null;
  } catch (error) {
    if (error instanceof Violation) return error.message;
    throw error;
  }
}

async function printSmallest(seed: number, rounds: readonly Round[]): Promise<void> {
  const { rounds: left, problem } = await shrink(seed, rounds);
  console.log(`\nAt its smallest, ${left.flatMap(({ steps }) => steps).length} steps:`);
  for (const { steps, cutAfterMs } of left) {
    for (const step of steps) console.log(`  ${describeStep(step)}`);
    if (cutAfterMs !== undefined) console.log(`  the power goes ${cutAfterMs.toFixed(3)} ms after they began`);
    console.log();
  }
  console.log(problem);
}
