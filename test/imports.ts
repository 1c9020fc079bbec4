// The rule of architecture.md: imports go one way, admin -> fs -> replication -> storage; fs and replication ->
// coding -> native; fs, replication and storage -> native. fs/mount and fs/namespace share only what lies in fs/.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

const MAY_IMPORT: Record<string, readonly string[]> = {
  native: [],
  coding: ["native"],
  storage: ["native"],
  replication: ["storage", "coding", "native"],
  fs: ["replication", "storage", "coding", "native"],
  admin: ["fs", "replication", "storage", "coding", "native"],
};

function sourcesBelow(part: string): string[] {
  return readdirSync(path.join(root, part), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => path.join(part, name));
}

function importsOf(file: string): string[] {
  const text = readFileSync(path.join(root, file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map((match) =>
    path.normalize(path.join(path.dirname(file), match[1])),
  );
}

for (const [part, allowed] of Object.entries(MAY_IMPORT)) {
  test(`${part}/ imports only itself${allowed.length ? ` and ${allowed.join(", ")}` : ""}`, () => {
    const files = sourcesBelow(part);
    assert.ok(files.length > 0, `${part}/ has no sources`);
    for (const file of files) {
      for (const target of importsOf(file)) {
        const targetPart = target.split("/")[0];
        assert.ok(targetPart === part || allowed.includes(targetPart), `${file} imports ${target}`);
      }
    }
  });
}

test("fs/mount and fs/namespace do not import each other", () => {
  for (const [half, other] of [
    ["fs/mount", "fs/namespace"],
    ["fs/namespace", "fs/mount"],
  ]) {
    for (const file of sourcesBelow(half)) {
      for (const target of importsOf(file)) assert.ok(!target.startsWith(`${other}/`), `${file} imports ${target}`);
    }
  }
});

test("there is no import cycle", () => {
  const state = new Map<string, "open" | "done">();
  const visit = (file: string, trail: readonly string[]): void => {
    if (state.get(file) === "done") return;
    assert.notEqual(state.get(file), "open", `import cycle: ${[...trail, file].join(" -> ")}`);
    state.set(file, "open");
    const text = readFileSync(path.join(root, file), "utf8");
    const values = [...text.matchAll(/^(?:import|export) (?!type\b)[^;]*?from "(\.[^"]+)";/gm)];
    for (const match of values) visit(path.normalize(path.join(path.dirname(file), match[1])), [...trail, file]);
    state.set(file, "done");
  };
  for (const part of Object.keys(MAY_IMPORT)) for (const file of sourcesBelow(part)) visit(file, []);
});
