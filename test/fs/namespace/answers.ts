// Requests that come twice, with a restart of the server between: each is done once.

import assert from "node:assert/strict";
import test from "node:test";
import { type Namespace, type NamespaceSession, openNamespace } from "../../../fs/namespace/namespace.ts";
import type { InodeId } from "../../../fs/types.ts";
import { makeEntry, name, openStore, problems, quietEvents, type TestStore } from "./memory-log.ts";

const GIB = 2 ** 30;

interface Restarted {
  namespace: Namespace;
  session: NamespaceSession;
}

/** As after kill -9: what is in the log is there. The session has come back, and says that it holds nothing. */
async function restart({ table, log, clock }: TestStore, { id }: NamespaceSession): Promise<Restarted> {
  const namespace = await openNamespace({ table, log, clock });
  const session = await namespace.openSession(quietEvents, { durable: true, resume: id });
  await session.reclaimed();
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
    const first = await session.callNumbered(1, "reshape", request);
    assert.deepEqual(await session.callNumbered(1, "reshape", request), first);
    assert.equal(await sizeOf(session, inode), size);
    const again = await restart(store, session);
    assert.deepEqual(await again.session.callNumbered(1, "reshape", request), first);
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
  const first = await session.callNumbered(1, "reserveStripes", { count: 4 });
  assert.equal(synced, 2);
  const again = await restart(store, session);
  synced = 0;
  assert.deepEqual(await again.session.callNumbered(1, "reserveStripes", { count: 4 }), first);
  assert.equal(synced, 1);
  await again.session.callNumbered(2, "make", { parent: store.root, name: name("f"), mode: 0o100644, umask: 0, uid: 0, gid: 0, exclusive: true }); // prettier-ignore
  assert.equal(synced, 1, "everything else is durable with the next sync");
});
