#!/usr/bin/env node
// The `cairn` command. Builds the tree first where it is a clone, then hands over to the compiled program.
// CommonJS on purpose: libuv reads the size of its thread pool at the pool's first use, and the loader of ES modules
// already uses the pool, so the size must be set before any of them is loaded.
"use strict";
const { existsSync } = require("node:fs");
const { spawnSync } = require("node:child_process");
const os = require("node:os");
const path = require("node:path");
const v8 = require("node:v8");

process.env.UV_THREADPOOL_SIZE ??= "16";
// V8 lets a heap grow to several times what lives in it before it collects: with 60,000 files made 326 MB resident
// against 242 MB with this, at the same processor time. Read at each collection, so it may be set here.
v8.setFlagsFromString("--heap-growing-percent=20");
if (existsSync(path.join(__dirname, "tsconfig.json"))) {
  const built = spawnSync(process.execPath, [path.join(__dirname, "build.mjs")], { stdio: ["ignore", 2, 2] });
  if (built.status !== 0) process.exit(1);
}
// All that a store consists of is its owner's alone: RocksDB, among others, leaves modes to the mask. Not before the build, which others may run.
process.umask(0o077);
try {
  // glibc gives threads heaps of their own, up to 8 a processor, and each keeps the most that it ever took: after 9 minutes of
  // mixed load 16 heaps held 46 MB for 9 MB in use. Said before there are threads; what is missing is said by the import below.
  require("./build/Release/files.node").limitArenas(Math.max(2, os.availableParallelism()));
} catch {}
import(path.join(__dirname, "dist/admin/cairn.js"));
