// What the benchmarks that go in rounds from a seed are called with.

import { randomBytes } from "node:crypto";
import { Command } from "commander";
import { wholeNumber } from "./whole-number.ts";

/** Prints help and ends the process where that was asked for. */
export async function roundsOf(
  name: string,
  about: string,
  rounds: number,
  parameters: readonly string[],
): Promise<{ rounds: number; seed: number }> {
  const command = new Command(name)
    .description(about)
    .option("--rounds <n>", "how many", (text) => wholeNumber("--rounds", text), rounds)
    .option("--seed <n>", "of the moments and places (default: a random one, which is printed)", (text) =>
      wholeNumber("--seed", text),
    )
    .addHelpText("after", "\n  --json         one JSON document instead of a line");
  await command.parseAsync([...parameters], { from: "user" });
  const { seed, ...options } = command.opts<{ rounds: number; seed?: number }>();
  return { ...options, seed: seed ?? 1 + (randomBytes(4).readUInt32LE() % 99_999_999) };
}
