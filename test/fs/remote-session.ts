// Sessions over a stream that breaks, and a server that is killed and started again, in one process.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { encodeMessage } from "../../fs/message-codec.ts";
import type { ByteLock, HeldLease, Session } from "../../fs/messages.ts";
import { RemoteSession } from "../../fs/remote-session.ts";
import type { InodeId, SessionId, StripeId } from "../../fs/types.ts";
import { Machine } from "./machine.ts";
import { name, problems, TestClock } from "./namespace/memory-log.ts";

const ROOT = 1 as InodeId;
const owned = { mode: 0o100644, umask: 0, uid: 0, gid: 0, exclusive: true };

// The system's clock does not keep the process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

/** Changes of every kind, one after the other; each must succeed, once. Returns the names that are left. */
async function changes(session: RemoteSession): Promise<string[]> {
  const directory = await session.call("make", { ...owned, parent: ROOT, name: name("d"), mode: 0o040755 });
  const parent = directory.attributes.inode;
  const file = await session.call("make", { ...owned, parent, name: name("f") });
  const { inode } = file.attributes;
  await session.call("commit", { files: [{ inode, extents: [{ offset: 0, length: 3, inline: Buffer.from("abc") }], sizeAtLeast: 3 }], stripes: [] }); // prettier-ignore
  await session.call("link", { inode, parent, name: name("hard") });
  await session.call("rename", {
    parent,
    name: name("f"),
    newParent: parent,
    newName: name("g"),
    noReplace: true,
    exchange: false,
  });
  await session.call("setXattr", { inode, name: name("user.a"), value: Buffer.from("1"), create: true, replace: false, clearSetGroupId: false }); // prettier-ignore
  await session.call("removeXattr", { inode, name: name("user.a") });
  await session.call("unlink", { parent, name: name("hard"), directory: false });
  await Promise.all([1, 2, 3].map((number) => session.call("make", { ...owned, parent, name: name(`n${number}`) })));
  const first = await session.call("reserveStripes", { count: 4 });
  const second = await session.call("reserveStripes", { count: 4 });
  assert.ok(second.first >= ((first.first + 4) as StripeId));
  await session.call("sync", {});
  const { entries } = await session.call("list", { inode: parent, after: 0, limit: 100, attributes: true });
  const size = entries.find((entry) => entry.name === "g")!.attributes!;
  assert.deepEqual([size.size, size.linkCount], [3, 1]);
  return entries.map((entry) => entry.name as string).sort();
}

for (const what of ["the connection breaks", "the server is killed and started again"]) {
  test(`each change is made exactly once where ${what} at any chunk of the conversation`, async () => {
    const whole = new Machine();
    await whole.start();
    const expected = await changes(await whole.open());
    assert.deepEqual(expected, ["g", "n1", "n2", "n3"]);
    const before = 4; // hello, the disks
    let cuts = 0;
    for (let cutAt = before + 1; cutAt <= whole.chunks; cutAt++) {
      const machine = new Machine();
      await machine.start();
      const session = await machine.open();
      machine.cutAt = cutAt;
      machine.onCut = async () => {
        if (what === "the connection breaks") return;
        machine.kill();
        await machine.start();
      };
      assert.deepEqual(await changes(session), expected, `cut at chunk ${cutAt}`);
      if (machine.chunks >= cutAt) cuts++;
      assert.deepEqual(await problems(machine.namespace), [], `cut at chunk ${cutAt}`);
      await session.close();
    }
    // Pings come when they come, so the last chunks may be other ones, or missing.
    assert.ok(cuts > 20, `${cuts} cuts`);
  });
}

const lock = (owner: string): ByteLock => ({ kind: "posix", type: "write", start: 0, end: Infinity, owner, pid: 1 });

test("leases and locks are held through a restart of the server", async () => {
  const machine = new Machine();
  await machine.start();
  const held: HeldLease[] = [];
  const recalls: string[] = [];
  const one = await machine.open({
    held: () => held,
    recall: async (inode, mode) => void recalls.push(`${inode} ${mode}`),
  });
  const { attributes } = await one.call("make", { ...owned, parent: ROOT, name: name("file") });
  const { inode } = attributes;
  held.push({ inode, mode: "exclusive" });
  await one.call("lock", { inode, lock: lock("one"), wait: false, ticket: 1 });
  machine.kill();
  await machine.start();
  const two = await machine.open();
  await assert.rejects(two.call("lock", { inode, lock: lock("two"), wait: false, ticket: 1 }), { code: "EAGAIN" });
  assert.deepEqual(recalls, []);
  assert.equal((await two.call("getAttributes", { inode })).attributes.size, 0);
  assert.deepEqual(recalls, [`${inode} shared`], "the lease was asked back");
  await one.close();
  await two.call("lock", { inode, lock: lock("two"), wait: false, ticket: 2 });
  await two.close();
});

test("an open file without a name stays through a restart of the server, and goes when its session does", async () => {
  const machine = new Machine();
  await machine.start();
  const held: HeldLease[] = [];
  const one = await machine.open({ held: () => held });
  const { attributes } = await one.call("makeUnnamed", { ...owned, parent: ROOT });
  held.push({ inode: attributes.inode, mode: "exclusive" });
  machine.kill();
  await machine.start();
  while (await machine.namespace.tick());
  assert.equal((await one.call("getAttributes", { inode: attributes.inode })).attributes.linkCount, 0);
  while (await machine.namespace.tick());
  assert.equal(machine.namespace.status().unnamedInodes, 1);
  await one.close();
  while (await machine.namespace.tick());
  assert.equal(machine.namespace.status().unnamedInodes, 0);
});

test("nobody gets a session while one of before may still come back, and not for longer than the limit", async () => {
  const machine = new Machine();
  await machine.start();
  const one = await machine.open();
  const waiting = one.id;
  machine.kill();
  await new Promise((resolve) => setTimeout(resolve, 10));
  await one.close();
  await machine.start();
  let open = false;
  const local = machine.namespace.openSession({ recall: async () => {}, expired: () => {} }).then((session) => {
    open = true;
    return session;
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(open, false);
  assert.notEqual((await local).id, waiting);
  await assert.rejects(
    machine.namespace.openSession({ recall: async () => {}, expired: () => {} }, { durable: true, resume: waiting }),
    { code: "ESTALE" },
  );
});

test("a session that the server has ended is replaced: the mount is told, changes under way are refused, and it goes on", async () => {
  const machine = new Machine();
  await machine.start();
  const locked: InodeId[][] = [];
  const one = await machine.open({ renewed: (inodes) => void locked.push([...inodes]) });
  const { attributes } = await one.call("make", { ...owned, parent: ROOT, name: name("file") });
  await one.call("lock", { inode: attributes.inode, lock: lock("one"), wait: false, ticket: 1 });
  const before = one.id;
  machine.namespace.expireSession(before, "for the test");
  const late = one.call("setAttributes", { inode: attributes.inode, change: { mode: 0o600 } });
  const read = one.call("getAttributes", { inode: attributes.inode });
  await assert.rejects(late, { code: "EIO" });
  assert.equal((await read).attributes.mode & 0o777, 0o644);
  assert.deepEqual(locked, [[attributes.inode]]);
  assert.notEqual(one.id, before);
  await one.call("setAttributes", { inode: attributes.inode, change: { mode: 0o640 } });
  await one.close();
});

test("what was asked under a session that is over is not sent under the next, also where it waited for its turn", async () => {
  const machine = new Machine();
  await machine.start();
  const one = await machine.open();
  const { attributes } = await one.call("make", { ...owned, parent: ROOT, name: name("file") });
  const { inode } = attributes;
  const text = (bytes: string): object => ({ inode, extents: [{ offset: 0, length: bytes.length, inline: Buffer.from(bytes) }] });
  const commit = (session: Session, bytes: string): Promise<unknown> =>
    session.call("commit", { files: [text(bytes)], stripes: [] } as never);
  // Another session does not give a lease up: whoever changes its file waits, and so do those behind who get no number.
  let giveUp = (): void => {};
  let recalled = (): void => {};
  const asked = new Promise<void>((resolve) => (recalled = resolve));
  const recall = (): Promise<void> => (recalled(), new Promise((resolve) => (giveUp = resolve)));
  const other = await machine.namespace.openSession({ recall, expired: () => {} });
  const held = (await other.call("make", { ...owned, parent: ROOT, name: name("held") })).attributes.inode;
  const waiting = Array.from({ length: 600 }, () => one.call("setAttributes", { inode: held, change: { mode: 0o600 } }));
  const gathered = Array.from({ length: 600 }, () => commit(one, "old"));
  const all = Promise.allSettled([...waiting, ...gathered]);
  await asked;
  machine.namespace.expireSession(one.id, "for the test");
  await one.call("getAttributes", { inode });
  await commit(other, "new");
  giveUp();
  const outcomes = await all;
  for (const outcome of outcomes.slice(600)) if (outcome.status === "rejected") assert.equal(outcome.reason.code, "EIO");
  const { extents } = await other.call("extents", { inode, from: 0, to: 3, limit: 1 });
  assert.equal(Buffer.from(extents[0].inline!).toString(), "new");
  await one.close();
});

test("a commit that was given up is not made later, beside the one that was sent in its place", async () => {
  const clock = new TestClock();
  const machine = new Machine(clock);
  await machine.start();
  const one = await machine.open();
  let giveUp = (): void => {};
  const recall = (): Promise<void> => new Promise((resolve) => (giveUp = resolve));
  const other = await machine.namespace.openSession({ recall, expired: () => {} }, { limitMs: 1_000_000 });
  const { inode } = (await other.call("make", { ...owned, parent: ROOT, name: name("held") })).attributes;
  const commit = (text: string): Promise<unknown> =>
    one.call("commit", { files: [{ inode, extents: [{ offset: 0, length: 3, inline: Buffer.from(text) }] }], stripes: [] });
  const turns = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  };
  const first = assert.rejects(commit("old"), { code: "ETIMEDOUT" });
  for (let second = 0; second <= 60; second++) {
    await turns();
    clock.advance(1000);
  }
  await first;
  const before = machine.entries("commit");
  const again = commit("new");
  await turns();
  giveUp();
  await again;
  await turns();
  assert.equal(machine.entries("commit"), before + 1);
  const { extents } = await one.call("extents", { inode, from: 0, to: 3, limit: 1 });
  assert.equal(Buffer.from(extents[0].inline!).toString(), "new");
  await one.close();
});

test("a session that the server was not heard of for its time limit is not fresh until it answers again", async () => {
  const machine = new Machine();
  machine.timeLimitMs = 300;
  await machine.start();
  let lapsed = (): void => {};
  const lapse = new Promise<void>((resolve) => (lapsed = resolve));
  const one = await machine.open({ lapsed: () => lapsed() });
  await one.contact();
  assert.equal(one.fresh, true);
  machine.kill();
  await lapse;
  assert.equal(one.fresh, false);
  let reached = false;
  const contact = one.contact().then(() => (reached = true));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(reached, false);
  await machine.start();
  await contact;
  await one.close();
});

test("why there is no connection is said once for each reason, however often it is tried", async () => {
  const machine = new Machine();
  await machine.start();
  const lines: string[] = [];
  let tried = 0;
  let reason: string | null = null;
  const session = await RemoteSession.open({
    connect: async () => {
      tried++;
      if (reason !== null) throw new Error(reason);
      return machine.connect();
    },
    mountpoint: "/mnt",
    pid: process.pid,
    clock: machine.clock,
    random: () => 0,
    events: { recall: async () => {}, expired: () => {} },
    trace: (line) => void lines.push(line),
  });
  const triedOften = async (): Promise<void> => {
    const before = tried;
    while (tried < before + 3) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  reason = "no such socket";
  machine.cut();
  await triedOften();
  reason = "refused";
  await triedOften();
  reason = null;
  await session.call("getAttributes", { inode: ROOT });
  const said = lines.filter((line) => line.includes("not connected yet"));
  assert.deepEqual(said, ["session: not connected yet: no such socket", "session: not connected yet: refused"]);
  await session.close();
});

test("a mount does not go on with another store that is served at the same place", async () => {
  const machine = new Machine();
  await machine.start();
  let expired = 0;
  const one = await machine.open({ expired: () => void expired++ });
  machine.kill();
  machine.store = "another store";
  await machine.start();
  await assert.rejects(one.call("getAttributes", { inode: ROOT }), { code: "EIO", message: /another store/ });
  assert.equal(expired, 1);
});

test("hello's and reclaim's golden bytes", () => {
  const hello = encodeMessage("Hello", { version: 2, mountpoint: "/m", pid: 7, session: 5 as SessionId, store: "s" });
  assert.equal(Buffer.from(hello).toString("hex"), "0802" + "12022f6d" + "1807" + "2005" + "2a0173");
  const welcome = encodeMessage("Welcome", { session: 5, timeLimitMs: 10_000, scheme: "rs:4+2", store: "s", reclaim: true });
  assert.equal(Buffer.from(welcome).toString("hex"), "0805" + "10904e" + "1a0672733a342b32" + "220173" + "2801");
  const reclaim = encodeMessage("Reclaim", { known: [1], shared: [300], exclusive: [2, 3], locks: [], last: true });
  assert.equal(Buffer.from(reclaim).toString("hex"), "0a0101" + "1202ac02" + "1a020203" + "2801");
  const last = { known: [], shared: [], exclusive: [], locks: [], last: true, unanswered: [7, 300], learning: [7] };
  assert.equal(Buffer.from(encodeMessage("Reclaim", last)).toString("hex"), "2801" + "320307ac02" + "3a0107");
});
