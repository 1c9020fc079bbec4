// Programs that ask for a lock again and again instead of waiting for it, through two sessions.

import assert from "node:assert/strict";
import test from "node:test";
import type { ByteLock } from "../../../fs/messages.ts";
import type { NamespaceSession } from "../../../fs/namespace/namespace.ts";
import type { InodeId } from "../../../fs/types.ts";
import { makeEntry, openStore, quietEvents, type TestClock } from "./memory-log.ts";

type State = "held" | "refused" | "waiting" | "cancelled";

type Ask = (who: keyof Programs["sessions"], type: ByteLock["type"], start?: number, kind?: ByteLock["kind"]) => Promise<() => State>; // prettier-ignore

/** Programs `one` and `other` on one mount, `two` on another. */
interface Programs {
  clock: TestClock;
  /** Asks once; tells what has become of it so far. */
  ask: Ask;
  /** As ask, and waits for the lock. */
  wait: Ask;
  /** Gives the last request up. */
  cancel: (who: keyof Programs["sessions"]) => Promise<void>;
  inode: InodeId;
  sessions: Record<"one" | "other" | "two", NamespaceSession>;
}

async function open(): Promise<Programs> {
  const store = await openStore();
  const two = await store.namespace.openSession(quietEvents);
  const { inode } = await makeEntry(store.session, store.root, "file");
  const sessions = { one: store.session, other: store.session, two };
  let ticket = 0;
  const asking =
    (wait: boolean): Ask =>
    async (who, type, start = 0, kind = "posix") => {
      let state: State = "waiting";
      const lock: ByteLock = { kind, type, start, end: kind === "flock" ? Infinity : start, owner: who, pid: 1 };
      sessions[who].call("lock", { inode, lock, wait, ticket: ++ticket }).then(
        () => (state = "held"),
        (error: { code: string }) =>
          (state = error.code === "EAGAIN" ? "refused" : error.code === "EINTR" ? "cancelled" : "waiting"),
      );
      await new Promise(setImmediate);
      return () => state;
    };
  const cancel: Programs["cancel"] = async (who) => {
    await sessions[who].call("cancelLock", { ticket });
    await new Promise(setImmediate);
  };
  return { clock: store.clock, inode, ask: asking(false), wait: asking(true), cancel, sessions };
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

test("one that waits for the lock again as soon as it gave it up lets the one in that was refused, and they take turns", async () => {
  const { clock, ask, wait } = await open();
  assert.equal((await wait("one", "write"))(), "held");
  assert.equal((await ask("two", "write"))(), "refused");
  await ask("one", "unlock");
  for (let round = 0; round < 20; round++) {
    const waiting = await wait("one", "write");
    assert.equal(waiting(), "waiting", `round ${round}`);
    if (round === 0) assert.equal((await ask("two", "write"))(), "held");
    clock.advance(5);
    await ask("two", "unlock");
    assert.equal(waiting(), "held", `round ${round}`);
    const again = await ask("two", "write");
    clock.advance(5);
    await ask("one", "unlock");
    assert.equal(again(), "held", `round ${round}`);
  }
});

test("one that asks again after a pause is given longer turns until it comes in time", async () => {
  const { clock, ask, wait } = await open();
  assert.equal((await wait("one", "write"))(), "held");
  let tries = 1;
  for (; (await ask("two", "write"))() === "refused"; tries++) {
    await ask("one", "unlock");
    await wait("one", "write");
    clock.advance(50);
    await turn();
  }
  // Turns of 10, 20, 40 and 80 ms.
  assert.equal(tries, 5);
});

test("who waits for another's turn has the lock when that is over, and is cancelled by a signal, a close or its session's end", async () => {
  const { clock, inode, ask, wait, cancel, sessions } = await open();
  const refuse = async (): Promise<void> => {
    clock.advance(1000);
    await ask("one", "write");
    await ask("two", "write");
    await ask("one", "unlock");
  };
  await refuse();
  const waiting = await wait("one", "write");
  clock.advance(10);
  await turn();
  assert.equal(waiting(), "held");
  await ask("one", "unlock");

  await refuse();
  const interrupted = await wait("one", "write");
  await cancel("one");
  assert.equal(interrupted(), "cancelled");
  const closed = await wait("one", "write");
  await sessions.one.call("releaseLocks", { inode, kind: "posix", owner: "one" });
  await turn();
  assert.equal(closed(), "cancelled");
  assert.equal((await ask("two", "write"))(), "held");
  await ask("two", "unlock");

  await refuse();
  const request = { inode, lock: { kind: "posix", type: "write", start: 0, end: 0, owner: "o", pid: 1 }, wait: true, ticket: 99 } as const; // prettier-ignore
  const ended = sessions.one.call("lock", request);
  await turn();
  await sessions.one.close();
  await assert.rejects(ended, { code: "ESTALE" });
  assert.equal((await ask("two", "write"))(), "held");
});

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
  for (const [refusals, milliseconds] of [
    [1, 10],
    [2, 20],
    [9, 120],
  ]) {
    const { clock, ask } = await open();
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
