import assert from "node:assert/strict";
import test from "node:test";
import type { ByteLock, LeaseMode } from "../../../fs/messages.ts";
import type { NamespaceSession, SessionOptions } from "../../../fs/namespace/namespace.ts";
import type { ByteString, InodeId } from "../../../fs/types.ts";
import { makeEntry, name, openStore, problems, quietEvents, type TestStore } from "./memory-log.ts";

interface Recall {
  inode: InodeId;
  mode: LeaseMode;
  names: readonly ByteString[] | undefined;
  answer: () => void;
}

/** A session whose recalls are answered by the test. */
async function openRecalled(
  store: TestStore,
  options: SessionOptions = {},
): Promise<{ session: NamespaceSession; recalls: Recall[]; expired: () => number }> {
  const recalls: Recall[] = [];
  let expired = 0;
  const session = await store.namespace.openSession(
    {
      recall: (inode, mode, names) => new Promise((resolve) => recalls.push({ inode, mode, names, answer: resolve })),
      expired: () => void expired++,
    },
    options,
  );
  return { session, recalls, expired: () => expired };
}

/** Lets everything run that waits for nothing from outside. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function watch<T>(promise: Promise<T>): { done: boolean; error: unknown; promise: Promise<T> } {
  const state = { done: false, error: undefined as unknown, promise };
  promise.then(
    () => (state.done = true),
    (error: unknown) => {
      state.done = true;
      state.error = error;
    },
  );
  return state;
}

test("a change waits until the session that caches the inode has given its lease up", async () => {
  const store = await openStore();
  const file = await makeEntry(store.session, store.root, "file");
  const other = await openRecalled(store);
  await store.session.call("forget", { inodes: [file.inode] });
  await other.session.call("getAttributes", { inode: file.inode });
  const change = watch(store.session.call("setAttributes", { inode: file.inode, change: { mode: 0o600 } }));
  await settle();
  assert.equal(change.done, false);
  assert.deepEqual(
    other.recalls.map(({ inode, mode, names }) => [inode, mode, names]),
    [[file.inode, "known", undefined]],
  );
  const read = await other.session.call("getAttributes", { inode: file.inode });
  assert.equal(read.attributes.mode & 0o777, 0o644, "the session being recalled is answered still");
  other.recalls[0].answer();
  assert.equal((await change.promise).attributes.mode & 0o777, 0o600);
  assert.equal((await other.session.call("getAttributes", { inode: file.inode })).attributes.mode & 0o777, 0o600);
});

test("what was asked for during a recall gives no lease", async () => {
  const store = await openStore();
  const file = await makeEntry(store.session, store.root, "file");
  const other = await openRecalled(store);
  await store.session.call("forget", { inodes: [file.inode] });
  await other.session.call("getAttributes", { inode: file.inode });
  const change = watch(store.session.call("setAttributes", { inode: file.inode, change: { mode: 0o600 } }));
  await settle();
  await other.session.call("getAttributes", { inode: file.inode });
  other.recalls[0].answer();
  await change.promise;
  await store.session.call("setAttributes", { inode: file.inode, change: { mode: 0o640 } });
  assert.equal(other.recalls.length, 1, "nothing was left to recall");
});

test("reading recalls an exclusive lease to shared, and the holder writes back first", async () => {
  const store = await openStore();
  const holder = await openRecalled(store);
  const file = await makeEntry(holder.session, store.root, "file");
  const read = watch(store.session.call("getAttributes", { inode: file.inode }));
  await settle();
  assert.deepEqual(
    holder.recalls.map(({ inode, mode }) => [inode, mode]),
    [[file.inode, "shared"]],
  );
  await holder.session.call("commit", {
    files: [{ inode: file.inode, extents: [{ offset: 0, length: 5, inline: Buffer.from("hello") }] }],
    stripes: [],
  });
  assert.equal(read.done, false);
  holder.recalls[0].answer();
  assert.equal((await read.promise).attributes.size, 5);
});

test("a name made in a directory that another caches recalls only that name, and the lease stays", async () => {
  const store = await openStore();
  const other = await openRecalled(store);
  await other.session.call("lookup", { parent: store.root, name: name("absent") });
  const made = watch(makeEntry(store.session, store.root, "absent"));
  await settle();
  assert.deepEqual(
    other.recalls.map(({ inode, mode, names }) => [inode, mode, names]),
    [[store.root, "shared", ["absent"]]],
  );
  other.recalls[0].answer();
  await made.promise;
  const second = watch(makeEntry(store.session, store.root, "second"));
  await settle();
  assert.equal(other.recalls.length, 2, "the second name is recalled too");
  other.recalls[1].answer();
  await second.promise;
});

test("a rename between two names of one inode gives the leases of any rename", async () => {
  const store = await openStore();
  const file = await makeEntry(store.session, store.root, "file");
  await store.session.call("link", { inode: file.inode, parent: store.root, name: name("other") });
  const renamer = await openRecalled(store);
  const names = { parent: store.root, name: name("file"), newParent: store.root, newName: name("other") };
  await renamer.session.call("rename", { ...names, noReplace: false, exchange: false });
  const change = watch(store.session.call("setAttributes", { inode: file.inode, change: { mode: 0o600 } }));
  const made = watch(makeEntry(store.session, store.root, "third"));
  await settle();
  const recalled = renamer.recalls.map(({ inode }) => inode).sort((a, b) => a - b);
  assert.deepEqual(recalled, [store.root, file.inode]);
  for (const { answer } of renamer.recalls) answer();
  await Promise.all([change.promise, made.promise]);
});

test("two sessions that change one directory at once both get through", async () => {
  const store = await openStore();
  const one = await store.namespace.openSession(quietEvents);
  const two = await store.namespace.openSession(quietEvents);
  const jobs: Promise<unknown>[] = [];
  for (let count = 0; count < 200; count++) {
    for (const session of [one, two]) {
      const text = `file-${session.id}-${count}`;
      jobs.push(
        makeEntry(session, store.root, text).then(async () => {
          await session.call("lookup", { parent: store.root, name: name(`file-${count % 2 === 0 ? one.id : two.id}-${count}`) });
          await session.call("rename", {
            parent: store.root,
            name: name(text),
            newParent: store.root,
            newName: name(`${text}-renamed`),
            noReplace: false,
            exchange: false,
          });
        }),
      );
    }
  }
  await Promise.all(jobs);
  const { entries } = await one.call("list", { inode: store.root, after: 0, limit: 4096, attributes: true });
  assert.equal(entries.length, 400);
  assert.deepEqual(await problems(store.namespace), []);
});

test("two renames that need each other's directories do not wait for each other forever", async () => {
  const store = await openStore();
  const one = await store.namespace.openSession(quietEvents);
  const two = await store.namespace.openSession(quietEvents);
  const left = await makeEntry(one, store.root, "left", 0o40755);
  const right = await makeEntry(two, store.root, "right", 0o40755);
  for (let count = 0; count < 50; count++) {
    await makeEntry(one, left.inode, `from-left-${count}`);
    await makeEntry(two, right.inode, `from-right-${count}`);
    await one.call("list", { inode: right.inode, after: 0, limit: 100, attributes: true });
    await two.call("list", { inode: left.inode, after: 0, limit: 100, attributes: true });
    await Promise.all([
      one.call("rename", {
        parent: left.inode,
        name: name(`from-left-${count}`),
        newParent: right.inode,
        newName: name(`a-${count}`),
        noReplace: false,
        exchange: false,
      }),
      two.call("rename", {
        parent: right.inode,
        name: name(`from-right-${count}`),
        newParent: left.inode,
        newName: name(`b-${count}`),
        noReplace: false,
        exchange: false,
      }),
    ]);
  }
  assert.deepEqual(await problems(store.namespace), []);
});

test("a session that does not answer a recall is ended after its limit, and the change goes through", async () => {
  const store = await openStore();
  const silent = await openRecalled(store, { limitMs: 3000, expires: true });
  const file = await makeEntry(silent.session, store.root, "file");
  const change = watch(store.session.call("setAttributes", { inode: file.inode, change: { mode: 0o600 } }));
  await settle();
  store.clock.advance(2999);
  await settle();
  assert.equal(change.done, false);
  store.clock.advance(1);
  await change.promise;
  assert.equal(silent.expired(), 1);
  await assert.rejects(silent.session.call("getAttributes", { inode: file.inode }), { code: "ESTALE" });
  const commit = { files: [{ inode: file.inode, extents: [], sizeAtLeast: 10 }], stripes: [] };
  await assert.rejects(silent.session.call("commit", commit), { code: "ESTALE" });
});

test("a session that is heard of while it does not answer a recall has three times its limit, and no longer than it is heard of", async () => {
  for (const heardFor of [1500, 60_000]) {
    const store = await openStore();
    const slow = await openRecalled(store, { limitMs: 1000, expires: true });
    const file = await makeEntry(slow.session, store.root, "file");
    const change = watch(store.session.call("setAttributes", { inode: file.inode, change: { mode: 0o600 } }));
    await settle();
    let endedAfter = 0;
    for (let passed = 0; passed < 5000 && slow.expired() === 0; passed += 50) {
      if (passed < heardFor) slow.session.heard();
      store.clock.advance(50);
      await settle();
      endedAfter = passed + 50;
    }
    // A mount that was heard of just before may trust for another limit what it caches.
    await settle();
    assert.equal(change.done, heardFor === 1500);
    store.clock.advance(950);
    await change.promise;
    const atMost = Math.min(3000, heardFor + 1000);
    assert.ok(endedAfter >= atMost - 50 && endedAfter <= atMost + 250, `heard for ${heardFor} ms, ended after ${endedAfter}`);
  }
});

test("a session of another process that is not heard of is ended by the tick", async () => {
  const store = await openStore();
  const remote = await openRecalled(store, { limitMs: 1000, expires: true });
  store.clock.advance(900);
  await remote.session.call("getAttributes", { inode: store.root });
  store.clock.advance(900);
  await store.namespace.tick();
  assert.equal(remote.expired(), 0);
  store.clock.advance(200);
  await store.namespace.tick();
  store.clock.advance(250);
  await store.namespace.tick();
  assert.equal(remote.expired(), 1);
});

test("a server that was stopped for longer than the limit hears first what has come meanwhile", async () => {
  const store = await openStore();
  const remote = await openRecalled(store, { limitMs: 1000, expires: true });
  const file = await makeEntry(remote.session, store.root, "file");
  const change = watch(store.session.call("setAttributes", { inode: file.inode, change: { mode: 0o600 } }));
  await settle();
  store.clock.advance(60_000);
  await store.namespace.tick();
  await settle();
  assert.equal(remote.expired(), 0);
  remote.session.heard();
  remote.recalls[0].answer();
  await change.promise;
  store.clock.advance(900);
  await store.namespace.tick();
  assert.equal(remote.expired(), 0);
});

test("a recall that a stopped server got no answer to ends the session a moment after it goes on", async () => {
  const store = await openStore();
  const remote = await openRecalled(store, { limitMs: 1000, expires: true });
  const file = await makeEntry(remote.session, store.root, "file");
  const change = watch(store.session.call("setAttributes", { inode: file.inode, change: { mode: 0o600 } }));
  await settle();
  store.clock.advance(60_000);
  await settle();
  assert.equal(change.done, false);
  store.clock.advance(250);
  await change.promise;
  assert.equal(remote.expired(), 1);
});

test("a file without a name lives while a session knows it, and goes when none does", async () => {
  const store = await openStore();
  const other = await store.namespace.openSession(quietEvents);
  const file = await makeEntry(store.session, store.root, "file");
  await other.call("lookup", { parent: store.root, name: name("file") });
  await store.session.call("unlink", { parent: store.root, name: name("file"), directory: false });
  await store.session.call("forget", { inodes: [file.inode] });
  await store.namespace.tick();
  assert.equal((await other.call("getAttributes", { inode: file.inode })).attributes.linkCount, 0);
  await other.close();
  while (await store.namespace.tick());
  await assert.rejects(store.session.call("getAttributes", { inode: file.inode }), { code: "ESTALE" });
  assert.equal(store.namespace.status().inodes, 1);
  assert.deepEqual(await problems(store.namespace), []);
});

test("a commit that waited until its session had forgotten the inode does not make it known again", async () => {
  const store = await openStore();
  const file = await makeEntry(store.session, store.root, "file");
  const other = await openRecalled(store);
  await store.session.call("acquire", { inode: file.inode, mode: "shared" });
  const taken = other.session.call("acquire", { inode: file.inode, mode: "exclusive" });
  await taken;
  const change = { mtime: { seconds: 1, nanoseconds: 0 } };
  const commit = store.session.call("commit", { files: [{ inode: file.inode, extents: [], change }], stripes: [] });
  await settle();
  await store.session.call("forget", { inodes: [file.inode] });
  other.recalls[0].answer();
  await commit;
  await other.session.call("unlink", { parent: store.root, name: name("file"), directory: false });
  await other.session.call("forget", { inodes: [file.inode] });
  while (await store.namespace.tick());
  assert.equal(store.namespace.status().unnamedInodes, 0);
});

test("an access time alone takes no lease from anybody and waits for none: where one is in the way, it is dropped", async () => {
  const store = await openStore();
  const files = [await makeEntry(store.session, store.root, "free"), await makeEntry(store.session, store.root, "taken")];
  const other = await openRecalled(store);
  const third = await store.namespace.openSession(quietEvents);
  await other.session.call("acquire", { inode: files[1].inode, mode: "exclusive" });
  // Another's change waits for the recall, and would hold an access time up as well.
  const change = watch(third.call("setAttributes", { inode: files[1].inode, change: { mode: 0o600 } }));
  await settle();
  const atime = { seconds: 7, nanoseconds: 0 };
  const commit = { files: files.map(({ inode }) => ({ inode, extents: [], change: { atime } })), stripes: [] };
  const { attributes } = await store.session.call("commit", commit);
  assert.deepEqual(
    attributes.map(({ atimeSeconds }) => atimeSeconds === 7),
    [true, false],
  );
  assert.equal(other.recalls.length, 1);
  assert.equal(change.done, false);
  other.recalls[0].answer();
  await change.promise;
});

test("a repeated request of a durable session is answered and not done again, also after a restart", async () => {
  const { openNamespace } = await import("../../../fs/namespace/namespace.ts");
  const store = await openStore();
  const session = await store.namespace.openSession(quietEvents, { durable: true });
  const request = { parent: store.root, name: name("once"), mode: 0o100644, umask: 0, uid: 0, gid: 0, exclusive: true };
  const first = await session.callNumbered(1, "make", request);
  assert.equal(first.repeated, false);
  const { reply } = first;
  assert.deepEqual(await session.callNumbered(1, "make", request), { reply, repeated: true });
  const again = await openNamespace({ table: store.table, log: store.log, clock: store.clock });
  const resumed = await again.openSession(quietEvents, { durable: true, resume: session.id });
  assert.deepEqual(await resumed.callNumbered(1, "make", request), { reply, repeated: true });
  await assert.rejects(resumed.callNumbered(2, "make", request), { code: "EEXIST" });
  await assert.rejects(again.openSession(quietEvents, { durable: true, resume: 999 as never }), { code: "ESTALE" });
});

test("the log's replay counts no inode for a name that was there when a durable session made it", async () => {
  const { openNamespace } = await import("../../../fs/namespace/namespace.ts");
  const store = await openStore();
  const session = await store.namespace.openSession(quietEvents, { durable: true });
  const request = { parent: store.root, name: name("both"), mode: 0o100644, umask: 0, uid: 0, gid: 0, exclusive: false };
  assert.equal((await session.callNumbered(1, "make", request)).reply.created, true);
  assert.equal((await session.callNumbered(2, "make", request)).reply.created, false);
  const again = await openNamespace({ table: store.table, log: store.log, clock: store.clock });
  assert.equal(again.status().inodes, 2);
  await again.openSession(quietEvents, { durable: true, resume: session.id });
  assert.deepEqual(await problems(again), []);
});

test("what is no lock and no lease is refused", async () => {
  const { one, inode, take } = await openLocks();
  const wrong: Partial<Record<keyof ByteLock, unknown>>[] = [
    { kind: "other" }, { type: "other" }, { start: -1 }, { start: 0.5 }, { start: 5, end: 4 }, { start: NaN }, { end: NaN }, { owner: "o".repeat(65) },
  ]; // prettier-ignore
  for (const part of wrong)
    await assert.rejects(take(one, { ...posix("a", "write", 0, 9), ...part } as ByteLock), { code: "EINVAL" });
  await assert.rejects(one.call("acquire", { inode, mode: "all" as LeaseMode }), { code: "EINVAL" });
});

const posix = (owner: string, type: ByteLock["type"], start: number, end: number): ByteLock => ({
  kind: "posix",
  type,
  start,
  end,
  owner,
  pid: 7,
});
const flock = (owner: string, type: ByteLock["type"]): ByteLock => ({
  kind: "flock",
  type,
  start: 0,
  end: Infinity,
  owner,
  pid: 7,
});

async function openLocks(): Promise<{
  one: NamespaceSession;
  two: NamespaceSession;
  inode: InodeId;
  take: (session: NamespaceSession, lock: ByteLock, wait?: boolean, ticket?: number) => Promise<unknown>;
}> {
  const store = await openStore();
  const two = await store.namespace.openSession(quietEvents);
  const inode = (await makeEntry(store.session, store.root, "file")).inode;
  return {
    one: store.session,
    two,
    inode,
    take: (session, lock, wait = false, ticket = 0) => session.call("lock", { inode, lock, wait, ticket }),
  };
}

test("posix locks of two sessions exclude each other where they overlap, and of one owner replace each other", async () => {
  const { one, two, inode, take } = await openLocks();
  await take(one, posix("a", "write", 0, 99));
  await assert.rejects(take(two, posix("a", "read", 50, 150)), { code: "EAGAIN" });
  await take(two, posix("a", "read", 100, 150));
  await take(one, posix("a", "unlock", 20, 29));
  await take(two, posix("b", "write", 20, 29));
  assert.deepEqual(
    (await one.call("testLock", { inode, lock: posix("a", "write", 0, 40) })).conflict,
    posix("b", "write", 20, 29),
  );
  assert.equal((await two.call("testLock", { inode, lock: posix("c", "read", 10, 19) })).conflict?.end, 19);
  await take(one, posix("a", "read", 0, 19));
  await take(two, posix("c", "read", 0, 19));
  assert.equal((await one.call("testLock", { inode, lock: flock("a", "write") })).conflict, null, "flock is a kind of its own");
});

test("a lock that waits is granted when the way is free, and can be cancelled", async () => {
  const { one, two, inode, take } = await openLocks();
  await take(one, posix("a", "write", 0, Infinity));
  const waiting = watch(take(two, posix("b", "write", 10, 20), true, 1));
  const cancelled = watch(take(two, posix("c", "write", 30, 40), true, 2));
  await settle();
  assert.equal(waiting.done, false);
  await two.call("cancelLock", { ticket: 2 });
  await assert.rejects(cancelled.promise, { code: "EINTR" });
  await one.call("releaseLocks", { inode, kind: "posix", owner: "a" });
  await waiting.promise;
  await assert.rejects(take(one, posix("a", "read", 15, 15)), { code: "EAGAIN" });
});

test("owners that would wait for each other get EDEADLK", async () => {
  const { one, two, inode, take } = await openLocks();
  await take(one, posix("a", "write", 0, 9));
  await take(two, posix("b", "write", 10, 19));
  await take(two, posix("c", "write", 20, 29));
  const first = watch(take(one, posix("a", "write", 10, 19), true, 1));
  const second = watch(take(two, posix("b", "write", 20, 29), true, 2));
  await settle();
  await assert.rejects(take(two, posix("c", "write", 0, 9), true, 3), { code: "EDEADLK" });
  await two.call("releaseLocks", { inode, kind: "posix", owner: "c" });
  await second.promise;
  await two.call("releaseLocks", { inode, kind: "posix", owner: "b" });
  await first.promise;
});

test("locks go with their session", async () => {
  const { one, two, take } = await openLocks();
  await take(one, flock("a", "write"));
  const waiting = watch(take(two, flock("b", "read"), true, 1));
  await one.close();
  await waiting.promise;
});
