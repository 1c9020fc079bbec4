import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import type { CaseRoom, Performer, Target } from "./run-case.ts";
import { runCase } from "./run-case.ts";
import type { Case } from "./script.ts";
import { fillIn, loadCases } from "./script.ts";
import { allCases } from "./table.ts";

async function parsed(text: string): Promise<Case[]> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "cairn-cases-"));
  try {
    await writeFile(path.join(directory, "group.cases"), text);
    return loadCases(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** A target whose processes answer every command with what `answer` gives. */
function answering(answer: (words: string[]) => string): Target {
  const performer: Performer = {
    perform: (words) => Promise.resolve(answer(words).split(" ")),
    interrupt: () => {},
    kill: () => Promise.resolve(),
    end: () => Promise.resolve(),
  };
  const room: CaseRoom = { process: () => Promise.resolve(performer), end: () => Promise.resolve() };
  return { offers: new Set(), begin: () => Promise.resolve(room) };
}

async function outcome(text: string, answer: (words: string[]) => string): Promise<string> {
  const [one] = await parsed(`case one\n${text}`);
  return runCase(one, answering(answer)).then(
    () => "passed",
    (error: Error) => error.message,
  );
}

test("words may be quoted, escaped, repeated and filled in", () => {
  const variables = new Map([["i", "17"]]);
  assert.equal(fillIn('"a b"', variables), "a b");
  assert.equal(fillIn('"\\x00\\xff\\n"', variables), "\0\xff\n");
  assert.equal(fillIn("x{ab*3}y", variables), "xabababy");
  assert.equal(fillIn("{\\0*2K}", variables), "\0".repeat(2048));
  assert.equal(fillIn("$i", variables), "17");
  assert.throws(() => fillIn("$j", variables), /\$j was never set/);
});

test("a case's steps know their process, words and expectation", async () => {
  const [one] = await parsed(
    'case one\n  needs kernel\n  # why\n  alice: open f "a b" RDONLY -> one-of EACCES EPERM\n  second: lock f W 0 1 &\n',
  );
  assert.deepEqual([...one.needs].sort(), ["kernel", "root"]);
  assert.deepEqual(one.steps[0].words, ["open", "f", '"a b"', "RDONLY"]);
  assert.equal(one.steps[0].process, "alice");
  assert.deepEqual(one.steps[0].expectation, { kind: "one-of", words: ["EACCES", "EPERM"] });
  assert.equal(one.steps[1].background, true);
});

test("a case's name can be used once in a group", async () => {
  await assert.rejects(parsed("case one\n  mkdir a\ncase one\n  mkdir a\n"), /"one" is used twice/);
});

test("a step that differs is named with its line and both values", async () => {
  assert.equal(await outcome("  stat a size -> 5", () => "6"), "group.cases:2: stat a size -> 5: gave 6, expected 5");
  assert.equal(await outcome("  stat a size -> 5", () => "5"), "passed");
});

test("a step without an expectation fails on an error only", async () => {
  assert.equal(await outcome("  mkdir a", () => "ok"), "passed");
  assert.match(await outcome("  mkdir a", () => "EEXIST"), /gave EEXIST/);
});

test("comparisons count whole numbers and times", async () => {
  assert.equal(await outcome("  now -> above 5.000000001", () => "5.000000002"), "passed");
  assert.match(await outcome("  now -> above 5.000000001", () => "5.000000001"), /expected above/);
  assert.match(await outcome("  now -> at-least 10", () => "9"), /expected at-least/);
  assert.match(await outcome("  now -> not 9", () => "ENOENT"), /gave ENOENT/);
});

test("what let kept is filled in later", async () => {
  assert.equal(await outcome("  stat a inode -> let i\n  stat b inode -> $i", () => "7"), "passed");
});

test("a mistake in a script fails even where an error was expected", async () => {
  assert.match(await outcome("  bad -> not x", () => "script-error unknown"), /script-error/);
});

test("the table has at least 400 cases", () => {
  assert.ok(allCases().length >= 400, `it has ${allCases().length}`);
});
