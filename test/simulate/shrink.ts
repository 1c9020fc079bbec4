// Makes a failing run smaller: leaves rounds out, then steps, as long as it still fails.

import { Runner } from "./runner.ts";
import { Violation } from "./story.ts";
import type { Round } from "./steps.ts";

/** A run is tried again this often at most. */
const ATTEMPTS_MAX = 400;

export async function shrink(seed: number, rounds: readonly Round[]): Promise<{ rounds: Round[]; problem: string }> {
  let left = [...rounds];
  let problem = "";
  let attempts = 0;
  const fails = async (some: readonly Round[]): Promise<boolean> => {
    attempts++;
    const done = { rounds: 0 };
    try {
      await Runner.run(seed, some, () => void done.rounds++);
      return false;
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      problem = error.message;
      // What comes after the failing round has no part in it.
      left = some.slice(0, done.rounds + 1);
      return true;
    }
  };
  await fails(left);
  for (let size = Math.ceil(left.length / 2); size >= 1 && attempts < ATTEMPTS_MAX; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = left.length - size; at > -size && attempts < ATTEMPTS_MAX; at -= size) {
      const from = Math.max(0, at);
      await fails([...left.slice(0, from), ...left.slice(from + size)]);
    }
  }
  for (let index = left.length - 1; index >= 0; index--) {
    const { steps } = left[index];
    for (const step of steps) {
      if (steps.length === 1 || attempts >= ATTEMPTS_MAX || left[index] === undefined) break;
      const fewer = { ...left[index], steps: left[index].steps.filter((other) => other !== step) };
      await fails(left.map((round, position) => (position === index ? fewer : round)));
    }
  }
  return { rounds: left, problem };
}
