import test from "node:test";
import assert from "node:assert/strict";
import { openNamespace } from "../../../fs/namespace/namespace.ts";
import { denseRange, READ_AHEAD_MAX, ReadAhead } from "../../../fs/namespace/read-ahead.ts";
import type { Table } from "../../../storage/table.ts";
import { makeEntry, openStore, quietEvents } from "./memory-log.ts";

test("a single miss loads nothing more, a walk upwards loads twice as much each time up to the maximum", () => {
  const ahead = new ReadAhead();
  assert.equal(ahead.missed(1000), 1);
  let at = 1020;
  for (const expected of [64, 128, 256, 512, READ_AHEAD_MAX, READ_AHEAD_MAX]) {
    assert.equal(ahead.missed(at), expected);
    at += expected;
  }
});

test("misses far apart or downwards are no walk, and walks beside each other go on separately", () => {
  const ahead = new ReadAhead();
  assert.equal(ahead.missed(50_000), 1);
  assert.equal(ahead.missed(40_000), 1);
  assert.equal(ahead.missed(30_000), 1);
  assert.equal(ahead.missed(50_001), 64);
  assert.equal(ahead.missed(40_001), 64);
  assert.equal(ahead.missed(50_065), 128);
});

test("a range is dense where it has at most three numbers for each that is wanted", () => {
  assert.deepEqual(denseRange([7, 1, 3, 4, 5, 2, 8, 24]), { first: 1, count: 24 });
  assert.equal(denseRange([7, 1, 3, 4, 5, 2, 8, 26]), null);
  assert.equal(denseRange([1, 2]), null);
});

const DIRECTORIES = 40;
const FILES = 30;

test("listing a tree with attributes from the table reads it in few ranges and finds every entry, also those changed meanwhile", async () => {
  const first = await openStore();
  const directories = [];
  for (let index = 0; index < DIRECTORIES; index++)
    directories.push((await makeEntry(first.session, first.root, `d${index}`, 0o40755)).inode);
  // Dealt out in turn, so that each directory's inodes are spread over all numbers.
  for (let file = 0; file < FILES; file++)
    for (const directory of directories) await makeEntry(first.session, directory, `f${file}`);
  await first.namespace.close();
  let reads = 0;
  const counted: Table = {
    get: (keys) => (reads++, first.table.get(keys)),
    range: (options) => (reads++, first.table.range(options)),
    write: (batch) => first.table.write(batch),
    flush: () => first.table.flush(),
    snapshot: () => first.table.snapshot(),
    close: () => first.table.close(),
  };
  const namespace = await openNamespace({ table: counted, log: first.log, clock: first.clock });
  const session = await namespace.openSession(quietEvents);
  const before = reads;
  for (const [index, directory] of directories.entries()) {
    const listing = session.call("list", { inode: directory, after: 0, limit: 512, attributes: true });
    // Changes of directories that are just being loaded: they must show up when these are listed.
    const later = directories[(index + 7) % DIRECTORIES];
    const change = later > directory ? makeEntry(session, later, `new${index}`) : undefined;
    const { entries } = await listing;
    await change;
    const added = entries.filter(({ name }) => name.startsWith("new")).length;
    assert.equal(entries.length - added, FILES);
    assert.equal(added, index < 7 ? 0 : 1);
    for (const entry of entries) assert.equal(entry.attributes?.inode, entry.inode);
  }
  assert.ok(reads - before <= 12, `${reads - before} reads`);
  await namespace.close();
});
