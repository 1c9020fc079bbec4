// What the benchmarks of several parts are called with: some numbers, and a word for those parts that have it in their names.

import { parseArgs } from "node:util";
import { wholeNumber } from "./whole-number.ts";

export interface PartOptions<Name extends string, Part> {
  help: string;
  /** Options with a number, and their defaults. */
  numbers: Record<Name, number>;
  /** The option with the word. */
  word: string;
  parts: readonly Part[];
  nameOf: (part: Part) => string;
}

/** What was asked for; null where that was help, which is printed. Throws where no part has the word, or a number is none. */
export function parsePartOptions<Name extends string, Part>(
  parameters: string[],
  { help, numbers, word, parts, nameOf }: PartOptions<Name, Part>,
): { numbers: Record<Name, number>; parts: Part[] } | null {
  const names = Object.keys(numbers) as Name[];
  const texts = Object.fromEntries(names.map((name) => [name, { type: "string" as const, default: String(numbers[name]) }]));
  const options = {
    ...texts,
    [word]: { type: "string" as const, default: "" },
    help: { type: "boolean" as const, default: false },
  };
  const values = parseArgs({ args: parameters, options }).values as Record<string, string | boolean>;
  if (values.help === true) {
    process.stdout.write(help);
    return null;
  }
  const wanted = String(values[word]);
  const chosen = parts.filter((part) => nameOf(part).includes(wanted));
  if (chosen.length === 0) throw new Error(`no part has ${JSON.stringify(wanted)} in its name: ${parts.map(nameOf).join("; ")}`);
  const given = names.map((name) => [name, wholeNumber(`--${name}`, String(values[name]))]);
  return { numbers: Object.fromEntries(given) as Record<Name, number>, parts: chosen };
}
