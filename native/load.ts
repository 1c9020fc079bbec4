// Finds and loads what was compiled. It lies in build/Release of the package root; this file runs from
// dist/native, so the root is looked for upwards, by its binding.gyp.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);

function packageRoot(): string {
  let directory = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(directory, "binding.gyp"))) {
    const parent = path.dirname(directory);
    if (parent === directory) throw new Error("native: no binding.gyp above this file; the installation is incomplete");
    directory = parent;
  }
  return directory;
}

/** Loads build/Release/NAME.node. Throws an error that says how to build it where it is missing. */
export function loadAddon<T>(name: "fuse" | "kernels" | "files"): T {
  const file = path.join(packageRoot(), "build", "Release", `${name}.node`);
  if (!existsSync(file)) throw new Error(`native: ${file} is missing; run \`npm install\` to compile it`);
  return require(file) as T;
}

/** The path of a compiled program in build/Release. */
export function programPath(name: "cairn-guard" | "cairn-look"): string {
  return path.join(packageRoot(), "build", "Release", name);
}
