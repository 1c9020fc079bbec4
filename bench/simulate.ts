// `npm run bench -- simulate [--operations N] [--seed S] [--steps N] [--jobs J]`: the whole-store simulation until a million
// operations were judged (test/simulate/command.ts).

import { simulate } from "../test/simulate/command.ts";
import type { BenchOptions } from "./run.ts";

export async function run({ parameters }: BenchOptions): Promise<void> {
  await simulate(["--operations", "1000000", "--steps", "1500", ...parameters]);
}
