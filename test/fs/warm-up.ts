import assert from "node:assert/strict";
import test from "node:test";
import { warmUpOperations, warmUpTable } from "../../fs/warm-up.ts";
import type { Table, TableBatch } from "../../storage/table.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { makeEntry, openStore } from "./namespace/memory-log.ts";

test("warming up runs every operation without an error", async () => {
  const lines: string[] = [];
  await warmUpOperations((line) => lines.push(line));
  assert.deepEqual(lines, []);
});

test("warming up reads a store's table and writes nothing to it", async () => {
  const store = await openStore();
  const directory = await makeEntry(store.session, store.root, "d", 0o40755);
  for (let index = 0; index < 20; index++) await makeEntry(store.session, directory.inode, `f${index}`);
  await store.namespace.apply();
  const before = await contents(store.table);
  let reads = 0;
  const table: Table = {
    get: (keys) => (reads++, store.table.get(keys)),
    range: (options) => (reads++, store.table.range(options)),
    write: (_batch: TableBatch) => assert.fail("it wrote"),
    flush: () => assert.fail("it flushed"),
    snapshot: () => assert.fail("it took a snapshot"),
    close: () => assert.fail("it closed the table"),
  };
  const lines: string[] = [];
  await warmUpTable(table, (line) => lines.push(line));
  assert.deepEqual(lines, []);
  assert.ok(reads > 0);
  assert.deepEqual(await contents(store.table), before);
});

test("a damaged record does not keep a store from starting while it warms up", async () => {
  const table = new MemoryTable();
  const key = Buffer.from("i\0\0\0\0\0\0\0\x01", "latin1");
  await table.write({ puts: [{ key, value: Buffer.from("no inode") }], deletes: [] });
  const lines: string[] = [];
  await warmUpTable(table, (line) => lines.push(line));
  assert.equal(lines.length, 1);
  assert.match(lines[0], /inode 1 is damaged/);
});

function contents(table: MemoryTable): Promise<{ key: Uint8Array; value: Uint8Array }[]> {
  return table.range({ gte: Buffer.from([0]), lt: Buffer.from([255]), limit: 1000 });
}
