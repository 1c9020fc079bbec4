// Files in many small pieces, written through one mount and read through another: what is read is right, few requests
// reach the stripes, and what is held and under way is bounded.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { EmbeddedStore } from "../../../fs/embedded.ts";
import type { Core } from "../../../fs/mount/core.ts";
import { FileState } from "../../../fs/mount/file-state.ts";
import { Fragments } from "../../../fs/mount/fragments.ts";
import {
  EXTENTS_FRAGMENTED,
  FRAGMENT_BUFFERS_MAX,
  FRAGMENT_MAX_BYTES,
  FRAGMENT_RANGE_MAX_BYTES,
  FRAGMENT_READS_MAX,
  FRAGMENTS_MIN,
  GRAIN_BYTES,
  STRIPE_BUFFER_BYTES,
} from "../../../fs/mount/limits.ts";
import type { Mount } from "../../../fs/mount/mount.ts";
import { Piece, STRIPED } from "../../../fs/mount/pieces.ts";
import type { Attributes, InodeId } from "../../../fs/types.ts";
import type { Stripes } from "../../../replication/block-client.ts";
import type { DiskId, Stripe } from "../../../replication/stripe.ts";
import { LocalLog } from "../../../storage/local-log.ts";
import { MemoryTable } from "../../../storage/memory-table.ts";
import { type Random, randomBelow, seededRandom } from "../../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../../storage/simulated-directory.ts";
import { makeCluster } from "../../replication/cluster.ts";
import { caller } from "./doubles.ts";
import { createFile, openFile, type OpenFile, read, sync, truncate, write } from "./program.ts";

const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const PIECE = 512;
const MIB = 1024 * 1024;
const schemes = { full: "rs:4+2", small: "copies:3" };

/** Stripes that say what is read of them; none is in a page cache. */
class WatchedStripes implements Stripes {
  readonly #inner: Stripes;
  reads = 0;
  bytes = 0;
  inFlight = 0;
  inFlightMax = 0;
  constructor(inner: Stripes) {
    this.#inner = inner;
  }
  write(id: number, scheme: string, data: Uint8Array): Promise<Stripe> {
    return this.#inner.write(id, scheme, data);
  }
  sync(): Promise<void> {
    return this.#inner.sync();
  }
  async read(stripe: Stripe, offset: number, into: Uint8Array): Promise<void> {
    this.reads++;
    this.bytes += into.length;
    this.inFlightMax = Math.max(this.inFlightMax, ++this.inFlight);
    await new Promise(setImmediate);
    await this.#inner.read(stripe, offset, into).finally(() => this.inFlight--);
  }
  readNow(): boolean {
    return false;
  }
  remove(stripes: readonly Stripe[]): Promise<void> {
    return this.#inner.remove(stripes);
  }
  space(): { totalBytes: number; freeBytes: number } {
    return this.#inner.space();
  }
}

async function openStore(): Promise<{
  store: EmbeddedStore;
  a: Mount;
  b: Mount;
  stripes: WatchedStripes;
  cluster: Awaited<ReturnType<typeof makeCluster>>;
}> {
  const cluster = await makeCluster(6, "rs:4+2");
  const stripes = new WatchedStripes(cluster.stripes);
  const log = await LocalLog.open(new SimulatedDirectory({ seed: 1 }));
  const store = await EmbeddedStore.open({ table: new MemoryTable(), log, stripes, schemes });
  return { store, a: await store.openMount(), b: await store.openMount(), stripes, cluster };
}

/** Writes so many pieces at random places of the file and of the model. */
async function scatter(file: OpenFile, model: Uint8Array, count: number, random: Random): Promise<void> {
  const data = new Uint8Array(PIECE);
  for (let index = 0; index < count; index++) {
    const offset = randomBelow(random, model.length / PIECE) * PIECE;
    data.fill(randomBelow(random, 256));
    data[0] = index & 255;
    model.set(data, offset);
    await write(file, offset, data);
  }
}

async function checkAll(file: OpenFile, model: Uint8Array, step: number): Promise<void> {
  for (let offset = 0; offset < model.length; offset += step) {
    const got = await read(file, offset, step);
    const wanted = model.subarray(offset, offset + step);
    if (Buffer.compare(got, wanted) === 0) continue;
    const at = wanted.findIndex((byte, index) => byte !== got[index]);
    assert.fail(`byte ${offset + at} is ${got[at]}, should be ${wanted[at]}; ${got.length} of ${wanted.length} bytes`);
  }
}

test("a file of random small writes is read through another mount with few reads of stripes, and right", async () => {
  const { store, a, b, stripes } = await openStore();
  const model = new Uint8Array(16 * MIB);
  const file = await createFile(a, "scattered");
  await truncate(file, model.length);
  await scatter(file, model, (model.length / PIECE) * 1.5, seededRandom(3));
  await sync(file);
  stripes.reads = stripes.bytes = stripes.inFlightMax = 0;
  const other = await openFile(b, "scattered", 0);
  await checkAll(other, model, 128 * 1024);
  // Some 25,000 pieces in a dozen stripes: of each 4 MiB of the file every stripe has one part, and each block of one splits it.
  assert.ok(stripes.reads <= 600, `${stripes.reads} reads`);
  assert.ok(stripes.bytes <= 2 * model.length, `${stripes.bytes} bytes read`);
  await store.close();
});

test("fewer small pieces than the limit are read one by one, as many as it together", async () => {
  const { store, a, b, stripes } = await openStore();
  for (const count of [FRAGMENTS_MIN - 1, FRAGMENTS_MIN]) {
    const file = await createFile(a, `file-${count}`);
    // More than goes inline, and a hole behind each: a small stripe with so many pieces.
    const data = new Uint8Array(8192).fill(count);
    for (let index = 0; index < count; index++) await write(file, index * 16384, data);
    await sync(file);
    stripes.reads = 0;
    const got = await read(await openFile(b, `file-${count}`, 0), 0, count * 16384);
    for (let index = 0; index < count; index++) assert.deepEqual(got.subarray(index * 16384, index * 16384 + 8192), data);
    assert.equal(stripes.reads, count < FRAGMENTS_MIN ? count : 1);
  }
  await store.close();
});

test("random small writes, overlaps, holes, inline and reserved ranges agree with an array of bytes", async () => {
  for (const seed of [1, 2, 3]) {
    const { store, a, b } = await openStore();
    const random = seededRandom(seed);
    const model = new Uint8Array(3 * MIB);
    const file = await createFile(a, "mixed");
    await truncate(file, model.length);
    const other = await openFile(b, "mixed");
    for (let round = 0; round < 4; round++) {
      await scatter(file, model, 2500, random);
      const offset = randomBelow(random, model.length - 70_000);
      const data = new Uint8Array(1 + randomBelow(random, 70_000)).fill(round + 1);
      await write(file, offset, data);
      model.set(data, offset);
      const hole = randomBelow(random, model.length - 100_000);
      await a.fallocate(caller, file.inode, file.handle, hole, 50_001, 3);
      model.fill(0, hole, hole + 50_001);
      await a.fallocate(caller, file.inode, file.handle, randomBelow(random, model.length - 300_000), 200_000, 1);
      await sync(file);
      await scatter(file, model, 20, random);
      if (round % 2 === 0) await sync(file);
      await checkAll(other, model, [128 * 1024, 1000, MIB, 65_537][round]);
    }
    await store.close();
  }
});

test("with blocks of every stripe lost, small pieces are read right all the same", async () => {
  const { store, a, b, cluster } = await openStore();
  const model = new Uint8Array(6 * MIB);
  const file = await createFile(a, "degraded");
  await truncate(file, model.length);
  await scatter(file, model, 12_000, seededRandom(5));
  await sync(file);
  for (const disk of [cluster.disks[1], cluster.disks[4]]) disk.blocks.clear();
  await checkAll(await openFile(b, "degraded", 0), model, 128 * 1024);
  assert.ok(cluster.damages.length > 0);
  for (const disk of cluster.disks) disk.blocks.clear();
  const c = await store.openMount();
  const lost = await openFile(c, "degraded", 0);
  for (const offset of [0, 128 * 1024, 256 * 1024, 384 * 1024, 3 * MIB])
    await assert.rejects(read(lost, offset, 128 * 1024), { code: "EIO" });
  await store.close();
});

test("while another mount writes and truncates, a sequential reader sees what was there before or after, and the end", async () => {
  const { store, a, b } = await openStore();
  const random = seededRandom(9);
  const model = new Uint8Array(4 * MIB);
  const file = await createFile(a, "changing");
  await truncate(file, model.length);
  await scatter(file, model, 9000, random);
  await sync(file);
  const other = await openFile(b, "changing", 0);
  for (let round = 0; round < 6; round++) {
    const before = model.slice();
    const change = (async () => {
      await new Promise(setImmediate);
      if (round % 3 === 2) {
        await truncate(file, MIB);
        await truncate(file, model.length);
        model.fill(0, MIB);
      }
      await scatter(file, model, 1000, random);
      await sync(file);
    })();
    for (let offset = 0; offset < model.length; offset += 128 * 1024) {
      const got = await read(other, offset, 128 * 1024);
      if (round % 3 !== 2) checkEither(got, before.subarray(offset), model.subarray(offset));
    }
    await change;
    await checkAll(other, model, 128 * 1024);
  }
  await store.close();
});

/** Each piece is what it was, or what it became; pieces that were written more than once meanwhile are not looked at. */
function checkEither(got: Uint8Array, before: Uint8Array, now: Uint8Array): void {
  for (let at = 0; at < got.length; at += PIECE) {
    const piece = got.subarray(at, at + PIECE);
    const same = (other: Uint8Array): boolean => Buffer.compare(piece, other.subarray(at, at + PIECE)) === 0;
    // A piece is one value from its second byte on: half of one write and half of another would be seen.
    const whole = piece.subarray(1).every((byte) => byte === piece[1]);
    assert.ok(same(before) || same(now) || whole, `piece at ${at}`);
  }
}

test("more readers than there are buffers for read right", async () => {
  const { store, a, b } = await openStore();
  const readers: { model: Uint8Array; file: OpenFile }[] = [];
  for (let index = 0; index <= FRAGMENT_BUFFERS_MAX; index++) {
    const model = new Uint8Array(2 * MIB);
    const file = await createFile(a, `reader-${index}`);
    await truncate(file, model.length);
    await scatter(file, model, 3000, seededRandom(index));
    await sync(file);
    readers.push({ model, file: await openFile(b, `reader-${index}`, 0) });
  }
  await Promise.all(readers.map(({ file, model }) => checkAll(file, model, 128 * 1024)));
  await store.close();
});

const STRIPE_BYTES = STRIPE_BUFFER_BYTES - 5;

function stripeOf(id: number): Stripe {
  return { id, scheme: "copies:1", dataBytes: STRIPE_BYTES, blockBytes: STRIPE_BYTES, disks: [1 as DiskId] };
}

function byteAt(stripe: number, offset: number): number {
  return (stripe * 31 + offset + (offset >> 9)) & 255;
}

/** Stripes of made-up bytes, read when the test says so. */
class MadeStripes {
  readonly unreadable = new Set<number>();
  readonly waiting: (() => void)[] = [];
  reads: { id: number; offset: number; length: number }[] = [];
  held = false;
  inFlight = 0;
  inFlightMax = 0;
  readNow(): boolean {
    return false;
  }
  async read({ id }: Stripe, offset: number, into: Uint8Array): Promise<void> {
    assert.ok(offset + into.length <= STRIPE_BYTES);
    this.reads.push({ id, offset, length: into.length });
    this.inFlightMax = Math.max(this.inFlightMax, ++this.inFlight);
    await new Promise<void>((resolve) => (this.held ? this.waiting.push(resolve) : setImmediate(resolve)));
    this.inFlight--;
    if (this.unreadable.has(id)) throw new Error(`stripe ${id} cannot be read`);
    for (let index = 0; index < into.length; index++) into[index] = byteAt(id, offset + index);
  }
}

interface Made {
  fragments: Fragments;
  stripes: MadeStripes;
  core: Core;
  allocated: () => number;
}

function made(): Made {
  const stripes = new MadeStripes();
  let allocated = 0;
  const allocate = (bytes: number): Uint8Array => {
    allocated++;
    return new Uint8Array(bytes);
  };
  const fragments = new Fragments(stripes as unknown as Stripes, allocate);
  const session = { call: () => assert.fail("where every byte is, is known") };
  return { fragments, stripes, core: { session, expired: false } as unknown as Core, allocated: () => allocated };
}

/** A file whose pieces of this length lie in stripes, at places that are given. */
function fileOf(
  inode: number,
  count: number,
  length: number,
  place: (index: number) => { stripe: number; from: number },
): FileState {
  const file = new FileState({ inode: inode as InodeId, size: count * length } as Attributes, "shared");
  for (let index = 0; index < count; index++) {
    const { stripe, from } = place(index);
    file.pieces.fill(new Piece(index * length, (index + 1) * length, STRIPED, stripeOf(stripe), from, null));
  }
  return file;
}

function has({ fragments }: Made, stripe: number, from: number, length: number): boolean {
  const into = new Uint8Array(length);
  if (!fragments.copy(stripeOf(stripe), from, into)) return false;
  for (let index = 0; index < length; index++) assert.equal(into[index], byteAt(stripe, from + index));
  return true;
}

test("one buffer takes as many grains as fit, and so many reads are under way at once", async () => {
  const all = made();
  const fits = STRIPE_BUFFER_BYTES / GRAIN_BYTES;
  const file = fileOf(1, fits + 10, PIECE, (index) => ({ stripe: index + 1, from: 7 * GRAIN_BYTES + 100 }));
  assert.equal(await all.fragments.fetch(all.core, file, 0, Infinity), fits * PIECE);
  assert.equal(all.stripes.reads.length, fits);
  assert.equal(all.stripes.inFlightMax, FRAGMENT_READS_MAX);
  assert.ok(has(all, fits, 7 * GRAIN_BYTES + 100, PIECE));
  assert.ok(!has(all, fits + 1, 7 * GRAIN_BYTES + 100, PIECE));
  assert.equal(await all.fragments.fetch(all.core, file, fits * PIECE, Infinity), (fits + 10) * PIECE);
  assert.ok(has(all, fits + 10, 7 * GRAIN_BYTES + 100, PIECE));
});

test("neighbours are read once, whatever the order of the pieces, across grains and up to the stripe's end", async () => {
  const all = made();
  const count = 100;
  const last = STRIPE_BYTES - count * PIECE;
  const file = fileOf(1, 2 * count, PIECE, (index) => ({
    stripe: 1 + (index % 2),
    from: last + (count - 1 - (index >> 1)) * PIECE,
  }));
  assert.equal(await all.fragments.fetch(all.core, file, 0, Infinity), 2 * count * PIECE);
  assert.equal(all.stripes.reads.length, 2);
  for (let index = 0; index < count; index++) assert.ok(has(all, 1 + (index % 2), last + index * PIECE, PIECE));
});

test("a range is bounded, and pieces above the limit are left out", async () => {
  const all = made();
  const count = FRAGMENT_RANGE_MAX_BYTES / FRAGMENT_MAX_BYTES + 1;
  const file = fileOf(1, count, FRAGMENT_MAX_BYTES, (index) => ({
    stripe: 1 + (index >> 6),
    from: (index & 63) * FRAGMENT_MAX_BYTES,
  }));
  assert.equal(await all.fragments.fetch(all.core, file, 0, Infinity), FRAGMENT_RANGE_MAX_BYTES);
  assert.ok(has(all, 1, 0, FRAGMENT_MAX_BYTES));
  const larger = fileOf(2, 4, FRAGMENT_MAX_BYTES + 1, (index) => ({ stripe: 50 + index, from: 0 }));
  assert.equal(await all.fragments.fetch(all.core, larger, 0, Infinity), 4 * (FRAGMENT_MAX_BYTES + 1));
  assert.ok(!has(all, 50, 0, 10));
});

test("while every buffer is being filled nothing more is fetched; then the least recently used goes", async () => {
  const all = made();
  const { fragments, stripes, core } = all;
  const files = Array.from({ length: FRAGMENT_BUFFERS_MAX + 1 }, (_, index) =>
    fileOf(index + 1, 20, PIECE, (piece) => ({ stripe: index + 1, from: piece * PIECE })),
  );
  stripes.held = true;
  const fetches = files.slice(0, -1).map((file) => fragments.fetch(core, file, 0, Infinity));
  assert.equal(await fragments.fetch(core, files.at(-1)!, 0, Infinity), 0);
  stripes.held = false;
  for (const resolve of stripes.waiting) resolve();
  for (const fetch of fetches) assert.equal(await fetch, 20 * PIECE);
  assert.ok(files.slice(0, -1).every((_, index) => has(all, index + 1, 0, PIECE)));
  fragments.goOn(core, files[0], 0);
  assert.equal(await fragments.fetch(core, files.at(-1)!, 0, Infinity), 20 * PIECE);
  assert.deepEqual(
    files.map((_, index) => has(all, index + 1, 0, PIECE)),
    files.map((_, index) => index !== 1),
  );
  assert.equal(all.allocated(), FRAGMENT_BUFFERS_MAX);
});

test("a sequential reader has the next range fetched once; what a range before it has is not read again", async () => {
  const all = made();
  const { fragments, stripes, core } = all;
  const count = FRAGMENT_RANGE_MAX_BYTES / PIECE + 20;
  // The second half of the range, and what follows it, name the bytes of the first once more.
  const half = FRAGMENT_RANGE_MAX_BYTES / PIECE / 2;
  const place = (index: number): { stripe: number; from: number } => ({
    stripe: 1 + (index % 32),
    from: Math.floor((index % half) / 32) * PIECE,
  });
  const file = fileOf(1, count, PIECE, place);
  assert.equal(await fragments.fetch(core, file, 0, Infinity), FRAGMENT_RANGE_MAX_BYTES);
  stripes.reads = [];
  for (let time = 0; time < 3; time++) fragments.goOn(core, file, MIB);
  assert.equal(await fragments.arrival(file, FRAGMENT_RANGE_MAX_BYTES + PIECE), true);
  for (let index = count - 20; index < count; index++) assert.ok(has(all, place(index).stripe, place(index).from, PIECE));
  assert.deepEqual(stripes.reads, []);
  assert.equal(all.allocated(), 2);
});

test("a stripe that cannot be read leaves the others; a fetch that finds nothing gives its buffer back", async () => {
  const all = made();
  all.stripes.unreadable.add(2);
  const file = fileOf(1, 30, PIECE, (index) => ({ stripe: 1 + (index % 3), from: index * PIECE }));
  assert.equal(await all.fragments.fetch(all.core, file, 0, Infinity), 30 * PIECE);
  assert.deepEqual([has(all, 1, 0, PIECE), has(all, 2, PIECE, PIECE), has(all, 3, 2 * PIECE, PIECE)], [true, false, true]);
  const bad = fileOf(2, 30, PIECE, (index) => ({ stripe: 2, from: index * PIECE }));
  for (let time = 0; time <= FRAGMENT_BUFFERS_MAX; time++) await all.fragments.fetch(all.core, bad, 0, Infinity);
  assert.equal(all.allocated(), 2);
  assert.ok(has(all, 1, 0, PIECE));
});

test("where the bytes are is asked once for a batch; it ends where the answer does", async () => {
  const all = made();
  const asked: unknown[] = [];
  const extents = Array.from({ length: EXTENTS_FRAGMENTED }, (_, index) => ({
    offset: index,
    length: 1,
    stripe: 1,
    stripeOffset: index * 2,
  }));
  const reply = { extents, stripes: [stripeOf(1)], end: EXTENTS_FRAGMENTED };
  const call = async (operation: string, request: unknown): Promise<unknown> => {
    asked.push([operation, request]);
    return reply;
  };
  const core = { session: { call }, expired: false } as unknown as Core;
  const file = fileOf(1, 0, PIECE, () => assert.fail());
  file.attributes.size = MIB;
  assert.equal(await all.fragments.fetch(core, file, 0, Infinity), EXTENTS_FRAGMENTED);
  assert.deepEqual(asked, [["extents", { inode: 1, from: 0, to: MIB, limit: EXTENTS_FRAGMENTED }]]);
  assert.ok(has(all, 1, 0, 2 * EXTENTS_FRAGMENTED - 1));
  assert.equal(file.reads, 0);
});
