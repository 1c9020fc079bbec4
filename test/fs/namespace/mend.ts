// Damage made on purpose to a table, one kind a time: the check names it, mending mends it, the next check is clean.
import assert from "node:assert/strict";
import test from "node:test";
import { WINDOW_BYTES } from "../../../fs/namespace/state.ts";
import type { Extent } from "../../../fs/messages.ts";
import type { Problem } from "../../../fs/namespace/check-walk.ts";
import {
  id8,
  keyBytes,
  TAG_CUT,
  TAG_DEAD,
  TAG_EXTENT,
  TAG_INODE,
  TAG_ORDER,
  TAG_STRIPE,
  TAG_UNNAMED,
  TAG_XATTR,
} from "../../../fs/namespace/keys.ts";
import { type DamagedRecord, openNamespace } from "../../../fs/namespace/namespace.ts";
import { decodeName, encodeExtent, encodeName, encodeOrder, encodeStripe, HAS_CUT } from "../../../fs/namespace/records.ts";
import { diskKey } from "../../../fs/namespace/transaction.ts";
import { type ByteString, type InodeId, ROOT_INODE, S_IFDIR, type StripeId } from "../../../fs/types.ts";
import type { DiskId } from "../../../replication/stripe.ts";
import type { MemoryTable } from "../../../storage/memory-table.ts";
import { makeEntry, MemoryLog, name, problems, quietEvents, TestClock, type TestStore } from "./memory-log.ts";
import {
  type Tree,
  BYTES,
  makeTree,
  put,
  remove,
  read,
  changeInode,
  changeStripe,
  nameKey,
  orderKey,
  removeName,
} from "./damaged-tree.ts";

interface Case {
  damage(tree: Tree): Promise<void>;
  /** Kinds of problems, sorted. */
  finds: Problem["kind"][];
  /** What a session sees afterwards. */
  then?(look: Look): Promise<void>;
}

interface Look extends Tree {
  quarantine: DamagedRecord[];
  lookup(parent: InodeId, text: string): Promise<{ inode: InodeId; linkCount: number; size: number } | null>;
}

async function lostAndFound(look: Look): Promise<InodeId> {
  return (await look.lookup(ROOT_INODE, "lost+found"))!.inode;
}

async function damageRecord(table: MemoryTable, key: string): Promise<void> {
  const [bytes] = await table.get([keyBytes(key)]);
  const value = Uint8Array.from(bytes!);
  value[0] ^= 0xff;
  await table.write({ puts: [{ key: keyBytes(key), value }], deletes: [] });
}

async function extentsOf(look: Look, inode: InodeId, length = BYTES + 5): Promise<Extent[]> {
  return (await look.session.call("extents", { inode, from: 0, to: length, limit: 100 })).extents;
}

const nothing = (): void => {};

const CASES: Record<string, Case> = {
  "a link count, a directory's size and allocated bytes that are off": {
    damage: async ({ table, file, directory }) => {
      await changeInode(table, file, (inode) => ((inode.linkCount += 3), (inode.allocatedBytes += 100)));
      await changeInode(table, directory, (inode) => ((inode.linkCount -= 1), (inode.size += 16)));
    },
    finds: ["count", "count", "links", "links"],
    then: async (look) => assert.equal((await look.lookup(look.directory, "file"))!.linkCount, 1),
  },
  "live bytes of a stripe that are off": {
    damage: ({ table, stripe }) => changeStripe(table, stripe, { live: 17 }),
    finds: ["count"],
  },
  "a file that lost both records of its name gets one in lost+found": {
    damage: ({ table, directory }) => removeName(table, directory, "file"),
    finds: ["count", "orphan"],
    then: async (look) => {
      const found = await look.lookup(await lostAndFound(look), `inode-${look.file}`);
      assert.deepEqual([found?.inode, found?.linkCount, found?.size], [look.file, 1, BYTES + 5]);
    },
  },
  "a directory that lost its name gets one in lost+found, with all that is in it": {
    damage: ({ table, root }) => removeName(table, root, "directory"),
    finds: ["count", "links", "orphan"],
    then: async (look) => {
      const found = await look.lookup(await lostAndFound(look), `inode-${look.directory}`);
      assert.deepEqual([found?.inode, found?.linkCount], [look.directory, 3]);
      assert.equal((await look.lookup(look.directory, "file"))!.inode, look.file);
      const { attributes } = await look.session.call("parent", { inode: look.directory });
      assert.equal(attributes.inode, await lostAndFound(look));
    },
  },
  "an inode that was unlinked and is not on the list goes on it and is freed": {
    damage: async ({ table, directory, file }) => {
      await removeName(table, directory, "file");
      await changeInode(table, file, (inode) => (inode.linkCount = 0));
    },
    finds: ["count", "orphan"],
    then: async (look) => {
      while (await look.namespace.tick()) continue;
      assert.equal(look.namespace.status().inodes, 4);
      assert.equal(await look.lookup(ROOT_INODE, "lost+found"), null);
    },
  },
  "a file on the list of unnamed ones that has a name leaves it": {
    damage: ({ table, file }) => put(table, TAG_UNNAMED + id8(file), nothing),
    finds: ["orphan"],
    then: async (look) => {
      while (await look.namespace.tick()) continue;
      assert.equal((await look.lookup(look.directory, "file"))!.size, BYTES + 5);
    },
  },
  "a file on the list of unnamed ones whose link count says that it lost its name": {
    damage: async ({ table, directory, file }) => {
      await removeName(table, directory, "file");
      await put(table, TAG_UNNAMED + id8(file), nothing);
    },
    finds: ["count", "orphan"],
    then: async (look) => assert.ok(await look.lookup(await lostAndFound(look), `inode-${look.file}`)),
  },
  "lists that name inodes which there are not": {
    damage: async ({ table }) => {
      await put(table, TAG_UNNAMED + id8(4000), nothing);
      await put(table, TAG_CUT + id8(4001), nothing);
      await put(table, `${TAG_XATTR}${id8(4002)}user.x`, nothing);
    },
    finds: ["orphan", "orphan", "orphan"],
  },
  "a truncate under way that is on no list is finished": {
    damage: ({ table, file }) =>
      changeInode(table, file, (inode) => {
        inode.flags |= HAS_CUT;
        inode.cutFrom = inode.cutTo = 16 * 1024 * 1024;
      }),
    finds: ["orphan"],
    then: async (look) => {
      while (await look.namespace.tick()) continue;
      assert.equal(look.namespace.status().cutInodes, 0);
    },
  },
  "a name without its entry in the order is listed again": {
    damage: async ({ table, directory }) => remove(table, await orderKey(table, directory, "file")),
    finds: ["entry"],
    then: async ({ session, directory }) => {
      const { entries } = await session.call("list", { inode: directory, after: 0, limit: 100, attributes: false });
      assert.deepEqual(entries.map((entry) => entry.name).sort(), ["again", "below", "file", "twice"]);
    },
  },
  "a name whose record was lost comes back from the order, for files with one name, with two, and directories": {
    damage: ({ table, directory }) => remove(table, ...["file", "again", "below"].map((text) => nameKey(directory, text))),
    finds: ["entry", "entry", "entry"],
    then: async (look) => {
      for (const text of ["file", "again", "below"]) assert.ok(await look.lookup(look.directory, text), text);
      assert.equal(await look.lookup(ROOT_INODE, "lost+found"), null);
    },
  },
  "an entry of the order that no name and no link count asks for goes": {
    damage: ({ table, directory, file }) =>
      put(table, TAG_ORDER + id8(directory) + id8(900), (writer) => encodeOrder(writer, file, 0o100000, name("old"))),
    finds: ["entry"],
    then: async (look) => assert.equal(await look.lookup(look.directory, "old"), null),
  },
  "an entry of the order that says otherwise than the name": {
    damage: async ({ table, directory, twice }) =>
      put(table, await orderKey(table, directory, "file"), (writer) => encodeOrder(writer, twice, 0o100000, name("other"))),
    finds: ["entry"],
    then: async (look) => assert.equal((await look.lookup(look.directory, "file"))!.inode, look.file),
  },
  "names that lead nowhere, and a name in what is no directory": {
    damage: async ({ table, directory, twice, below, file }) => {
      await remove(table, TAG_INODE + id8(twice), TAG_INODE + id8(below));
      await put(table, nameKey(file, "lost"), (writer) => encodeName(writer, { inode: directory, type: S_IFDIR, cookie: 7 }));
    },
    finds: ["count", "entry", "entry", "entry", "entry", "links"],
    then: async (look) => assert.equal(await look.lookup(look.directory, "twice"), null),
  },
  "a name of the wrong type, and a directory that says another parent": {
    damage: async ({ table, directory, below, file }) => {
      const { cookie } = decodeName(await read(table, nameKey(directory, "file")));
      await put(table, nameKey(directory, "file"), (writer) => encodeName(writer, { inode: file, type: 0o120000, cookie }));
      await changeInode(table, below, (inode) => (inode.parent = ROOT_INODE));
    },
    finds: ["entry", "entry", "links"],
  },
  "flags that do not say what attributes there are": {
    damage: async ({ table, file, twice }) => {
      await changeInode(table, file, (inode) => (inode.flags = 0));
      await changeInode(table, twice, (inode) => (inode.flags = 1));
    },
    finds: ["count", "count"],
    then: async ({ session, file }) =>
      assert.equal((await session.call("getXattr", { inode: file, name: name("user.a") })).value?.length, 3),
  },
  "extents whose inode has no record get one again, with the name that led to it": {
    damage: ({ table, file }) => remove(table, TAG_INODE + id8(file)),
    finds: ["count", "extent"],
    then: async (look) => {
      const found = await look.lookup(look.directory, "file");
      assert.deepEqual([found?.inode, found?.linkCount, found?.size], [look.file, 1, BYTES + 5]);
      assert.equal((await look.session.call("getXattr", { inode: look.file, name: name("user.a") })).value?.length, 3);
    },
  },
  "extents whose inode has neither a record nor a name": {
    damage: async ({ table, directory, file }) => {
      await removeName(table, directory, "file");
      await remove(table, TAG_INODE + id8(file));
    },
    finds: ["count", "count", "extent"],
    then: async (look) => {
      const found = await look.lookup(await lostAndFound(look), `inode-${look.file}`);
      assert.deepEqual([found?.inode, found?.linkCount, found?.size], [look.file, 1, BYTES + 5]);
    },
  },
  "an extent above the end that the inode says": {
    damage: ({ table, file }) => changeInode(table, file, (inode) => (inode.extentEnd = BYTES)),
    finds: ["extent"],
  },
  "dead stripes that are not on the list, and live and unknown ones that are": {
    damage: async ({ table, stripe }) => {
      await put(table, TAG_DEAD + id8(stripe), nothing);
      await put(table, TAG_DEAD + id8(4000), nothing);
      const dead = { id: 4001 as StripeId, scheme: "copies:1", dataBytes: 9, blockBytes: 9, live: 0, disks: [2 as DiskId] };
      await put(table, TAG_STRIPE + id8(4001), (writer) => encodeStripe(writer, dead));
      await put(table, diskKey(2 as DiskId, id8(4001)), nothing);
    },
    finds: ["stripe", "stripe", "stripe"],
    then: async ({ namespace, clock, stripe }) => {
      clock.advance(10_000);
      while (await namespace.tick()) continue;
      assert.equal(await namespace.stripes.get(4001 as StripeId), null);
      assert.equal((await namespace.stripes.get(stripe))?.live, BYTES);
    },
  },
  "lists of disks that miss a stripe, have one too many, or one that there is not": {
    damage: async ({ table, stripe }) => {
      await remove(table, diskKey(2 as DiskId, id8(stripe)));
      await put(table, diskKey(5 as DiskId, id8(stripe)), nothing);
      await put(table, diskKey(5 as DiskId, id8(4000)), nothing);
    },
    finds: ["stripe", "stripe"],
    then: async ({ namespace, stripe }) => {
      assert.equal((await namespace.stripes.listByDisk(2 as DiskId, 0, 10))[0].id, stripe);
      assert.deepEqual(await namespace.stripes.listByDisk(5 as DiskId, 0, 10), []);
    },
  },
  "data behind the end of a file goes, and the stripe lives on with the rest": {
    damage: ({ table, file }) => changeInode(table, file, (inode) => (inode.size = 40_000)),
    finds: ["extent", "extent"],
    then: async (look) => {
      assert.equal((await look.namespace.stripes.get(look.stripe))?.live, 40_000);
      assert.deepEqual(await extentsOf(look, look.file), [{ offset: 0, length: 40_000, stripe: look.stripe, stripeOffset: 0 }]);
    },
  },
  "space behind the end of a file that was only reserved stays": {
    damage: async ({ table, file }) => {
      const [offset, length] = [200_000, 4096];
      await put(table, TAG_EXTENT + id8(file) + id8(offset), (writer) => encodeExtent(writer, { offset, length }));
    },
    finds: ["count", "count", "extent"],
    then: async (look) => assert.equal((await extentsOf(look, look.file, 300_000)).at(-1)?.offset, 200_000),
  },
  "an extent that says of the same bytes what another says": {
    damage: ({ table, file, stripe }) =>
      put(table, TAG_EXTENT + id8(file) + id8(5000), (writer) => encodeExtent(writer, { offset: 5000, length: 1000, stripe, stripeOffset: 5000 })), // prettier-ignore
    finds: ["count", "count", "extent"],
    then: async (look) => {
      assert.equal((await look.namespace.stripes.get(look.stripe))?.live, BYTES);
      assert.deepEqual((await extentsOf(look, look.file))[0], { offset: 0, length: BYTES, stripe: look.stripe, stripeOffset: 0 });
      assert.equal(await look.lookup(ROOT_INODE, "lost+found"), null);
    },
  },
  "extents that differ about the same bytes: the later write is shown, the other kept in lost+found": {
    damage: ({ table, file }) =>
      put(table, TAG_EXTENT + id8(file) + id8(5000), (writer) => encodeExtent(writer, { offset: 5000, length: 100, inline: new Uint8Array(100).fill(9) })), // prettier-ignore
    finds: ["count", "extent"],
    then: async (look) => {
      const { stripe } = look;
      assert.equal((await look.namespace.stripes.get(stripe))?.live, BYTES);
      assert.deepEqual((await extentsOf(look, look.file)).map(({ offset, length, stripeOffset }) => [offset, length, stripeOffset]), [
        [0, 5000, 0], [5000, 100, undefined], [5100, BYTES - 5100, 5100], [BYTES, 5, undefined],
      ]); // prettier-ignore
      const other = await look.lookup(await lostAndFound(look), `inode-${look.file}-other`);
      assert.equal(other?.size, 5100);
      assert.deepEqual(await extentsOf(look, other.inode), [{ offset: 5000, length: 100, stripe, stripeOffset: 5000 }]);
    },
  },
  "written and reserved extents of the same bytes": {
    damage: async ({ table, file }) => {
      await put(table, TAG_EXTENT + id8(file) + id8(99_000), (writer) => encodeExtent(writer, { offset: 99_000, length: 3000 }));
      await changeInode(table, file, (inode) => (inode.extentEnd = 102_000));
    },
    finds: ["count", "count", "extent", "extent"],
    then: async (look) => {
      assert.deepEqual((await extentsOf(look, look.file)).map(({ offset, length }) => [offset, length]), [[0, BYTES], [BYTES, 5]]); // prettier-ignore
      assert.equal(await look.lookup(ROOT_INODE, "lost+found"), null);
    },
  },
  "an extent that crosses the border of a window is cut there": {
    damage: async ({ table, file }) => {
      const offset = WINDOW_BYTES - 4096;
      await put(table, TAG_EXTENT + id8(file) + id8(offset), (writer) => encodeExtent(writer, { offset, length: 3 * 4096 }));
      await changeInode(table, file, (inode) => (inode.size = inode.extentEnd = WINDOW_BYTES + 8192));
    },
    finds: ["count", "count", "extent"],
    then: async (look) => {
      const found = (await extentsOf(look, look.file, 2 * WINDOW_BYTES)).map(({ offset, length }) => [offset, length]);
      assert.deepEqual(found.slice(-2), [[WINDOW_BYTES - 4096, 4096], [WINDOW_BYTES, 8192]]); // prettier-ignore
    },
  },
  "directories within themselves are put into lost+found, with all that is in them": {
    damage: async ({ table, root, directory, below }) => {
      await removeName(table, root, "directory");
      await put(table, nameKey(below, "loop"), (writer) => encodeName(writer, { inode: directory, type: S_IFDIR, cookie: 55 }));
      await put(table, TAG_ORDER + id8(below) + id8(55), (writer) => encodeOrder(writer, directory, S_IFDIR, name("loop")));
      await changeInode(table, directory, (inode) => (inode.parent = below));
    },
    finds: ["count", "count", "links", "links", "links"],
    then: async (look) => {
      const found = await look.lookup(await lostAndFound(look), `inode-${look.directory}`);
      assert.equal(found?.inode, look.directory);
      assert.equal((await look.lookup(look.directory, "below"))?.inode, look.below);
      assert.equal(await look.lookup(look.below, "loop"), null);
      assert.ok(await look.lookup(look.directory, "file"));
    },
  },
  "a stripe that has extents and no record gets it again where its blocks are found": {
    damage: ({ table, stripe }) => remove(table, TAG_STRIPE + id8(stripe)),
    finds: ["stripe", "stripe"],
    then: async ({ namespace, stripe }) => {
      assert.deepEqual(await namespace.stripes.get(stripe), { id: stripe, ...onDisks, live: BYTES });
      assert.equal((await namespace.stripes.listByDisk(2 as DiskId, 0, 10))[0].id, stripe);
    },
  },
  "damaged records go into quarantine, and what they were is found again where it can be": {
    damage: async ({ table, file, stripe, directory }) => {
      await damageRecord(table, TAG_INODE + id8(file));
      await damageRecord(table, TAG_STRIPE + id8(stripe));
      await damageRecord(table, nameKey(directory, "twice"));
      await damageRecord(table, await orderKey(table, directory, "again"));
      await damageRecord(table, `${TAG_XATTR}${id8(file)}user.a`);
    },
    finds: ["count", "damaged", "damaged", "damaged", "damaged", "damaged", "entry", "entry", "stripe", "stripe"],
    then: async (look) => {
      const found = await look.lookup(look.directory, "file");
      assert.deepEqual([found?.inode, found?.linkCount, found?.size], [look.file, 1, BYTES + 5]);
      for (const text of ["twice", "again"]) assert.equal((await look.lookup(look.directory, text))?.inode, look.twice, text);
      assert.equal((await look.namespace.stripes.get(look.stripe))?.live, BYTES);
      assert.equal(look.quarantine.length, 5);
      const kept = look.quarantine.find(({ what }) => what === `record inode ${look.file}`)!;
      assert.equal(Buffer.from(kept.key).toString("latin1"), TAG_INODE + id8(look.file));
      assert.equal(kept.value[0], 0xff ^ 1, "its bytes as they were, with the damage");
    },
  },
  "a directory whose record is damaged keeps its names and its place": {
    damage: ({ table, directory }) => damageRecord(table, TAG_INODE + id8(directory)),
    finds: ["count", "damaged"],
    then: async (look) => {
      assert.equal((await look.lookup(ROOT_INODE, "directory"))?.linkCount, 3);
      const { entries } = await look.session.call("list", { inode: look.directory, after: 0, limit: 100, attributes: false });
      assert.deepEqual(entries.map((entry) => entry.name).sort(), ["again", "below", "file", "twice"]);
      await makeEntry(look.session, look.directory, "new");
      assert.equal(await look.lookup(ROOT_INODE, "lost+found"), null);
    },
  },
  "directories in one another, and a file in them, that have no records keep their names": {
    damage: async ({ table, root, directory, below, file, twice }) => {
      await removeName(table, root, "directory");
      await put(table, nameKey(below, "deep"), (writer) => encodeName(writer, { inode: twice, type: 0o100000, cookie: 3 }));
      await put(table, TAG_ORDER + id8(below) + id8(3), (writer) => encodeOrder(writer, twice, 0o100000, name("deep")));
      for (const inode of [directory, below, file]) await remove(table, TAG_INODE + id8(inode));
    },
    finds: ["count", "count", "entry", "entry", "extent", "links", "links"],
    then: async (look) => {
      assert.equal((await look.lookup(look.below, "deep"))?.linkCount, 3);
      assert.equal((await look.lookup(await lostAndFound(look), `inode-${look.directory}`))?.linkCount, 3);
      assert.equal((await look.lookup(look.directory, "below"))?.inode, look.below);
      assert.equal((await look.lookup(look.directory, "file"))?.size, BYTES + 5);
    },
  },
  "a directory that has neither a record nor a name keeps its names, in lost+found": {
    damage: async ({ table, root, directory }) => {
      await removeName(table, root, "directory");
      await remove(table, TAG_INODE + id8(directory));
    },
    finds: ["count", "count", "entry", "links"],
    then: async (look) => {
      assert.equal((await look.lookup(await lostAndFound(look), `inode-${look.directory}`))?.inode, look.directory);
      assert.equal((await look.lookup(look.directory, "file"))?.inode, look.file);
    },
  },
  "damaged entries of lists": {
    damage: async ({ table, stripe }) => {
      const keys = [diskKey(2 as DiskId, id8(stripe)), TAG_UNNAMED + id8(900), TAG_CUT + id8(901), TAG_DEAD + id8(902)];
      for (const key of keys) await table.write({ puts: [{ key: keyBytes(key), value: new Uint8Array(4) }], deletes: [] });
    },
    finds: ["damaged", "damaged", "damaged", "damaged", "orphan", "orphan", "stripe"],
    then: async ({ namespace, stripe }) => assert.equal((await namespace.stripes.listByDisk(2 as DiskId, 0, 10))[0].id, stripe),
  },
};

/** What was on the disks of `makeTree`'s stripe. */
const onDisks = { scheme: "copies:3", dataBytes: BYTES, blockBytes: BYTES, disks: [1, 2, 3] as DiskId[] };

/** Mends until a check is clean: a record that goes into quarantine leaves what the second check finds, and more is never needed. Returns what the first check found. */
async function mendAll(namespace: TestStore["namespace"]): Promise<Problem[]> {
  const first = await problems(namespace);
  const later = first.some(({ kind }) => kind === "damaged") ? 2 : 1;
  let found = first;
  for (let round = 0; round < later; round++, found = await problems(namespace))
    for (const { mending, text, stripe } of found) {
      // Of what is damaged: the next check finds it where it remains.
      if (mending === undefined && later > 1 && round === 0) continue;
      assert.ok(mending, text);
      const inFull = mending.kind === "stripe" ? { ...mending, found: { id: stripe!, ...onDisks } } : mending;
      assert.equal(await namespace.mend(inFull), true, text);
    }
  assert.deepEqual(found, []);
  return first;
}

interface Reopened extends TestStore {
  quarantine: DamagedRecord[];
}

async function reopen(table: MemoryTable, entries: readonly Uint8Array[]): Promise<Reopened> {
  const log = new MemoryLog();
  log.entries = [...entries];
  const clock = new TestClock();
  const quarantine: DamagedRecord[] = [];
  const namespace = await openNamespace({ table, log, clock, quarantine: async (record) => void quarantine.push(record) });
  return { table, log, clock, namespace, session: await namespace.openSession(quietEvents), root: ROOT_INODE, quarantine };
}

for (const [text, { damage, finds, then = async () => {} }] of Object.entries(CASES)) {
  test(`mending: ${text}`, async () => {
    const tree = await makeTree();
    await damage(tree);
    // Opened anew, so that nothing of before the damage is in memory.
    const store = await reopen(tree.table, tree.log.entries);
    const found = await mendAll(store.namespace);
    assert.deepEqual(found.map(({ kind }) => kind).sort(), finds, found.map((problem) => problem.text).join("\n"));
    const lookup: Look["lookup"] = async (parent, entry) =>
      (await store.session.call("lookup", { parent, name: name(entry) })).attributes;
    await then({ ...tree, ...store, lookup });
    assert.deepEqual(await problems(store.namespace), []);
  });

  test(`mending, cut off after any entry of the log, is taken up by the next: ${text}`, async () => {
    const tree = await makeTree();
    await damage(tree);
    const before = tree.table.snapshot() as MemoryTable;
    const store = await reopen(tree.table, tree.log.entries);
    const kept = store.log.entries.length;
    for (const { mending } of await problems(store.namespace)) if (mending !== undefined) await store.namespace.mend(mending);
    const { entries } = store.log;
    assert.ok(entries.length >= kept);
    for (let count = kept; count <= entries.length; count++) {
      const again = await reopen(before.snapshot() as MemoryTable, entries.slice(0, count));
      await mendAll(again.namespace);
    }
  });
}

test("a second name in lost+found, where the first is taken by another file", async () => {
  const tree = await makeTree();
  const session = await tree.namespace.openSession(quietEvents);
  const { inode: found } = await makeEntry(session, ROOT_INODE, "lost+found", S_IFDIR | 0o755);
  await makeEntry(session, found, `inode-${tree.file}`);
  await session.close();
  await tree.namespace.apply();
  await removeName(tree.table, tree.directory, "file");
  const store = await reopen(tree.table, tree.log.entries);
  await mendAll(store.namespace);
  const reply = await store.session.call("lookup", { parent: found, name: name(`inode-${tree.file}.1`) });
  assert.equal(reply.attributes?.inode, tree.file);
});

test("an orphan stays where lost+found is no directory", async () => {
  const tree = await makeTree();
  const session = await tree.namespace.openSession(quietEvents);
  await makeEntry(session, ROOT_INODE, "lost+found");
  await session.close();
  await tree.namespace.apply();
  await removeName(tree.table, tree.directory, "file");
  const store = await reopen(tree.table, tree.log.entries);
  const orphan = (await problems(store.namespace)).find(({ kind }) => kind === "orphan")!;
  assert.equal(await store.namespace.mend(orphan.mending!), false);
});

test("whoever caches what is mended gives it up first", async () => {
  const tree = await makeTree();
  await changeInode(tree.table, tree.file, (inode) => (inode.linkCount += 3));
  const log = new MemoryLog();
  log.entries = [...tree.log.entries];
  const namespace = await openNamespace({ table: tree.table, log, clock: new TestClock() });
  const recalled: InodeId[] = [];
  const session = await namespace.openSession({
    recall: async (inode) => void recalled.push(inode),
    expired: () => {},
  });
  await session.call("lookup", { parent: tree.directory, name: name("file") });
  const [problem] = await problems(namespace);
  assert.equal(await namespace.mend(problem.mending!), true);
  assert.deepEqual(recalled, [tree.file]);
});

test("what stays: damaged records without a place for quarantine, directories with two names, extents of what is no file", async () => {
  const { table, log, twice, below, root, directory } = await makeTree();
  await damageRecord(table, TAG_INODE + id8(twice));
  await put(table, nameKey(root, "second"), (writer) => encodeName(writer, { inode: below, type: S_IFDIR, cookie: 55 }));
  await put(table, TAG_ORDER + id8(root) + id8(55), (writer) => encodeOrder(writer, below, S_IFDIR, name("second")));
  for (const offset of [0, 4096])
    await put(table, TAG_EXTENT + id8(directory) + id8(offset), (writer) => encodeExtent(writer, { offset, length: 8192 }));
  const namespace = await openNamespace({ table, log: Object.assign(new MemoryLog(), { entries: log.entries }), clock: new TestClock() }); // prettier-ignore
  const found = await problems(namespace);
  const remain: string[] = [];
  for (const { mending, text } of found) if (mending === undefined || !(await namespace.mend(mending))) remain.push(text);
  assert.equal(remain.length, 3, remain.join("\n"));
  assert.match(remain.join("\n"), /record inode \d+ is damaged[^]*has 2 names[^]*begins before the one before it ends/);
});

test("a stripe does not die while an extent that may lie in it is damaged, nor once that is in quarantine, as long as the check is told", async () => {
  const tree = await makeTree();
  await damageRecord(tree.table, TAG_EXTENT + id8(tree.file) + id8(0));
  const { namespace, quarantine } = await reopen(tree.table, tree.log.entries);
  const counts = (found: Problem[]): (string | undefined)[] =>
    found.filter(({ stripe }) => stripe === tree.stripe).map(({ mending }) => mending?.kind);
  assert.deepEqual(counts(await problems(namespace)), [undefined]);
  for (const { mending } of await problems(namespace)) if (mending !== undefined) assert.ok(await namespace.mend(mending));
  assert.equal(quarantine.length, 1);
  const again: Problem[] = [];
  for await (const problem of namespace.check({ extentsAreMissing: true })) again.push(problem);
  assert.deepEqual(counts(again), [undefined]);
  assert.match(again[0].text, /extents have 0; a damaged extent may have the rest/);
  assert.deepEqual(counts(await problems(namespace)), ["live"]);
});

test("a record that memory has is written again from there, and not put into quarantine", async () => {
  const tree = await makeTree();
  const { namespace, session, table, quarantine } = await reopen(tree.table, tree.log.entries);
  await session.call("lookup", { parent: tree.directory, name: name("file") });
  await session.call("extents", { inode: tree.file, from: 0, to: BYTES, limit: 10 });
  const keys = [TAG_INODE + id8(tree.file), TAG_EXTENT + id8(tree.file) + id8(0), TAG_STRIPE + id8(tree.stripe)];
  for (const key of keys) await damageRecord(table, key);
  for (const { mending } of await problems(namespace)) if (mending?.kind === "damaged") assert.ok(await namespace.mend(mending));
  assert.deepEqual(quarantine, []);
  assert.deepEqual(await problems(namespace), []);
});

test("an order's entry is kept where what it tells of is a damaged record", async () => {
  const tree = await makeTree();
  const damaged = { key: keyBytes(TAG_INODE + id8(tree.file)), value: new Uint8Array(30) };
  await tree.table.write({ puts: [damaged], deletes: [keyBytes(nameKey(tree.directory, "file"))] });
  const store = await reopen(tree.table, tree.log.entries);
  const found = await problems(store.namespace);
  const kinds = found.filter(({ kind }) => kind === "entry" || kind === "damaged").map(({ mending }) => mending?.kind);
  assert.deepEqual(kinds, ["damaged", undefined]);
});

test("files with bytes in lost stripes are named by all their paths, with the ranges", async () => {
  const { namespace, directory, below, file, stripe, twice } = await makeTree();
  const session = await namespace.openSession(quietEvents);
  await session.call("link", { inode: file, parent: below, name: name("linked") });
  const { first } = await session.call("reserveStripes", { count: 1 });
  await session.call("commit", {
    stripes: [{ id: first, scheme: "rs:4+2", dataBytes: 16384, blockBytes: 4096, disks: [1, 2, 3, 4, 5, 6] as DiskId[] }],
    files: [
      { inode: file, extents: [{ offset: 200_000, length: 8192, stripe: first, stripeOffset: 8192 }], sizeAtLeast: 208_192 },
      { inode: twice, extents: [{ offset: 0, length: 8192, stripe: first, stripeOffset: 0 }], sizeAtLeast: 8192 },
    ],
  });
  const lost = await namespace.lostFiles({
    stripes: new Map([
      [stripe, [{ from: 0, to: BYTES }]],
      [first, [{ from: 4096, to: 12_288 }]],
    ]),
    inodes: new Set([directory]),
  });
  assert.deepEqual(lost, [
    { inode: directory, paths: ["/directory"] as ByteString[], ranges: [] },
    {
      inode: file,
      paths: ["/directory/below/linked", "/directory/file"] as ByteString[],
      ranges: [{ from: 0, to: BYTES }, { from: 200_000, to: 204_096 }], // prettier-ignore
    },
    { inode: twice, paths: ["/directory/again", "/directory/twice"] as ByteString[], ranges: [{ from: 4096, to: 8192 }] },
  ]);
});
