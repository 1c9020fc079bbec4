// Which opens pass the page cache by, so that the kernel refuses shared mappings: those of a file that another mount writes.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import type { Opened } from "../../../fs/mount/handlers.ts";
import { WRITING_BATCH_MAX } from "../../../fs/mount/limits.ts";
import { ROOT_INODE } from "../../../fs/types.ts";
import type { ByteString, InodeId } from "../../../fs/types.ts";
import { caller } from "./doubles.ts";
import { attributes, close, createFile, openFile, read, sync, truncate, write } from "./program.ts";
import { settled, type Side, Store } from "./two-mounts.ts";

// The mounts' own timers keep no process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const READ = 0;
const READ_WRITE = 2;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const O_DIRECT = 0o40000;

/** Opens it as a program would and tells whether a shared mapping of it is refused. */
async function open({ mount }: Side, name: string, flags: number): Promise<{ refused: boolean; close: () => Promise<void> }> {
  const { attributes } = await mount.lookup(caller, ROOT_INODE, name as ByteString);
  const inode = attributes!.inode;
  const opened: Opened = await mount.open(caller, inode, flags, false);
  return { refused: opened.directIo === true, close: () => close({ mount, inode, handle: opened.handle }) };
}

async function twoMounts(): Promise<{ store: Store; one: Side; two: Side }> {
  const store = await Store.open();
  return { store, one: await store.mount(), two: await store.mount() };
}

for (const flags of [READ, READ_WRITE, READ_WRITE | O_TRUNC, READ_WRITE | O_DIRECT]) {
  test(`what one mount has open for writing, the other cannot map (flags ${flags.toString(8)}); it can when that is closed`, async () => {
    const { store, one, two } = await twoMounts();
    const file = await createFile(one.mount, "file");
    await write(file, 0, new Uint8Array(5000));
    const there = await open(two, "file", flags);
    assert.equal(there.refused, true);
    await there.close();
    await close(file);
    await settled();
    const later = await open(two, "file", flags);
    assert.equal(later.refused, false);
    await later.close();
    assert.deepEqual(await store.ungranted(), []);
    await store.close();
  });
}

test("both open it: who was first may map it, whoever comes later on either mount may not, until the other is closed", async () => {
  const { store, one, two } = await twoMounts();
  await close(await createFile(one.mount, "file"));
  const first = await open(one, "file", READ_WRITE);
  const second = await open(two, "file", READ_WRITE);
  const third = await open(one, "file", READ_WRITE);
  assert.deepEqual([first.refused, second.refused, third.refused], [false, true, true]);
  await second.close();
  await settled();
  const fourth = await open(one, "file", READ_WRITE);
  assert.equal(fourth.refused, false);
  const fifth = await open(two, "file", READ);
  assert.equal(fifth.refused, true, "one mount has it open for writing still");
  for (const opened of [first, third, fourth, fifth]) await opened.close();
  await store.close();
});

test("a file whose only other handle is closed while an open waits for its lease is not taken for one that nobody has open", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount({ idleFiles: 1 }), await store.mount()];
  await close(await createFile(two.mount, "file"));
  const reader = await openFile(one.mount, "file", READ);
  const { inode } = reader;
  const acquired = one.session.holdRequests("acquire");
  const opening = one.mount.open(caller, inode, READ_WRITE, false);
  await close(reader);
  acquired.happen();
  const file = { mount: one.mount, inode, handle: (await opening).handle };
  // Files that are closed push those out that nobody has open.
  await close(await createFile(one.mount, "other"));
  await write(file, 0, new Uint8Array(100).fill(7));
  const seen = await openFile(two.mount, "file", READ);
  assert.deepEqual(await read(seen, 0, 1000), new Uint8Array(100).fill(7));
  await close(seen);
  await close(file);
  assert.deepEqual(await store.ungranted(), []);
  await store.close();
});

test("a file that another mount wrote before its maker heard that it is made has the other's bytes at the maker", async () => {
  const { store, one, two } = await twoMounts();
  const made = one.session.holdReplies("make");
  const creating = createFile(one.mount, "file");
  await settled();
  const other = await openFile(two.mount, "file", READ_WRITE);
  await write(other, 0, new Uint8Array(100).fill(7));
  made.happen();
  const file = await creating;
  assert.deepEqual(await read(file, 0, 1000), new Uint8Array(100).fill(7));
  await close(file);
  await close(other);
  await store.close();
});

test("readers map what nobody writes, at no request of an open; appends never", async () => {
  const { store, one, two } = await twoMounts();
  await close(await createFile(one.mount, "file"));
  for (const side of [one, two]) await (await open(side, "file", READ)).close();
  const asked = [one.session.calls.length, two.session.calls.length];
  const { attributes } = await one.mount.lookup(caller, ROOT_INODE, "file" as ByteString);
  for (const { mount } of [one, two]) {
    const opened = await mount.open(caller, attributes!.inode, READ, false);
    assert.equal(opened.directIo, false);
    await mount.release(caller, attributes!.inode, opened.handle, null);
  }
  assert.deepEqual([one.session.calls.length - 1, two.session.calls.length], asked);
  assert.equal((await open(one, "file", READ_WRITE | O_APPEND)).refused, true);
  await store.close();
});

test("a file that is made and written here costs no request more than it did", async () => {
  const { store, one } = await twoMounts();
  // Room for writes is asked for now and then.
  const asked = (): string[] => one.session.calls.map(([name]) => name).filter((name) => name !== "space");
  const file = await createFile(one.mount, "file");
  await write(file, 0, new Uint8Array(100));
  await close(file);
  assert.deepEqual(asked(), ["make"]);
  await (await open(one, "file", READ_WRITE)).close();
  assert.deepEqual(asked(), ["make", "lookup"]);
  await store.close();
});

test("who reads a file is told when another begins to write it, and when its session is another one", async () => {
  const { store, one, two } = await twoMounts();
  const file = await createFile(one.mount, "file");
  await write(file, 0, new Uint8Array(100));
  await close(file);
  const reader = await openFile(two.mount, "file", READ);
  assert.equal((await read(reader, 0, 100)).length, 100);
  const writer = await open(one, "file", READ_WRITE);
  assert.equal(writer.refused, false, "the other only reads it");
  assert.equal((await open(two, "file", READ)).refused, true);
  await one.session.renew();
  assert.equal((await open(two, "file", READ)).refused, true, "it is open there still");
  await two.session.renew();
  assert.equal((await open(two, "file", READ)).refused, true);
  await writer.close();
  await settled();
  assert.equal((await open(two, "file", READ)).refused, false);
  await store.close();
});

test("many files closed at once are told in batches, and a word that fails is sent again", async () => {
  const { store, one, two } = await twoMounts();
  const count = WRITING_BATCH_MAX + 10;
  const files = [];
  for (let index = 0; index < count; index++) files.push(await createFile(one.mount, `file ${index}`));
  for (let index = 0; index < count; index++) assert.equal((await open(two, `file ${index}`, READ)).refused, true);
  one.session.unsent.set("writing", new Error("for the test"));
  for (const file of files) await close(file);
  await settled();
  assert.equal((await open(two, "file 0", READ)).refused, true, "it was not told yet");
  one.session.unsent.clear();
  await close(await createFile(one.mount, "another"));
  const again = await createFile(one.mount, "and another");
  await open(two, "and another", READ);
  await close(again);
  await settled();
  await sync(await createFile(one.mount, "last"));
  const sizes = one.session.calls.flatMap(([name, request]) =>
    name === "writing" && !(request as { open: boolean }).open ? [(request as { inodes: InodeId[] }).inodes.length] : [],
  );
  assert.ok(Math.max(...sizes) <= WRITING_BATCH_MAX, `${Math.max(...sizes)} in one`);
  for (let index = 0; index < count; index++) assert.equal((await open(two, `file ${index}`, READ)).refused, false, `${index}`);
  await store.close();
});

test("a file that grows while a recall tells who writes it is written back before the lease goes", async () => {
  const { store, one, two } = await twoMounts();
  const file = await createFile(one.mount, "file");
  const told = one.session.holdReplies("writing");
  const there = open(two, "file", READ);
  await settled();
  await truncate(file, 5000);
  told.happen();
  const other = await openFile(two.mount, "file");
  await (await there).close();
  await write(other, 0, new Uint8Array(10));
  assert.equal((await attributes(other)).size, 5000);
  assert.deepEqual(await store.ungranted(), []);
  await close(other);
  await close(file);
  await store.close();
});
