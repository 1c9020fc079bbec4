// Makes a failing run smaller: leaves rounds out, then steps, as long as it still fails.

import { fewest } from "../fixture/fewest.ts";
import { Runner } from "./runner.ts";
import { Violation } from "./story.ts";
import type { Round } from "./steps.ts";

/** A run is tried again this often at most. */
const ATTEMPTS_MAX = 400;

export async function shrink(seed: number, rounds: readonly Round[]): Promise<{ rounds: Round[]; problem: string }> {
  let problem = "";
  let attempts = 0;
  /** The rounds up to the failing one: what comes after it has no part in it. */
  const fails = async (some: readonly Round[]): Promise<readonly Round[] | null> => {
    attempts++;
    const done = { rounds: 0 };
    try {
      await Runner.run(seed, some, () => void done.rounds++);
      return null;
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      problem = error.message;
      return some.slice(0, done.rounds + 1);
    }
  };
  let left = (await fails(rounds)) ?? rounds;
  left = await fewest(left, fails, ATTEMPTS_MAX);
  for (let index = left.length - 1; index >= 0; index--) {
    if (left[index] === undefined) continue;
    for (const step of left[index].steps) {
      if (attempts >= ATTEMPTS_MAX || left[index] === undefined || left[index].steps.length === 1) break;
      const fewer = { ...left[index], steps: left[index].steps.filter((other) => other !== step) };
      left = (await fails(left.map((round, position) => (position === index ? fewer : round)))) ?? left;
    }
  }
  return { rounds: [...left], problem };
}
