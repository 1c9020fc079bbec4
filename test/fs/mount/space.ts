// A store that becomes full, in memory: two mounts over the real namespace, on stripes of bounded size whose figure of free
// space is as old as the last measurement.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { EmbeddedStore } from "../../../fs/embedded.ts";
import { FsError } from "../../../fs/errno.ts";
import type { Session } from "../../../fs/messages.ts";
import { GRANT_KEPT_BYTES, GRANT_WANTED_BYTES } from "../../../fs/mount/limits.ts";
import type { Mount } from "../../../fs/mount/mount.ts";
import { Space, type SpaceParts } from "../../../fs/mount/space.ts";
import { ROOT_INODE, type ByteString } from "../../../fs/types.ts";
import type { Stripe } from "../../../replication/stripe.ts";
import { MemoryTable } from "../../../storage/memory-table.ts";
import { MemoryLog } from "../namespace/memory-log.ts";
import { caller, MemoryStripes } from "./doubles.ts";
import { close, createFile, openFile, read, sync, write, type OpenFile } from "./program.ts";

/** The store's own timers keep no process alive. */
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const MIB = 1024 * 1024;
const schemes = { full: "rs:4+2", small: "copies:3" };
const KEEP_SIZE = 1;

class BoundedStripes extends MemoryStripes {
  readonly capacity: number;
  schemesUsed: string[] = [];
  #told: number;

  constructor(capacity: number) {
    super();
    this.capacity = this.#told = capacity;
  }

  get usedBytes(): number {
    return [...this.stored.values()].reduce((sum, { length }) => sum + length, 0);
  }

  override async write(id: number, scheme: string, data: Uint8Array): Promise<Stripe> {
    if (this.usedBytes + data.length > this.capacity) throw new FsError("ENOSPC", `stripe ${id}`);
    this.schemesUsed.push(scheme);
    return super.write(id, scheme, data);
  }

  override space(): { totalBytes: number; freeBytes: number } {
    return { totalBytes: this.capacity, freeBytes: this.#told };
  }

  async measure(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#told = this.capacity - this.usedBytes;
  }
}

async function newStore(capacity: number) {
  const stripes = new BoundedStripes(capacity);
  const store = await EmbeddedStore.open({ table: new MemoryTable(), log: new MemoryLog(), stripes, schemes });
  return { store, stripes, a: await store.openMount(), b: await store.openMount() };
}

/** Writes until it is refused; what was acknowledged must be there at fsync. Returns its size. */
async function fill(file: OpenFile, from = 0, pieceBytes = MIB): Promise<number> {
  const piece = new Uint8Array(pieceBytes).fill(7);
  let offset = from;
  await assert.rejects(async () => {
    for (;;) {
      await write(file, offset, piece);
      offset += piece.length;
    }
  }, { code: "ENOSPC" }); // prettier-ignore
  await sync(file);
  return offset;
}

/** As rm, and the kernel forgets the inode. */
async function remove(mount: Mount, file: OpenFile, name: string): Promise<void> {
  await close(file);
  await mount.unlink(caller, ROOT_INODE, name as ByteString);
  mount.forget(file.inode, 1);
}

test("what write(2) took does not fail at fsync, and nearly all of the store can be filled", async () => {
  const { store, stripes, a } = await newStore(100 * MIB);
  const file = await createFile(a, "big");
  const size = await fill(file);
  assert.ok(size >= 95 * MIB, `${size / MIB} MiB of 100 could be written`);
  assert.ok(stripes.usedBytes <= 100 * MIB);
  await store.close();
});

test("two mounts that fill the store at once are never told the same free bytes", async () => {
  const { store, a, b } = await newStore(100 * MIB);
  const files = [await createFile(a, "a"), await createFile(b, "b")];
  const sizes = await Promise.all(files.map((file) => fill(file)));
  assert.ok(sizes[0] + sizes[1] >= 94 * MIB, `${sizes.map((size) => size / MIB)} MiB`);
  await store.close();
});

test("who removes a file can write at once, through the other mount too", async () => {
  const { store, a, b } = await newStore(64 * MIB);
  for (const [remover, writer] of [[a, a], [a, b], [b, a]]) {
    const file = await createFile(remover, "big");
    const size = await fill(file);
    await remove(remover, file, "big");
    const next = await createFile(writer, "next");
    const piece = new Uint8Array(MIB).fill(3);
    for (let offset = 0; offset < size - MIB; offset += MIB) await write(next, offset, piece);
    await sync(next);
    await remove(writer, next, "next");
  } // prettier-ignore
  await store.close();
});

test("a file that is open keeps its space: ENOSPC is told, soon, and often asked for costs little", async () => {
  const { store, a } = await newStore(32 * MIB);
  const file = await createFile(a, "big");
  await fill(file);
  await a.unlink(caller, ROOT_INODE, "big" as ByteString);
  const next = await createFile(a, "next");
  for (let attempt = 0; attempt < 200; attempt++)
    await assert.rejects(async () => write(next, 0, new Uint8Array(4 * MIB)), { code: "ENOSPC" });
  assert.deepEqual(await read(file, 0, 10), new Uint8Array(10).fill(7));
  await close(file);
  a.forget(file.inode, 1);
  await write(next, 0, new Uint8Array(4 * MIB));
  await sync(next);
  await store.close();
});

test("a reserved range can be written when all else is full, and only once", async () => {
  const { store, stripes, a, b } = await newStore(100 * MIB);
  const reserved = await createFile(a, "reserved");
  await a.fallocate(caller, reserved.inode, reserved.handle, 0, 40 * MIB, 0);
  const free = (await a.statfs(caller, ROOT_INODE)).freeBlocks * 4096;
  assert.ok(free < 60 * MIB && free > 53 * MIB, `${free / MIB} MiB are said to be free`);
  const other = await createFile(b, "other");
  const size = await fill(other);
  assert.ok(size <= 60 * MIB && size >= 50 * MIB, `${size / MIB} MiB`);
  for (let offset = 0; offset < 40 * MIB; offset += MIB) await write(reserved, offset, new Uint8Array(MIB).fill(5));
  await sync(reserved);
  assert.equal(store.namespace.status().promisedBytes, 0);
  assert.deepEqual(await read(reserved, 40 * MIB - 3, 10), new Uint8Array(3).fill(5));
  assert.ok(stripes.usedBytes <= 100 * MIB);
  await store.close();
});

test("pieces of a reserved range in any order and size, through another mount, and behind the end by appends", async () => {
  const { store, stripes, a, b } = await newStore(100 * MIB);
  const reserved = await createFile(a, "reserved");
  await write(reserved, 0, new Uint8Array(10).fill(1));
  await a.fallocate(caller, reserved.inode, reserved.handle, 0, 30 * MIB, KEEP_SIZE);
  await fill(await createFile(a, "other"), 0, 64 * 1024);
  const theirs = await openFile(b, "reserved");
  await write(theirs, 0, new Uint8Array(5000).fill(2), 2 | 0o2000);
  await sync(theirs);
  stripes.schemesUsed = [];
  for (let at = 20 * MIB + 77; at < 22 * MIB; at += 70_000) {
    await write(theirs, at, new Uint8Array(9000).fill(3));
    await sync(theirs);
  }
  assert.deepEqual([...new Set(stripes.schemesUsed)], ["rs:4+2"], "copies take more than was promised");
  await assert.rejects(async () => write(theirs, 29 * MIB, new Uint8Array(4 * MIB)), { code: "ENOSPC" });
  assert.equal((await read(theirs, 5, 10))[9], 2);
  await store.close();
});

test("fallocate of more than is free is refused before anything changed; what was granted and not used does not hinder it", async () => {
  const { store, a } = await newStore(1024 * MIB);
  const file = await createFile(a, "file");
  await assert.rejects(a.fallocate(caller, file.inode, file.handle, 0, 1024 * MIB, 0), { code: "ENOSPC" });
  await assert.rejects(a.fallocate(caller, file.inode, file.handle, 0, 3 * 1024 * MIB, KEEP_SIZE), { code: "ENOSPC" });
  assert.equal(store.namespace.status().promisedBytes, 0);
  await a.fallocate(caller, file.inode, file.handle, 0, 896 * MIB, 0);
  await remove(a, file, "file");
  const next = await createFile(a, "next");
  await a.fallocate(caller, next.inode, next.handle, 0, 896 * MIB, 0);
  await store.close();
});

interface Asked {
  heldBytes: number;
  unstoredBytes: number;
  neededBytes: number;
  wantedBytes: number;
}

function newSpace(freeBytes: () => number, unstoredBytes = (): number => 0) {
  const asked: Asked[] = [];
  const call = (async (_operation: string, request: Asked) => {
    asked.push(request);
    const { heldBytes, neededBytes, wantedBytes } = request;
    const free = freeBytes() - heldBytes - request.unstoredBytes;
    return { grantedBytes: neededBytes > free ? 0 : Math.min(Math.max(neededBytes, wantedBytes), free), scarce: free < MIB };
  }) as unknown as Session["call"];
  const nothing = async (): Promise<void> => {};
  const parts: SpaceParts = { session: { call }, unstoredBytes, sendForgets: nothing, store: nothing, measure: nothing };
  return { space: new Space(parts), asked };
}

test("a mount takes what it was granted and not a byte more, and gives back what it does not need", async () => {
  const { space, asked } = newSpace(() => 10 * MIB);
  await space.fill();
  assert.equal(asked[0].wantedBytes, GRANT_WANTED_BYTES);
  assert.ok(space.take(10 * MIB - 1));
  assert.ok(!space.take(2));
  assert.ok(space.take(1));
  await space.tick();
  await space.tick();
  await space.obtain(5 * MIB);
  assert.ok(space.take(5 * MIB));
  await space.tick();
  await space.tick();
  assert.equal(asked.at(-1)!.heldBytes, GRANT_KEPT_BYTES);
  assert.equal(asked.at(-1)!.wantedBytes, 0);
  const { length } = asked;
  await space.tick();
  assert.equal(asked.length, length, "an idle mount asks for nothing");
});

test("many writers share one request for room, and each is told when there is none", async () => {
  let free = 0;
  const { space, asked } = newSpace(() => free);
  const results = await Promise.allSettled(Array.from({ length: 20 }, () => space.obtain(MIB)));
  assert.ok(results.every(({ status }) => status === "rejected"));
  free = 100 * MIB;
  asked.length = 0;
  await Promise.all(Array.from({ length: 20 }, () => space.obtain(MIB)));
  assert.ok(asked.length <= 2, `${asked.length} requests`);
});
