// Somebody sets the date. Leases, limits and freshness stay what they were.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { systemDatedClock } from "../../fs/clock.ts";
import { eventually } from "../fixture/eventually.ts";
import { Machine } from "./machine.ts";
import { makeEntry, openStore, quietEvents, TestClock } from "./namespace/memory-log.ts";

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
const SET_BY_MS = { "back an hour": -HOUR_MS, "forward a minute": MINUTE_MS, "forward an hour": HOUR_MS };

test("the system's clock follows a date that is set, and its intervals do not", () => {
  let [date, steady] = [1_700_000_000_000, 50_000];
  const clock = systemDatedClock(
    () => Math.floor(date),
    () => steady,
  );
  const passes = (byMs: number): void => {
    date += byMs;
    steady += byMs;
  };
  for (const byMs of [-HOUR_MS, MINUTE_MS, HOUR_MS]) {
    const before = clock.nowMs();
    date += byMs;
    passes(1000);
    assert.equal(clock.nowMs() - before, 1000);
    assert.ok(Math.abs(clock.dateMs() - date) <= 2, `${clock.dateMs()} where the date is ${date}`);
  }
  // Small steps back: stamps stay in their order.
  const last = clock.dateMs();
  date -= 500;
  assert.equal(clock.dateMs(), last);
  passes(600);
  assert.ok(clock.dateMs() > last);
});

for (const [what, byMs] of Object.entries(SET_BY_MS)) {
  test(`the date is set ${what}: an idle session lives, and a silent one is ended at its limit`, async () => {
    const { clock, namespace } = await openStore();
    let expired = 0;
    const session = await namespace.openSession(
      { ...quietEvents, expired: () => void expired++ },
      { limitMs: 1000, expires: true, durable: true },
    );
    clock.advance(900);
    clock.dateAheadMs += byMs;
    for (let count = 0; count < 3; count++) {
      await namespace.tick();
      session.heard();
      clock.advance(300);
    }
    assert.equal(expired, 0);
    clock.advance(800);
    await namespace.tick();
    clock.advance(250);
    await namespace.tick();
    assert.equal(expired, 1);
  });

  test(`the date is set ${what}: a recall that is not answered holds others up for the limit and no longer`, async () => {
    const { clock, namespace, session, root } = await openStore();
    const hung = await namespace.openSession(
      { ...quietEvents, recall: () => new Promise(() => {}) },
      { limitMs: 3000, expires: true },
    );
    const file = await makeEntry(hung, root, "file");
    let done = false;
    const change = session.call("setAttributes", { inode: file.inode, change: { mode: 0o600 } }).then(() => (done = true));
    const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));
    await turn();
    clock.dateAheadMs += byMs;
    clock.advance(2999);
    await turn();
    assert.equal(done, false);
    clock.advance(1);
    await change;
  });

  test(`the date is set ${what}: a mount is fresh for the limit after it was heard of last`, async () => {
    const clock = new TestClock();
    const machine = new Machine(clock);
    await machine.start();
    const session = await machine.open();
    await session.contact();
    machine.kill();
    clock.dateAheadMs += byMs;
    clock.advance(machine.timeLimitMs - 1);
    assert.equal(session.fresh, true);
    clock.advance(1);
    assert.equal(session.fresh, false);
    await machine.start();
    const contact = session.contact();
    await eventually("the mount has reached the server", () => {
      clock.advance(10);
      return session.fresh;
    });
    await contact;
    await session.close();
  });
}

test("files are stamped with the date that is set", async () => {
  const { clock, session, root } = await openStore();
  const before = await makeEntry(session, root, "before");
  clock.dateAheadMs -= HOUR_MS;
  const after = await makeEntry(session, root, "after");
  assert.equal(before.mtimeSeconds - after.mtimeSeconds, HOUR_MS / 1000);
});

test("nothing but fs/clock.ts reads the date in fs/, replication/, storage/, and coding/", () => {
  const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
  const reading = ["fs", "replication", "storage", "coding"].flatMap((part) =>
    readdirSync(path.join(root, part), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .map((file) => path.join(part, file))
      .filter((file) => /\bDate\b/.test(readFileSync(path.join(root, file), "utf8"))),
  );
  assert.deepEqual(reading, [path.join("fs", "clock.ts")]);
});
