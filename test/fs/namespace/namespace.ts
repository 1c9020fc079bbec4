import assert from "node:assert/strict";
import test from "node:test";
import { openNamespace } from "../../../fs/namespace/namespace.ts";
import { MemoryTable } from "../../../storage/memory-table.ts";
import type { InodeId } from "../../../fs/types.ts";
import { makeEntry, MemoryLog, name, openStore, problems, quietEvents } from "./memory-log.ts";

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

test("a record that was changed and written to the table while it was being read is seen as changed", async () => {
  const { openNamespace: open } = await import("../../../fs/namespace/namespace.ts");
  let hold: Promise<void> | null = null;
  class SlowTable extends MemoryTable {
    override async get(keys: readonly Uint8Array[]): Promise<(Uint8Array | null)[]> {
      const values = await super.get(keys);
      const held = hold;
      hold = null;
      await held;
      return values;
    }
  }
  const table = new SlowTable();
  const log = new MemoryLog();
  const first = await open({ table, log });
  const { inode } = await makeEntry(await first.openSession(quietEvents), 1 as InodeId, "file");
  await first.close();
  const namespace = await open({ table, log, limits: { cacheBytes: 1 } });
  const session = await namespace.openSession(quietEvents);
  let release = (): void => {};
  hold = new Promise((resolve) => {
    release = resolve;
  });
  const slow = session.call("getAttributes", { inode });
  await session.call("setAttributes", { inode, change: { mode: 0o600 } });
  await namespace.apply();
  // The cache of one record forgets it.
  for (let count = 0; count < 4; count++) await makeEntry(session, 1 as InodeId, `other-${count}`);
  release();
  assert.equal((await slow).attributes.mode & 0o777, 0o600);
  assert.equal((await session.call("getAttributes", { inode })).attributes.mode & 0o777, 0o600);
});

test("directories listed one after the other are loaded many at a time, and show what changed before they were", async () => {
  const directories = 40;
  class CountingTable extends MemoryTable {
    ranges = 0;
    override range(options: Parameters<MemoryTable["range"]>[0]): ReturnType<MemoryTable["range"]> {
      this.ranges++;
      return super.range(options);
    }
  }
  const table = new CountingTable();
  const log = new MemoryLog();
  const first = await openNamespace({ table, log });
  const writer = await first.openSession(quietEvents);
  const made: InodeId[] = [];
  for (let count = 0; count < directories; count++) {
    const { inode } = await makeEntry(writer, 1 as InodeId, `directory-${count}`, 0o40755);
    made.push(inode);
    for (const file of ["a", "b", "c"]) await makeEntry(writer, inode, file);
  }
  await first.close();
  const namespace = await openNamespace({ table, log });
  const session = await namespace.openSession(quietEvents);
  const list = async (inode: InodeId): Promise<string[]> => {
    const { entries } = await session.call("list", { inode, after: 0, limit: 100, attributes: true });
    return entries.map((entry) => entry.name);
  };
  await makeEntry(session, made[20], "d");
  await session.call("unlink", { parent: made[21], name: name("b"), directory: false });
  table.ranges = 0;
  for (let count = 0; count < directories; count++) {
    const expected = count === 20 ? ["a", "b", "c", "d"] : count === 21 ? ["a", "c"] : ["a", "b", "c"];
    assert.deepEqual(await list(made[count]), expected, `directory ${count}`);
  }
  assert.ok(table.ranges < directories / 2, `${table.ranges} ranges for ${directories} directories`);
});
