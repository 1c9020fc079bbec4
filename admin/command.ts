// What all subcommands share: the --data and --json options, and how a result or an error leaves the process.

import { Command, Option } from "commander";
import { AdminError, exitCodeOf } from "./errors.ts";

export interface CommonOptions {
  data: string;
  json?: boolean;
}

/** A subcommand with --data, --json and examples after its help. */
export function storeCommand(name: string, summary: string, examples: readonly string[]): Command {
  return new Command(name)
    .description(summary)
    .addOption(new Option("--data <dir>", "data directory of the store").env("CAIRN_DATA").default("./cairn-data"))
    .option("--json", "print one JSON document instead of text")
    .addHelpText("after", `\nExamples:\n${examples.map((example) => `  $ ${example}`).join("\n")}`);
}

/** A subcommand that starts a task of the daemon and follows it to its end (progress.ts). */
export function taskCommand(name: string, summary: string, examples: readonly string[]): Command {
  const command = storeCommand(name, summary, examples);
  command.options.find(({ long }) => long === "--json")!.description =
    "print JSON, one object a line: `type` is progress, and summary in the last line, with counts, findings and error (null, or code and message)";
  return command;
}

/** Prints the result: as JSON where asked, else as the text made from it. */
export function print<T>(options: { json?: boolean }, result: T, text: (result: T) => string): void {
  process.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : `${text(result)}\n`);
}

/** An error for a program that reads standard output. */
export function printError(code: string, message: string, document: object = {}): void {
  process.stdout.write(`${JSON.stringify({ ...document, error: { code, message } })}\n`);
}

/** Reports an error on standard error, as JSON on standard output too where that was asked for, and sets the exit code. */
export function fail(error: unknown, json: boolean): void {
  const message = error instanceof Error ? error.message : String(error);
  const code = (error as { code?: unknown } | null)?.code;
  const document = error instanceof AdminError ? error.document : undefined;
  if (json) printError(typeof code === "string" ? code : "internal", message, document);
  process.stderr.write(`cairn: ${message}\n`);
  if (process.env.CAIRN_STACK && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exitCode = exitCodeOf(error);
}
