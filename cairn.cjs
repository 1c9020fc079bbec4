#!/usr/bin/env node
// The `cairn` command. Builds the tree first where it is a clone, then hands over to the compiled program.
// CommonJS on purpose: libuv reads the size of its thread pool at the pool's first use, and the loader of ES modules
// already uses the pool, so the size must be set before any of them is loaded.
"use strict";
const { existsSync } = require("node:fs");
const { spawnSync } = require("node:child_process");
const path = require("node:path");

process.env.UV_THREADPOOL_SIZE ??= "16";
if (existsSync(path.join(__dirname, "tsconfig.json"))) {
  const built = spawnSync(process.execPath, [path.join(__dirname, "build.mjs")], { stdio: ["ignore", 2, 2] });
  if (built.status !== 0) process.exit(1);
}
import(path.join(__dirname, "dist/admin/cairn.js"));
