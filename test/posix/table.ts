// The case table as node:test subtests.
import path from "node:path";
import { fileURLToPath } from "node:url";
import { existsSync } from "node:fs";
import type { TestContext } from "node:test";
import type { Target } from "./run-case.ts";
import { missing, runCase } from "./run-case.ts";
import type { Case } from "./script.ts";
import { loadCases } from "./script.ts";

/** The package's root, looked for upwards from this file by its binding.gyp. */
export function packageRoot(): string {
  let directory = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(directory, "binding.gyp"))) directory = path.dirname(directory);
  return directory;
}

export function allCases(): Case[] {
  return loadCases(path.join(packageRoot(), "test/posix/cases"));
}

/** Cases that only root can run are skipped for others, with that reason; those that the target cannot run by its nature are left out. */
export async function runTable(t: TestContext, target: Target): Promise<void> {
  for (const each of allCases()) {
    const lacking = missing(each, target);
    if (lacking.some((need) => need !== "root")) continue;
    await t.test(`${each.group}: ${each.name}`, { skip: lacking.length > 0 && "only root can run this" }, () =>
      runCase(each, target),
    );
  }
}
