// Makes the tree runnable: installs dependencies, compiles the addons and the TypeScript, each only when its inputs
// changed since the last time. `npm start` and `npm test` begin here, so both work in a fresh clone.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(fileURLToPath(import.meta.url));

function filesBelow(directory, matches) {
  return readdirSync(path.join(root, directory), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && matches(entry.name))
    .map((entry) => path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

function hashOf(files) {
  const hash = createHash("sha256").update(process.version);
  for (const file of files)
    hash
      .update(file)
      .update("\0")
      .update(readFileSync(path.join(root, file)));
  return hash.digest("hex");
}

function run(title, command, parameters) {
  process.stderr.write(`${title} ...\n`);
  const result = spawnSync(command, parameters, { cwd: root, stdio: ["ignore", 2, 2] });
  if (result.status !== 0) {
    process.stderr.write(`${title} failed (exit code ${result.status ?? result.signal ?? result.error?.message})\n`);
    process.exit(1);
  }
}

/** Runs the step unless the stamp file holds the hash of the same inputs. */
function step(stampFile, files, outputs, action) {
  const stamp = path.join(root, stampFile);
  const hash = hashOf(files);
  const fresh =
    outputs.every((output) => existsSync(path.join(root, output))) && existsSync(stamp) && readFileSync(stamp, "utf8") === hash;
  if (fresh) return;
  action();
  mkdirSync(path.dirname(stamp), { recursive: true });
  writeFileSync(stamp, hash);
}

step("node_modules/.cairn-stamp", ["package.json", "package-lock.json"], ["node_modules/.bin/tsc"], () => {
  run("Installing dependencies", "npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--include=dev"]);
});
const nativeInputs = ["binding.gyp", "native/build.mjs", ...filesBelow("native", (name) => /\.(cc|h)$/.test(name))];
step(
  "build/.cairn-stamp",
  nativeInputs,
  ["fuse.node", "kernels.node", "files.node", "cairn-guard", "cairn-look"].map((name) => `build/Release/${name}`),
  () => {
    run("Compiling the native addons", process.execPath, ["native/build.mjs"]);
  },
);
const sources = ["admin", "fs", "coding", "replication", "storage", "native", "test", "bench"].filter((directory) =>
  existsSync(path.join(root, directory)),
);
const inputs = [
  "tsconfig.json",
  "package-lock.json",
  ...sources.flatMap((directory) => filesBelow(directory, (name) => name.endsWith(".ts"))),
];
step("dist/.cairn-stamp", inputs, ["dist/native/load.js"], () => {
  run("Compiling TypeScript", process.execPath, ["node_modules/typescript/bin/tsc"]);
});
