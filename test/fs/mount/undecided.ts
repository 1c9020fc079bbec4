// Changes that are under way, that fail, or whose answers do not come: programs and other mounts see what was before, or what is
// afterwards, and nothing else.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { FsError } from "../../../fs/errno.ts";
import { ROOT_INODE } from "../../../fs/types.ts";
import type { ByteString } from "../../../fs/types.ts";
import { caller } from "./doubles.ts";
import { attributes, createFile, openFile, read, sync, truncate, write } from "./program.ts";
import { settled, Store } from "./two-mounts.ts";

// The mounts' own timers keep no process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const bytes = (value: number, length: number): Uint8Array => new Uint8Array(length).fill(value);
const late = (): FsError => new FsError("ETIMEDOUT", "no answer");
const O_TRUNC = 0o1000;

for (const how of ["ftruncate", "open(O_TRUNC)"]) {
  const empty = (file: Awaited<ReturnType<typeof createFile>>): Promise<unknown> =>
    how === "ftruncate" ? truncate(file, 0) : openFile(file.mount, "file", 2 | O_TRUNC);

  test(`${how} that fails throws nothing away that was written`, async () => {
    const store = await Store.open();
    const [one, two] = [await store.mount(), await store.mount()];
    const file = await createFile(one.mount, "file");
    await write(file, 0, bytes(1, 5000));
    await sync(file);
    await write(file, 5000, bytes(2, 8));
    one.session.unsent.set("setAttributes", new FsError("EIO", "refused"));
    await assert.rejects(empty(file), { code: "EIO" });
    assert.deepEqual(await read(file, 4999, 100), new Uint8Array([1, 2, 2, 2, 2, 2, 2, 2, 2]));
    await sync(file);
    const theirs = await openFile(two.mount, "file");
    assert.equal((await attributes(theirs)).size, 5008);
    assert.deepEqual(await read(theirs, 4999, 100), new Uint8Array([1, 2, 2, 2, 2, 2, 2, 2, 2]));
    await store.close();
  });

  test(`${how} whose answer does not come, and that was done, leaves an empty file`, async () => {
    const store = await Store.open();
    const [one, two] = [await store.mount(), await store.mount()];
    const file = await createFile(one.mount, "file");
    await write(file, 0, bytes(1, 5000));
    await sync(file);
    await write(file, 5000, bytes(2, 8));
    one.session.lost.set("setAttributes", late());
    await assert.rejects(empty(file), { code: "ETIMEDOUT" });
    assert.equal((await attributes(file)).size, 0);
    assert.equal((await read(file, 0, 100)).length, 0);
    await one.mount.sync();
    assert.equal((await attributes(await openFile(two.mount, "file"))).size, 0);
    await write(file, 0, bytes(3, 3));
    assert.deepEqual(await read(file, 0, 100), bytes(3, 3));
    await store.close();
  });
}

test("while ftruncate(0) is under way nothing of the file is committed, and all is as before or as afterwards", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const file = await createFile(one.mount, "file");
  const beside = await createFile(one.mount, "beside");
  await write(file, 0, bytes(1, 5000));
  await sync(file);
  const reader = await openFile(two.mount, "file", 0);
  await write(file, 5000, bytes(2, 3000));
  await write(beside, 0, bytes(4, 9000));
  const changes = one.session.holdRequests("setAttributes");
  const emptied = truncate(file, 0);
  await settled();
  assert.equal((await attributes(file)).size, 8000);
  assert.deepEqual(await read(file, 4999, 2), new Uint8Array([1, 2]));
  let readers = 0;
  const theirs = read(reader, 0, 10_000).finally(() => readers++);
  const all = one.mount.sync();
  const synced = sync(beside);
  await settled();
  assert.equal(readers, 0);
  const commits = one.session.calls.filter(([name]) => name === "commit").length;
  changes.happen();
  await Promise.all([emptied, synced, all]);
  assert.equal((await theirs).length, 0);
  assert.equal((await attributes(file)).size, 0);
  assert.ok(one.session.calls.filter(([name]) => name === "commit").length > commits, "the other file's data went on");
  assert.equal((await attributes(await openFile(two.mount, "beside"))).size, 9000);
  assert.equal((await attributes(await openFile(two.mount, "file"))).size, 0);
  assert.deepEqual(await store.ungranted(), []);
  await store.close();
});

test("ftruncate(0) waits for a commit of the file that is on its way", async () => {
  const store = await Store.open();
  const { mount, session } = await store.mount();
  const file = await createFile(mount, "file");
  await write(file, 0, bytes(1, 5000));
  const commits = session.holdRequests("commit");
  const synced = sync(file);
  await settled();
  const emptied = truncate(file, 0);
  await settled();
  assert.equal(session.calls.filter(([name]) => name === "setAttributes").length, 0);
  commits.happen();
  await Promise.all([synced, emptied]);
  await mount.sync();
  assert.equal((await attributes(file)).size, 0);
  await store.close();
});

test("ftruncate(0) that hangs while its session is lost is refused, and holds nothing back", async () => {
  const store = await Store.open();
  const { mount, session } = await store.mount();
  const file = await createFile(mount, "file");
  await write(file, 0, bytes(1, 5000));
  await sync(file);
  await write(file, 0, bytes(2, 5000));
  const changes = session.holdRequests("setAttributes");
  session.unsent.set("setAttributes", new FsError("EIO", "the session was over before it was answered"));
  const emptied = truncate(file, 0);
  await settled();
  await session.renew();
  changes.happen();
  await assert.rejects(emptied, { code: "EIO" });
  await assert.rejects(sync(file), { code: "EIO" });
  await write(file, 0, bytes(3, 2));
  await sync(file);
  assert.deepEqual(await read(file, 0, 4), new Uint8Array([3, 3, 1, 1]));
  await store.close();
});

test("a change whose answer does not come is asked for: what was believed of before is not shown", async () => {
  const store = await Store.open();
  const { mount, session, kernel } = await store.mount();
  const file = await createFile(mount, "file");
  await write(file, 0, bytes(1, 5000));
  await sync(file);
  await read(file, 0, 100);
  for (const operation of ["setAttributes", "unlink", "reshape"] as const) session.lost.set(operation, late());
  await assert.rejects(async () => mount.setattr(caller, file.inode, { mode: 0o600 }), { code: "ETIMEDOUT" });
  assert.equal((await attributes(file)).mode & 0o777, 0o600);
  await assert.rejects(truncate(file, 10), { code: "ETIMEDOUT" });
  assert.deepEqual(await read(file, 0, 100), bytes(1, 10));
  const PUNCH = 3;
  await assert.rejects(mount.fallocate(caller, file.inode, file.handle, 0, 5, PUNCH), { code: "ETIMEDOUT" });
  assert.deepEqual(await read(file, 4, 3), new Uint8Array([0, 1, 1]));
  const { epochs } = kernel;
  await assert.rejects(async () => mount.unlink(caller, ROOT_INODE, "file" as ByteString), { code: "ETIMEDOUT" });
  assert.equal(kernel.epochs, epochs + 1, "names are looked up again");
  assert.equal((await attributes(file)).linkCount, 0);
  assert.deepEqual(await store.ungranted(), []);
  await store.close();
});

test("times that a write made are not lost with a change that fails", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const file = await createFile(one.mount, "file");
  await sync(file);
  const before = { ...(await attributes(file)) };
  await new Promise((resolve) => setTimeout(resolve, 5));
  await write(file, 0, bytes(1, 10));
  one.session.unsent.set("setAttributes", new FsError("EIO", "refused"));
  const mtime = { seconds: 1, nanoseconds: 0 };
  await assert.rejects(async () => one.mount.setattr(caller, file.inode, { mtime }), { code: "EIO" });
  const written = { ...(await attributes(file)) };
  assert.notDeepEqual([written.mtimeSeconds, written.mtimeNanoseconds], [before.mtimeSeconds, before.mtimeNanoseconds]);
  const seen = await attributes(await openFile(two.mount, "file"));
  assert.deepEqual([seen.mtimeSeconds, seen.mtimeNanoseconds], [written.mtimeSeconds, written.mtimeNanoseconds]);
  await store.close();
});
