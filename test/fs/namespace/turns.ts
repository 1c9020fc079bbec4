// Programs that ask for a lock again and again instead of waiting for it, through two sessions.

import assert from "node:assert/strict";
import test from "node:test";
import type { ByteLock } from "../../../fs/messages.ts";
import type { NamespaceSession } from "../../../fs/namespace/namespace.ts";
import { makeEntry, openStore, quietEvents, type TestClock } from "./memory-log.ts";

type State = "held" | "refused" | "waiting";

/** Programs `one` and `other` on one mount, `two` on another. */
interface Programs {
  clock: TestClock;
  /** Asks once; tells what has become of it so far. */
  ask: (who: keyof Programs["sessions"], type: ByteLock["type"], start?: number, kind?: ByteLock["kind"]) => Promise<() => State>;
  sessions: Record<"one" | "other" | "two", NamespaceSession>;
}

async function open(): Promise<Programs> {
  const store = await openStore();
  const two = await store.namespace.openSession(quietEvents);
  const { inode } = await makeEntry(store.session, store.root, "file");
  const sessions = { one: store.session, other: store.session, two };
  const ask: Programs["ask"] = async (who, type, start = 0, kind = "posix") => {
    let state: State = "waiting";
    const lock: ByteLock = { kind, type, start, end: kind === "flock" ? Infinity : start, owner: who, pid: 1 };
    sessions[who].call("lock", { inode, lock, wait: false, ticket: 0 }).then(
      () => (state = "held"),
      (error: { code: string }) => (state = error.code === "EAGAIN" ? "refused" : "waiting"),
    );
    await new Promise(setImmediate);
    return () => state;
  };
  return { clock: store.clock, ask, sessions };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

for (const kind of ["posix", "flock"] as const) {
  test(`who was refused finds the ${kind} lock free when it asks again, though the other asked first`, async () => {
    const { clock, ask } = await open();
    assert.equal((await ask("one", "write", 0, kind))(), "held");
    assert.equal((await ask("two", "write", 0, kind))(), "refused");
    await ask("one", "unlock", 0, kind);
    clock.advance(5);
    const again = await ask("one", "write", 0, kind);
    assert.equal(again(), "waiting");
    assert.equal((await ask("two", "write", 0, kind))(), "held");
    assert.equal(again(), "waiting");
    await ask("two", "unlock", 0, kind);
    assert.equal(again(), "held");
  });
}

test("two that want the lock all the time have it in turn", async () => {
  const { ask } = await open();
  await ask("one", "write");
  assert.equal((await ask("two", "write"))(), "refused");
  await ask("one", "unlock");
  let [holder, waiter]: ("one" | "two")[] = ["two", "one"];
  let waiting = await ask(waiter, "write");
  assert.equal((await ask(holder, "write"))(), "held");
  for (let round = 0; round < 20; round++) {
    await ask(holder, "unlock");
    assert.equal(waiting(), "held", `round ${round}`);
    [holder, waiter] = [waiter, holder];
    waiting = await ask(waiter, "write");
    assert.equal(waiting(), "waiting", `round ${round}`);
  }
});

test("who was refused and does not come again delays others for 10 ms, and for 120 at most after many refusals", async () => {
  const { clock, ask } = await open();
  for (const [refusals, milliseconds] of [
    [1, 10],
    [2, 20],
    [9, 120],
  ]) {
    await ask("one", "write");
    for (let count = 0; count < refusals; count++) assert.equal((await ask("two", "write"))(), "refused");
    await ask("one", "unlock");
    const again = await ask("one", "write");
    clock.advance(milliseconds - 1);
    await turn();
    assert.equal(again(), "waiting", `${refusals} refusals`);
    clock.advance(1);
    await turn();
    assert.equal(again(), "held", `${refusals} refusals`);
    await ask("one", "unlock");
  }
});

test("an owner that holds a lock on the file goes on during another's turn, and so may finish what that one waits for", async () => {
  const { ask } = await open();
  await ask("one", "write", 5);
  assert.equal((await ask("two", "write", 5))(), "refused");
  assert.equal((await ask("one", "write", 6))(), "held");
  assert.equal((await ask("other", "write", 7))(), "waiting");
});

test("what SQLite does: readers that want to write, one with a lock that the other needs, do not take each other's turn", async () => {
  const { ask } = await open();
  const [pending, reserved, shared] = [0, 1, 2];
  assert.equal((await ask("one", "read", shared))(), "held");
  assert.equal((await ask("one", "write", reserved))(), "held");
  assert.equal((await ask("two", "read", shared))(), "held");
  assert.equal((await ask("one", "write", pending))(), "held");
  // It has begun to write: to be refused now gives it no turn.
  assert.equal((await ask("one", "write", shared))(), "refused");
  assert.equal((await ask("two", "write", reserved))(), "refused");
  await ask("two", "unlock", shared);
  assert.equal((await ask("one", "write", shared))(), "held");
  for (const lock of [pending, reserved, shared]) await ask("one", "unlock", lock);
  const again = await ask("one", "read", shared);
  for (const lock of [shared, reserved, pending]) assert.equal((await ask("two", "write", lock))(), "held");
  assert.equal(again(), "waiting");
  for (const lock of [pending, reserved, shared]) await ask("two", "unlock", lock);
  assert.equal(again(), "held");
});

test("readers are not kept apart after a writer's turn", async () => {
  const { ask } = await open();
  await ask("one", "write");
  assert.equal((await ask("two", "read"))(), "refused");
  await ask("one", "unlock");
  const reader = await ask("one", "read");
  assert.equal(reader(), "waiting");
  assert.equal((await ask("two", "read"))(), "held");
  await ask("two", "unlock");
  assert.equal(reader(), "held");
  assert.equal((await ask("two", "read"))(), "held");
});

test("programs of one mount are refused and served as on a local filesystem", async () => {
  const { ask } = await open();
  await ask("one", "write");
  assert.equal((await ask("other", "write"))(), "refused");
  await ask("one", "unlock");
  assert.equal((await ask("one", "write"))(), "held");
});

test("a turn ends with its session, and who is kept waiting is refused with its own", async () => {
  const { ask, sessions } = await open();
  await ask("one", "write");
  await ask("two", "write");
  await ask("one", "unlock");
  const again = await ask("one", "write");
  assert.equal(again(), "waiting");
  await sessions.two.close();
  await turn();
  assert.equal(again(), "held");

  const second = await open();
  await second.ask("two", "write");
  await second.ask("one", "write");
  await second.ask("two", "unlock");
  const waiting = second.sessions.two.call("lock", {
    inode: 2 as never,
    lock: { kind: "posix", type: "write", start: 0, end: 0, owner: "two", pid: 1 },
    wait: false,
    ticket: 0,
  });
  await turn();
  await second.sessions.two.close();
  await assert.rejects(waiting, { code: "ESTALE" });
  assert.equal((await second.ask("one", "write"))(), "held");
});
