import assert from "node:assert/strict";
import test from "node:test";
import { openNamespace } from "../../../fs/namespace/namespace.ts";
import { makeEntry, name, openStore, problems, quietEvents } from "./memory-log.ts";

test("what was made is there after a restart, from the log alone and from the table", async () => {
  const { namespace, session, root, log, table, clock } = await openStore();
  const directory = await makeEntry(session, root, "directory", 0o40755);
  const file = await makeEntry(session, directory.inode, "file");
  const again = await openNamespace({ table, log, clock });
  const other = await again.openSession(quietEvents);
  assert.deepEqual((await other.call("lookup", { parent: directory.inode, name: name("file") })).attributes, file);
  await again.close();
  assert.equal(log.first(), log.tail() + 1, "everything is in the table, the log is trimmed");
  const third = await openNamespace({ table, log, clock });
  const session3 = await third.openSession(quietEvents);
  assert.deepEqual((await session3.call("lookup", { parent: directory.inode, name: name("file") })).attributes, file);
  assert.equal((await session3.call("lookup", { parent: directory.inode, name: name("other") })).attributes, null);
  assert.deepEqual(await problems(third), []);
  void namespace;
});

test("numbers given out before a restart are not given out again", async () => {
  const { session, root, log, table } = await openStore();
  const before = await makeEntry(session, root, "before");
  const { first } = await session.call("reserveStripes", { count: 10 });
  const again = await openNamespace({ table, log });
  const other = await again.openSession(quietEvents);
  assert.ok((await makeEntry(other, root, "after")).inode > before.inode);
  assert.ok((await other.call("reserveStripes", { count: 1 })).first >= first + 10);
  assert.ok(other.id > session.id);
});

test("a call with everything in memory resolves without a turn of the event loop", async () => {
  const { session, root } = await openStore();
  await makeEntry(session, root, "file");
  let turns = 0;
  const immediate = setImmediate(() => turns++);
  for (let count = 0; count < 50; count++) {
    await session.call("lookup", { parent: root, name: name("file") });
    await makeEntry(session, root, `file-${count}`);
  }
  assert.equal(turns, 0);
  clearImmediate(immediate);
});

test("a table that is older than the log's first entry is refused, with both numbers", async () => {
  const { session, root, log, table } = await openStore();
  for (let count = 0; count < 5; count++) await makeEntry(session, root, `file-${count}`);
  log.entries.splice(0, 3);
  await log.trim(4 as never);
  await assert.rejects(openNamespace({ table, log }), /table holds changes up to 0 and the log begins at 4/);
});

test("a log whose end is missing is refused, with both numbers", async () => {
  const { session, root, log, table, namespace } = await openStore();
  for (let count = 0; count < 5; count++) await makeEntry(session, root, `file-${count}`);
  await namespace.apply();
  const tail = log.tail();
  log.entries.pop();
  await assert.rejects(
    openNamespace({ table, log }),
    new RegExp(`log ends at ${tail - 1} and the table already holds changes up to ${tail}`),
  );
});
