// A mount in a process of its own that hears nothing of the daemon for longer than its session's time limit.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import test, { after, before } from "node:test";
import { useTwoMounts } from "../fixture/second-mount.ts";
import { shell } from "../fixture/store.ts";

/** Much longer than anything takes that is done before it is over. */
const LIMIT_S = 4;

const UP = ["--session-limit", String(LIMIT_S)];
const { store, one, two } = useTwoMounts("cut-off", { before, after }, ...UP);

const script = (text: string, timeoutMs = 60_000): Promise<string> => shell(text, { env: { A: one, B: two }, timeoutMs });

test("a mount without its daemon serves what it caches for the time limit, then waits, and goes on with what it had written", async () => {
  await script(`printf cached > $B/cached; sync $B/cached; cat $B/cached; exec 9> $B/written; printf 'not synced' >&9`);
  await store.kill();
  assert.equal(await script("cat $B/cached"), "cached");
  await sleep(LIMIT_S * 1000 + 500);
  const answers: string[] = [];
  const readers = ["cat $B/cached", "stat -c %s $B/cached", "cat $B/written"].map(async (command) => {
    answers.push(await script(command));
  });
  await sleep(1000);
  assert.equal(answers.length, 0, "nothing is answered from what may be old");
  await store.start(...UP);
  await Promise.all(readers);
  assert.deepEqual(answers.map((answer) => answer.trim()).sort(), ["6", "cached", "not synced"]);
  assert.equal(await script("cat $A/written"), "not synced");
});

test("a daemon that was stopped for longer than the time limit ends no session", async () => {
  await script(`printf 'not synced' > $B/through`);
  const before = await script("ls -i $B/through");
  store.process!.kill("SIGSTOP");
  await sleep(LIMIT_S * 1000 + 2000);
  store.process!.kill("SIGCONT");
  assert.equal(await script("cat $A/through"), "not synced");
  assert.equal(await script("ls -i $B/through"), before);
  await script(`exec 9<> $B/through; python3 -c 'import os; os.fsync(9)'`);
});
