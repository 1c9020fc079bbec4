import assert from "node:assert/strict";
import test from "node:test";
import { FsError } from "../../../fs/errno.ts";
import type { KernelCaches } from "../../../fs/mount/handlers.ts";
import { INLINE_FILE_MAX_BYTES, INLINE_RANGE_MIN_BYTES } from "../../../fs/mount/limits.ts";
import { Mount } from "../../../fs/mount/mount.ts";
import type { SessionEvents } from "../../../fs/messages.ts";
import { ROOT_INODE } from "../../../fs/types.ts";
import type { ByteString } from "../../../fs/types.ts";
import { seededRandom } from "../../../storage/seeded-random.ts";
import { caller, MemorySession, MemoryStripes } from "./doubles.ts";
import { newFiles, readStep, runSteps } from "./model.ts";
import { attributes, close, createFile, openFile, read, sync, truncate, write } from "./program.ts";

const schemes = { full: "rs:4+2", small: "copies:3" };

interface Setup {
  mount: Mount;
  session: MemorySession;
  events: SessionEvents;
  stripes: MemoryStripes;
  traces: string[];
}

async function newMount(): Promise<Setup> {
  const session = new MemorySession();
  const stripes = new MemoryStripes();
  const traces: string[] = [];
  let events!: SessionEvents;
  const openSession = (given: SessionEvents): MemorySession => {
    events = given;
    return session;
  };
  const mount = await Mount.open({ openSession, stripes, schemes, trace: (line) => traces.push(line) });
  return { mount, session, events, stripes, traces };
}

for (const seed of [1, 2, 3, 4]) {
  test(`random data operations agree with an array of bytes, seed ${seed}`, async () => {
    const { mount } = await newMount();
    const options = { files: 3, steps: 1500, maximumBytes: 6_000_000, random: seededRandom(seed) };
    const list = await newFiles(mount, options);
    await runSteps(mount, list, options);
    for (const model of list) {
      await close(model.file);
      model.file = await openFile(mount, model.name);
      await readStep(model, 0, options.maximumBytes);
    }
    await mount.destroy();
    assert.equal(mount.counts().bufferedBytes, 0);
  });
}

test("a small write that is synced rides in the log: no stripe is stored", async () => {
  const { mount, session, stripes } = await newMount();
  const file = await createFile(mount, "small");
  await write(file, 0, new Uint8Array(4096).fill(7));
  await sync(file);
  assert.equal(stripes.writes, 0);
  assert.equal(session.file(file.inode).extents[0].inline?.length, 4096);
  assert.deepEqual(await read(file, 4000, 500), new Uint8Array(96).fill(7));
  await mount.destroy();
});

test("a file keeps a limited amount in the table: what comes beyond goes to stripes", async () => {
  const { mount, session } = await newMount();
  const file = await createFile(mount, "journal");
  const page = new Uint8Array(4096);
  const count = (INLINE_FILE_MAX_BYTES / 4096) * 1.1;
  for (let index = 0; index < count; index++) {
    await write(file, index * 8192, page.fill(index));
    await sync(file);
  }
  const inline = session.file(file.inode).extents.reduce((sum, extent) => sum + (extent.inline?.length ?? 0), 0);
  assert.equal(inline, INLINE_FILE_MAX_BYTES);
  for (let index = 0; index < count; index++)
    assert.deepEqual(await read(file, index * 8192, 4096), new Uint8Array(4096).fill(index));
  await mount.destroy();
});

test("writes of a few bytes reach it sooner: each counts as a kilobyte", async () => {
  const { mount, session } = await newMount();
  const file = await createFile(mount, "journal");
  const most = INLINE_FILE_MAX_BYTES / INLINE_RANGE_MIN_BYTES;
  for (let index = 0; index <= most; index++) {
    await write(file, index * 20, new Uint8Array(10).fill(index));
    await sync(file);
  }
  assert.equal(session.file(file.inode).extents.filter((extent) => extent.inline === undefined).length, 1);
  assert.deepEqual(await read(file, most * 20, 10), new Uint8Array(10).fill(most));
  await mount.destroy();
});

test("what was moved out of the table meanwhile counts no more", async () => {
  const { mount, session, events } = await newMount();
  const file = await createFile(mount, "journal");
  const page = new Uint8Array(4096);
  const most = INLINE_FILE_MAX_BYTES / 4096;
  for (let index = 0; index < most; index++) {
    await write(file, index * 8192, page.fill(index));
    await sync(file);
  }
  events.moved!([file.inode]);
  await write(file, most * 8192, page.fill(77));
  await sync(file);
  assert.equal(session.file(file.inode).extents.at(-1)!.inline?.length, 4096);
  await mount.destroy();
});

test("a long sequential write becomes whole stripes of that file alone", async () => {
  const { mount, session, stripes } = await newMount();
  const file = await createFile(mount, "big");
  const megabyte = new Uint8Array(1024 * 1024);
  for (let index = 0; index < 40; index++) await write(file, index * megabyte.length, megabyte.fill(index));
  await sync(file);
  assert.equal(stripes.writes, 10);
  assert(session.file(file.inode).extents.every((extent) => extent.length === 4 * 1024 * 1024));
  for (let index = 0; index < 40; index++) assert.equal((await read(file, index * megabyte.length + 5, 1))[0], index);
  await mount.destroy();
});

test("a program that writes faster than the disks waits, and the buffer stays within its bound", async () => {
  const { mount } = await newMount();
  const file = await createFile(mount, "flood");
  const megabyte = new Uint8Array(1024 * 1024).fill(3);
  for (let index = 0; index < 400; index++) {
    await write(file, index * megabyte.length, megabyte);
    assert(mount.counts().buffersTaken <= 32);
  }
  assert.equal((await attributes(file)).size, 400 * megabyte.length);
  await mount.destroy();
});

test("what was written to a file that is removed before a flush never reaches a disk", async () => {
  const { mount, stripes } = await newMount();
  const file = await createFile(mount, "temporary");
  await write(file, 0, new Uint8Array(500_000).fill(1));
  await close(file);
  await mount.unlink(caller, ROOT_INODE, "temporary" as ByteString);
  await mount.sync();
  assert.equal(stripes.writes, 0);
  await mount.destroy();
});

test("a removed file that is still open keeps its bytes", async () => {
  const { mount } = await newMount();
  const file = await createFile(mount, "unlinked");
  await write(file, 0, new Uint8Array(100_000).fill(9));
  await mount.unlink(caller, ROOT_INODE, "unlinked" as ByteString);
  await write(file, 100_000, new Uint8Array(10).fill(8));
  await sync(file);
  assert.deepEqual(await read(file, 99_999, 3), new Uint8Array([9, 8, 8]));
  await close(file);
  await mount.destroy();
});

test("a failed flush is told to the next fsync, the bytes are kept, and a later fsync stores them", async () => {
  const { mount, stripes, traces } = await newMount();
  const file = await createFile(mount, "unlucky");
  await write(file, 0, new Uint8Array(300_000).fill(5));
  stripes.failure = Object.assign(new Error("disk 3 is full"), { code: "ENOSPC" });
  await assert.rejects(sync(file), { code: "ENOSPC" });
  assert(traces.some((line) => line.includes("disk 3 is full")));
  assert.equal((await read(file, 299_999, 1))[0], 5);
  stripes.failure = null;
  await sync(file);
  assert.equal(mount.counts().uncommittedUnits, 0);
  assert.equal((await read(file, 299_999, 1))[0], 5);
  await mount.destroy();
});

test("a full store refuses a write at once, and takes it when there is space again", async () => {
  const session = new MemorySession();
  session.freeBytes = 10_000;
  const mount = await Mount.open({ openSession: () => session, stripes: new MemoryStripes(), schemes });
  const file = await createFile(mount, "full");
  await assert.rejects(async () => write(file, 0, new Uint8Array(20_000)), { code: "ENOSPC" });
  session.freeBytes = 1e9;
  await write(file, 0, new Uint8Array(20_000));
  await mount.destroy();
});

test("fsync without a lease asks for one first, so that another mount writes back what it holds; with one it asks for nothing", async () => {
  let events: SessionEvents | null = null;
  const session = new MemorySession();
  const stripes = new MemoryStripes();
  const openSession = (given: SessionEvents): MemorySession => ((events = given), session);
  const mount = await Mount.open({ openSession, stripes, schemes });
  const file = await createFile(mount, "shared");
  const callsOf = async (action: () => Promise<void>): Promise<string[]> => {
    const from = session.calls.length;
    await action();
    return session.calls.slice(from);
  };
  assert.deepEqual(await callsOf(() => sync(file)), ["sync"]);
  await events!.recall(file.inode, "known");
  assert.deepEqual(await callsOf(() => sync(file)), ["acquire", "sync"]);
  assert.deepEqual(await callsOf(() => sync(file)), ["sync"]);
  await mount.destroy();
});

/** A mount with a file that a stripe's worth was written to, and its session's events. */
async function newDirty(): Promise<{
  mount: Mount;
  session: MemorySession;
  stripes: MemoryStripes;
  events: SessionEvents;
  file: Awaited<ReturnType<typeof createFile>>;
}> {
  let events: SessionEvents | null = null;
  const session = new MemorySession();
  const stripes = new MemoryStripes();
  const openSession = (given: SessionEvents): MemorySession => ((events = given), session);
  const mount = await Mount.open({ openSession, stripes, schemes });
  const file = await createFile(mount, "written");
  await write(file, 0, new Uint8Array(500_000).fill(1));
  return { mount, session, stripes, events: events!, file };
}

test("what failed for a session that is over is not held against the mount", async () => {
  const { mount, session, events, file } = await newDirty();
  const reserve = session.on_reserveStripes.bind(session);
  let refuse!: () => void;
  session.on_reserveStripes = (() =>
    new Promise((_, reject) => (refuse = () => reject(new FsError("EIO", "the session was over"))))) as never;
  const synced = assert.rejects(sync(file), { code: "EIO" });
  while (refuse === undefined) await new Promise(setImmediate);
  events.renewed!(new Set());
  refuse();
  await synced;
  session.on_reserveStripes = reserve;
  assert.equal(mount.counts().uncommittedUnits, 0);
  await mount.sync();
  await mount.destroy();
});

test("a lock that was lost with the session is told of, also where the file's data is thrown away before", async () => {
  const { mount, events, file } = await newDirty();
  await sync(file);
  events.renewed!(new Set([file.inode]));
  await truncate(file, 0);
  await assert.rejects(sync(file), { code: "EIO", message: /a lock/ });
  await sync(file);
  await mount.destroy();
});

test("a stripe stays that a commit has named which was not answered: files may have it", async () => {
  const { mount, session, stripes, events, file } = await newDirty();
  const commit = session.on_commit.bind(session);
  session.on_commit = ((request: Parameters<typeof commit>[0]) => {
    commit(request);
    events.renewed!(new Set());
    throw new FsError("EIO", "the session was over before it was answered; it may be done or not");
  }) as never;
  await assert.rejects(sync(file), { code: "EIO" });
  session.on_commit = commit;
  const other = await createFile(mount, "other");
  await write(other, 0, new Uint8Array(500_000).fill(2));
  await truncate(other, 0);
  await mount.sync();
  assert.equal(mount.counts().uncommittedUnits, 0);
  assert.ok(stripes.stored.has(session.file(file.inode).extents[0].stripe!), "the stripe was removed");
  assert.deepEqual(await read(file, 0, 1000), new Uint8Array(1000).fill(1));
  await mount.destroy();
});

test("a read that asks where bytes are while a truncation takes them away gives no zeros in their place", async () => {
  const { mount, session, events, file } = await newDirty();
  await sync(file);
  await events.recall(file.inode, "known");
  const setAttributes = session.on_setAttributes.bind(session);
  let answer!: () => void;
  const held = new Promise<void>((resolve) => (answer = resolve));
  session.on_setAttributes = (async (request: Parameters<typeof setAttributes>[0]) => {
    const reply = setAttributes(request);
    await held;
    return reply;
  }) as never;
  const cut = truncate(file, 100_000);
  while (session.file(file.inode).attributes.size !== 100_000) await new Promise(setImmediate);
  const [behind, across] = [read(file, 200_000, 4096), read(file, 99_000, 4096)];
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
  answer();
  await cut;
  assert.equal((await behind).length, 0);
  assert.deepEqual(await across, new Uint8Array(1000).fill(1));
  await mount.destroy();
});

test("truncate to nothing waits for no flush and leaves nothing of what was written", async () => {
  const { mount, session, stripes } = await newMount();
  const file = await createFile(mount, "cut");
  await write(file, 0, new Uint8Array(3_000_000).fill(1));
  await truncate(file, 0);
  assert.equal(stripes.writes, 0);
  await truncate(file, 5000);
  assert.deepEqual(await read(file, 0, 10_000), new Uint8Array(5000));
  await sync(file);
  assert.equal(session.file(file.inode).attributes.size, 5000);
  await mount.destroy();
});

test("getattr shows size and times of bytes that only the mount has, without asking", async () => {
  const { mount, session } = await newMount();
  const file = await createFile(mount, "fresh");
  await write(file, 100, new Uint8Array(10));
  session.calls.length = 0;
  const shown = await attributes(file);
  assert.equal(shown.size, 110);
  assert(shown.mtimeSeconds > 1_600_000_000);
  assert(shown.allocatedBytes > 0);
  assert.deepEqual(session.calls, []);
  await mount.destroy();
});

test("an explicit modification time outlives the flush of what was written before it", async () => {
  const { mount, session } = await newMount();
  const file = await createFile(mount, "dated");
  await write(file, 0, new Uint8Array(10));
  await mount.setattr(caller, file.inode, { mtime: { seconds: 1_000_000_000, nanoseconds: 5 } });
  await sync(file);
  assert.equal(session.file(file.inode).attributes.mtimeSeconds, 1_000_000_000);
  assert.equal((await attributes(file)).mtimeSeconds, 1_000_000_000);
  await mount.destroy();
});

test("an append goes to the end, whatever offset the kernel thought, and wrong pages are dropped before it is answered", async () => {
  const { mount } = await newMount();
  const dropped: number[][] = [];
  const caches: KernelCaches = {
    invalidateInode: async (_inode, offset, length) => dropped.push([offset, length]) > 0,
    invalidateEntry: async () => {},
    notifyDelete: async () => {},
    incrementEpoch: async () => {},
  };
  mount.attach(caches);
  const file = await createFile(mount, "log");
  await write(file, 0, new Uint8Array([1, 2, 3]));
  await write(file, 1, new Uint8Array([4]), 2 | 0o2000);
  assert.ok(
    dropped.some(([offset, length]) => offset <= 1 && offset + length >= 4),
    JSON.stringify(dropped),
  );
  assert.deepEqual(await read(file, 0, 10), new Uint8Array([1, 2, 3, 4]));
  await mount.destroy();
});

test("a file of 16 TiB has its last byte, and one beyond the limit is refused", async () => {
  const { mount } = await newMount();
  const file = await createFile(mount, "huge");
  await write(file, 2 ** 44 - 1, new Uint8Array([7]));
  await sync(file);
  assert.equal((await attributes(file)).size, 2 ** 44);
  assert.deepEqual(await read(file, 2 ** 44 - 2, 5), new Uint8Array([0, 7]));
  await assert.rejects(async () => write(file, 2 ** 52, new Uint8Array([1])), { code: "EFBIG" });
  await mount.destroy();
});
