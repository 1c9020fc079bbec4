// Reserved ranges: what fallocate promises comes off the free space, is counted in the log, and is given back.

import assert from "node:assert/strict";
import test from "node:test";
import type { Request } from "../../../fs/messages.ts";
import { openNamespace, type Namespace } from "../../../fs/namespace/namespace.ts";
import { PROMISED_KEY, TAG_META } from "../../../fs/namespace/keys.ts";
import { encodeNumber } from "../../../fs/namespace/records.ts";
import { chargeOf, RECORDS_RESERVE_BYTES, ROOM_RESERVE_BYTES } from "../../../fs/namespace/room.ts";
import { Server } from "../../../fs/namespace/server.ts";
import type { DiskId } from "../../../replication/stripe.ts";
import type { InodeId } from "../../../fs/types.ts";
import { makeEntry, name, openStore, problems, quietEvents, type TestStore } from "./memory-log.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

interface Disks {
  free: number;
}

async function openFull(free: number): Promise<TestStore & { disks: Disks }> {
  const disks = { free };
  const store = await openStore({
    stripes: {
      remove: async () => {},
      removeUncommitted: async () => {},
      space: () => ({ totalBytes: 100 * GIB, freeBytes: disks.free }),
    },
  });
  return { ...store, disks };
}

async function fallocate(
  store: TestStore,
  inode: InodeId,
  kind: Request<"reshape">["kind"],
  offset: number,
  length: number,
  keepSize = false,
) {
  return (await store.session.call("reshape", { inode, kind, offset, length, keepSize })).attributes;
}

const promised = (namespace: Namespace): number => namespace.status().promisedBytes;

async function tickAll({ namespace }: TestStore): Promise<void> {
  while (await namespace.tick()) continue;
}

test("promised bytes come off the free space, and two files cannot have the same", async () => {
  const store = await openFull(40 * GIB);
  const first = await makeEntry(store.session, store.root, "first");
  const second = await makeEntry(store.session, store.root, "second");
  await fallocate(store, first.inode, "allocate", 0, 30 * GIB);
  assert.equal(promised(store.namespace), 30 * GIB);
  const { freeBytes } = await store.session.call("statistics", {});
  assert.equal(freeBytes, 40 * GIB - chargeOf(30 * GIB));
  const entries = store.log.entries.length;
  await assert.rejects(fallocate(store, second.inode, "allocate", 0, 30 * GIB), { code: "ENOSPC" });
  await assert.rejects(fallocate(store, second.inode, "allocate", 0, 30 * GIB, true), { code: "ENOSPC" });
  assert.equal(store.log.entries.length, entries, "a part of what does not fit was reserved");
  assert.equal((await store.session.call("getAttributes", { inode: second.inode })).attributes.allocatedBytes, 0);
  // What is reserved already is not asked for again.
  await fallocate(store, first.inode, "allocate", 0, 30 * GIB + 4096);
  await fallocate(store, second.inode, "allocate", 0, 5 * GIB);
  assert.equal(promised(store.namespace), 35 * GIB + 4096);
  assert.deepEqual(await problems(store.namespace), []);
});

test("the last byte that is free can be promised, and not one more", async () => {
  const store = await openFull(chargeOf(64 * MIB) + ROOM_RESERVE_BYTES);
  const file = await makeEntry(store.session, store.root, "file");
  await assert.rejects(fallocate(store, file.inode, "allocate", 0, 64 * MIB + 1), { code: "ENOSPC" });
  await fallocate(store, file.inode, "allocate", 0, 64 * MIB);
  await assert.rejects(fallocate(store, file.inode, "allocate", 64 * MIB, 1, true), { code: "ENOSPC" });
  // Making files needs none of it.
  await makeEntry(store.session, store.root, "another");
});

test("a promise that is made while another waits for its pieces leaves that one what it holds", async () => {
  const store = await openFull(40 * GIB);
  const first = await makeEntry(store.session, store.root, "first");
  const second = await makeEntry(store.session, store.root, "second");
  const results = await Promise.allSettled([
    fallocate(store, first.inode, "allocate", 0, 30 * GIB),
    fallocate(store, second.inode, "allocate", 0, 30 * GIB),
    fallocate(store, second.inode, "allocate", 0, GIB),
  ]);
  const done = results.filter(({ status }) => status === "fulfilled").length;
  assert.equal(done, 2);
  assert.equal(promised(store.namespace), 31 * GIB);
});

test("punch, truncate, unlink, collapse, commit and share give promises back; zero makes them", async () => {
  const store = await openFull(40 * GIB);
  const { session, namespace } = store;
  const { inode } = await makeEntry(session, store.root, "file");
  await fallocate(store, inode, "allocate", 0, 100 * MIB, true);
  assert.equal(promised(namespace), 100 * MIB);
  await fallocate(store, inode, "punch", MIB, MIB, true);
  assert.equal(promised(namespace), 99 * MIB);
  await fallocate(store, inode, "zero", 0, 100 * MIB);
  assert.equal(promised(namespace), 100 * MIB);
  await fallocate(store, inode, "collapse", 0, 8 * MIB);
  assert.equal(promised(namespace), 92 * MIB);
  await fallocate(store, inode, "insert", 4096, 4096);
  assert.equal(promised(namespace), 92 * MIB);

  const { first } = await session.call("reserveStripes", { count: 1 });
  await session.call("commit", {
    files: [{ inode, extents: [{ offset: 100, length: 1000, stripe: first, stripeOffset: 0 }] }],
    stripes: [{ id: first, scheme: "copies:2", dataBytes: 1000, blockBytes: 1000, disks: [1, 2] as DiskId[] }],
  });
  assert.equal(promised(namespace), 92 * MIB - 1000);
  const inline = new Uint8Array(24).fill(7);
  await session.call("commit", { files: [{ inode, extents: [{ offset: 0, length: 24, inline }] }], stripes: [] });
  assert.equal(promised(namespace), 92 * MIB - 1024);
  await fallocate(store, inode, "zero", 0, 4096);
  assert.equal(promised(namespace), 92 * MIB);

  const source = await makeEntry(session, store.root, "source");
  await session.call("commit", { files: [{ inode: source.inode, extents: [{ offset: 0, length: 24, inline }] }], stripes: [] });
  await session.call("share", { from: source.inode, fromOffset: 0, to: inode, toOffset: 0, length: 24 });
  assert.equal(promised(namespace), 92 * MIB - 24);
  await session.call("setAttributes", { inode, change: { size: 50 * MIB } });
  assert.equal(promised(namespace), 50 * MIB - 4096 - 24);
  assert.deepEqual(await problems(namespace), []);
  await session.call("unlink", { parent: store.root, name: name("file"), directory: false });
  await session.call("forget", { inodes: [inode] });
  await tickAll(store);
  assert.equal(promised(namespace), 0);
  assert.deepEqual(await problems(namespace), []);
});

test("a large truncate and a large removed file give back what they had reserved", async () => {
  const store = await openFull(40 * GIB);
  const { session, namespace } = store;
  const { inode } = await makeEntry(session, store.root, "file");
  await fallocate(store, inode, "allocate", 0, 3 * GIB);
  await session.call("setAttributes", { inode, change: { size: GIB } });
  await tickAll(store);
  assert.equal(promised(namespace), GIB);
  await session.call("unlink", { parent: store.root, name: name("file"), directory: false });
  await session.call("forget", { inodes: [inode] });
  await tickAll(store);
  assert.equal(promised(namespace), 0);
});

test("space is reserved in whole blocks", async () => {
  const store = await openFull(40 * GIB);
  const { inode } = await makeEntry(store.session, store.root, "file");
  const inline = new Uint8Array(10).fill(7);
  await store.session.call("commit", { files: [{ inode, extents: [{ offset: 0, length: 10, inline }] }], stripes: [] });
  const attributes = await fallocate(store, inode, "allocate", 0, 1001);
  assert.deepEqual([attributes.size, attributes.allocatedBytes], [1001, 4096]);
  assert.equal((await fallocate(store, inode, "allocate", 8191, 2)).allocatedBytes, 3 * 4096);
  assert.equal((await fallocate(store, inode, "zero", 20_481, 1, true)).allocatedBytes, 4 * 4096);
  const { extents } = await store.session.call("extents", { inode, from: 0, to: 4096, limit: 10 });
  assert.equal(extents[0].length, 10, "zeros were put over data");
  assert.deepEqual(await problems(store.namespace), []);
});

test("the count is recovered from the log, and from the table", async () => {
  const store = await openFull(40 * GIB);
  const { inode } = await makeEntry(store.session, store.root, "file");
  await fallocate(store, inode, "allocate", 0, 100 * MIB);
  await fallocate(store, inode, "punch", 0, MIB, true);
  const { table, log } = store;
  const fromLog = await openNamespace({ table, log });
  assert.equal(promised(fromLog), 99 * MIB);
  await fromLog.apply();
  const fromTable = await openNamespace({ table, log });
  assert.equal(promised(fromTable), 99 * MIB);
  assert.deepEqual(await problems(fromTable), []);
});

test("a table of before the count is refused, with both formats", async () => {
  const store = await openFull(40 * GIB);
  const server = store.namespace as Server;
  await server.transact("repair", null, (tx) => tx.raw(`${TAG_META}format`, "", (writer) => encodeNumber(writer, 1)));
  const { table, log } = store;
  await assert.rejects(openNamespace({ table, log }), /table has format 1, this version reads 2; start the older version/);
});

test("a count that is off is found and mended, also beside changes", async () => {
  const store = await openFull(40 * GIB);
  const { inode } = await makeEntry(store.session, store.root, "file");
  await fallocate(store, inode, "allocate", 0, 100 * MIB);
  const server = store.namespace as Server;
  for (const wrong of [5, 500 * MIB]) {
    await server.transact("repair", null, (tx) => {
      tx.raw(PROMISED_KEY, "", (writer) => encodeNumber(writer, wrong));
      tx.afterwards(() => (server.state.promisedBytes = wrong));
    });
    const before = promised(store.namespace);
    const found = await problems(store.namespace);
    assert.deepEqual(
      found.map(({ kind, text }) => `${kind}: ${text}`),
      [`count: ${100 * MIB + (wrong === 5 ? 0 : 4096)} bytes are reserved, ${before} are counted as promised`],
    );
    await fallocate(store, inode, "allocate", 200 * MIB, 4096, true);
    assert.ok(await store.namespace.mend(found[0].mending!));
    assert.deepEqual(await problems(store.namespace), []);
  }
  const session = await store.namespace.openSession(quietEvents);
  await session.call("setAttributes", { inode, change: { size: 0 } });
  await tickAll(store);
  assert.equal(promised(store.namespace), 0);
});

/** Disks of bounded size: files of 4 KiB take 64 KiB of them, so that a few fill them. */
async function openBounded() {
  const disks = { used: 0, measured: 0, removals: 0 };
  const total = 2 * MIB;
  const store = await openStore({
    stripes: {
      remove: async (stripes) => {
        disks.used -= 64 * KIB * stripes.length;
        disks.removals++;
      },
      removeUncommitted: async () => {},
      space: () => ({ totalBytes: total, freeBytes: total - disks.measured }),
      measure: async () => void (disks.measured = disks.used),
    },
  });
  const fill = async (text: string): Promise<InodeId> => {
    const { inode } = await makeEntry(store.session, store.root, text);
    const { first } = await store.session.call("reserveStripes", { count: 1 });
    const stripe = { id: first, scheme: "copies:2", dataBytes: 4096, blockBytes: 4096, disks: [1, 2] as DiskId[] };
    const extents = [{ offset: 0, length: 4096, stripe: first, stripeOffset: 0 }];
    await store.session.call("commit", { files: [{ inode, extents }], stripes: [stripe] });
    disks.measured = disks.used += 64 * KIB;
    return inode;
  };
  const remove = async (text: string, inode: InodeId): Promise<void> => {
    await store.session.call("unlink", { parent: store.root, name: name(text), directory: false });
    await store.session.call("forget", { inodes: [inode] });
  };
  return { ...store, disks, fill, remove };
}

test("before a file is refused for want of space, what is deleted is released: no tick, no grace", async () => {
  const store = await openBounded();
  const inodes: InodeId[] = [];
  while (store.disks.used < MIB + 64 * KIB) inodes.push(await store.fill(`file-${inodes.length}`));
  await assert.rejects(store.fill("one-more"), { code: "ENOSPC" });
  for (let round = 0; round < 3; round++) {
    await store.remove(`file-${round}`, inodes[round]);
    await store.fill(`next-${round}`);
  }
  // All that was deleted goes in one pass, whoever asked.
  for (let index = 3; index < 10; index++) await store.remove(`file-${index}`, inodes[index]);
  const { removals } = store.disks;
  await Promise.all(Array.from({ length: 20 }, (_, index) => makeEntry(store.session, store.root, `small-${index}`)));
  assert.ok(store.disks.removals - removals <= 2, `${store.disks.removals - removals} removals`);
  assert.deepEqual(await problems(store.namespace), []);
});

test("a session is granted room that others were not, and what it says of itself replaces what it said before", async () => {
  const store = await openFull(1024 * MIB + ROOM_RESERVE_BYTES);
  const time = setInterval(() => store.clock.advance(10), 1);
  const other = await store.namespace.openSession(quietEvents);
  const ask = (session: TestStore["session"], request: Partial<Request<"space">>) =>
    session.call("space", { heldBytes: 0, unstoredBytes: 0, neededBytes: 0, wantedBytes: 0, release: false, ...request });
  assert.equal((await ask(store.session, { wantedBytes: 256 * MIB })).grantedBytes, 64 * MIB);
  assert.equal((await ask(other, { neededBytes: 960 * MIB, wantedBytes: 960 * MIB })).grantedBytes, 960 * MIB);
  assert.deepEqual(await ask(other, { heldBytes: 960 * MIB, neededBytes: 1 }), { grantedBytes: 0, scarce: true });
  const { inode } = await makeEntry(store.session, store.root, "file");
  await assert.rejects(fallocate(store, inode, "allocate", 0, 4096), { code: "ENOSPC" });
  await ask(other, { heldBytes: 100 * MIB });
  await fallocate(store, inode, "allocate", 0, 650 * MIB);
  assert.equal((await ask(store.session, { heldBytes: 64 * MIB, neededBytes: 200 * MIB })).grantedBytes, 0);
  await other.close();
  assert.equal((await ask(store.session, { heldBytes: 64 * MIB, neededBytes: 200 * MIB })).grantedBytes, 200 * MIB);
  clearInterval(time);
});

test("a session that ends while it waits for room is granted none: nobody would give it back", async () => {
  let answer = (): void => {};
  const answered = new Promise<void>((resolve) => (answer = resolve));
  const store = await openStore({
    stripes: {
      remove: async () => {},
      removeUncommitted: async () => {},
      space: () => ({ totalBytes: 100 * GIB, freeBytes: GIB + ROOM_RESERVE_BYTES }),
      measure: () => answered,
    },
  });
  const other = await store.namespace.openSession(quietEvents);
  const request = { heldBytes: 0, unstoredBytes: 0, neededBytes: GIB, wantedBytes: GIB, release: false };
  const refused = assert.rejects(other.call("space", request), { code: "ESTALE" });
  await other.close();
  answer();
  await refused;
  assert.equal((await store.session.call("space", request)).grantedBytes, GIB);
});

test("on a full medium of log and table nothing is made or granted, and all can be removed", async () => {
  const medium = { totalBytes: 100 * GIB, freeBytes: RECORDS_RESERVE_BYTES };
  const disks = { totalBytes: 100 * GIB, freeBytes: 100 * GIB };
  const stripes = { remove: async () => {}, removeUncommitted: async () => {}, space: () => disks };
  const store = await openStore({ recordSpace: async () => medium, stripes });
  const { session, root } = store;
  const nothing = { heldBytes: 0, unstoredBytes: 0, neededBytes: MIB, wantedBytes: MIB, release: false };
  await store.namespace.tick();
  await makeEntry(session, root, "first");
  assert.equal((await session.call("space", nothing)).grantedBytes, MIB);
  const time = setInterval(() => store.clock.advance(50), 1);
  medium.freeBytes--;
  store.clock.advance(1000);
  await store.namespace.tick();
  // Whether there is room was looked at a moment ago: so many more are made.
  const made: string[] = [];
  await assert.rejects(async () => {
    for (;;) {
      await makeEntry(session, root, `file-${made.length}`);
      made.push(`file-${made.length}`);
    }
  }, { code: "ENOSPC" }); // prettier-ignore
  assert.ok(made.length <= 256);
  assert.equal((await session.call("space", nothing)).grantedBytes, 0);
  for (const text of ["first", ...made]) await session.call("unlink", { parent: root, name: name(text), directory: false });
  await assert.rejects(makeEntry(session, root, "next"), { code: "ENOSPC" });
  medium.freeBytes = RECORDS_RESERVE_BYTES;
  await makeEntry(session, root, "next");
  assert.equal((await session.call("space", nothing)).grantedBytes, MIB);
  clearInterval(time);
});
