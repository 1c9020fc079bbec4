// A mount in the daemon's own process whose session the namespace ends: it goes on under another one, as mounts of other processes do.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { EmbeddedStore } from "../../fs/embedded.ts";
import { FsError } from "../../fs/errno.ts";
import { LocalSession } from "../../fs/local-session.ts";
import type { SessionEvents } from "../../fs/messages.ts";
import type { InodeId } from "../../fs/types.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { MemoryStripes } from "./mount/doubles.ts";
import { attributes, createFile, openFile, read, sync, truncate, write } from "./mount/program.ts";
import { makeEntry, name, openStore, quietEvents, TestClock } from "./namespace/memory-log.ts";

// The system's clock does not keep the process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const schemes = { full: "rs:4+2", small: "copies:3" };
const ROOT = 1 as InodeId;

async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets time pass until it is so; returns how long that took. */
async function pass(clock: TestClock, until: () => boolean, limitMs: number): Promise<number> {
  const began = clock.nowMs();
  await settle();
  while (!until() && clock.nowMs() - began < limitMs) {
    clock.advance(10);
    await settle();
  }
  return clock.nowMs() - began;
}

test("a mount whose disks are slow has three times its limit to write back, then loses that and goes on", async () => {
  const clock = new TestClock();
  const stripes = new MemoryStripes();
  let blocked = false;
  let goOn = (): void => {};
  const writeStripe = stripes.write.bind(stripes);
  stripes.write = async (id, scheme, data) => {
    if (blocked) await new Promise<void>((resolve) => (goOn = resolve));
    return writeStripe(id, scheme, data);
  };
  const log = await LocalLog.open(new SimulatedDirectory({ seed: 1 }));
  const store = await EmbeddedStore.open({ table: new MemoryTable(), log, stripes, schemes, clock });
  const slow = await store.openMount({ session: { limitMs: 1000 } });
  const other = await store.openMount();
  const before = slow.session.id;
  const ours = await createFile(slow, "file");
  await sync(ours);
  blocked = true;
  await write(ours, 0, new Uint8Array(100_000).fill(1));
  let over = false;
  const written = openFile(other, "file").then(async (theirs) => {
    await write(theirs, 0, new Uint8Array(10).fill(2));
    over = true;
    return theirs;
  });
  const tookMs = await pass(clock, () => over, 60_000);
  assert.ok(tookMs >= 3000 && tookMs <= 3500, `${tookMs} ms`);
  const theirs = await written;
  blocked = false;
  goOn();
  await settle();
  assert.notEqual(slow.session.id, before);
  await assert.rejects(sync(ours), { code: "EIO" });
  assert.deepEqual(await read(ours, 0, 100), new Uint8Array(10).fill(2));
  await write(ours, 10, new Uint8Array(10).fill(3));
  assert.equal((await attributes(theirs)).size, 20);
  await sync(ours);
  await store.close();
});

test("a disk that hangs while something is removed from it does not hold up the end of a silent session", async () => {
  const clock = new TestClock();
  const stripes = new MemoryStripes();
  const log = await LocalLog.open(new SimulatedDirectory({ seed: 1 }));
  const limits = { deadStripeGraceMs: 0 };
  const store = await EmbeddedStore.open({ table: new MemoryTable(), log, stripes, schemes, clock, limits });
  const mount = await store.openMount();
  const file = await createFile(mount, "file");
  await write(file, 0, new Uint8Array(100_000).fill(1));
  await sync(file);
  let hangs = false;
  let goOn = (): void => {};
  stripes.remove = () => {
    hangs = true;
    return new Promise<void>((resolve) => (goOn = resolve));
  };
  await truncate(file, 0);
  await pass(clock, () => hangs, 60_000);
  assert.ok(hangs);
  let expired = false;
  await store.namespace.openSession(
    { ...quietEvents, expired: () => void (expired = true) },
    { limitMs: 1000, expires: true, durable: true },
  );
  await pass(clock, () => expired, 60_000);
  assert.ok(expired);
  goOn();
  await store.close();
});

interface Opened {
  session: LocalSession;
  renewed: InodeId[][];
  /** Ends the session that there is. */
  end: () => void;
}

async function openLocal(store: Awaited<ReturnType<typeof openStore>>): Promise<Opened> {
  const renewed: InodeId[][] = [];
  const events: SessionEvents = { ...quietEvents, renewed: (locked) => void renewed.push([...locked]) };
  const session = await LocalSession.open(
    (ours) => store.namespace.openSession(ours),
    events,
    () => {},
  );
  return { session, renewed, end: () => store.namespace.expireSession(session.id, "for the test") };
}

test("what is under way when the session ends is asked again, a change is refused, and what comes then waits for the next one", async () => {
  const store = await openStore();
  const { session, renewed, end } = await openLocal(store);
  const before = session.id;
  const file = await makeEntry(store.session, ROOT, "file");
  let answer = (): void => {};
  const recall = (): Promise<void> => new Promise((resolve) => (answer = resolve));
  const holder = await store.namespace.openSession({ ...quietEvents, recall });
  await holder.call("acquire", { inode: file.inode, mode: "exclusive" });
  // Both wait for the recall.
  const read = session.call("getAttributes", { inode: file.inode });
  const change = session.call("setAttributes", { inode: file.inode, change: { mode: 0o600 } });
  const late = assert.rejects(change, { code: "EIO", message: /may be done or not/ });
  await settle();
  end();
  assert.deepEqual(renewed, [[]], "the mount is told before anybody else goes on");
  const after = session.call("lookup", { parent: ROOT, name: name("file") });
  await settle();
  answer();
  await late;
  assert.equal((await read).attributes.mode & 0o777, 0o644);
  assert.equal((await after).attributes?.inode, file.inode);
  assert.notEqual(session.id, before);
  await session.close();
  await assert.rejects(session.call("getAttributes", { inode: file.inode }), { code: "ESTALE" });
});

test("the locks of a session that ends are given back, and its mount is told which they were", async () => {
  const store = await openStore();
  const { session, renewed, end } = await openLocal(store);
  const file = await makeEntry(store.session, ROOT, "file");
  const lock = { kind: "posix", type: "write", start: 0, end: 9, owner: "one", pid: 1 } as const;
  await session.call("lock", { inode: file.inode, lock, wait: false, ticket: 1 });
  end();
  assert.deepEqual(renewed, [[file.inode]]);
  await store.session.call("lock", { inode: file.inode, lock, wait: false, ticket: 1 });
  await session.close();
});

test("while no session is to be had requests are refused with the reason, and the next one tries again", async () => {
  let refuse = false;
  const store = await openStore();
  const session = await LocalSession.open(
    async (events) => {
      if (refuse) throw new FsError("EAGAIN", "for the test");
      return store.namespace.openSession(events);
    },
    quietEvents,
    () => {},
  );
  refuse = true;
  store.namespace.expireSession(session.id, "for the test");
  await assert.rejects(session.call("getAttributes", { inode: ROOT }), { code: "EAGAIN" });
  assert.equal(session.id, 0);
  refuse = false;
  assert.equal((await session.call("getAttributes", { inode: ROOT })).attributes.inode, ROOT);
  await session.close();
});
