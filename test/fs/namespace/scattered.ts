// Files in many small extents: what they cost, and that nothing of them is lost or begun again.

import assert from "node:assert/strict";
import test from "node:test";
import { ENTRY_MAX_BYTES } from "../../../fs/namespace/entry.ts";
import { EXTENTS_AT_ONCE } from "../../../fs/namespace/extents.ts";
import { openNamespace } from "../../../fs/namespace/namespace.ts";
import type { Extent } from "../../../fs/messages.ts";
import type { InodeId, StripeId } from "../../../fs/types.ts";
import type { DiskId } from "../../../replication/stripe.ts";
import { randomBelow, seededRandom } from "../../../storage/seeded-random.ts";
import type { RangeOptions, Table } from "../../../storage/table.ts";
import { makeEntry, openStore, problems, quietEvents, type TestStore } from "./memory-log.ts";

const WINDOW_BYTES = 4 * 1024 * 1024;

async function newStripe(store: TestStore, dataBytes: number): Promise<{ id: StripeId; stripe: object }> {
  const { first: id } = await store.session.call("reserveStripes", { count: 1 });
  return { id, stripe: { id, scheme: "copies:2", dataBytes, blockBytes: dataBytes, disks: [1, 2] as DiskId[] } };
}

/** Puts ranges of `length` bytes at every `step`, all in one stripe. */
async function scatter(store: TestStore, inode: InodeId, count: number, step: number, length: number, at = 0): Promise<void> {
  const { id, stripe } = await newStripe(store, count * length);
  const extents: Extent[] = [];
  for (let index = 0; index < count; index++)
    extents.push({ offset: at + index * step, length, stripe: id, stripeOffset: index * length });
  await store.session.call("commit", { files: [{ inode, extents }], stripes: [stripe as never] });
}

async function allExtents(store: TestStore, inode: InodeId): Promise<Extent[]> {
  const found: Extent[] = [];
  for (let from = 0; from < 1e9;) {
    const reply = await store.session.call("extents", { inode, from, to: 1e9, limit: 4096 });
    found.push(...reply.extents);
    from = reply.end;
  }
  return found;
}

for (const seed of [1, 2, 3, 4, 5]) {
  test(`many extents put in at once leave what one after the other leaves, seed ${seed}`, async () => {
    const random = seededRandom(seed);
    const store = await openStore();
    const [one, other] = [await makeEntry(store.session, store.root, "one"), await makeEntry(store.session, store.root, "other")];
    for (let round = 0; round < 12; round++) {
      const extents: Extent[] = [];
      const { id, stripe } = await newStripe(store, 400_000);
      let offset = randomBelow(random, 100_000) + (round % 3 === 0 ? WINDOW_BYTES - 60_000 : 0);
      for (let index = 0; index < 150; index++) {
        offset += randomBelow(random, 4) === 0 ? 0 : randomBelow(random, 600);
        const length = 1 + randomBelow(random, 500);
        const kind = randomBelow(random, 10);
        if (kind < 6) extents.push({ offset, length, stripe: id, stripeOffset: index * 500 });
        else if (kind < 9) extents.push({ offset, length, inline: new Uint8Array(length).fill(index + 1) });
        else extents.push({ offset, length });
        offset += length;
      }
      if (round % 2 === 1) extents.sort(() => random() - 0.5);
      await store.session.call("commit", { files: [{ inode: one.inode, extents }], stripes: [stripe as never] });
      for (const extent of extents)
        await store.session.call("commit", { files: [{ inode: other.inode, extents: [extent] }], stripes: [stripe as never] });
    }
    const bytesOf = (list: Extent[]): string[] =>
      list.flatMap(({ offset, length, stripe, stripeOffset, inline }) =>
        Array.from({ length }, (_, at) =>
          stripe !== undefined
            ? `${offset + at}: ${stripe} ${stripeOffset! + at}`
            : `${offset + at}: ${inline?.[at] ?? "reserved"}`,
        ),
      );
    const found = await allExtents(store, one.inode);
    assert.deepEqual(bytesOf(found), bytesOf(await allExtents(store, other.inode)));
    const { attributes } = await store.session.call("getAttributes", { inode: one.inode });
    assert.equal(
      attributes.allocatedBytes,
      found.reduce((sum, { length }) => sum + length, 0),
    );
    assert.deepEqual(await problems(store.namespace), []);
    const again = await openNamespace({ table: store.table, log: store.log });
    const session = await again.openSession(quietEvents);
    assert.deepEqual(bytesOf(await allExtents({ ...store, namespace: again, session }, one.inode)), bytesOf(found));
  });
}

/** Counts what is read of the table, and can make each read outlast applies. */
function watched(table: Table): {
  table: Table;
  counts: { ranges: number; entries: number };
  during: { action: () => Promise<void> };
} {
  const counts = { ranges: 0, entries: 0 };
  const during = { action: async (): Promise<void> => {} };
  const range = async (options: RangeOptions): Promise<{ key: Uint8Array; value: Uint8Array }[]> => {
    const found = await table.range(options);
    counts.ranges++;
    counts.entries += found.length;
    await during.action();
    return found;
  };
  const view: Table = {
    get: async (keys) => {
      const found = await table.get(keys);
      await during.action();
      return found;
    },
    range,
    write: (batch) => table.write(batch),
    flush: () => table.flush(),
    snapshot: () => table.snapshot(),
    close: () => table.close(),
  };
  return { table: view, counts, during };
}

test("a change of scattered ranges reads each window once, however small the caches are", async () => {
  const store = await openStore();
  const files = [await makeEntry(store.session, store.root, "a"), await makeEntry(store.session, store.root, "b")];
  const each = 6000;
  for (const { inode } of files) for (const at of [0, WINDOW_BYTES]) await scatter(store, inode, each, 64, 16, at);
  await store.namespace.close();
  const { table, counts } = watched(store.table);
  const again = await openNamespace({ table, log: store.log, limits: { cacheBytes: 100_000 } });
  const session = await again.openSession(quietEvents);
  counts.entries = 0;
  const extents: Extent[] = [];
  for (let index = 0; index < 2000; index++) extents.push({ offset: index * 4096, length: 4, inline: new Uint8Array(4).fill(1) });
  const changes = files.map(({ inode }) => ({ inode, extents }));
  await session.call("commit", { files: changes, stripes: [] });
  const present = files.length * 2 * each;
  assert(counts.entries <= present * 1.1, `${counts.entries} entries read of ${present}`);
  assert.deepEqual(await problems(again), []);
});

test("asking for the first extents of a file in many does not read all of it", async () => {
  const store = await openStore();
  const { inode } = await makeEntry(store.session, store.root, "random");
  for (let window = 0; window < 40; window++) await scatter(store, inode, 1000, 4096, 512, window * WINDOW_BYTES);
  await store.namespace.close();
  const { table, counts } = watched(store.table);
  const again = await openNamespace({ table, log: store.log });
  const session = await again.openSession(quietEvents);
  counts.entries = 0;
  const { extents } = await session.call("extents", { inode, from: 0, to: 40 * WINDOW_BYTES, limit: 1024 });
  assert.equal(extents.length, 1024);
  assert(counts.entries < 6000, `${counts.entries} entries read`);
  const whole: Extent[] = [];
  for (let from = 0; from < 40 * WINDOW_BYTES;) {
    const reply = await session.call("extents", { inode, from, to: 40 * WINDOW_BYTES, limit: 3000 });
    whole.push(...reply.extents);
    from = reply.end;
  }
  assert.equal(whole.length, 40_000);
});

test("what is read of the table while it is written again and again is right, and not begun again", async () => {
  const store = await openStore();
  const { inode } = await makeEntry(store.session, store.root, "busy");
  await scatter(store, inode, 3000, 64, 16);
  await store.namespace.close();
  const { table, counts, during } = watched(store.table);
  const again = await openNamespace({ table, log: store.log, limits: { cacheBytes: 50_000 } });
  const session = await again.openSession(quietEvents);
  const random = seededRandom(3);
  let busy = false;
  let values = 0;
  during.action = async () => {
    if (busy) return;
    busy = true;
    for (let round = 0; round < 3; round++) {
      const offset = randomBelow(random, 3000) * 64;
      const extents = [{ offset, length: 4, inline: new Uint8Array(4).fill(++values) }];
      await session.call("commit", { files: [{ inode, extents }], stripes: [] });
      await again.apply();
    }
    busy = false;
  };
  const expected = new Map<number, number>();
  for (let round = 0; round < 40; round++) {
    counts.ranges = 0;
    const offset = randomBelow(random, 3000) * 64 + 8;
    await session.call("commit", {
      files: [{ inode, extents: [{ offset, length: 4, inline: new Uint8Array(4).fill(round + 1) }] }],
      stripes: [],
    });
    expected.set(offset, round + 1);
    const { extents } = await session.call("extents", { inode, from: offset, to: offset + 4, limit: 10 });
    assert.equal(extents[0].inline?.[offset - extents[0].offset], round + 1);
    assert(counts.ranges < 40, `${counts.ranges} ranges read`);
  }
  during.action = async () => {};
  for (const [offset, value] of expected) {
    const { extents } = await session.call("extents", { inode, from: offset, to: offset + 1, limit: 1 });
    assert.equal(extents[0].inline?.[offset - extents[0].offset], value);
  }
  assert.deepEqual(await problems(again), []);
});

test("removing and truncating files in many extents is cut into small entries, and leaves nothing", async () => {
  const store = await openStore();
  const removed = await makeEntry(store.session, store.root, "removed");
  const cut = await makeEntry(store.session, store.root, "cut");
  for (const { inode } of [removed, cut])
    for (let part = 0; part < 6; part++) await scatter(store, inode, 5000, 32, 8, part * 170_000);
  for (let part = 0; part < 10; part++) await scatter(store, removed.inode, 500, 64, 8, part * WINDOW_BYTES * 3);
  const before = store.log.entries.length;
  await store.session.call("unlink", { parent: store.root, name: "removed" as never, directory: false });
  await store.session.call("forget", { inodes: [removed.inode] });
  await store.session.call("setAttributes", { inode: cut.inode, change: { size: 0 } });
  await scatter(store, cut.inode, 10, 32, 8);
  while (await store.namespace.tick());
  await store.namespace.tick();
  const entries = store.log.entries.slice(before);
  assert(Math.max(...entries.map(({ length }) => length)) < EXTENTS_AT_ONCE * 32);
  assert.equal((await allExtents(store, cut.inode)).length, 10);
  assert.equal(store.namespace.status().unnamedInodes, 0);
  assert.deepEqual(await problems(store.namespace), []);
  await assert.rejects(store.session.call("getAttributes", { inode: removed.inode }), { code: "ESTALE" });
});

test("a change whose log entry would be too large is refused, and has changed nothing", async () => {
  const store = await openStore();
  const { inode } = await makeEntry(store.session, store.root, "large");
  const entries = store.log.entries.length;
  const extents = Array.from({ length: ENTRY_MAX_BYTES / 65536 + 1 }, (_, index) => ({
    offset: index * 65536,
    length: 65536,
    inline: new Uint8Array(65536).fill(1),
  }));
  await assert.rejects(store.session.call("commit", { files: [{ inode, extents }], stripes: [] }), {
    code: "EMSGSIZE",
    message: /log entry would have \d+ bytes; at most 15728640 are taken/,
  });
  assert.equal(store.log.entries.length, entries);
  assert.equal((await store.session.call("getAttributes", { inode })).attributes.size, 0);
  await store.session.call("commit", { files: [{ inode, extents: extents.slice(0, 100) }], stripes: [] });
  assert.equal((await allExtents(store, inode)).length, 100);
});
