#!/usr/bin/env node
// The `cairn` command. Builds the tree first where it is a fresh clone, then hands over to the compiled program.
import { existsSync } from "node:fs";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(fileURLToPath(import.meta.url));
if (existsSync(path.join(root, "tsconfig.json"))) {
  const built = spawnSync(process.execPath, [path.join(root, "build.mjs")], { stdio: ["ignore", 2, 2] });
  if (built.status !== 0) process.exit(1);
}
await import(path.join(root, "dist/admin/cairn.js"));
