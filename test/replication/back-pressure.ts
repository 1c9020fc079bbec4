// A side that does not read: what waits for it stays below its bounds, and others are served meanwhile.

import assert from "node:assert/strict";
import type { Socket } from "node:net";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  Connection,
  type ConnectionOptions,
  type Message,
  PAYLOADS_MAX_BYTES,
  UNSENT_MAX_BYTES,
  UNSENT_WAIT_BYTES,
} from "../../replication/connection.ts";
import { encodeFrame, FrameDecoder } from "../../replication/frame.ts";
import { withSocketPair } from "../fixture/socket-pair.ts";

const MIB = 1024 * 1024;
const none = new Uint8Array();
const block = Buffer.alloc(MIB, 7);
/** What a socket of this kind takes by itself, and a frame's header, with room. */
const SLACK_BYTES = 2 * MIB;

const setTimer = (action: () => void, delayMs: number): (() => void) => {
  const timer = setTimeout(action, delayMs);
  return () => clearTimeout(timer);
};

function connect(stream: Socket, options: Partial<ConnectionOptions> = {}): Connection {
  return new Connection({ stream, handle: async () => ({ body: none }), setTimer, ...options });
}

/** Sends requests as frames, without a Connection. */
function ask(stream: Socket, name: string, from: number, count: number): void {
  for (let id = from; id < from + count; id++)
    for (const piece of encodeFrame({ kind: "request", id, name, deadlineMs: 1000, message: "", body: none, payload: none }))
      stream.write(piece);
}

/** Resolves when the value has stayed the same for a while. */
async function settled(value: () => number): Promise<number> {
  for (let before = -1; ; await sleep(100)) {
    const now = value();
    if (now === before && now > 0) return now;
    before = now;
  }
}

test("requests to a side that does not read wait in line and are refused at their deadline; it is served when it reads again", () =>
  withSocketPair(async (left, right) => {
    const client = connect(left);
    let most = 0;
    const requests = Array.from({ length: 200 }, () => {
      const request = client.request("store", { body: none, payload: block }, { deadlineMs: 400 });
      most = Math.max(most, left.writableLength);
      return request;
    });
    const small = client.request("small", { body: none }, { deadlineMs: 400 });
    for (const request of [...requests, small]) await assert.rejects(request, { code: "ETIMEDOUT" });
    assert.ok(most > UNSENT_WAIT_BYTES && most <= UNSENT_WAIT_BYTES + SLACK_BYTES, `${most} bytes waited`);
    assert.ok(left.writableLength <= UNSENT_WAIT_BYTES + SLACK_BYTES);
    connect(right, { handle: async () => ({ body: Buffer.from("read") }) });
    const reply = await client.request("after", { body: none, payload: block }, { deadlineMs: 10_000 });
    assert.equal(Buffer.from(reply.body).toString(), "read");
  }));

test("payloads in flight are bounded, and requests without one pass by", () =>
  withSocketPair(async (left, right) => {
    const client = connect(left);
    const answers: (() => void)[] = [];
    const handle = (name: string): Promise<Message> =>
      name === "small" ? Promise.resolve({ body: none }) : new Promise((resolve) => answers.push(() => resolve({ body: none })));
    connect(right, { handle });
    const all = Array.from({ length: 150 }, () =>
      client.request("store", { body: none, payload: block }, { deadlineMs: 20_000 }),
    );
    while (answers.length < PAYLOADS_MAX_BYTES / MIB) await sleep(1);
    assert.equal(await settled(() => answers.length), PAYLOADS_MAX_BYTES / MIB);
    await client.request("small", { body: none }, { deadlineMs: 5_000 });
    for (let done = 0; done < 150; done++) {
      while (answers.length === 0) await sleep(1);
      answers.shift()!();
    }
    await Promise.all(all);
  }));

test("large replies for a side that does not read are not made, others are answered, and all of them when it reads", () =>
  withSocketPair((left, right) =>
    withSocketPair(async (otherLeft, otherRight) => {
      let begun = 0;
      const handle = async (name: string): Promise<Message> => {
        if (name === "retrieve") begun++;
        await sleep(1);
        return { body: none, payload: name === "retrieve" ? block : undefined };
      };
      const options = { handle, replyBytes: (name: string) => (name === "retrieve" ? MIB : 0) };
      connect(right, options);
      connect(otherRight, options);
      ask(left, "retrieve", 1, 200);
      const most = await settled(() => begun);
      assert.ok(most * MIB <= UNSENT_WAIT_BYTES + SLACK_BYTES, `${most} replies were made`);
      assert.ok(right.writableLength <= UNSENT_WAIT_BYTES + SLACK_BYTES);
      const other = connect(otherLeft);
      const reply = await other.request("retrieve", { body: none }, { deadlineMs: 5_000 });
      assert.equal(reply.payload?.length, MIB);

      const decoder = new FrameDecoder();
      const answered = new Set<number>();
      left.on("data", (chunk: Buffer) => {
        for (const { id, kind, payload } of decoder.push(chunk)) if (kind === "reply" && payload.length === MIB) answered.add(id);
      });
      while (answered.size < 200) await sleep(5);
      assert.equal(begun, 201);
    }),
  ));

test("what is cancelled before there is room for its reply is not begun", () =>
  withSocketPair(async (left, right) => {
    let begun = 0;
    const handle = async (): Promise<Message> => {
      begun++;
      return { body: none, payload: block };
    };
    connect(right, { handle, replyBytes: () => MIB });
    ask(left, "retrieve", 1, 100);
    const before = await settled(() => begun);
    for (let id = 1; id <= 100; id++)
      for (const piece of encodeFrame({ kind: "cancel", id, name: "", deadlineMs: 0, message: "", body: none, payload: none }))
        left.write(piece);
    await sleep(100);
    let bytes = 0;
    left.on("data", (chunk: Buffer) => (bytes += chunk.length));
    while (bytes < before * MIB) await sleep(5);
    assert.equal(begun, before);
  }));

test("a side that asks on and on and does not read is cut off, with the reason", () =>
  withSocketPair(async (left, right) => {
    let most = 0;
    const closed = new Promise<Error>((resolve) => {
      const handle = async (): Promise<Message> => {
        most = Math.max(most, right.writableLength);
        return { body: none, payload: block };
      };
      connect(right, { handle, closed: resolve });
    });
    ask(left, "list", 1, 400);
    assert.match((await closed).message, /the other side does not read: \d+ bytes wait to be sent, at most 134217728 may/);
    assert.ok(most <= UNSENT_MAX_BYTES, `${most}`);
  }));

test("a deadline counts from the call, waiting in line included; a signal ends the waiting", () =>
  withSocketPair(async (left, right) => {
    const client = connect(left);
    connect(right, { handle: () => new Promise(() => {}) });
    const stores = Array.from({ length: PAYLOADS_MAX_BYTES / MIB }, () =>
      client.request("store", { body: none, payload: block }, { deadlineMs: 60_000 }),
    );
    const abort = new AbortController();
    const stopped = client.request("store", { body: none, payload: block }, { deadlineMs: 60_000, signal: abort.signal });
    const late = client.request("store", { body: none, payload: block }, { deadlineMs: 30 });
    await assert.rejects(late, { code: "ETIMEDOUT", message: /waited in line and was not sent/ });
    abort.abort();
    await assert.rejects(stopped, { code: "EINTR" });
    await assert.rejects(client.request("x", { body: none }, { deadlineMs: 1000, signal: abort.signal }), { code: "EINTR" });
    client.close();
    for (const store of stores) await assert.rejects(store, { code: "ECONNRESET" });
  }));
