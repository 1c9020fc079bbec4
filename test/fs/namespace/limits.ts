import assert from "node:assert/strict";
import test from "node:test";
import type { Stripe } from "../../../replication/stripe.ts";
import type { DiskId } from "../../../replication/stripe.ts";
import { openNamespace } from "../../../fs/namespace/namespace.ts";
import { Server } from "../../../fs/namespace/server.ts";
import type { ExtentPlace, StripeDirectory } from "../../../fs/namespace/stripe-directory.ts";
import type { ByteString, InodeId, StripeId } from "../../../fs/types.ts";
import { makeEntry, name, openStore, problems, quietEvents, type TestStore } from "./memory-log.ts";

const MIB = 1024 * 1024;

function stripeOf(id: StripeId, dataBytes: number): Stripe {
  return { id, scheme: "copies:2", dataBytes, blockBytes: dataBytes, disks: [1, 2] as DiskId[] };
}

interface Hooks {
  removed: number[];
  swept: string[];
  free: number;
  fail: boolean;
}

async function openWithHooks(): Promise<TestStore & { hooks: Hooks }> {
  const hooks: Hooks = { removed: [], swept: [], free: 1e15, fail: false };
  const store = await openStore({
    limits: { deadStripeGraceMs: 1000 },
    stripes: {
      remove: async (stripes) => {
        if (hooks.fail) throw new Error("the disk is away");
        hooks.removed.push(...stripes.map(({ id }) => id));
      },
      removeUncommitted: async (first, count, except) => void hooks.swept.push(`${first}+${count} without ${[...except].join()}`),
      space: () => ({ totalBytes: 1e15, freeBytes: hooks.free }),
    },
  });
  return { ...store, hooks };
}

async function writeStripes(store: TestStore, inode: InodeId, count: number, strideBytes: number): Promise<StripeId> {
  const { first } = await store.session.call("reserveStripes", { count });
  const ids = Array.from({ length: count }, (_, index) => (first + index) as StripeId);
  await store.session.call("commit", {
    files: [
      { inode, extents: ids.map((stripe, index) => ({ offset: index * strideBytes, length: 4096, stripe, stripeOffset: 0 })) },
    ],
    stripes: ids.map((id) => stripeOf(id, 4096)),
  });
  return first;
}

test("a file has at most 65000 names", async () => {
  const store = await openStore();
  const file = await makeEntry(store.session, store.root, "name-1");
  for (let count = 2; count <= 65000; count++)
    await store.session.call("link", { inode: file.inode, parent: store.root, name: name(`name-${count}`) });
  await assert.rejects(store.session.call("link", { inode: file.inode, parent: store.root, name: name("one-more") }), {
    code: "EMLINK",
  });
});

test("a large directory is listed whole, once each, while names come and go", async () => {
  const store = await openStore({ limits: { cacheBytes: 1e6 } });
  for (let count = 0; count < 20_000; count++) await makeEntry(store.session, store.root, `name-${count}`);
  for (const whole of [false, true]) {
    if (whole) await store.namespace.apply();
    const seen = new Set<string>();
    let extra = 0;
    for (let after = 0; ;) {
      const { entries } = await store.session.call("list", { inode: store.root, after, limit: 1000, attributes: true });
      for (const entry of entries) {
        assert.ok(!seen.has(entry.name), `${entry.name} was given twice`);
        assert.equal(entry.attributes?.inode, entry.inode);
        seen.add(entry.name);
        after = entry.cookie;
      }
      if (entries.length < 1000) break;
      await makeEntry(store.session, store.root, `extra-${whole}-${extra++}`);
      await store.session.call("unlink", { parent: store.root, name: entries[5].name, directory: false });
    }
    for (let count = 0; count < 20_000; count++) if (!whole) assert.ok(seen.has(`name-${count}`), `name-${count} is missing`);
  }
  assert.deepEqual(await problems(store.namespace), []);
});

test("a truncate of a large file hides its bytes at once and drops them in the background", async () => {
  const store = await openWithHooks();
  const file = await makeEntry(store.session, store.root, "file");
  await writeStripes(store, file.inode, 1000, 4 * MIB);
  const cut = await store.session.call("setAttributes", { inode: file.inode, change: { size: 5 * MIB } });
  assert.equal(cut.attributes.size, 5 * MIB);
  await store.session.call("setAttributes", { inode: file.inode, change: { size: 4000 * MIB } });
  const seen = await store.session.call("extents", { inode: file.inode, from: 0, to: 4000 * MIB, limit: 1000 });
  assert.deepEqual(
    seen.extents.map(({ offset }) => offset),
    [0, 4 * MIB],
    "the rest reads as zeros",
  );
  await store.session.call("commit", {
    files: [{ inode: file.inode, extents: [{ offset: 3000 * MIB, length: 2, inline: Buffer.from("ab") }] }],
    stripes: [],
  });
  assert.equal(store.namespace.status().cutInodes, 1, "what lies above is dropped later");
  const again = await openNamespace({ table: store.table, log: store.log, clock: store.clock });
  while (await again.tick());
  assert.equal(again.status().cutInodes, 0);
  const session = await again.openSession(quietEvents);
  const left = await session.call("extents", { inode: file.inode, from: 0, to: 4000 * MIB, limit: 1000 });
  assert.deepEqual(
    left.extents.map(({ offset }) => offset),
    [0, 4 * MIB, 3000 * MIB],
  );
  assert.deepEqual(await problems(again), []);
});

test("a removed large file returns all its stripes, after their time and once durable", async () => {
  const store = await openWithHooks();
  const file = await makeEntry(store.session, store.root, "file");
  const first = await writeStripes(store, file.inode, 500, 4 * MIB);
  await store.session.call("unlink", { parent: store.root, name: name("file"), directory: false });
  while (await store.namespace.tick());
  assert.equal(store.namespace.status().deadStripes, 0, "the file is known still");
  await store.session.call("forget", { inodes: [file.inode] });
  while (await store.namespace.tick());
  assert.deepEqual(store.hooks.removed, [], "readers may be using them");
  store.clock.advance(1000);
  store.hooks.fail = true;
  await store.namespace.tick();
  store.hooks.fail = false;
  store.clock.advance(1000);
  while (await store.namespace.tick());
  assert.deepEqual(
    store.hooks.removed.sort((a, b) => a - b),
    Array.from({ length: 500 }, (_, index) => first + index),
  );
  assert.equal(await store.namespace.stripes.get(first), null);
  assert.deepEqual(await problems(store.namespace), []);
});

test("stripes that a session reserved and never committed are swept up when it ends, or after a restart", async () => {
  const store = await openWithHooks();
  const file = await makeEntry(store.session, store.root, "file");
  const other = await store.namespace.openSession(quietEvents);
  const { first } = await other.call("reserveStripes", { count: 3 });
  const extents = [{ offset: 0, length: 10, stripe: (first + 1) as StripeId, stripeOffset: 0 }];
  await other.call("commit", { files: [{ inode: file.inode, extents }], stripes: [stripeOf((first + 1) as StripeId, 10)] });
  await other.close();
  await store.namespace.tick();
  assert.deepEqual(store.hooks.swept, [`${first}+3 without ${first + 1}`]);
  const { first: left } = await store.session.call("reserveStripes", { count: 2 });
  const swept: number[] = [];
  const stripes = {
    remove: async () => {},
    removeUncommitted: async (from: StripeId) => void swept.push(from),
    space: () => ({ totalBytes: 1, freeBytes: 1 }),
  };
  const again = await openNamespace({ table: store.table, log: store.log, stripes });
  await again.tick();
  await again.tick();
  assert.deepEqual(swept, [left]);
});

test("only reserved stripes can be committed, and only what they hold", async () => {
  const store = await openStore();
  const { inode } = await makeEntry(store.session, store.root, "file");
  const { first } = await store.session.call("reserveStripes", { count: 2 });
  const extent = (stripe: number, stripeOffset: number, length: number) => ({
    offset: 0,
    length,
    stripe: stripe as StripeId,
    stripeOffset,
  });
  const commit = (extents: ReturnType<typeof extent>[], stripes: Stripe[]) =>
    store.session.call("commit", { files: [{ inode, extents }], stripes });
  await assert.rejects(commit([extent(99, 0, 1)], [stripeOf(99 as StripeId, 10)]), { code: "EINVAL" });
  await assert.rejects(commit([extent(first, 5, 6)], [stripeOf(first, 10)]), { code: "EINVAL" });
  await assert.rejects(commit([extent(first + 1, 0, 1)], [stripeOf(first, 10)]), { code: "EINVAL" });
  await commit([extent(first, 5, 5)], [stripeOf(first, 10)]);
  await commit([extent(first, 0, 5)], []);
  assert.equal((await store.namespace.stripes.get(first))?.live, 5);
  assert.deepEqual(
    (await store.session.call("commit", { files: [{ inode: 77 as InodeId, extents: [] }], stripes: [] })).gone,
    [77],
  );
  assert.deepEqual(await problems(store.namespace), []);
});

test("a full store takes no more and lets go", async () => {
  const store = await openWithHooks();
  // With plenty, what is free is asked for only now and then.
  store.hooks.free = 2 ** 29;
  await makeEntry(store.session, store.root, "file");
  store.hooks.free = 1000;
  await assert.rejects(makeEntry(store.session, store.root, "more"), { code: "ENOSPC" });
  const { attributes } = await store.session.call("lookup", { parent: store.root, name: name("file") });
  await assert.rejects(
    store.session.call("reshape", { inode: attributes!.inode, kind: "allocate", offset: 0, length: 1e12, keepSize: false }),
    { code: "ENOSPC" },
  );
  await store.session.call("setAttributes", { inode: attributes!.inode, change: { mode: 0o600 } });
  await store.session.call("unlink", { parent: store.root, name: name("file"), directory: false });
});

test("attributes have their limits", async () => {
  const store = await openStore();
  const { inode } = await makeEntry(store.session, store.root, "file");
  const set = (attribute: string, bytes: number) =>
    store.session.call("setXattr", {
      inode,
      name: attribute as ByteString,
      value: new Uint8Array(bytes),
      create: false,
      replace: false,
      clearSetGroupId: false,
    });
  await assert.rejects(set("user.large", 65537), { code: "E2BIG" });
  for (let count = 0; count < 15; count++) await set(`user.${count}`, 65536);
  await set("user.0", 65536);
  await assert.rejects(set("user.last", 65536), { code: "ENOSPC" });
  // Names of 6 (ten of them) or 7 bytes and "user.last" of 9: to the last byte.
  const left = MIB - 15 * 65536 - 10 * 6 - 5 * 7 - "user.last".length;
  await assert.rejects(set("user.last", left + 1), { code: "ENOSPC" });
  await set("user.last", left);
  await assert.rejects(set("user.z", 0), { code: "ENOSPC" });
  await store.session.call("removeXattr", { inode, name: name("user.last") });
  await set("user.z", 0);
  const { names } = await store.session.call("listXattrs", { inode });
  assert.equal(names.length, 16);
  assert.deepEqual(await problems(store.namespace), []);
});

test("names of attributes fill what listxattr(2) can give, and are not loaded again with each", async () => {
  const store = await openStore();
  const { inode } = await makeEntry(store.session, store.root, "file");
  const set = (index: number, bytes: number) =>
    store.session.call("setXattr", {
      inode,
      name: `user.${String(index).padStart(26, "0")}` as ByteString,
      value: new Uint8Array(bytes).fill(index),
      create: false,
      replace: false,
      clearSetGroupId: false,
    });
  await set(0, 400);
  await store.namespace.apply();
  const range = store.table.range.bind(store.table);
  let scans = 0;
  store.table.range = (options) => (scans++, range(options));
  // 32 bytes each with the zero: 2048 fill 64 KiB.
  for (let index = 1; index < 2048; index++) await set(index, 400);
  assert.equal(scans, 0);
  await assert.rejects(set(2048, 0), { code: "ENOSPC" });
  await set(7, 100);
  const again = await openNamespace({ table: store.table, log: store.log });
  const session = await again.openSession(quietEvents);
  const { names } = await session.call("listXattrs", { inode });
  assert.equal(names.length, 2048);
  const { value } = await session.call("getXattr", { inode, name: names[7] });
  assert.deepEqual([value!.length, value![0]], [100, 7]);
});

test("repair finds stripes by disk and moves them only from where it thought they were", async () => {
  const store = await openStore();
  const { inode } = await makeEntry(store.session, store.root, "file");
  const first = await writeStripes(store, inode, 5, MIB);
  await store.namespace.apply();
  const { stripes } = store.namespace;
  assert.equal(await stripes.replaceDisks(first, [1, 2] as DiskId[], [1, 3] as DiskId[]), true);
  assert.equal(await stripes.replaceDisks(first, [1, 2] as DiskId[], [1, 4] as DiskId[]), false);
  assert.deepEqual(
    (await stripes.listByDisk(2 as DiskId, 0, 3)).map(({ id }) => id - first),
    [1, 2, 3],
  );
  assert.deepEqual(
    (await stripes.listByDisk(2 as DiskId, (first + 3) as StripeId, 3)).map(({ id }) => id - first),
    [4],
  );
  assert.deepEqual(
    (await stripes.listByDisk(3 as DiskId, 0, 9)).map(({ id }) => id),
    [first],
  );
  await store.session.call("setAttributes", { inode, change: { size: MIB + 100 } });
  const { stripes: sparse, next } = await stripes.sparse(0, 100, 0.5);
  assert.deepEqual([sparse.map(({ id, live }) => [id - first, live]), next], [[[1, 100]], 0]);
  assert.deepEqual(
    (await stripes.list(0, 2)).map(({ id }) => id - first),
    [0, 1],
  );
  assert.deepEqual(await problems(store.namespace), []);
});

test("a walk over all extents finds each once, those in the table and those not yet", async () => {
  const store = await openStore();
  const expected: string[] = [];
  for (let count = 0; count < 7; count++) {
    const { inode } = await makeEntry(store.session, store.root, `file-${count}`);
    const first = await writeStripes(store, inode, 3, MIB);
    if (count === 3) await store.namespace.apply();
    for (let index = 0; index < 3; index++) expected.push(`${inode} ${index * MIB} ${first + index}`);
  }
  for (const limit of [1, 4, 1000]) {
    const found: string[] = [];
    let place: ExtentPlace | null = null;
    do {
      const step: Awaited<ReturnType<StripeDirectory["extents"]>> = await store.namespace.stripes.extents(place, limit);
      for (const { inode, extent } of step.extents) found.push(`${inode} ${extent.offset} ${extent.stripe}`);
      place = step.next;
    } while (place !== null);
    assert.deepEqual(found, expected);
  }
});

test("callers wait while too much is not in the table, and memory does not grow", async () => {
  const store = await openStore({ limits: { maximumRecords: 100 } });
  const jobs = Array.from({ length: 500 }, (_, count) => makeEntry(store.session, store.root, `file-${count}`));
  await Promise.all(jobs);
  assert.ok(store.namespace.status().waitingRecords < 700, `${store.namespace.status().waitingRecords} records wait`);
  assert.equal(store.namespace.status().inodes, 501);
});

test("the next extent behind many that were removed and that the table still has is found in a few scans", async () => {
  const store = await openStore();
  const { inode } = await makeEntry(store.session, store.root, "scattered");
  await writeStripes(store, inode, 1000, 4096);
  await store.namespace.apply();
  const punched = { inode, kind: "punch", offset: 0, length: 990 * 4096, keepSize: true } as const;
  await store.session.call("reshape", punched);
  const range = store.table.range.bind(store.table);
  let scans = 0;
  store.table.range = (question) => {
    scans++;
    return range(question);
  };
  assert(store.namespace instanceof Server);
  assert.equal(await store.namespace.nextExtent(inode, 0), 990 * 4096);
  assert(scans > 0 && scans < 10, `${scans} scans`);
});
