// Maxima of connections, disks and stripes: how many wait, what is refused beyond, and that everybody is answered.

import assert from "node:assert/strict";
import test from "node:test";
import { LIST_MAX, serveBlocks } from "../../replication/block-server.ts";
import type { BlockClient } from "../../replication/block-client.ts";
import { decodeBlockReply, encodeBlockRequest } from "../../replication/block-messages.ts";
import { CALLERS_WAITING_MAX, Connection, RECEIVED_MAX, RECEIVED_MAX_BYTES, REQUESTS_MAX } from "../../replication/connection.ts";
import { encodeFrame, type Frame, FrameDecoder, HEADER_MAX_BYTES, PAYLOAD_MAX_BYTES } from "../../replication/frame.ts";
import { MEASURE_MAX_MS } from "../../replication/local-blocks.ts";
import {
  DISK_REQUESTS_MAX,
  DISK_REQUESTS_WAITING_MAX,
  DiskHolder,
  READ_ERRORS_IN_ROW_MAX,
} from "../../replication/local-disk.ts";
import type { DiskId } from "../../replication/stripe.ts";
import { DECODES_MAX, DECODES_WAITING_MAX } from "../../replication/stripe-reader.ts";
import { UNSYNCED_MAX, WRITES_MAX, WRITES_WAITING_MAX } from "../../replication/stripe-writer.ts";
import { SimulatedClock } from "../../storage/clock.ts";
import { duplexPair } from "../fixture/duplex.ts";
import { makeCluster, randomBytes, readAll } from "./cluster.ts";
import { MemoryBlocks } from "./memory-blocks.ts";

const none = new Uint8Array();
const noTimer = (): (() => void) => () => {};
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
};
const frameOf = (more: Partial<Frame>): Frame => ({ kind: "request", id: 1, name: "x", deadlineMs: 1000, message: "", body: none, payload: none, ...more }); // prettier-ignore

/** A side whose requests are worked on for ever, and how it was closed. */
function hanging(): { send: (frame: Partial<Frame>) => void; worked: () => number; closed: Promise<Error> } {
  const [left, right] = duplexPair();
  let worked = 0;
  const handle = (): Promise<never> => (worked++, new Promise(() => {}));
  const closed = new Promise<Error>((resolve) => new Connection({ stream: right, handle, setTimer: noTimer, closed: resolve }));
  const send = (frame: Partial<Frame>): void => {
    for (const piece of encodeFrame(frameOf(frame))) right.push(Buffer.from(piece));
  };
  left.on("error", () => {});
  return { send, worked: () => worked, closed };
}

test("a header has HEADER_MAX_BYTES, and not one more, whoever makes it and whoever reads it", () => {
  const overhead = HEADER_MAX_BYTES - 12 - encodeFrame(frameOf({ body: new Uint8Array(HEADER_MAX_BYTES - 100) }))[0].length + HEADER_MAX_BYTES - 100; // prettier-ignore
  const most = new Uint8Array(overhead + 24);
  const [bytes] = encodeFrame(frameOf({ body: most }));
  assert.equal(bytes.length, 12 + HEADER_MAX_BYTES);
  assert.equal(new FrameDecoder().push(Buffer.from(bytes))[0].body.length, most.length);
  const text = /header is 8388609 bytes; at most 8388608/;
  assert.throws(() => encodeFrame(frameOf({ body: new Uint8Array(most.length + 1) })), text);
  const longer = Buffer.from(bytes.subarray(0, 12));
  longer.writeUInt32LE(HEADER_MAX_BYTES + 1, 8);
  assert.throws(() => new FrameDecoder().push(longer), text);
});

test("CALLERS_WAITING_MAX wait in line for a connection; one more is EAGAIN at once, and all are answered when it ends", async () => {
  const [left] = duplexPair();
  const connection = new Connection({ stream: left, handle: async () => ({ body: none }), setTimer: noTimer });
  const ask = (): Promise<unknown> => connection.request("x", { body: none }, { deadlineMs: 1000 });
  const all = Array.from({ length: REQUESTS_MAX + CALLERS_WAITING_MAX }, ask);
  await assert.rejects(ask(), { code: "EAGAIN", message: /100000 requests wait/ });
  connection.close();
  const ends = await Promise.allSettled(all);
  assert.ok(ends.every(({ status }) => status === "rejected"));
});

test("a side that has RECEIVED_MAX requests in flight is served, and cut off with one more", async () => {
  const { send, worked, closed } = hanging();
  for (let id = 1; id <= RECEIVED_MAX; id++) send({ id });
  await settle();
  assert.equal(worked(), RECEIVED_MAX);
  send({ id: RECEIVED_MAX + 1 });
  assert.match((await closed).message, /more than 9728 requests in flight/);
  assert.equal(worked(), RECEIVED_MAX);
});

test("a side that has RECEIVED_MAX_BYTES of requests in flight is served, and cut off with one byte more", async () => {
  const { send, worked, closed } = hanging();
  const payload = new Uint8Array(PAYLOAD_MAX_BYTES);
  const count = RECEIVED_MAX_BYTES / payload.length;
  for (let id = 1; id <= count; id++) send({ id, payload });
  await settle();
  assert.equal(worked(), count);
  send({ id: count + 1, payload: payload.subarray(0, 1) });
  assert.match((await closed).message, /more than 301989888 bytes of requests in flight/);
});

test("a list of blocks has LIST_MAX entries at most, whatever is asked for", async () => {
  const limits: number[] = [];
  const blocks = { list: async (_: unknown, __: unknown, limit: number) => (limits.push(limit), []) } as unknown as BlockClient;
  for (const limit of [LIST_MAX, LIST_MAX + 1]) {
    const body = encodeBlockRequest("block.list", { disk: 1 as DiskId, limit } as never);
    decodeBlockReply("block.list", (await serveBlocks(blocks, "block.list", { body })).body);
  }
  assert.deepEqual(limits, [LIST_MAX, LIST_MAX]);
});

function holder(blocks: MemoryBlocks): { disk: DiskHolder; clock: SimulatedClock } {
  const clock = new SimulatedClock();
  return { disk: new DiskHolder({ id: 1 as DiskId, path: "/disk", blocks }, clock, () => {}), clock };
}

test("a disk has DISK_REQUESTS_MAX requests at once and DISK_REQUESTS_WAITING_MAX in line; one more is EBUSY, and no reason to fail it", async () => {
  const blocks = new MemoryBlocks();
  const { disk } = holder(blocks);
  const ends: (() => void)[] = [];
  const read = (): Promise<void> => disk.read("read", () => new Promise<void>((resolve) => ends.push(resolve)));
  const all = Array.from({ length: DISK_REQUESTS_MAX + DISK_REQUESTS_WAITING_MAX }, read);
  await assert.rejects(read(), { code: "EBUSY", message: /disk 1 \(\/disk\): 8192 requests wait already/ });
  await settle();
  assert.equal(ends.length, DISK_REQUESTS_MAX);
  let answered = false;
  void Promise.all(all).then(() => (answered = true));
  while (!answered) {
    for (const end of ends.splice(0)) end();
    await new Promise(setImmediate);
  }
  assert.equal(disk.status.state, "active");
});

test("who waits in line for a disk is refused when that fails", async () => {
  const { disk } = holder(new MemoryBlocks());
  const all = Array.from({ length: DISK_REQUESTS_MAX + 10 }, () => disk.read("read", () => new Promise<void>(() => {})));
  disk.fail("the test says so");
  for (const read of all) await assert.rejects(read, { code: "EIO", message: /has failed: the test says so/ });
});

test("READ_ERRORS_IN_ROW_MAX failed reads in a row fail a disk; with a good one between, or one fewer, it stays", async () => {
  const { disk } = holder(new MemoryBlocks());
  const bad = (): Promise<void> =>
    disk.read("read", () => Promise.reject(Object.assign(new Error("bad sector"), { code: "EIO" })));
  const some = async (count: number): Promise<void> => {
    for (let read = 0; read < count; read++) await assert.rejects(bad());
  };
  await some(READ_ERRORS_IN_ROW_MAX - 1);
  await disk.read("read", async () => {});
  await some(READ_ERRORS_IN_ROW_MAX - 1);
  assert.equal(disk.status.state, "active");
  await some(1);
  assert.deepEqual([disk.status.state, disk.status.reason], ["failed", "16 reads in a row failed, the last one: bad sector"]);
});

test("a disk that does not tell its space keeps nobody waiting for longer than MEASURE_MAX_MS", async () => {
  const cluster = await makeCluster(2, "copies:2");
  let release = (): void => {};
  cluster.disks[0].space = () => new Promise((resolve) => (release = () => resolve({ totalBytes: 1, freeBytes: 1, blockBytes: 0, blocks: 0 }))); // prettier-ignore
  let done = false;
  const measured = cluster.client.measure(false).then(() => (done = true));
  await settle();
  await cluster.clock.advance(MEASURE_MAX_MS - 1);
  await settle();
  assert.equal(done, false);
  await cluster.clock.advance(1);
  await measured;
  release();
});

test("WRITES_MAX stripes are stored at once and WRITES_WAITING_MAX wait; one more is EBUSY, and all others are stored", async () => {
  const cluster = await makeCluster(1, "copies:1");
  const [blocks] = cluster.disks;
  let most = 0;
  let now = 0;
  blocks.delay = async () => {
    most = Math.max(most, ++now);
    await new Promise(setImmediate);
    now--;
  };
  const write = (id: number): Promise<unknown> => cluster.stripes.write(id, "copies:1", new Uint8Array([id & 0xff]));
  const count = WRITES_MAX + WRITES_WAITING_MAX;
  const all = Array.from({ length: count }, (_, index) => write(index + 1));
  await assert.rejects(write(count + 1), { code: "EBUSY", message: /stripe writes: 4096 requests wait already/ });
  await Promise.all(all);
  assert.equal(most, WRITES_MAX);
  assert.equal(blocks.blocks.size, count);
});

test("UNSYNCED_MAX stripes are remembered between syncs; one more syncs first by itself", async () => {
  const cluster = await makeCluster(1, "copies:1");
  const [blocks] = cluster.disks;
  for (let id = 1; id <= UNSYNCED_MAX; id++) await cluster.stripes.write(id, "copies:1", new Uint8Array(1));
  assert.equal(blocks.syncs, 0);
  await cluster.stripes.write(UNSYNCED_MAX + 1, "copies:1", new Uint8Array(1));
  assert.equal(blocks.syncs, 1);
});

test("DECODES_MAX degraded reads go on at once and DECODES_WAITING_MAX wait; one more is EBUSY, and all others are right", async () => {
  const cluster = await makeCluster(3, "rs:2+1");
  const data = randomBytes(cluster.random, 5000);
  const stripe = await cluster.stripes.write(1, "rs:2+1", data);
  cluster.disks[stripe.disks[0] - 1].lose({ stripe: 1, index: 0 });
  const all = Array.from({ length: DECODES_MAX + DECODES_WAITING_MAX }, () => readAll(cluster, stripe));
  const ends = await Promise.allSettled([...all, readAll(cluster, stripe)]);
  assert.deepEqual(ends.flatMap((end) => (end.status === "rejected" ? [(end.reason as { code: string }).code] : [])), ["EBUSY"]); // prettier-ignore
  for (const end of ends) if (end.status === "fulfilled") assert.ok(Buffer.compare(end.value, data) === 0);
});
