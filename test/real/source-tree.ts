// A real source tree for tests: this package's own sources and some of its dependencies, and what else a tree may hold.
import assert from "node:assert/strict";
import path from "node:path";
import { packageRoot } from "../posix/table.ts";
import { shell } from "./programs.ts";

const PARTS = [
  "coding",
  "fs",
  "native",
  "replication",
  "storage",
  "test",
  "package.json",
  "node_modules/protobufjs",
  "node_modules/@types",
  "node_modules/commander",
];

/** Copies the tree to `directory` (about 500 files, 8 MB) and adds links, an empty file and directory, odd names and modes. */
export async function makeSourceTree(directory: string): Promise<void> {
  const sources = PARTS.map((part) => `'${path.join(packageRoot(), part)}'`).join(" ");
  await shell(
    `
    mkdir -p '${directory}'; cd '${directory}'
    cp -r ${sources} .
    mkdir empty; : > empty-file
    ln -s package.json symlink; ln -s nowhere dangling; ln package.json hardlink
    printf 'odd' > $'name with spaces, \\xff\\xfe bytes and a \\n newline'
    mkdir -p deep/er/and/deep/er; echo deep > deep/er/and/deep/er/file
    printf '#!/bin/sh\\necho run\\n' > script; chmod 755 script
    chmod 400 empty-file; touch -d '2001-02-03 04:05:06.789012345' package.json
    truncate -s 3M sparse; printf 'end' >> sparse
    `,
    "/",
  );
}

/** One line for each file with its checksum, so that two trees can be compared. */
export function checksums(directory: string): Promise<string> {
  return shell("find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum", directory);
}

/** One line for each name with type, mode, size of files, time and target. */
export function attributes(directory: string): Promise<string> {
  return shell(
    "find . -mindepth 1 \\( -type d -printf '%p d %m %T@\\n' \\) -o -printf '%p %y %m %s %T@ %l\\n' | LC_ALL=C sort",
    directory,
  );
}

/** Fails with the first lines that differ, not with two whole lists. */
export function assertSameLines(actual: string, expected: string): void {
  const [here, there] = [new Set(actual.split("\n")), new Set(expected.split("\n"))];
  const more = [...here].filter((line) => !there.has(line)).map((line) => `+ ${line}`);
  const less = [...there].filter((line) => !here.has(line)).map((line) => `- ${line}`);
  const differing = [...more.slice(0, 5), ...less.slice(0, 5)].join("\n");
  assert.ok(actual === expected, `${more.length} lines more and ${less.length} fewer than expected, such as\n${differing}`);
}
