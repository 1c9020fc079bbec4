// Requests that come twice, with a restart of the server between: each is done once.

import assert from "node:assert/strict";
import test from "node:test";
import { type Namespace, type NamespaceSession, openNamespace } from "../../../fs/namespace/namespace.ts";
import type { Request } from "../../../fs/messages.ts";
import { KEPT_BEYOND } from "../../../fs/namespace/answers.ts";
import type { Server } from "../../../fs/namespace/server.ts";
import { runsOf } from "../../../fs/number-runs.ts";
import type { InodeId } from "../../../fs/types.ts";
import { makeEntry, name, openStore, problems, quietEvents, type TestStore } from "./memory-log.ts";

const GIB = 2 ** 30;

interface Restarted {
  namespace: Namespace;
  session: NamespaceSession;
}

/** As after kill -9: what is in the log is there. The session has come back, says that it holds nothing, and waits for the replies to these numbers. */
async function restart({ table, log, clock }: TestStore, { id }: NamespaceSession, unanswered = [1]): Promise<Restarted> {
  const namespace = await openNamespace({ table, log, clock });
  const session = await namespace.openSession(quietEvents, { durable: true, resume: id });
  await session.reclaimed(unanswered);
  return { namespace, session };
}

const durable = (store: TestStore): Promise<NamespaceSession> => store.namespace.openSession(quietEvents, { durable: true });

async function sizeOf(session: NamespaceSession, inode: InodeId): Promise<number> {
  return (await session.call("getAttributes", { inode })).attributes.size;
}

for (const [kind, size] of [
  ["collapse", 3 * 4096],
  ["insert", 5 * 4096],
] as const)
  // prettier-ignore
  test(`${kind} is done once where it is sent again, also after a restart`, async () => {
    const store = await openStore();
    const session = await durable(store);
    const { inode } = await makeEntry(store.session, store.root, "file");
    await session.call("setAttributes", { inode, change: { size: 4 * 4096 } });
    const request = { inode, kind, offset: 0, length: 4096, keepSize: false };
    const { reply } = await session.callNumbered(1, "reshape", request);
    assert.deepEqual(await session.callNumbered(1, "reshape", request), { reply, repeated: true });
    assert.equal(await sizeOf(session, inode), size);
    const again = await restart(store, session);
    assert.deepEqual(await again.session.callNumbered(1, "reshape", request), { reply, repeated: true });
    assert.equal(await sizeOf(again.session, inode), size);
    assert.deepEqual(await problems(again.namespace), []);
  });

for (const kind of ["punch", "zero"] as const)
  test(`${kind} of several GiB that was cut short goes on behind its last piece: what another wrote since into those before stays`, async () => {
    const store = await openStore();
    const session = await durable(store);
    const { inode } = await makeEntry(store.session, store.root, "file");
    const write = (by: NamespaceSession, offset: number, text: string): Promise<unknown> =>
      by.call("commit", { files: [{ inode, extents: [{ offset, length: text.length, inline: Buffer.from(text) }] }], stripes: [] }); // prettier-ignore
    for (const gib of [0, 1, 2]) await write(session, gib * GIB + 5, "old");
    // The log takes the first piece, and the server dies.
    const append = store.log.append.bind(store.log);
    let entries = 0;
    store.log.append = (entry) => {
      if (entries++ > 0) throw Object.assign(new Error("killed"), { code: "EIO" });
      return append(entry);
    };
    const request = { inode, kind, offset: 0, length: 3 * GIB, keepSize: true };
    await assert.rejects(session.callNumbered(1, "reshape", request), { code: "EIO" });
    store.log.append = append;
    const again = await restart(store, session);
    const other = await again.namespace.openSession(quietEvents);
    await write(other, 5, "new");
    await again.session.callNumbered(1, "reshape", request);
    const { extents } = await other.call("extents", { inode, from: 0, to: 4 * GIB, limit: 100 });
    const inline = extents.filter((extent) => extent.inline !== undefined);
    assert.deepEqual(inline.map(({ offset, inline: bytes }) => [offset, Buffer.from(bytes!).toString()]), [[5, "new"]]); // prettier-ignore
    // And once it is done, it is done.
    await write(other, 2 * GIB + 5, "newer");
    await again.session.callNumbered(1, "reshape", request);
    const after = await other.call("extents", { inode, from: 2 * GIB + 5, to: 2 * GIB + 10, limit: 1 });
    assert.equal(after.extents[0].inline?.length, 5);
    assert.deepEqual(await problems(again.namespace), []);
  });

test("reserved stripe numbers are durable before they are answered, on both paths, and where the reply is repeated", async () => {
  const store = await openStore();
  const session = await durable(store);
  let synced = 0;
  const sync = store.log.sync.bind(store.log);
  const counted = async (): Promise<void> => (await sync(), void synced++);
  store.log.sync = counted;
  await session.call("reserveStripes", { count: 4 });
  assert.equal(synced, 1);
  const { reply } = await session.callNumbered(1, "reserveStripes", { count: 4 });
  assert.equal(synced, 2);
  const again = await restart(store, session);
  synced = 0;
  assert.deepEqual(await again.session.callNumbered(1, "reserveStripes", { count: 4 }), { reply, repeated: true });
  assert.equal(synced, 1);
  await again.session.callNumbered(2, "make", { parent: store.root, name: name("f"), mode: 0o100644, umask: 0, uid: 0, gid: 0, exclusive: true }); // prettier-ignore
  assert.equal(synced, 1, "everything else is durable with the next sync");
});

const make = (text: string): Request<"make"> => ({ parent: 1 as InodeId, name: name(text), mode: 0o100644, umask: 0, uid: 0, gid: 0, exclusive: true }); // prettier-ignore

test("a reply is kept until the session says that it has come, however many follow, and not longer", async () => {
  const store = await openStore();
  const session = await durable(store);
  const { identities } = store.namespace as Server;
  const first = await session.callNumbered(1, "make", make("first"));
  for (let number = 2; number <= 600; number++) {
    await session.callNumbered(number, "make", make(`file-${number}`), { unanswered: [1, 1] });
    // A number for nothing: no reply of it is stored.
    if (number % 5 === 0) await assert.rejects(session.callNumbered(++number, "make", make("first"), { unanswered: [1, 1] }), { code: "EEXIST" }); // prettier-ignore
  }
  const stored = async (): Promise<number[]> => (await identities.answers(session.id)).map(([number]) => number);
  assert.equal((await stored())[0], 1);
  assert.ok((await stored()).length <= 2 + KEPT_BEYOND + 1, `${(await stored()).length} replies are stored`);
  assert.deepEqual((await session.callNumbered(1, "make", make("first"))).reply.attributes, first.reply.attributes);
  for (let number = 602; number < 640; number++) await session.callNumbered(number, "make", make(`last-${number}`), { unanswered: [] }); // prettier-ignore
  assert.equal((await stored()).includes(1), false);
  await assert.rejects(session.callNumbered(1, "make", make("again")), { code: "EIO", message: /it is not done again/ });
  assert.equal((await session.call("lookup", { parent: store.root, name: name("again") })).attributes, null);
});

test("more unanswered requests than a session may have are refused; as many as it may have are taken", async () => {
  const store = await openStore({ limits: { unanswered: 8 } });
  const session = await durable(store);
  const before = (number: number): number[] => Array.from({ length: number - 1 }, (_, index) => index + 1);
  for (let number = 1; number <= 8; number++) await session.callNumbered(number, "make", make(`file-${number}`), { unanswered: runsOf(before(number)) }); // prettier-ignore
  await assert.rejects(session.callNumbered(9, "make", make("file-9"), { unanswered: runsOf(before(9)) }), { code: "EINVAL", message: /9 requests .* at most 8/ }); // prettier-ignore
  const again = await restart(store, session, before(9));
  for (const number of before(9)) assert.equal((await again.session.callNumbered(number, "make", make("x"), { unanswered: runsOf(before(number)) })).repeated, true); // prettier-ignore
});

test("what are no runs of numbers is refused", async () => {
  const session = await durable(await openStore());
  for (const unanswered of [[2], [3, 2], [0, 1], [1, 2, 2, 3], [1, 1, 9, 8]])
    await assert.rejects(session.callNumbered(10, "make", make("x"), { unanswered }), { code: "EINVAL", message: /runs ascend/ });
});

test("numbers may come out of their order, and each is done once", async () => {
  const store = await openStore();
  const session = await durable(store);
  await session.callNumbered(3, "make", make("three"), { unanswered: [1, 2] });
  await session.callNumbered(2, "make", make("two"), { unanswered: [1, 1] });
  assert.equal((await session.callNumbered(3, "make", make("three"), { unanswered: [1, 2] })).repeated, true);
  await session.callNumbered(1, "make", make("one"));
  await session.callNumbered(4, "make", make("four"), { unanswered: [2, 2] });
  assert.equal((await session.callNumbered(2, "make", make("two"), { unanswered: [1, 1] })).repeated, true);
  await assert.rejects(session.callNumbered(3, "make", make("three"), { unanswered: [1, 2] }), { code: "EIO" });
});

/** A file that another session holds exclusively, and gives up when it is told to. */
async function heldElsewhere(
  namespace: Namespace,
  store: TestStore,
): Promise<{ inode: InodeId; giveUp: () => void; asked: Promise<void> }> {
  let giveUp = (): void => {};
  let ask = (): void => {};
  const asked = new Promise<void>((resolve) => (ask = resolve));
  const recall = (): Promise<void> => (ask(), new Promise((resolve) => (giveUp = resolve)));
  const other = await namespace.openSession({ recall, expired: () => {} });
  const { attributes } = await other.call("make", { ...make("held"), parent: store.root });
  return { inode: attributes.inode, giveUp: () => giveUp(), asked };
}

test("a request that nobody waits for any more is not done when its turn comes, and grants nothing", async () => {
  const store = await openStore();
  const session = await durable(store);
  const { inode, giveUp, asked } = await heldElsewhere(store.namespace, store);
  const gone = new AbortController();
  const change = { inode, change: { mode: 0o600 } };
  const numbered = session.callNumbered(1, "setAttributes", change, { signal: gone.signal });
  const plain = session.call("acquire", { inode, mode: "shared" }, gone.signal);
  const refused = Promise.allSettled([numbered, plain]);
  await asked;
  gone.abort();
  giveUp();
  for (const { status } of await refused) assert.equal(status, "rejected");
  assert.equal((store.namespace as Server).leases.known(inode), true);
  const sessions = [...(store.namespace as Server).leases.sessions()];
  assert.equal(sessions.find(({ id }) => id === session.id)!.holds.has(inode), false);
  assert.equal((await store.session.call("getAttributes", { inode })).attributes.mode & 0o777, 0o644);
});

test("a request that is sent again over another connection is done, though its first form was given up at the gate", async () => {
  const store = await openStore();
  const session = await durable(store);
  const { inode, giveUp, asked } = await heldElsewhere(store.namespace, store);
  const broken = new AbortController();
  const change = { inode, change: { mode: 0o600 } };
  const first = session.callNumbered(1, "setAttributes", change, { signal: broken.signal });
  const lost = assert.rejects(first, { code: "EINTR" });
  await asked;
  broken.abort();
  const second = session.callNumbered(1, "setAttributes", change, { signal: new AbortController().signal });
  giveUp();
  await lost;
  assert.deepEqual([(await second).repeated, (await second).reply.attributes.mode & 0o777], [false, 0o600]);
});

test("an inode that a mount learns of by a repeated reply is known to the server before the others may go on", async () => {
  const store = await openStore();
  const session = await durable(store);
  const unnamed = await session.callNumbered(1, "makeUnnamed", make("unused"));
  const { inode } = unnamed.reply.attributes;
  const namespace = await openNamespace({ table: store.table, log: store.log, clock: store.clock });
  const resumed = await namespace.openSession(quietEvents, { durable: true, resume: session.id });
  await resumed.reclaimed([1], [1]);
  while (await namespace.tick());
  assert.equal(namespace.status().unnamedInodes, 1);
  assert.equal((await resumed.callNumbered(1, "makeUnnamed", make("unused"))).reply.attributes.inode, inode);
  assert.deepEqual(
    [...(namespace as Server).leases.sessions()].map(({ holds }) => holds.get(inode)),
    [1],
  );
  await resumed.call("forget", { inodes: [inode] });
  while (await namespace.tick());
  assert.equal(namespace.status().unnamedInodes, 0);
});
