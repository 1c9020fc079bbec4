import assert from "node:assert/strict";
import test, { after } from "node:test";
import { systemDatedClock } from "../../../fs/clock.ts";
import type { SessionEvents } from "../../../fs/messages.ts";
import type { KernelCaches } from "../../../fs/mount/handlers.ts";
import { APPEND_GOES_ON_MS, IDLE_FILES_MAX } from "../../../fs/mount/limits.ts";
import { Mount } from "../../../fs/mount/mount.ts";
import { ROOT_INODE } from "../../../fs/types.ts";
import type { ByteString, InodeId } from "../../../fs/types.ts";
import type { Stripe } from "../../../replication/stripe.ts";
import { caller, MemorySession, MemoryStripes } from "./doubles.ts";
import { attributes, close, createFile, openFile, read, sync, write } from "./program.ts";

const schemes = { full: "rs:4+2", small: "copies:3" };
const APPEND = 1 | 0o2000;

// The mount's own timers keep no process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

/** Something that happens when the test says so. */
class Event {
  happen: () => void = () => {};
  readonly happened = new Promise<void>((resolve) => (this.happen = resolve));
}

class SlowStripes extends MemoryStripes {
  free: Promise<void> = Promise.resolve();
  override async write(id: number, scheme: string, data: Uint8Array): Promise<Stripe> {
    const copy = data.slice();
    await this.free;
    return super.write(id, scheme, copy);
  }
}

const PAGE = 4096;

/** The kernel's locks: dropping a range that has a locked page lasts until that is unlocked. */
class Pages {
  readonly locked = new Map<number, Promise<unknown>>();
  /** Ranges that were dropped, as [start, end). */
  readonly dropped: [number, number][] = [];
  readonly drop = async (offset: number, length: number): Promise<void> => {
    if (offset < 0) return;
    const end = length === 0 ? Infinity : offset + length;
    for (const [start, unlocked] of [...this.locked]) if (start >= offset && start < end) await unlocked;
    this.dropped.push([offset, end]);
  };

  lock(start: number, until: Promise<unknown>): void {
    const unlocked = until.finally(() => this.locked.delete(start));
    this.locked.set(start, unlocked);
  }

  has(offset: number): boolean {
    return !this.dropped.some(([start, end]) => start <= offset && offset < end);
  }
}

/** A session that lets nobody have a lease again before it is told to. */
function holdLeases(session: MemorySession): Event {
  const event = new Event();
  const acquire = session.on_acquire.bind(session);
  session.on_acquire = ((request: Parameters<typeof acquire>[0]) => event.happened.then(() => acquire(request))) as never;
  return event;
}

interface Made {
  mount: Mount;
  session: MemorySession;
  stripes: SlowStripes;
  events: SessionEvents;
  /** Inodes whose attributes the kernel was told to forget at once. */
  forgotten: InodeId[];
  /** What the clock was asked to wait for. */
  pausesMs: number[];
}

async function newMount(drop: (offset: number, length: number) => Promise<void> | void): Promise<Made> {
  let events: SessionEvents | null = null;
  const session = new MemorySession();
  const stripes = new SlowStripes();
  const clock = systemDatedClock();
  const pausesMs: number[] = [];
  const mount = await Mount.open({
    openSession: (given) => ((events = given), session),
    stripes,
    schemes,
    clock: { ...clock, after: (ms, action) => (pausesMs.push(ms), clock.after(ms, action)) },
  });
  const forgotten: InodeId[] = [];
  const caches: KernelCaches = {
    invalidateInode: async (_inode, offset, length) => (await drop(offset, length), true),
    invalidateEntry: async () => {},
    notifyDelete: async () => {},
    incrementEpoch: async () => {},
    forgetAttributes: (inode) => void forgotten.push(inode),
  };
  mount.attach(caches);
  return { mount, session, stripes, events: events!, pausesMs, forgotten };
}

test("a recall right behind an append that ends with a page does not wait for more of it", { timeout: 10_000 }, async () => {
  const { mount, session, events, pausesMs } = await newMount(() => {});
  await createFile(mount, "log");
  const log = await openFile(mount, "log", APPEND);
  await write(log, 0, new Uint8Array(4096).fill(1), APPEND);
  await events.recall(log.inode, "known");
  assert(!pausesMs.includes(APPEND_GOES_ON_MS), "waited for the rest of an append that was whole");
  assert.equal(session.file(log.inode).attributes.size, 4096);
  await mount.destroy();
});

test(
  "the kernel's last page is dropped before an append behind it shows, once for each time that it was read",
  { timeout: 10_000 },
  async () => {
    const drops: [number, number][] = [];
    const { mount } = await newMount(async (offset) => void drops.push([offset, (await attributes(log)).size]));
    await createFile(mount, "log");
    const log = await openFile(mount, "log", APPEND);
    const reader = await openFile(mount, "log", 0);
    const append = async (): Promise<void> => write(log, 0, new Uint8Array(1000).fill(1), APPEND);
    for (let round = 0; round < 5; round++) await append();
    assert.deepEqual(drops, []);
    assert.equal((await read(reader, 4096, 4096)).length, 904);
    await append();
    await append();
    assert.deepEqual(drops, [[4096, 5000]]);
    await mount.destroy();
  },
);

test("a last page that is read while it is dropped is dropped again", { timeout: 10_000 }, async () => {
  let drops = 0;
  const { mount } = await newMount(async () => void (++drops < 3 && (await read(reader, 0, 4096))));
  const reader = await createFile(mount, "log");
  const log = await openFile(mount, "log", APPEND);
  await read(reader, 0, 4096);
  await write(log, 0, new Uint8Array(1000).fill(1), APPEND);
  assert.equal(drops, 3);
  await mount.destroy();
});

test("a recall waits for a write that waits for room in the buffers", { timeout: 60_000 }, async () => {
  const { mount, session, stripes, events } = await newMount(() => {});
  const disks = new Event();
  stripes.free = disks.happened;
  const other = await createFile(mount, "other");
  const file = await createFile(mount, "file");
  const megabyte = new Uint8Array(1024 * 1024).fill(1);
  const waiting: Promise<unknown>[] = [];
  for (let offset = 0; waiting.length === 0; offset += megabyte.length) {
    const written = mount.write(caller, other.inode, other.handle, offset, megabyte, 2, false, false);
    if (written instanceof Promise) waiting.push(written);
  }
  const late = mount.write(caller, file.inode, file.handle, 0, megabyte, 2, false, false);
  assert(late instanceof Promise);
  const recalled = events.recall(file.inode, "known");
  setTimeout(disks.happen, 20);
  await recalled;
  assert.equal(session.file(file.inode).attributes.size, megabyte.length);
  await Promise.all([...waiting, late]);
  await mount.destroy();
});

test("a recall does not wait for the pages of a write behind a copy that waits for the recall", { timeout: 10_000 }, async () => {
  const pages = new Pages();
  const { mount, session, events } = await newMount(pages.drop);
  const recalled = new Event();
  const share = session.on_share.bind(session);
  session.on_share = ((request: Parameters<typeof share>[0]) => recalled.happened.then(() => share(request))) as never;
  const from = await createFile(mount, "from");
  await write(from, 0, new Uint8Array(8192).fill(1));
  const to = await createFile(mount, "to");
  const copied = mount.copyFileRange(caller, from.inode, from.handle, 0, to.inode, to.handle, 0, 8192, 0);
  await new Promise((resolve) => setImmediate(resolve));
  // The kernel holds the lock of its page, which it has not whole, until the answer.
  const written = mount.write(caller, to.inode, to.handle, 100, new Uint8Array(10).fill(2), 2, false, false);
  pages.lock(0, written as Promise<number>);
  await new Promise((resolve) => setImmediate(resolve));
  await events.recall(to.inode, "known");
  recalled.happen();
  assert.deepEqual([await copied, await written], [8192, 10]);
  assert.deepEqual(await read(to, 99, 3), new Uint8Array([1, 2, 2]));
  await mount.destroy();
});

test("a lease whose reply comes while it is recalled is asked for anew", { timeout: 10_000 }, async () => {
  const pass = new Event();
  let blocked = false;
  const { mount, session, events } = await newMount(() => (blocked ? pass.happened : undefined));
  const file = await createFile(mount, "file");
  await events.recall(file.inode, "shared");
  blocked = true;
  const acquire = session.on_acquire.bind(session);
  const replied = new Event();
  session.on_acquire = ((request: Parameters<typeof acquire>[0]) => replied.happened.then(() => acquire(request))) as never;
  session.calls.length = 0;
  // The mount's tick asks for other things now and then.
  const acquires = (): number => session.calls.filter((name) => name === "acquire").length;
  const written = write(file, 0, new Uint8Array(10));
  await new Promise((resolve) => setImmediate(resolve));
  const recalled = events.recall(file.inode, "known");
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  replied.happen();
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(acquires(), 1);
  pass.happen();
  await Promise.all([recalled, written]);
  assert.equal(acquires(), 2);
  await mount.destroy();
});

test("a lease that was asked for before a recall and granted after it is used", { timeout: 10_000 }, async () => {
  const { mount, session, events } = await newMount(() => {});
  const file = await createFile(mount, "file");
  await events.recall(file.inode, "shared");
  const leases = holdLeases(session);
  session.calls.length = 0;
  const written = write(file, 0, new Uint8Array(10));
  await new Promise((resolve) => setImmediate(resolve));
  await events.recall(file.inode, "known");
  leases.happen();
  await written;
  // How much room there is is asked for now and then.
  assert.deepEqual(
    session.calls.filter((name) => name !== "space"),
    ["acquire"],
  );
  await mount.destroy();
});

test("a recall drops all pages but the one of a write that waits for a lease", { timeout: 10_000 }, async () => {
  const pages = new Pages();
  const { mount, session, events } = await newMount(pages.drop);
  const file = await createFile(mount, "file");
  await write(file, 0, new Uint8Array(10 * PAGE).fill(1));
  await events.recall(file.inode, "shared");
  const leases = holdLeases(session);
  const written = mount.write(caller, file.inode, file.handle, 2 * PAGE, new Uint8Array(PAGE + 10).fill(2), 2, false, false);
  pages.lock(3 * PAGE, written as Promise<number>);
  pages.dropped.length = 0;
  await events.recall(file.inode, "known");
  for (const page of [0, 1, 2, 4, 9, 1000]) assert(!pages.has(page * PAGE), `page ${page} was not dropped`);
  assert(pages.has(3 * PAGE));
  leases.happen();
  assert.equal(await written, PAGE + 10);
  assert.deepEqual(await read(file, 3 * PAGE + 9, 2), new Uint8Array([2, 1]));
  await mount.destroy();
});

test(
  "a write that comes while pages are dropped is gone round, and its pages are dropped before it is answered",
  { timeout: 10_000 },
  async () => {
    const pages = new Pages();
    let written: Promise<number> | null = null;
    const { mount, session, events } = await newMount(async (offset, length) => {
      if (written === null) {
        written = mount.write(
          caller,
          file.inode,
          file.handle,
          5 * PAGE,
          new Uint8Array(2 * PAGE + 10).fill(2),
          2,
          false,
          false,
        ) as Promise<number>;
        pages.lock(7 * PAGE, written);
      }
      await pages.drop(offset, length);
    });
    const file = await createFile(mount, "file");
    await write(file, 0, new Uint8Array(10 * PAGE).fill(1));
    const leases = holdLeases(session);
    await events.recall(file.inode, "known");
    for (const page of [0, 6, 8, 1000]) assert(!pages.has(page * PAGE), `page ${page} was not dropped`);
    pages.dropped.length = 0;
    leases.happen();
    assert.equal(await written, 2 * PAGE + 10);
    assert(!pages.has(5 * PAGE) && !pages.has(6 * PAGE), "a read may have brought them back before the write was done");
    await mount.destroy();
  },
);

test("a read that comes during a recall waits for its end, and the recall not for its pages", { timeout: 10_000 }, async () => {
  const pages = new Pages();
  const disks = new Event();
  const { mount, session, stripes, events } = await newMount(pages.drop);
  const file = await createFile(mount, "file");
  await write(file, 0, new Uint8Array(100 * PAGE).fill(1));
  stripes.free = disks.happened;
  const recalled = events.recall(file.inode, "known");
  await new Promise((resolve) => setImmediate(resolve));
  const leases = holdLeases(session);
  const some = read(file, 4 * PAGE, 2 * PAGE);
  pages.lock(4 * PAGE, some);
  pages.lock(5 * PAGE, some);
  disks.happen();
  await recalled;
  assert(!pages.has(3 * PAGE) && pages.has(4 * PAGE) && pages.has(5 * PAGE) && !pages.has(6 * PAGE));
  leases.happen();
  assert.equal((await some).length, 2 * PAGE);
  await mount.destroy();
});

test("what is shown during a recall of something else has the size of what is written here", { timeout: 10_000 }, async () => {
  const gate = new Event();
  const { mount, events } = await newMount(() => gate.happened);
  const file = await createFile(mount, "file");
  const other = await createFile(mount, "other");
  await write(file, 0, new Uint8Array(5000).fill(1));
  const recalled = events.recall(other.inode, "known");
  await new Promise((resolve) => setImmediate(resolve));
  // The namespace has nothing of the file yet, and the kernel would cut its pages to that.
  const found = await mount.lookup(caller, ROOT_INODE, "file" as ByteString);
  assert.equal(found.attributes?.size, 5000);
  assert.deepEqual([found.entryTimeoutMs, (await mount.getattr(caller, file.inode, null)).attributeTimeoutMs], [0, 0]);
  gate.happen();
  await recalled;
  await mount.destroy();
});

test("a change that is answered during a recall of something else shows afterwards", { timeout: 10_000 }, async () => {
  const gate = new Event();
  const { mount, session, events } = await newMount(() => gate.happened);
  const file = await createFile(mount, "file");
  const other = await createFile(mount, "other");
  const recalled = events.recall(other.inode, "known");
  await new Promise((resolve) => setImmediate(resolve));
  session.on_setAttributes = ((request: { inode: InodeId; change: { mode?: number } }) => {
    const record = session.file(request.inode);
    record.attributes = { ...record.attributes, mode: 0o100600 };
    return { attributes: { ...record.attributes } };
  }) as never;
  await mount.setattr(caller, file.inode, { mode: 0o600 });
  gate.happen();
  await recalled;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await attributes(file)).mode, 0o100600);
  await mount.destroy();
});

test("a directory's attributes that were told just before a name is made in it are not kept", { timeout: 10_000 }, async () => {
  const { mount, forgotten } = await newMount(() => {});
  await createFile(mount, "first");
  assert.deepEqual(forgotten, []);
  await mount.getattr(caller, ROOT_INODE, null);
  await createFile(mount, "second");
  assert.deepEqual(forgotten, [], "the same thread has taken the answer before it asked for more");
  await mount.getattr({ ...caller, pid: caller.pid + 1 }, ROOT_INODE, null);
  await createFile(mount, "third");
  await createFile(mount, "fourth");
  assert.deepEqual(forgotten, [ROOT_INODE]);
  // The other's answer may be on its way still when the one that makes the change was told, too.
  await mount.getattr({ ...caller, pid: caller.pid + 1 }, ROOT_INODE, null);
  await mount.getattr(caller, ROOT_INODE, null);
  await createFile(mount, "fifth");
  assert.deepEqual(forgotten, [ROOT_INODE, ROOT_INODE]);
  await mount.destroy();
});

test("a file that is opened and read while its pages are dropped does not stop the recall", { timeout: 10_000 }, async () => {
  const pages = new Pages();
  const { mount, session, events } = await newMount(pages.drop);
  const made = await createFile(mount, "file");
  await write(made, 0, new Uint8Array(10 * PAGE).fill(1));
  await sync(made);
  await close(made);
  // Closed files that were used since push it out of the mount's memory.
  for (let number = 0; number <= IDLE_FILES_MAX; number++) await close(await createFile(mount, `other-${number}`));
  const leases = holdLeases(session);
  pages.dropped.length = 0;
  const answered = new Event();
  pages.lock(5 * PAGE, answered.happened);
  const recalled = events.recall(made.inode, "known");
  const { opened } = await mount.create(caller, ROOT_INODE, "file" as ByteString, 0o644, 0, 0o022);
  const some = read({ ...made, handle: opened.handle }, 5 * PAGE, PAGE);
  void some.then(answered.happen);
  await recalled;
  assert(!pages.has(4 * PAGE) && pages.has(5 * PAGE) && !pages.has(6 * PAGE));
  leases.happen();
  assert.equal((await some).length, PAGE);
  await mount.destroy();
});

test("what was listed beside a recall of the directory is not kept for the next part of the listing", async () => {
  const { mount, session, events } = await newMount(() => {});
  for (const name of ["a", "b", "c"]) await createFile(mount, name);
  const { handle } = await mount.opendir(caller, ROOT_INODE, 0);
  const timeouts = new Map<string, number>();
  let cookie = 2;
  const listPart = async (most: number): Promise<void> => {
    let room = most;
    await mount.readdir(caller, ROOT_INODE, handle, cookie, true, (item) => {
      if (room-- === 0) return false;
      timeouts.set(item.name, item.entry?.entryTimeoutMs ?? -1);
      cookie = item.cookie;
      return true;
    });
  };
  const recalled = events.recall(ROOT_INODE, "shared", ["b" as ByteString]);
  await listPart(1);
  await recalled;
  await new Promise(setImmediate);
  const lists = session.calls.filter((operation) => operation === "list").length;
  await listPart(10);
  assert.deepEqual([...timeouts.keys()], ["a", "b", "c"]);
  assert.equal(timeouts.get("a"), 0);
  const asked = session.calls.filter((operation) => operation === "list").length - lists;
  assert.equal(asked, 1, "the first answer may be of before the change: it is asked again");
  await mount.destroy();
});

test("a recall waits for what the disks refuse for a moment, and the program is told at its fsync", async () => {
  const { mount, session, stripes, events } = await newMount(() => {});
  const file = await createFile(mount, "written");
  await write(file, 0, new Uint8Array(500_000).fill(1));
  stripes.failure = Object.assign(new Error("no space"), { code: "ENOSPC" });
  let answered = false;
  const recalled = events.recall(file.inode, "known").then(() => (answered = true));
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(answered, false);
  stripes.failure = null;
  await recalled;
  assert.equal(session.file(file.inode).attributes.size, 500_000);
  await assert.rejects(sync(file), { code: "ENOSPC" });
  await sync(file);
  await mount.destroy();
});

test("what the disks refuse for longer is given up to a mount that writes: it is not stored over that one's bytes later", async () => {
  const { mount, session, stripes, events } = await newMount(() => {});
  const file = await createFile(mount, "written");
  await write(file, 0, new Uint8Array(300_000).fill(1));
  await sync(file);
  await write(file, 0, new Uint8Array(500_000).fill(2));
  stripes.failure = Object.assign(new Error("no space"), { code: "ENOSPC" });
  await events.recall(file.inode, "known");
  const { extents } = session.file(file.inode);
  stripes.failure = null;
  await assert.rejects(sync(file), { code: "ENOSPC" });
  await mount.sync();
  assert.deepEqual(session.file(file.inode).extents, extents);
  assert.equal(mount.counts().uncommittedUnits, 0);
  const found = await read(file, 0, 500_000);
  assert.equal(found.length, 300_000);
  assert.ok(found.every((byte) => byte === 1));
  await mount.destroy();
});
