// Compiles the native addons with node-gyp, run by `npm install`. Uses the headers of the running Node where they
// are installed with it, so that nothing but npm's own node-gyp is needed.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

function headersDirectory() {
  const prefixes = [process.env.npm_config_nodedir, path.resolve(process.execPath, "../.."), "/usr"];
  return prefixes.find((prefix) => prefix && existsSync(path.join(prefix, "include/node/node_api.h")));
}

/** The node-gyp that npm brings: npm names it for install scripts; outside of npm it is looked up beside npm itself. */
function nodeGyp() {
  if (process.env.npm_config_node_gyp) return process.env.npm_config_node_gyp;
  for (const prefix of [path.resolve(process.execPath, "../.."), "/usr", "/usr/local"]) {
    for (const modules of ["lib/node_modules/npm", "share/nodejs/npm"]) {
      const candidate = path.join(prefix, modules, "node_modules/node-gyp/bin/node-gyp.js");
      if (existsSync(candidate)) return candidate;
    }
  }
  try {
    return createRequire(import.meta.url).resolve("node-gyp/bin/node-gyp.js");
  } catch {
    throw new Error("native build: node-gyp was not found beside npm; run `npm install`, which brings its own");
  }
}

const directory = headersDirectory();
const result = spawnSync(
  process.execPath,
  [
    nodeGyp(),
    // Configured each time: the lists of sources are read from the folders, and a file may be new.
    ...(existsSync(path.join(root, "build/Makefile")) ? ["configure", "build"] : ["rebuild"]),
    "--jobs",
    "2",
    ...(directory ? ["--nodedir", directory] : []),
  ],
  { cwd: root, stdio: process.env.CAIRN_BUILD_VERBOSE ? "inherit" : ["ignore", "pipe", "pipe"], encoding: "utf8" },
);
if (result.status !== 0) {
  if (result.stdout) process.stderr.write(result.stdout);
  if (result.stderr) process.stderr.write(result.stderr);
  console.error("native build failed: a C++ compiler, make and python3 are needed (Debian: apt-get install g++ make python3)");
  process.exit(1);
}
