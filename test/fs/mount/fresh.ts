// A mount that the namespace may have given up says nothing until it was heard of.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { FRESHNESS } from "../../../fs/mount/fresh.ts";
import type { Handlers } from "../../../fs/mount/handlers.ts";
import { ROOT_INODE } from "../../../fs/types.ts";
import type { ByteString, InodeId } from "../../../fs/types.ts";
import { caller } from "./doubles.ts";
import { close, createFile, openFile, read, sync, write } from "./program.ts";
import { Moment, settled, type Side, Store } from "./two-mounts.ts";

// The mounts' own timers keep no process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const data = new Uint8Array(4096).fill(1);
const name = (text: string): ByteString => text as ByteString;

interface Opened {
  file: InodeId;
  handle: number;
  directory: number;
}

type Asked = { [Name in keyof Handlers]: (side: Side, opened: Opened) => Parameters<Handlers[Name]> };

/** Each operation as it would be answered at once. */
const ASKED: Asked = {
  lookup: () => [caller, ROOT_INODE, name("file")],
  getattr: (_, { file, handle }) => [caller, file, handle],
  readlink: (_, { file }) => [caller, file],
  open: (_, { file }) => [caller, file, 0, false],
  read: (_, { file, handle }) => [caller, file, handle, 0, 100, new Uint8Array(100), 0],
  opendir: () => [caller, ROOT_INODE, 0],
  readdir: (_, { directory }) => [caller, ROOT_INODE, directory, 0, true, () => true],
  statfs: () => [caller, ROOT_INODE],
  getxattr: (_, { file }) => [caller, file, name("user.a")],
  listxattr: (_, { file }) => [caller, file],
  getlk: (_, { file, handle }) => [caller, file, handle, "owner", { type: "read", start: 0, end: 1, pid: 1 }],
  lseek: (_, { file, handle }) => [caller, file, handle, 0, 3],
  fsync: (_, { file, handle }) => [caller, file, handle, false],
  fsyncdir: (_, { directory }) => [caller, ROOT_INODE, directory, false],
  syncfs: () => [caller, ROOT_INODE],
  setattr: (_, { file, handle }) => [caller, file, { size: 1_000_000, handle }],
  symlink: () => [caller, ROOT_INODE, name("symlink"), name("target")],
  mknod: () => [caller, ROOT_INODE, name("fifo"), 0o010644, 0, 0],
  mkdir: () => [caller, ROOT_INODE, name("directory"), 0o755, 0],
  unlink: () => [caller, ROOT_INODE, name("unlinked")],
  rmdir: () => [caller, ROOT_INODE, name("removed")],
  rename: () => [caller, ROOT_INODE, name("renamed"), ROOT_INODE, name("to"), 0],
  link: (_, { file }) => [caller, file, ROOT_INODE, name("link")],
  create: () => [caller, ROOT_INODE, name("created"), 0o644, 2, 0],
  tmpfile: () => [caller, ROOT_INODE, 0o644, 2, 0],
  write: (_, { file, handle }) => [caller, file, handle, 0, data, 2, false, false],
  setxattr: (_, { file }) => [caller, file, name("user.a"), data.subarray(0, 1), 0, false],
  removexattr: (_, { file }) => [caller, file, name("user.a")],
  setlk: (_, { file, handle }) => [caller, file, handle, "owner", { type: "read", start: 0, end: 1, pid: 1 }, false, false],
  fallocate: (_, { file, handle }) => [caller, file, handle, 0, 4096, 3],
  copyFileRange: (_, { file, handle }) => [caller, file, handle, 1_000_000, file, handle, 0, 10, 0],
  forget: (_, { file }) => [file, 1],
  flush: (_, { file, handle }) => [caller, file, handle, "owner"],
  releasedir: (_, { directory }) => [caller, ROOT_INODE, directory],
  release: (_, { file, handle }) => [caller, file, handle, null],
  destroy: () => [],
};

function ask(side: Side, operation: keyof Handlers, opened: Opened): Promise<unknown> {
  const method = (side.mount[operation] as (...request: unknown[]) => unknown).bind(side.mount);
  const request = (ASKED[operation] as (side: Side, opened: Opened) => unknown[])(side, opened);
  return (async () => method(...request))();
}

async function prepared(store: Store): Promise<{ side: Side; opened: Opened }> {
  const side = await store.mount();
  const { inode, handle } = await createFile(side.mount, "file");
  await write({ mount: side.mount, inode, handle }, 0, data);
  const directory = (await side.mount.opendir(caller, ROOT_INODE, 0)).handle;
  side.session.fresh = false;
  return { side, opened: { file: inode, handle, directory } };
}

const waiting = (Object.keys(FRESHNESS) as (keyof Handlers)[]).filter((operation) => FRESHNESS[operation] !== "at once");

test("every operation of a mount waits until the namespace was heard of, and is answered then", async () => {
  const store = await Store.open();
  const { side, opened } = await prepared(store);
  const answered = new Set<string>();
  const all = waiting.map((operation) =>
    ask(side, operation, opened).then(
      () => answered.add(operation),
      () => answered.add(operation),
    ),
  );
  await settled();
  assert.deepEqual([...answered], []);
  side.session.fresh = true;
  side.session.reached.happen();
  await Promise.all(all);
  assert.equal(answered.size, waiting.length);
  await store.close();
});

test("only what says nothing that may be old does not wait", async () => {
  const store = await Store.open();
  const { side, opened } = await prepared(store);
  const { file, handle } = opened;
  const atOnce = (Object.keys(FRESHNESS) as (keyof Handlers)[]).filter((operation) => FRESHNESS[operation] === "at once");
  assert.deepEqual(atOnce.sort(), ["destroy", "flush", "forget", "release", "releasedir"]);
  const writeback = side.mount.write(caller, file, handle, 0, data, 2, false, true);
  assert.equal(writeback, data.length, "the kernel's own writeback of a mapping is taken under the lease");
  for (const operation of ["forget", "flush", "releasedir", "release"] as const) await ask(side, operation, opened);
  side.session.fresh = true;
  await store.close();
});

test("what waited while the session was lost: changes are refused, everything else goes on under the next", async () => {
  const store = await Store.open();
  const { side, opened } = await prepared(store);
  const refused = new Set<string>();
  const all = waiting.map((operation) =>
    ask(side, operation, opened).catch((error: Error) => {
      if (error.message.includes("the session was lost while")) refused.add(operation);
    }),
  );
  await settled();
  await side.session.renew();
  side.session.fresh = true;
  side.session.reached.happen();
  await Promise.all(all);
  assert.deepEqual([...refused].sort(), waiting.filter((operation) => FRESHNESS[operation] === "changes").sort());
  await store.close();
});

test("a read is not answered from memory once another mount may have written", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const ours = await createFile(one.mount, "file");
  await write(ours, 0, data);
  await sync(ours);
  assert.equal((await read(ours, 0, 10)).length, 10);
  one.session.fresh = false;
  one.session.expire();
  const theirs = await openFile(two.mount, "file");
  await write(theirs, 0, new Uint8Array(10).fill(2));
  await close(theirs);
  const found = read(ours, 0, 10);
  await settled();
  await one.session.renew();
  one.session.fresh = true;
  one.session.reached.happen();
  assert.deepEqual(await found, new Uint8Array(10).fill(2));
  await store.close();
});

test("a recall and a read that waits for the namespace do not wait for each other", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const ours = await createFile(one.mount, "file");
  await write(ours, 0, data);
  await sync(ours);
  one.session.fresh = false;
  // The kernel has the page locked until the read is answered.
  const answered = new Moment();
  one.kernel.drop = async (_, offset) => (offset === 0 ? answered.happened : undefined);
  const found = read(ours, 0, 10);
  void found.then(answered.happen);
  const opening = openFile(two.mount, "file");
  await settled();
  one.session.fresh = true;
  one.session.reached.happen();
  assert.equal((await found)[0], 1);
  const theirs = await opening;
  await write(theirs, 0, new Uint8Array(10).fill(2));
  assert.equal((await read(ours, 0, 10))[0], 2);
  await store.close();
});
