// The maxima of what one request may say to the namespace, and of locks: as much as that is done, one more is refused, and
// what is there already stays as it is.

import assert from "node:assert/strict";
import test from "node:test";
import type { ByteLock, Extent, Request } from "../../../fs/messages.ts";
import { RESERVE_MAX, WRITING_MAX } from "../../../fs/namespace/calls.ts";
import {
  COMMIT_EXTENTS_MAX,
  COMMIT_FILES_MAX,
  EXTENTS_LIMIT_MAX,
  INLINE_MAX_BYTES,
  SHIFT_EXTENTS_MAX,
  SHIFT_WINDOWS_MAX,
} from "../../../fs/namespace/files.ts";
import { Locks, LOCKS_PER_INODE_MAX, LOCKS_WAITING_MAX, OWNER_CHARACTERS_MAX } from "../../../fs/namespace/locks.ts";
import { freeName, NAMES_TRIED_MAX } from "../../../fs/namespace/lost-and-found.ts";
import { LIST_LIMIT_MAX } from "../../../fs/namespace/names.ts";
import type { Inode, NameEntry } from "../../../fs/namespace/records.ts";
import { WINDOW_BYTES } from "../../../fs/namespace/state.ts";
import type { Transaction } from "../../../fs/namespace/transaction.ts";
import { KEPT_WAITING_MAX, Turns, TURNS_MAX } from "../../../fs/namespace/turns.ts";
import { NAMES_MAX_BYTES } from "../../../fs/namespace/xattrs.ts";
import { type ByteString, type InodeId, S_IFREG, type SessionId, type StripeId, TIME_MAX_SECONDS } from "../../../fs/types.ts";
import { type DiskId, STRIPE_DATA_MAX_BYTES } from "../../../replication/stripe.ts";
import { makeEntry, name, openStore, TestClock, type TestStore } from "./memory-log.ts";

const [ONE, TWO] = [1 as SessionId, 2 as SessionId];
const FILE = 5 as InodeId;
const lockOf = (owner: string, type: ByteLock["type"], start: number, end = start): ByteLock => ({ kind: "posix", type, start, end, owner, pid: 1 }); // prettier-ignore
const inlineAt = (offset: number, length: number): Extent => ({ offset, length, inline: new Uint8Array(length).fill(7) });

async function newFile(): Promise<TestStore & { inode: InodeId }> {
  const store = await openStore();
  return { ...store, inode: (await makeEntry(store.session, store.root, "file")).inode };
}

/** Bytes of every `stepBytes` of the file, in as many commits as are needed. */
async function scatter({ session, inode }: TestStore & { inode: InodeId }, count: number, stepBytes: number): Promise<void> {
  const extents = Array.from({ length: count }, (_, index) => inlineAt(index * stepBytes, 1));
  for (let at = 0; at < count; at += 8192)
    await session.call("commit", { files: [{ inode, extents: extents.slice(at, at + 8192) }], stripes: [] });
}

test("RESERVE_MAX numbers are reserved at once, and neither one more nor none", async () => {
  const { session } = await openStore();
  const { first } = await session.call("reserveStripes", { count: RESERVE_MAX });
  for (const count of [RESERVE_MAX + 1, 0, 1.5])
    await assert.rejects(session.call("reserveStripes", { count }), { code: "EINVAL", message: /1 to 4096 are given/ });
  assert.equal((await session.call("reserveStripes", { count: 1 })).first, first + RESERVE_MAX);
});

test("WRITING_MAX files are said to be written at once, and of one more none is", async () => {
  const { session, inode } = await newFile();
  const inodes = (count: number): InodeId[] => Array.from({ length: count }, () => inode);
  await session.call("writing", { inodes: inodes(WRITING_MAX), open: true });
  await assert.rejects(session.call("writing", { inodes: inodes(WRITING_MAX + 1), open: false }), { code: "EINVAL" });
});

test("a commit of COMMIT_FILES_MAX files, and of COMMIT_EXTENTS_MAX extents, is made; of one more nothing is", async () => {
  const { session, root, inode } = await newFile();
  const others: InodeId[] = [];
  for (let count = 0; count < 16; count++) others.push((await makeEntry(session, root, `${count}`)).inode);
  const files = Array.from({ length: COMMIT_FILES_MAX }, (_, index) => ({ inode: others[index % 16], extents: [], sizeAtLeast: index })); // prettier-ignore
  const one = { inode, extents: [], sizeAtLeast: 10 };
  await assert.rejects(session.call("commit", { files: [one, ...files], stripes: [] }), { code: "EINVAL", message: /16385 files/ }); // prettier-ignore
  assert.equal((await session.call("getAttributes", { inode })).attributes.size, 0);
  assert.equal((await session.call("commit", { files, stripes: [] })).attributes.length, COMMIT_FILES_MAX);
  assert.equal((await session.call("getAttributes", { inode: others[15] })).attributes.size, COMMIT_FILES_MAX - 1);
  const extents = Array.from({ length: COMMIT_EXTENTS_MAX + 1 }, (_, index) => inlineAt(index * 4096, 1));
  await assert.rejects(session.call("commit", { files: [{ inode, extents }], stripes: [] }), { code: "EINVAL", message: /65537 extents/ }); // prettier-ignore
  assert.equal((await session.call("getAttributes", { inode })).attributes.size, 0);
  await session.call("commit", { files: [{ inode, extents: extents.slice(1) }], stripes: [] });
  assert.equal((await session.call("getAttributes", { inode })).attributes.allocatedBytes, COMMIT_EXTENTS_MAX);
});

test("an extent has INLINE_MAX_BYTES inline, and not one more", async () => {
  const { session, inode } = await newFile();
  const commit = (length: number): Promise<unknown> =>
    session.call("commit", { files: [{ inode, extents: [inlineAt(0, length)] }], stripes: [] });
  await assert.rejects(commit(INLINE_MAX_BYTES + 1), { code: "EINVAL", message: /at most 65536 are taken/ });
  await commit(INLINE_MAX_BYTES);
  assert.equal((await session.call("getAttributes", { inode })).attributes.size, INLINE_MAX_BYTES);
});

test("a stripe has STRIPE_DATA_MAX_BYTES, and not one more", async () => {
  const { session, inode } = await newFile();
  const { first } = await session.call("reserveStripes", { count: 1 });
  const commit = (bytes: number): Promise<unknown> => {
    const stripe = { id: first, scheme: "copies:1", dataBytes: bytes, blockBytes: bytes, disks: [1 as DiskId] };
    const extents = [{ offset: 0, length: bytes, stripe: first as StripeId, stripeOffset: 0 }];
    return session.call("commit", { files: [{ inode, extents }], stripes: [stripe] });
  };
  await assert.rejects(commit(STRIPE_DATA_MAX_BYTES + 1), { code: "EINVAL" });
  await commit(STRIPE_DATA_MAX_BYTES);
});

test("who asks for more than EXTENTS_LIMIT_MAX extents gets so many, and where to go on", async () => {
  const store = await newFile();
  const { session, inode } = store;
  const count = EXTENTS_LIMIT_MAX + 10;
  await scatter(store, count, 100);
  const ask = (from: number): Promise<{ extents: Extent[]; end: number }> =>
    session.call("extents", { inode, from, to: count * 100, limit: 1e9 });
  const first = await ask(0);
  assert.equal(first.extents.length, EXTENTS_LIMIT_MAX);
  assert.deepEqual((await ask(first.end)).extents.length, 10);
});

test("LIST_LIMIT_MAX names are listed at once, and one more cannot be asked for", async () => {
  const { session, root } = await openStore();
  for (let count = 0; count <= LIST_LIMIT_MAX; count++) await makeEntry(session, root, `${count}`);
  const list = async (limit: number): Promise<number> =>
    (await session.call("list", { inode: root, after: 0, limit, attributes: true })).entries.length;
  assert.equal(await list(LIST_LIMIT_MAX), LIST_LIMIT_MAX);
  for (const limit of [LIST_LIMIT_MAX + 1, 0, NaN]) await assert.rejects(list(limit), { code: "EINVAL", message: /1 to 4096/ });
});

test("an inode has names of attributes of NAMES_MAX_BYTES with their zeros; one more is refused, the others stay, and may be changed", async () => {
  const { session, inode } = await newFile();
  const set = (attribute: string): Promise<unknown> =>
    session.call("setXattr", { inode, name: attribute as ByteString, value: new Uint8Array(1), create: false, replace: false, clearSetGroupId: false }); // prettier-ignore
  const names = Array.from({ length: NAMES_MAX_BYTES / 256 }, (_, index) => `user.${String(index).padStart(250, "n")}`);
  for (const each of names) await set(each);
  await assert.rejects(set("user.x"), { code: "ENOSPC", message: /at most 1048576 and 65536 are kept/ });
  await set(names[0]);
  assert.equal((await session.call("listXattrs", { inode })).names.length, names.length);
  await session.call("removeXattr", { inode, name: names[0] as ByteString });
  await set("user.x");
});

for (const kind of ["collapse", "insert"] as const) {
  test(`${kind} moves SHIFT_EXTENTS_MAX extents; with one more it is refused and the file is as before`, async () => {
    const store = await newFile();
    const { session, inode, namespace } = store;
    // The first block is not moved.
    await scatter(store, SHIFT_EXTENTS_MAX + 2, 4096);
    const shift = (): Promise<unknown> =>
      session.call("reshape", { inode, kind, offset: kind === "insert" ? 4096 : 0, length: 4096, keepSize: false });
    const before = (await session.call("getAttributes", { inode })).attributes.size;
    await assert.rejects(shift(), { code: "EOPNOTSUPP", message: /more than 32768 extents would move/ });
    assert.equal((await session.call("getAttributes", { inode })).attributes.size, before);
    await session.call("setAttributes", { inode, change: { size: before - 4096 } });
    while (await namespace.tick());
    await shift();
    const after = (await session.call("getAttributes", { inode })).attributes;
    assert.deepEqual([after.size, after.allocatedBytes], kind === "insert" ? [before, SHIFT_EXTENTS_MAX + 1] : [before - 8192, SHIFT_EXTENTS_MAX]); // prettier-ignore
  });

  test(`${kind} goes over SHIFT_WINDOWS_MAX windows of the file, and not over one more`, async () => {
    const { session, inode } = await newFile();
    const shift = (): Promise<unknown> => session.call("reshape", { inode, kind, offset: 4096, length: 4096, keepSize: false });
    const write = (offset: number): Promise<unknown> =>
      session.call("commit", { files: [{ inode, extents: [inlineAt(offset, 1)] }], stripes: [] });
    await write(SHIFT_WINDOWS_MAX * WINDOW_BYTES + 8192);
    await shift();
    const moved = SHIFT_WINDOWS_MAX * WINDOW_BYTES + 8192 + (kind === "insert" ? 4096 : -4096);
    assert.equal((await session.call("getAttributes", { inode })).attributes.size, moved + 1);
    await write((SHIFT_WINDOWS_MAX + 1) * WINDOW_BYTES);
    await assert.rejects(shift(), { code: "EOPNOTSUPP", message: /too much of the file/ });
  });
}

test("times lie within TIME_MAX_SECONDS of 1970, whichever of them is set", async () => {
  const { session, inode } = await newFile();
  const set = (change: Request<"setAttributes">["change"]): Promise<unknown> => session.call("setAttributes", { inode, change });
  for (const which of ["atime", "mtime", "ctime"] as const) {
    for (const sign of [1, -1]) {
      await set({ [which]: { seconds: sign * TIME_MAX_SECONDS, nanoseconds: 0 } });
      const { attributes } = await session.call("getAttributes", { inode });
      assert.equal(attributes[`${which}Seconds`], sign * TIME_MAX_SECONDS);
      await assert.rejects(set({ [which]: { seconds: sign * (TIME_MAX_SECONDS + 1), nanoseconds: 0 } }), { code: "EINVAL" });
    }
  }
  assert.equal((await makeEntry(session, 1 as InodeId, "other")).mode, S_IFREG | 0o644);
});

test("an inode has LOCKS_PER_INODE_MAX locks, held and asked for: what would make more is ENOLCK, also an unlock that cuts one in two", async () => {
  assert.equal(LOCKS_PER_INODE_MAX, 100_000);
  const locks = new Locks(new TestClock(), { perInode: 4 });
  const ask = (session: SessionId, lock: ByteLock, wait = false, ticket = 0): Promise<void> => locks.lock(session, FILE, lock, wait, ticket); // prettier-ignore
  await ask(ONE, lockOf("a", "write", 0, 99));
  await ask(ONE, lockOf("b", "write", 200));
  const waiting = ask(TWO, lockOf("c", "write", 200), true, 1);
  await ask(ONE, lockOf("a", "unlock", 10));
  assert.equal([...locks.held()].length, 3);
  const tooMany = { code: "ENOLCK", message: /^4 locks are held and asked for on inode 5; at most 4 may$/ };
  for (const lock of [lockOf("a", "unlock", 50), lockOf("a", "read", 50), lockOf("d", "read", 300)]) await assert.rejects(ask(ONE, lock), tooMany); // prettier-ignore
  await assert.rejects(ask(TWO, lockOf("d", "read", 200), true, 2), tooMany);
  assert.throws(() => locks.restore(TWO, FILE, lockOf("d", "read", 300)), tooMany);
  assert.equal([...locks.held()].length, 3, "nothing has changed");
  // Others are not concerned, and what makes no more locks is done.
  await locks.lock(TWO, 6 as InodeId, lockOf("d", "read", 300), false, 0);
  await ask(ONE, lockOf("a", "unlock", 0, 9));
  await ask(ONE, lockOf("b", "unlock", 200));
  await waiting;
  await ask(ONE, lockOf("a", "unlock", 50));
  assert.deepEqual([...locks.held()].filter(({ inode }) => inode === FILE).map(({ lock }) => [lock.owner, lock.start, lock.end]), [["a", 11, 49], ["a", 51, 99], ["c", 200, 200]]); // prettier-ignore
});

test("LOCKS_WAITING_MAX requests wait for locks, whichever inodes they are for; one more is ENOLCK until one is answered", async () => {
  assert.equal(LOCKS_WAITING_MAX, 100_000);
  const locks = new Locks(new TestClock(), { waiting: 2 });
  for (const inode of [5, 6, 7]) await locks.lock(ONE, inode as InodeId, lockOf("a", "write", 0), false, 0);
  const wait = (inode: number): Promise<void> => locks.lock(TWO, inode as InodeId, lockOf("b", "write", 0), true, inode);
  const [first, second] = [wait(5), wait(6)];
  await assert.rejects(wait(7), { code: "ENOLCK", message: "2 requests wait for locks; at most 2 may" });
  await locks.lock(ONE, FILE, lockOf("a", "unlock", 0), false, 0);
  await first;
  const third = wait(7);
  locks.cancel(TWO, 6);
  await assert.rejects(second, { code: "EINTR" });
  locks.releaseSession(ONE);
  await third;
});

test("a lock's owner has OWNER_CHARACTERS_MAX characters, and not one more", async () => {
  const locks = new Locks(new TestClock());
  const owned = (characters: number): Promise<void> => locks.lock(ONE, FILE, lockOf("o".repeat(characters), "read", 0), false, 0);
  await owned(OWNER_CHARACTERS_MAX);
  await assert.rejects(owned(OWNER_CHARACTERS_MAX + 1), { code: "EINVAL" });
});

test("TURNS_MAX inodes have turns; who is refused on one more has none, until one ends", () => {
  const clock = new TestClock();
  const turns = new Turns(clock);
  for (let inode = 0; inode <= TURNS_MAX; inode++) turns.refused(inode as InodeId, ONE);
  assert.equal(turns.isOthers((TURNS_MAX - 1) as InodeId, TWO), true);
  assert.equal(turns.isOthers(TURNS_MAX as InodeId, TWO), false);
  clock.advance(1000);
  turns.refused(TURNS_MAX as InodeId, ONE);
  assert.equal(turns.isOthers(TURNS_MAX as InodeId, TWO), true);
});

test("KEPT_WAITING_MAX requests are kept waiting for a turn; one more is looked at at once, and all of them when the turn is over", () => {
  const clock = new TestClock();
  const turns = new Turns(clock);
  turns.refused(FILE, ONE);
  let went = 0;
  for (let count = 0; count < KEPT_WAITING_MAX; count++) {
    assert.equal(turns.isOthers(FILE, TWO), true);
    turns.keepWaiting(FILE, { session: TWO, go: () => went++, refuse: assert.fail });
  }
  assert.equal(turns.isOthers(FILE, TWO), false);
  assert.equal(went, 0);
  clock.advance(1000);
  assert.equal(went, KEPT_WAITING_MAX);
});

test("as many sessions as a namespace may have are opened; one more is EAGAIN until one is closed", async () => {
  const store = await openStore({ limits: { sessions: 2 } });
  const { namespace } = store;
  const events = { recall: async () => {}, expired: () => {} };
  const second = await namespace.openSession(events);
  await assert.rejects(namespace.openSession(events), { code: "EAGAIN", message: "2 sessions are open, the limit is 2" });
  await second.close();
  await (await namespace.openSession(events)).call("lookup", { parent: store.root, name: name("x") });
});

test("NAMES_TRIED_MAX names are tried for what was found without one; where all are taken it gets none", () => {
  const taken = new Set<string>();
  const tx = { name: (_: Inode, text: string) => (taken.has(text) ? ({ inode: 99 } as NameEntry) : null) } as unknown as Transaction; // prettier-ignore
  const find = (): string | null => freeName(tx, {} as Inode, name("file"), FILE);
  for (let count = 0; count < NAMES_TRIED_MAX; count++) {
    const found = find();
    assert.equal(found, count === 0 ? "file" : `file.${count}`);
    taken.add(found!);
  }
  assert.equal(find(), null);
});
