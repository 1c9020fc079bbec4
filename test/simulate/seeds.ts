// One seed, from its rounds to what is said of it: judged, and made as small as it can be where something is wrong.

import { Runner } from "./runner.ts";
import { type RunnerCounts, Violation } from "./story.ts";
import { shrink } from "./shrink.ts";
import { type Dangers, dangersOf, describeMishap, describeStep, makeRounds, type Round } from "./steps.ts";

export interface SeedWork {
  seed: number;
  steps: number;
  /** Make a failing run smaller. */
  shrink: boolean;
  /** What differs from DANGERS; 0: never. */
  dangers?: Partial<Dangers>;
}

export interface SeedResult {
  seed: number;
  counts: Partial<RunnerCounts>;
  /** null: nothing was wrong. */
  violation: SeedViolation | null;
}

export interface SeedViolation {
  /** A few words, the same for violations that look alike. */
  kind: string;
  text: string;
}

export async function runSeed({ seed, steps, shrink, dangers }: SeedWork): Promise<SeedResult> {
  const rounds = makeRounds(seed, steps, dangersOf(dangers));
  try {
    const { counts } = await Runner.run(seed, rounds);
    return { seed, counts, violation: null };
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    const smallest = shrink ? await describeSmallest(seed, rounds) : "";
    const { kind, message, counts } = error;
    return { seed, counts, violation: { kind, text: message + smallest } };
  }
}

async function describeSmallest(seed: number, rounds: readonly Round[]): Promise<string> {
  const { rounds: left, problem } = await shrink(seed, rounds);
  const lines = [`\n\nAt its smallest, ${left.flatMap(({ steps }) => steps).length} steps:`];
  for (const round of left) {
    const { steps, cutAfterMs } = round;
    for (const step of steps) lines.push(`  ${describeStep(step)}`);
    if (cutAfterMs !== undefined) lines.push(`  the power goes ${cutAfterMs.toFixed(3)} ms after they began`);
    lines.push(...describeMishap(round).map((line) => `  ${line}`));
    lines.push("");
  }
  return [...lines, problem].join("\n");
}
