// The `cairn` program: its subcommands, and what happens to errors.

import { Command, CommanderError } from "commander";
import { cleanCommand } from "./clean-command.ts";
import { codeCommand } from "./code-command.ts";
import { diskCommand } from "./disk-command.ts";
import { downCommand } from "./down-command.ts";
import { fail, printError } from "./command.ts";
import { fsckCommand } from "./fsck-command.ts";
import { mountCommand, unmountCommand } from "./mount-command.ts";
import { exitCodes } from "./errors.ts";
import { scrubCommand } from "./scrub-command.ts";
import { statusCommand } from "./status-command.ts";
import { upCommand } from "./up-command.ts";
import { version } from "./version.ts";
import { whereCommand } from "./where-command.ts";

function program(): Command {
  const cairn = new Command("cairn")
    .description("A cluster filesystem: one directory, kept as copies or erasure-coded blocks")
    .version(version)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cairn up\n  $ cairn status\n  $ cairn where mnt/file\n  $ cairn down\n\nExit codes: 0 done, 1 refused or failed, 2 usage, 3 no daemon runs, 4 done but damage remains",
    );
  const commands = [
    upCommand(),
    downCommand(),
    statusCommand(),
    whereCommand(),
    scrubCommand(),
    fsckCommand(),
    cleanCommand(),
    diskCommand(),
    mountCommand(),
    unmountCommand(),
    codeCommand(),
  ];
  for (const command of commands) cairn.addCommand(command);
  return cairn;
}

/** commander's own exit code for every misuse is 1; ours is 2, and 0 for --help and --version. */
function configureExit(command: Command): void {
  command.exitOverride();
  for (const child of command.commands) configureExit(child);
}

// A reader that went away (`cairn status | head -1`), or a full disk under a detached daemon's trace, must not end the process.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
const cairn = program();
configureExit(cairn);
try {
  await cairn.parseAsync(process.argv);
} catch (error) {
  const json = process.argv.includes("--json");
  if (!(error instanceof CommanderError)) fail(error, json);
  else if (error.exitCode === 0) process.exitCode = 0;
  else {
    // commander has said it on standard error.
    if (json) printError("usage", error.message);
    process.exitCode = exitCodes.usage;
  }
  // A daemon that failed may have handles left, which would keep the process.
  process.exit();
}
