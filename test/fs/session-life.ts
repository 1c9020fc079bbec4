// How sessions begin again and end: nobody may trust what was given to others, also where mounts, connections and the server
// stop at the worst moment. Real classes, in memory, with a clock that stands still until it is told to go on.

import assert from "node:assert/strict";
import test from "node:test";
import type { HeldLease, LeaseMode } from "../../fs/messages.ts";
import { openNamespace } from "../../fs/namespace/namespace.ts";
import type { RemoteSession } from "../../fs/remote-session.ts";
import type { InodeId, SessionId, StripeId } from "../../fs/types.ts";
import type { BlockClient } from "../../replication/block-client.ts";
import type { DiskId } from "../../replication/stripe.ts";
import { Machine } from "./machine.ts";
import { makeEntry, name, openStore, quietEvents, TestClock } from "./namespace/memory-log.ts";

const ROOT = 1 as InodeId;
const owned = { mode: 0o100644, umask: 0, uid: 0, gid: 0, exclusive: true };
const STEP_MS = 10;

/** What can go on without the clock has done so. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets time pass until it is so; returns how long that took. */
async function pass(clock: TestClock, what: string, until: () => boolean, limitMs = 60_000): Promise<number> {
  const began = clock.nowMs();
  await settle();
  while (!until()) {
    assert.ok(clock.nowMs() - began < limitMs, `not within ${limitMs} ms: ${what}`);
    clock.advance(STEP_MS);
    await settle();
  }
  return clock.nowMs() - began;
}

async function passMs(clock: TestClock, ms: number): Promise<void> {
  const end = clock.nowMs() + ms;
  await pass(clock, "time", () => clock.nowMs() >= end);
}

/** Awaits a promise while time passes. */
async function done<T>(clock: TestClock, promise: Promise<T>, what = "a reply"): Promise<T> {
  const watched = watch(promise);
  await pass(clock, what, () => watched.over);
  return promise;
}

function watch(promise: Promise<unknown>): { over: boolean } {
  const state = { over: false };
  const end = (): void => void (state.over = true);
  promise.then(end, end);
  return state;
}

interface Watched {
  session: RemoteSession;
  held: HeldLease[];
  recalls: string[];
  renewed: () => number;
  /** What its recalls wait for. */
  answer: () => Promise<void>;
  /** Whether it gets connections. */
  reaches: boolean;
}

async function openMount(machine: Machine): Promise<Watched> {
  let renewed = 0;
  const mount: Watched = {
    session: undefined as never,
    held: [],
    recalls: [],
    renewed: () => renewed,
    answer: async () => {},
    reaches: true,
  };
  const events = {
    held: () => mount.held,
    renewed: () => void renewed++,
    recall: async (inode: InodeId, mode: LeaseMode) => {
      mount.recalls.push(`${inode} ${mode}`);
      await mount.answer();
    },
  };
  const connect: Machine["connect"] = async () => {
    if (!mount.reaches) throw new Error("there is no way to the server");
    return machine.connect();
  };
  mount.session = await machine.open(events, connect);
  return mount;
}

async function makeHeld(mount: Watched, text: string): Promise<InodeId> {
  const { attributes } = await mount.session.call("make", { ...owned, parent: ROOT, name: name(text) });
  mount.held.push({ inode: attributes.inode, mode: "exclusive" });
  return attributes.inode;
}

async function machineWith(clock: TestClock, timeLimitMs: number): Promise<Machine> {
  const machine = new Machine(clock);
  machine.timeLimitMs = timeLimitMs;
  await machine.start();
  return machine;
}

test("a mount that says hello again while others still reclaim gets nothing that they hold", async () => {
  const clock = new TestClock();
  const machine = await machineWith(clock, 5000);
  const early = await openMount(machine);
  const late = await openMount(machine);
  const inode = await makeHeld(late, "file");
  late.reaches = false;
  machine.kill();
  await machine.start();
  await passMs(clock, 500);
  // The first has said all that it holds, and waits; its connection breaks, and it says hello again.
  machine.cut();
  await passMs(clock, 500);
  const change = early.session.call("setAttributes", { inode, change: { mode: 0o600 } });
  const watched = watch(change);
  await passMs(clock, 500);
  assert.equal(watched.over, false, "the change waits for the one that may hold the file");
  late.reaches = true;
  await done(clock, change);
  assert.deepEqual(late.recalls, [`${inode} known`]);
  assert.deepEqual([early.renewed(), late.renewed()], [0, 0]);
});

test("a session that is ended for its recall holds others up until its mount cannot trust it any more", async () => {
  const clock = new TestClock();
  const machine = await machineWith(clock, 1000);
  const mount = await openMount(machine);
  const inode = await makeHeld(mount, "file");
  const local = await machine.namespace.openSession(quietEvents);
  mount.answer = () => new Promise(() => {});
  const change = local.call("setAttributes", { inode, change: { mode: 0o600 } });
  const watched = watch(change);
  await passMs(clock, 2900);
  assert.equal(mount.session.fresh, true, "pings go on");
  machine.silent = true;
  await pass(clock, "the session is ended", () => machine.namespace.status().sessions === 1);
  while (mount.session.fresh) {
    assert.equal(watched.over, false, "the change is not made while the mount may answer from what it caches");
    await passMs(clock, STEP_MS);
  }
  assert.ok((await pass(clock, "the change is made", () => watched.over)) <= 1000);
  await change;
});

test("a session that is ended holds others up no longer than until its mount has heard of it", async () => {
  const clock = new TestClock();
  const machine = await machineWith(clock, 10_000);
  const mount = await openMount(machine);
  const inode = await makeHeld(mount, "file");
  const local = await machine.namespace.openSession(quietEvents);
  let renewedFirst = false;
  machine.namespace.expireSession(mount.session.id, "for the test");
  const change = local.call("setAttributes", { inode, change: { mode: 0o600 } });
  void change.then(() => (renewedFirst = mount.renewed() === 1));
  const watched = watch(change);
  const tookMs = await pass(clock, "the change is made", () => watched.over);
  assert.ok(tookMs < 1000, `${tookMs} ms`);
  assert.equal(renewedFirst, true);
  await mount.session.close();
});

test("a recall that fails at the mount ends the session, and the change waits until the mount has heard of it", async () => {
  const clock = new TestClock();
  const machine = await machineWith(clock, 10_000);
  const mount = await openMount(machine);
  const inode = await makeHeld(mount, "file");
  mount.answer = () => Promise.reject(new Error("for the test"));
  const local = await machine.namespace.openSession(quietEvents);
  let renewedFirst = false;
  const change = local.call("setAttributes", { inode, change: { mode: 0o600 } });
  void change.then(() => (renewedFirst = mount.renewed() === 1));
  await done(clock, change);
  assert.equal(renewedFirst, true);
  await mount.session.close();
});

test("a mount whose session is over gives everything up before it waits for another session", async () => {
  const clock = new TestClock();
  const machine = await machineWith(clock, 5000);
  const mount = await openMount(machine);
  const other = await openMount(machine);
  other.reaches = false;
  mount.reaches = false;
  machine.namespace.expireSession(mount.session.id, "for the test");
  machine.kill();
  await machine.start();
  mount.reaches = true;
  // Another session is not to be had before the other mount has come back, or its time is over.
  await pass(clock, "the mount hears that its session is over", () => mount.renewed() === 1, 2000);
  assert.equal(mount.session.fresh, false);
  await passMs(clock, 1000);
  assert.equal(mount.session.fresh, false);
  other.reaches = true;
  await done(clock, mount.session.contact());
  assert.deepEqual([mount.renewed(), other.renewed()], [1, 0]);
  await Promise.all([mount.session.close(), other.session.close()]);
});

test("after a restart others wait for the limit that each mount was told, also where it is shorter now", async () => {
  const clock = new TestClock();
  const machine = await machineWith(clock, 30_000);
  const mount = await openMount(machine);
  await makeHeld(mount, "file");
  mount.reaches = false;
  machine.kill();
  machine.timeLimitMs = 1000;
  await machine.start();
  const local = watch(machine.namespace.openSession(quietEvents));
  await pass(clock, "nobody holds the others up", () => local.over);
  assert.equal(mount.session.fresh, false);
  await mount.session.close();
});

test("a session that comes back after a restart keeps the limit that its mount was told", async () => {
  const clock = new TestClock();
  const machine = await machineWith(clock, 30_000);
  const mount = await openMount(machine);
  machine.kill();
  machine.timeLimitMs = 1000;
  await machine.start();
  await done(clock, mount.session.contact());
  const [{ session }] = machine.sessions();
  assert.equal(session, mount.session.id);
  machine.silent = true;
  await passMs(clock, 29_000);
  await machine.namespace.tick();
  assert.equal(machine.namespace.status().sessions, 1);
  await done(clock, mount.session.close());
});

const resumable = { limitMs: 1000, expires: true, durable: true };

test("a session that is saying what it holds is not ended at the limit, and not waited for without end", async () => {
  const store = await openStore({ limits: { resumeMs: 1000 } });
  const ids = [];
  for (let count = 0; count < 2; count++) ids.push((await store.namespace.openSession(quietEvents, resumable)).id);
  const { clock, table, log } = store;
  const again = await openNamespace({ table, log, clock, limits: { resumeMs: 1000 } });
  let expired = 0;
  const events = { ...quietEvents, expired: () => void expired++ };
  const [long, endless] = await Promise.all(ids.map((resume) => again.openSession(events, { ...resumable, resume })));
  let inode = 10;
  const reclaims = (session: typeof long): void => session.reclaim([{ inode: inode++ as InodeId, mode: "shared" }], []);
  for (let count = 0; count < 5; count++) {
    clock.advance(800);
    await settle();
    reclaims(long);
    reclaims(endless);
  }
  assert.equal(expired, 0);
  const ready = watch(long.reclaimed());
  for (let passedMs = 4000; passedMs < 6000; passedMs += 500) {
    assert.equal(ready.over, false);
    reclaims(endless);
    clock.advance(500);
    await settle();
  }
  assert.equal(expired, 1);
  assert.equal(ready.over, true);
});

for (const what of ["ended", "not back in time"]) {
  test(`a session that was ${what} cannot be resumed after another restart, whatever was cleared away by then`, async () => {
    const store = await openStore();
    const { clock, table, log } = store;
    const { id } = await store.namespace.openSession(quietEvents, resumable);
    let last = store.namespace;
    if (what === "ended") last.expireSession(id, "for the test");
    else {
      last = await openNamespace({ table, log, clock });
      clock.advance(10_000);
      await settle();
    }
    await last.openSession(quietEvents);
    const again = await openNamespace({ table, log, clock });
    await assert.rejects(again.openSession(quietEvents, { ...resumable, resume: id }), { code: "ESTALE" });
  });
}

test("after a restart what an ended session held is in the others' way until its mount must know", async () => {
  const store = await openStore();
  const { clock, table, log } = store;
  const session = await store.namespace.openSession(quietEvents, { ...resumable, limitMs: 5000 });
  clock.advance(2000);
  store.namespace.expireSession(session.id, "for the test");
  const again = await openNamespace({ table, log, clock });
  const waiting = watch(again.openSession(quietEvents));
  clock.advance(2999);
  await settle();
  assert.equal(waiting.over, false);
  clock.advance(1);
  await settle();
  assert.equal(waiting.over, true);
});

test("what a session has not said yet when it ends stays in the others' way until its mount must know", async () => {
  const store = await openStore({ limits: { resumeMs: 1000 } });
  const options = { ...resumable, limitMs: 5000 };
  const ids: SessionId[] = [];
  for (let count = 0; count < 2; count++) ids.push((await store.namespace.openSession(quietEvents, options)).id);
  const { clock, table, log } = store;
  const again = await openNamespace({ table, log, clock, limits: { resumeMs: 1000 } });
  const [first, second] = await Promise.all(ids.map((resume) => again.openSession(quietEvents, { ...options, resume })));
  first.reclaim([{ inode: 2 as InodeId, mode: "exclusive" }], []);
  assert.throws(() => second.reclaim([{ inode: 2 as InodeId, mode: "exclusive" }], []), { code: "ESTALE" });
  second.fail("for the test");
  const ready = watch(first.reclaimed());
  await settle();
  clock.advance(4999);
  await settle();
  assert.equal(ready.over, false);
  clock.advance(1);
  await settle();
  assert.equal(ready.over, true);
});

test("a mount whose reclaim is refused knows that its session is over: nobody waits for its limit", async () => {
  const clock = new TestClock();
  const machine = await machineWith(clock, 10_000);
  const mount = await openMount(machine);
  const other = await openMount(machine);
  const inode = await makeHeld(mount, "file");
  const another = await makeHeld(other, "another");
  other.reaches = false;
  machine.kill();
  await machine.start();
  await pass(clock, "the first has said what it holds", () => machine.sessions().length === 1);
  await passMs(clock, 100);
  other.held.push({ inode, mode: "exclusive" });
  other.reaches = true;
  const change = mount.session.call("setAttributes", { inode: another, change: { mode: 0o600 } });
  const watched = watch(change);
  const tookMs = await pass(clock, "the change is made", () => watched.over);
  assert.ok(tookMs < 5000, `${tookMs} ms`);
  assert.deepEqual([mount.renewed(), other.renewed()], [0, 1]);
  await change;
  await Promise.all([mount.session.close(), other.session.close()]);
});

test("after a restart an ended session whose mount comes for another is cleared away", async () => {
  const store = await openStore();
  const { clock, table, log } = store;
  const { id } = await store.namespace.openSession(quietEvents, resumable);
  store.namespace.expireSession(id, "for the test");
  await settle();
  const again = await openNamespace({ table, log, clock });
  const next = await again.openSession(quietEvents, { ...resumable, former: id });
  await next.close();
  while (await again.tick()) continue;
  const last = await openNamespace({ table, log, clock });
  const waiting = watch(last.openSession(quietEvents));
  await settle();
  assert.equal(waiting.over, true);
});

test("sessions that wait to be opened count as open ones", async () => {
  const limits = { sessions: 3, resumeMs: 1000 };
  const store = await openStore({ limits });
  const { clock, table, log } = store;
  await store.namespace.openSession(quietEvents, resumable);
  const again = await openNamespace({ table, log, clock, limits });
  const opened = Array.from({ length: 5 }, () => again.openSession(quietEvents));
  clock.advance(1000);
  const outcomes = await Promise.allSettled(opened);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["fulfilled", "fulfilled", "fulfilled", "rejected", "rejected"],
  );
  assert.equal((outcomes[3] as PromiseRejectedResult).reason.code, "EAGAIN");
});

test("a block that is just being stored when its session ends is there before the session's numbers are swept", async () => {
  const clock = new TestClock();
  const order: string[] = [];
  const machine = new Machine(clock);
  machine.timeLimitMs = 1000;
  let store = (): void => {};
  machine.blocks = {
    disks: () => [],
    store: async () => {
      await new Promise<void>((resolve) => (store = resolve));
      order.push("stored");
    },
  } as unknown as BlockClient;
  machine.hooks = {
    remove: async () => {},
    removeUncommitted: async () => void order.push("swept"),
    space: () => ({ totalBytes: 1e12, freeBytes: 1e12 }),
  };
  await machine.start();
  const mount = await openMount(machine);
  const { first } = await mount.session.call("reserveStripes", { count: 1 });
  const block = { stripe: first as StripeId, index: 0 };
  const stored = mount.session.blocks.store(1 as DiskId, block, new Uint8Array(8)).catch(() => order.push("refused"));
  await settle();
  machine.namespace.expireSession(mount.session.id, "for the test");
  await done(clock, stored);
  for (let count = 0; count < 3; count++) {
    await passMs(clock, 1000);
    await machine.namespace.tick();
  }
  assert.deepEqual(order, ["refused"]);
  store();
  await settle();
  await machine.namespace.tick();
  assert.deepEqual(order, ["refused", "stored", "swept"]);
  await mount.session.close();
});

test("a file that an ended session has open stays until the session is gone", async () => {
  const store = await openStore();
  const session = await store.namespace.openSession(quietEvents, resumable);
  const file = await makeEntry(session, store.root, "file");
  store.namespace.expireSession(session.id, "for the test");
  const unlink = store.session.call("unlink", { parent: store.root, name: name("file"), directory: false });
  const watched = watch(unlink);
  await settle();
  assert.equal(watched.over, false);
  store.clock.advance(1000);
  await unlink;
  while (await store.namespace.tick());
  await assert.rejects(store.session.call("getAttributes", { inode: file.inode }), { code: "ESTALE" });
});
