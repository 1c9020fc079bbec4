// Bad input to `cairn up`: each gets an error that names the thing, what it is and what it should be.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { makeStore, type Store } from "../fixture/store.ts";

async function refusal(
  name: string,
  prepare: (store: Store) => void | Promise<void>,
  words: string[],
  code: number,
  text: RegExp,
): Promise<void> {
  const store = makeStore(`refusal-${name}`);
  try {
    await prepare(store);
    const ran = await store.cairn("up", ...(words.includes("--mount") ? [] : ["--mount", store.mount]), "--detach", ...words);
    assert.equal(ran.code, code, `${ran.stdout}${ran.stderr}`);
    assert.match(ran.stderr, text);
    assert.ok(!fs.existsSync(path.join(store.directory, ".data.trace")));
  } finally {
    await store.cairn("down");
    await store.destroy();
  }
}

const nothing = (): void => {};
const DESCRIPTION = {
  format: 1,
  uuid: "6e9f3f4e-52f7-4c0a-9b6b-0d6c7b1a2e3f",
  scheme: "rs:4+2",
  createdAt: "2026-01-01T00:00:00.000Z",
  disks: [{ id: 1, path: "disk-1", state: "active" }],
};

function writeDescription(store: Store, value: unknown): void {
  fs.mkdirSync(store.data);
  fs.writeFileSync(path.join(store.data, "store.json"), typeof value === "string" ? value : JSON.stringify(value));
}

test("a scheme that is no scheme", () => refusal("scheme", nothing, ["--scheme", "raid5"], 2, /raid5/));
test("a scheme that the disks cannot carry", () =>
  refusal("carry", nothing, ["--disks", "5"], 2, /6 disks, but the store has 5/));
test("a scheme for archival only", () => refusal("archival", nothing, ["--scheme", "rapidraid:4+2"], 2, /archival/));
test("a number of disks that is no number", () => refusal("count", nothing, ["--disks", "many"], 2, /"many"/));
test("--disk and --disks together", () => refusal("both", nothing, ["--disks", "6", "--disk", "/tmp/x"], 2, /give one of them/));
test("the same disk twice", () =>
  refusal("twice", nothing, ["--disk", "/tmp/cairn-x", "--disk", "/tmp/cairn-x", "--scheme", "copies:2"], 2, /twice/));
test("a data directory with somebody's files", () =>
  refusal(
    "foreign",
    (store) => {
      fs.mkdirSync(store.data);
      fs.writeFileSync(path.join(store.data, "thesis.txt"), "mine");
    },
    [],
    1,
    /not empty and is not a store/,
  ));
test("a data directory that was half created", () =>
  refusal(
    "half",
    (store) => void fs.mkdirSync(path.join(store.data, "disk-1"), { recursive: true }),
    [],
    1,
    /not completely created/,
  ));
test("a store of another version", () =>
  refusal("version", (store) => writeDescription(store, { ...DESCRIPTION, format: 99 }), [], 1, /format 99/));
test("a damaged store.json", () => refusal("json", (store) => writeDescription(store, "{"), [], 1, /not valid JSON/));
test("a store.json with a wrong field", () =>
  refusal(
    "field",
    (store) => writeDescription(store, { ...DESCRIPTION, disks: [{ id: "one", path: "disk-1", state: "active" }] }),
    [],
    1,
    /disks/,
  ));
test("a mountpoint that is not empty", () =>
  refusal(
    "full-mount",
    (store) => {
      fs.mkdirSync(store.mount);
      fs.writeFileSync(path.join(store.mount, "file"), "");
    },
    [],
    1,
    /not empty/,
  ));
test("a mountpoint that is a file", () =>
  refusal("file-mount", (store) => fs.writeFileSync(store.mount, ""), [], 1, /not a directory/));
test("a mountpoint whose parent is missing", () =>
  refusal("no-parent", nothing, ["--mount", "/nonexistent-cairn/mnt"], 1, /nonexistent-cairn/));
test("other disks or another scheme than the store has", async () => {
  const store = makeStore("refusal-other");
  try {
    assert.equal((await store.cairn("up", "--mount", store.mount, "--detach")).code, 0);
    assert.equal((await store.cairn("down")).code, 0);
    const scheme = await store.cairn("up", "--mount", store.mount, "--detach", "--scheme", "copies:2");
    assert.equal(scheme.code, 1);
    assert.match(scheme.stderr, /rs:4\+2/);
    const disks = await store.cairn("up", "--mount", store.mount, "--detach", "--disks", "7");
    assert.equal(disks.code, 1);
    assert.match(disks.stderr, /has 6 disks/);
  } finally {
    await store.cairn("down");
    await store.destroy();
  }
});
