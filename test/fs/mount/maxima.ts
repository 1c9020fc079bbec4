// The maxima of a mount: what it keeps, what it sends at once, and how often it tries. As much as that is done; what is beyond
// waits, is sent next, or is refused, and nothing is lost.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { systemDatedClock } from "../../../fs/clock.ts";
import type { Reply, Request, SessionEvents } from "../../../fs/messages.ts";
import type { Core } from "../../../fs/mount/core.ts";
import { learnExtents } from "../../../fs/mount/extents.ts";
import { FileState } from "../../../fs/mount/file-state.ts";
import type { KernelCaches } from "../../../fs/mount/handlers.ts";
import { Inodes } from "../../../fs/mount/inodes.ts";
import {
  ACCESS_TIMES_BATCH_MAX,
  ATTRIBUTES_MAX,
  CLEAN_PIECES_PER_FILE_MAX,
  COPY_MAX_BYTES,
  FORGET_BATCH_MAX,
  LEARN_ROUNDS_MAX,
  LISTED_DIRECTORIES_MAX,
  READ_ATTEMPTS_MAX,
  TAIL_ROUNDS_MAX,
  TOLD_INODES_MAX,
  UNCOMMITTED_PIECES_MAX,
  UNKNOWN_PAUSE_MAX_MS,
} from "../../../fs/mount/limits.ts";
import { noteListed } from "../../../fs/mount/listings.ts";
import { Marks } from "../../../fs/mount/marks.ts";
import { Mount, PATH_MAX_BYTES } from "../../../fs/mount/mount.ts";
import { noteTold, overtake } from "../../../fs/mount/told.ts";
import { type ByteString, type InodeId, ROOT_INODE, S_IFREG } from "../../../fs/types.ts";
import type { Stripe } from "../../../replication/stripe.ts";
import { caller, MemorySession, MemoryStripes, newAttributes } from "./doubles.ts";
import { close, createFile, openFile, read, sync, write } from "./program.ts";

// The mounts' own timers keep no process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const schemes = { full: "rs:4+2", small: "copies:3" };
const APPEND = 1 | 0o2000;

/** Notes what is committed and forgotten, and can keep commits waiting. */
class WatchedSession extends MemorySession {
  readonly commits: Request<"commit">[] = [];
  readonly forgets: (readonly InodeId[])[] = [];
  gate: Promise<void> = Promise.resolve();
  isAway = false;
  override async call<Name extends Parameters<MemorySession["call"]>[0]>(
    name: Name,
    request: Request<Name>,
  ): Promise<Reply<Name>> {
    if (name === "commit") await this.gate;
    if (name === "commit") this.commits.push(request as Request<"commit">);
    if (name === "forget") this.forgets.push((request as Request<"forget">).inodes);
    if (this.isAway) throw new Error("nobody is there");
    return super.call(name, request);
  }
}

/** Refuses reads. */
class FailingStripes extends MemoryStripes {
  failures = 0;
  attempts = 0;
  override readNow(): boolean {
    return false;
  }
  override async read(stripe: Stripe, offset: number, into: Uint8Array): Promise<void> {
    this.attempts++;
    if (this.failures-- > 0) throw new Error("the stripe is gone");
    super.readNow(stripe, offset, into);
  }
}

interface Made<SomeStripes> {
  mount: Mount;
  session: WatchedSession;
  stripes: SomeStripes;
  events: SessionEvents;
  pausesMs: number[];
}

async function newMount<SomeStripes extends MemoryStripes>(
  stripes: SomeStripes,
  session = new WatchedSession(),
): Promise<Made<SomeStripes>> {
  let events: SessionEvents | null = null;
  const clock = systemDatedClock();
  const pausesMs: number[] = [];
  const mount = await Mount.open({
    openSession: (given) => ((events = given), session),
    stripes,
    schemes,
    accessTimes: true,
    clock: { ...clock, after: (ms, action) => (pausesMs.push(ms), clock.after(ms, action)) },
  });
  return { mount, session, stripes, events: events!, pausesMs };
}

const cachesThat = (invalidateInode: KernelCaches["invalidateInode"]): KernelCaches => ({
  invalidateInode, invalidateEntry: async () => {}, notifyDelete: async () => {}, incrementEpoch: async () => {},
}); // prettier-ignore

test("a read over more pieces than CLEAN_PIECES_PER_FILE_MAX ends, and is right", async () => {
  const { mount, session, stripes } = await newMount(new MemoryStripes());
  const { inode } = await createFile(mount, "pieces");
  const file = session.file(inode);
  const count = CLEAN_PIECES_PER_FILE_MAX / 2 + 1000;
  for (let at = 0; at < count; at++) file.extents.push({ offset: at * 2, length: 1, inline: new Uint8Array([1 + (at % 255)]) });
  file.attributes.size = 2 * count;
  const other = await newMount(stripes, session);
  const reader = await openFile(other.mount, "pieces");
  for (let round = 0; round < 2; round++) {
    const bytes = await read(reader, 0, 2 * count);
    assert.equal(bytes.length, 2 * count);
    assert.ok(bytes.every((byte, at) => byte === (at % 2 === 0 ? 1 + ((at / 2) % 255) : 0)));
  }
});

test("a read is tried READ_ATTEMPTS_MAX times, and is EIO when the last one fails, too", async () => {
  const { mount, stripes } = await newMount(new FailingStripes());
  const file = await createFile(mount, "file");
  await write(file, 0, new Uint8Array(20_000).fill(7));
  await sync(file);
  stripes.failures = READ_ATTEMPTS_MAX - 1;
  assert.equal((await read(file, 0, 20_000))[19_999], 7);
  assert.equal(stripes.attempts, READ_ATTEMPTS_MAX);
  stripes.failures = READ_ATTEMPTS_MAX;
  await assert.rejects(read(file, 0, 20_000), { code: "EIO", message: /the stripe is gone/ });
  assert.equal(stripes.attempts, 2 * READ_ATTEMPTS_MAX);
  await mount.destroy();
});

test("one copy_file_range copies COPY_MAX_BYTES at most, and says how many", async () => {
  const { mount, session } = await newMount(new MemoryStripes());
  const [from, to] = [await createFile(mount, "from"), await createFile(mount, "to")];
  await mount.setattr(caller, from.inode, { size: COPY_MAX_BYTES + 5, handle: from.handle });
  const copy = (offset: number): Promise<number> =>
    mount.copyFileRange(caller, from.inode, from.handle, offset, to.inode, to.handle, offset, 1e12, 0);
  assert.equal(await copy(0), COPY_MAX_BYTES);
  assert.equal(await copy(COPY_MAX_BYTES), 5);
  assert.equal(session.file(to.inode).attributes.size, COPY_MAX_BYTES + 5);
  await mount.destroy();
});

test("a symbolic link's target is shorter than PATH_MAX_BYTES", async () => {
  const { mount } = await newMount(new MemoryStripes());
  const link = async (length: number): Promise<unknown> => mount.symlink(caller, ROOT_INODE, `link-${length}` as ByteString, "t".repeat(length) as ByteString); // prettier-ignore
  await link(PATH_MAX_BYTES - 1);
  await assert.rejects(link(PATH_MAX_BYTES), { code: "ENAMETOOLONG", message: /4096 bytes; at most 4095/ });
  await mount.destroy();
});

test("ATTRIBUTES_MAX attributes are kept of inodes that are not open, those that were used last", () => {
  const inodes = new Inodes(new MemorySession(), new Marks(), () => {});
  for (let inode = 2; inode < ATTRIBUTES_MAX + 4; inode++) inodes.entry(newAttributes(inode as InodeId, S_IFREG), "shared");
  assert.deepEqual([2, 3, 4, ATTRIBUTES_MAX + 3].map((inode) => inodes.attributes(inode as InodeId)?.inode), [undefined, undefined, 4, ATTRIBUTES_MAX + 3]); // prettier-ignore
});

test("what the kernel forgets is said in requests of FORGET_BATCH_MAX inodes; a full one is not kept back, and what fails is said again", async () => {
  const session = new WatchedSession();
  const inodes = new Inodes(session, new Marks(), () => {});
  const forget = (from: number, count: number): void => {
    for (let inode = from; inode < from + count; inode++) {
      inodes.entry(newAttributes(inode as InodeId, S_IFREG), "shared");
      inodes.forget(inode as InodeId, 1);
    }
  };
  forget(2, FORGET_BATCH_MAX - 1);
  assert.deepEqual(session.forgets, []);
  forget(FORGET_BATCH_MAX + 1, 2);
  await new Promise(setImmediate);
  assert.deepEqual(session.forgets.map(({ length }) => length), [FORGET_BATCH_MAX, 1]); // prettier-ignore
  session.isAway = true;
  forget(10_000, 5);
  await inodes.sendForgets();
  session.isAway = false;
  await inodes.sendForgets();
  assert.deepEqual(session.forgets.slice(-2).map(({ length }) => length), [5, 5]); // prettier-ignore
});

test("access times go in requests of ACCESS_TIMES_BATCH_MAX files, all of them", async () => {
  const { mount, session } = await newMount(new MemoryStripes());
  const count = ACCESS_TIMES_BATCH_MAX + 1;
  for (let index = 0; index < count; index++) {
    const file = await createFile(mount, `${index}`);
    session.file(file.inode).attributes.size = 1;
    await write(file, 0, new Uint8Array(1));
    await sync(file);
    await read(file, 0, 1);
    await close(file);
  }
  await mount.destroy();
  const sent = session.commits.map(({ files }) => files.flatMap(({ inode, change }) => (change?.atime === undefined ? [] : [inode]))); // prettier-ignore
  assert.ok(Math.max(...sent.map((inodes) => inodes.length)) <= ACCESS_TIMES_BATCH_MAX);
  assert.equal(new Set(sent.flat()).size, count);
});

test("of TOLD_INODES_MAX inodes it is known when the kernel was told of them, the latest ones", () => {
  const forgotten: InodeId[] = [];
  const core = { told: new Map(), clock: { nowMs: () => 5 }, caches: { forgetAttributes: (inode: InodeId) => forgotten.push(inode) } } as unknown as Core; // prettier-ignore
  for (let inode = 1; inode <= TOLD_INODES_MAX + 1; inode++) noteTold(core, inode as InodeId, 7);
  assert.equal(core.told.size, TOLD_INODES_MAX);
  for (const inode of [1, 2]) overtake(core, inode as InodeId, 8);
  assert.deepEqual(forgotten, [2]);
});

test("of LISTED_DIRECTORIES_MAX directories it is known when a part was given, the latest ones", () => {
  const core = { listings: { givenMs: new Map(), old: new Set() }, clock: { nowMs: () => 5 }, caches: null } as unknown as Core;
  for (let inode = 1; inode <= LISTED_DIRECTORIES_MAX + 1; inode++) noteListed(core, inode as InodeId, true);
  const { givenMs } = core.listings;
  assert.deepEqual([givenMs.size, givenMs.has(1 as InodeId), givenMs.has(2 as InodeId)], [LISTED_DIRECTORIES_MAX, false, true]);
});

test("UNCOMMITTED_PIECES_MAX pieces may wait for a commit: writers wait beyond, and all is written in the end", async () => {
  const { mount, session } = await newMount(new MemoryStripes());
  const file = await createFile(mount, "scattered");
  let open!: () => void;
  session.gate = new Promise((resolve) => (open = resolve));
  const count = UNCOMMITTED_PIECES_MAX + 12_000;
  let written = 0;
  const program = (async () => {
    for (; written < count; written++) await write(file, written * 200, new Uint8Array([1 + (written % 255)]));
  })();
  for (let before = -1; before !== written;) {
    before = written;
    for (let turn = 0; turn < 200; turn++) await new Promise(setImmediate);
  }
  assert.ok(written >= UNCOMMITTED_PIECES_MAX && written < count, `${written} were written`);
  open();
  await program;
  await sync(file);
  assert.equal(session.file(file.inode).extents.length, count);
  await mount.destroy();
});

test("a last page that is read again and again is dropped TAIL_ROUNDS_MAX times before an append, which is made then", async () => {
  const { mount } = await newMount(new MemoryStripes());
  const reader = await createFile(mount, "log");
  await write(reader, 0, new Uint8Array(10).fill(1));
  const writer = await openFile(mount, "log", APPEND);
  let drops = 0;
  mount.attach(cachesThat(async () => (drops++, await read(reader, 0, 4096), true)));
  await read(reader, 0, 4096);
  await write(writer, 10, new Uint8Array(4096).fill(2), APPEND);
  assert.equal(drops, TAIL_ROUNDS_MAX);
  assert.deepEqual(await read(reader, 9, 2), new Uint8Array([1, 2]));
  await mount.destroy();
});

test("the kernel is told again of an inode that it does not know yet, with pauses up to UNKNOWN_PAUSE_MAX_MS, and no longer", async () => {
  const { mount, events, pausesMs } = await newMount(new MemoryStripes());
  const file = await createFile(mount, "file");
  await close(file);
  let told = 0;
  mount.attach(cachesThat(async () => (told++, false)));
  pausesMs.length = 0;
  await events.recall(file.inode, "known");
  assert.deepEqual(pausesMs.filter((ms) => [1, 2, 4, 8, 16, 32, 64].includes(ms)), [1, 2, 4, 8, 16, UNKNOWN_PAUSE_MAX_MS]); // prettier-ignore
  assert.equal(told, 6);
  await mount.destroy();
});

test("a write that looks for reserved space asks LEARN_ROUNDS_MAX times where bytes are, and goes on with what it knows", async () => {
  let asked = 0;
  // An answer that tells of one byte: the worst that the namespace can give.
  const callNow = (_: string, { from }: Request<"extents">): Reply<"extents"> => (
    asked++,
    { extents: [], stripes: [], end: from + 1 }
  );
  const core = { session: { callNow }, expired: false } as unknown as Core;
  const file = new FileState(newAttributes(5 as InodeId, S_IFREG), "shared");
  await learnExtents(core, file, 0, LEARN_ROUNDS_MAX);
  assert.deepEqual([asked, file.pieces.firstUnknown(0, LEARN_ROUNDS_MAX)], [LEARN_ROUNDS_MAX, Infinity]);
  await learnExtents(core, file, 0, 3 * LEARN_ROUNDS_MAX);
  assert.deepEqual([asked, file.pieces.firstUnknown(0, 1000)], [2 * LEARN_ROUNDS_MAX, 2 * LEARN_ROUNDS_MAX]);
});
