import assert from "node:assert/strict";
import { duplexPair } from "../fixture/duplex.ts";
import test from "node:test";
import {
  Connection,
  LONG_REQUESTS_MAX,
  type Place,
  type RequestHandler,
  RequestError,
  REQUESTS_MAX,
} from "../../replication/connection.ts";

const none = new Uint8Array();
const setTimer = (action: () => void, delayMs: number): (() => void) => {
  const timer = setTimeout(action, delayMs);
  return () => clearTimeout(timer);
};

function pair(
  handle: RequestHandler,
  handleBack: RequestHandler = async () => ({ body: none }),
): { client: Connection; server: Connection; close(): void } {
  const [left, right] = duplexPair();
  const client = new Connection({ stream: left, handle: handleBack, setTimer });
  const server = new Connection({ stream: right, handle, setTimer });
  return { client, server, close: () => (client.close(), server.close()) };
}

test("a request is answered, in both directions at once", async () => {
  const both = pair(
    async (name, { body, payload }) => ({ body, payload: Buffer.concat([Buffer.from(`${name}:`), payload!]) }),
    async () => ({ body: Buffer.from("back") }),
  );
  const [there, back] = await Promise.all([
    both.client.request("echo", { body: none, payload: Buffer.from("x") }, { deadlineMs: 1000 }),
    both.server.request("recall", { body: none }, { deadlineMs: 1000 }),
  ]);
  assert.equal(Buffer.from(there.payload!).toString(), "echo:x");
  assert.equal(Buffer.from(back.body).toString(), "back");
  both.close();
});

test("a refusal keeps its code and text", async () => {
  const both = pair(async () => {
    throw Object.assign(new Error("no such name"), { code: "ENOENT" });
  });
  await assert.rejects(both.client.request("lookup", { body: none }, { deadlineMs: 1000 }), {
    code: "ENOENT",
    message: "no such name",
  });
  both.close();
});

test("a request without an answer is refused at its deadline and cancelled on the other side", async () => {
  let aborted: Promise<void> | null = null;
  const both = pair((_name, _payload, signal) => {
    aborted = new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
    return new Promise(() => {});
  });
  await assert.rejects(both.client.request("slow", { body: none }, { deadlineMs: 20 }), { code: "ETIMEDOUT" });
  await aborted!;
  both.close();
});

test("no more than REQUESTS_MAX are in flight; the rest wait their turn and are all answered", async () => {
  let now = 0;
  let most = 0;
  const both = pair(async () => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setImmediate(resolve));
    now--;
    return { body: none };
  });
  await Promise.all(
    Array.from({ length: 4 * REQUESTS_MAX }, () => both.client.request("x", { body: none }, { deadlineMs: 10_000 })),
  );
  assert.ok(most <= REQUESTS_MAX, `${most} at once`);
  both.close();
});

test("waiting long requests do not stop the others", async () => {
  const both = pair((name) => (name === "lock" ? new Promise(() => {}) : Promise.resolve({ body: none })));
  const locks = Array.from({ length: 2 * REQUESTS_MAX }, () =>
    both.client.request("lock", { body: none }, { deadlineMs: 60_000, place: "long" }),
  );
  await both.client.request("lookup", { body: none }, { deadlineMs: 5_000 });
  both.close();
  for (const lock of locks) await assert.rejects(lock, { code: "ECONNRESET" });
});

test("each kind of places is reached and passed, and never stops the others", async () => {
  const waiting = new Map<string, (() => void)[]>();
  const both = pair(async (name) => {
    if (!name.endsWith("full")) return { body: none };
    await new Promise<void>((resolve) => waiting.set(name, [...(waiting.get(name) ?? []), resolve]));
    return { body: none };
  });
  const kinds = ["ordinary", "read", "flush"] as const;
  const deadlineMs = 10_000;
  const ask = (name: string, place: Place, payload?: Uint8Array): Promise<unknown> =>
    both.client.request(name, { body: none, payload }, { deadlineMs, place });
  const all: Promise<unknown>[] = [];
  for (const [index, place] of kinds.entries()) {
    // All other kinds are still free.
    for (const free of kinds.slice(index)) await ask("free", free);
    all.push(...Array.from({ length: REQUESTS_MAX + 10 }, (_, count) => ask(`${place} full`, place, new Uint8Array(count % 2 && 100_000)))); // prettier-ignore
    while ((waiting.get(`${place} full`)?.length ?? 0) < REQUESTS_MAX) await new Promise(setImmediate);
  }
  await ask("free", "urgent");
  await ask("free", "long");
  assert.deepEqual([...waiting.values()].map(({ length }) => length), [REQUESTS_MAX, REQUESTS_MAX, REQUESTS_MAX]); // prettier-ignore
  let answered = false;
  void Promise.all(all).then(() => (answered = true));
  while (!answered) {
    for (const [name, resolves] of waiting) for (const resolve of (waiting.set(name, []), resolves)) resolve();
    await new Promise(setImmediate);
  }
  both.close();
});

test("long requests are refused where all their places are taken", async () => {
  const both = pair(() => new Promise(() => {}));
  const ask = (): Promise<unknown> => both.client.request("lock", { body: none }, { deadlineMs: 60_000, place: "long" });
  const taken = Promise.allSettled(Array.from({ length: LONG_REQUESTS_MAX }, ask));
  await assert.rejects(ask(), { code: "EAGAIN" });
  both.close();
  await taken;
});

test("garbage on the stream ends the connection, and what was in flight is refused", async () => {
  const [left, right] = duplexPair();
  const client = new Connection({ stream: left, handle: async () => ({ body: none }), setTimer });
  const waiting = client.request("lookup", { body: none }, { deadlineMs: 5_000 });
  right.write(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
  await assert.rejects(waiting, (error: unknown) => error instanceof RequestError && error.code === "ECONNRESET");
  await assert.rejects(client.request("lookup", { body: none }, { deadlineMs: 5_000 }), { code: "ECONNRESET" });
});
