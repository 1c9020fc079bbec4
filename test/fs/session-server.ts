// The daemon's side of sessions, spoken to by frames: what goes out in which order, hello said twice, and bytes that are no message.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { systemDatedClock } from "../../fs/clock.ts";
import { encodeMessage, decodeMessage, encodeRequest } from "../../fs/message-codec.ts";
import type { SessionEvents } from "../../fs/messages.ts";
import { type Namespace, openNamespace } from "../../fs/namespace/namespace.ts";
import {
  MOUNTPOINT_CHARACTERS_MAX,
  RECLAIM_MAX,
  type ServedSession,
  SESSION_PROTOCOL_VERSION,
  SessionServer,
} from "../../fs/session-server.ts";
import type { ByteString, InodeId, SessionId } from "../../fs/types.ts";
import type { BlockClient } from "../../replication/block-client.ts";
import { encodeBlockRequest } from "../../replication/block-messages.ts";
import { Connection, type Message, UNSENT_WAIT_BYTES } from "../../replication/connection.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { duplexPair } from "../fixture/duplex.ts";
import { withSocketPair } from "../fixture/socket-pair.ts";
import { forEachSeed } from "../fixture/seeds.ts";
import { MemoryLog, quietEvents } from "./namespace/memory-log.ts";

const clock = systemDatedClock();
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

type Opening = (events: SessionEvents, resume: SessionId | undefined) => Promise<ServedSession>;

function serverOf(openSession: Opening, written: () => Promise<void> | undefined = () => undefined): SessionServer {
  return new SessionServer({
    openSession: (events, { resume }) => openSession(events, resume),
    written, store: "s", scheme: "copies:1", blocks: {} as BlockClient, clock, timeLimitMs: 5000, isAlive: () => true, trace: () => {},
  }); // prettier-ignore
}

interface Client {
  ask: (name: string, body: Uint8Array) => Promise<Message>;
  close: () => void;
}

function connect(server: SessionServer, handle: (name: string) => void = () => {}): Client {
  const [left, right] = duplexPair();
  left.on("close", () => right.destroy());
  right.on("close", () => left.destroy());
  server.serve(right);
  const connection = new Connection({
    stream: left,
    handle: async (name) => {
      handle(name);
      return { body: encodeMessage("Empty", {}) };
    },
    setTimer: (action, delayMs) => clock.after(delayMs, action),
  });
  return {
    ask: (name, body) => connection.request(name, { body }, { deadlineMs: 5000 }),
    close: () => connection.close(),
  };
}

const hello = (session = 0): Uint8Array =>
  encodeMessage("Hello", { version: SESSION_PROTOCOL_VERSION, mountpoint: "/m", pid: process.pid, session, store: "s" });
const sessionIn = (welcome: Message): SessionId => decodeMessage<{ session: SessionId }>("Welcome", welcome.body).session;

/** A namespace that answers at once. */
function simpleSession(id: number): ServedSession {
  return {
    id: id as SessionId,
    call: async () => ({ attributes: undefined }) as never,
    callNumbered: async () => ({ reply: {}, repeated: false }) as never,
    limitMs: 5000,
    heard: () => {},
    reclaiming: false,
    othersReclaim: undefined,
    fail: () => {},
    reclaim: () => {},
    reclaimed: async () => {},
    close: async () => {},
  };
}

for (const held of [true, false]) {
  test(`a recall does not overtake the reply that granted the lease, ${held ? "which waits for the log" : "which is just being made"}`, async () => {
    let events!: SessionEvents;
    let writeLog = (): void => {};
    const log = held ? new Promise<void>((resolve) => (writeLog = resolve)) : undefined;
    const granted: Promise<void>[] = [];
    const session = simpleSession(1);
    // As the namespace does: the lease is granted, and another call that runs at the same time recalls it.
    session.call = async () => {
      granted.push(events.recall(7 as InodeId, "known"));
      return {} as never;
    };
    const server = serverOf(
      async (told) => {
        events = told;
        return session;
      },
      () => log,
    );
    const order: string[] = [];
    const client = connect(server, (name) => order.push(name));
    await client.ask("hello", hello());
    const reply = client
      .ask("acquire", encodeRequest("acquire", { inode: 7 as InodeId, mode: "exclusive" }))
      .then(() => order.push("reply"));
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    if (held) assert.deepEqual(order, []);
    writeLog();
    await Promise.all([reply, ...granted]);
    assert.deepEqual(order, ["reply", "recall"]);
    client.close();
  });
}

test("hello said again on another connection, while the session is still being resumed, resumes it once", async () => {
  const openings: (() => void)[] = [];
  const server = serverOf(async (_, resume) => {
    await new Promise<void>((resolve) => openings.push(resolve));
    return simpleSession(resume ?? 1);
  });
  const first = connect(server);
  const broken = first.ask("hello", hello(5));
  await new Promise((resolve) => setTimeout(resolve, 20));
  first.close();
  await assert.rejects(broken, { code: "ECONNRESET" });
  const second = connect(server);
  const welcome = second.ask("hello", hello(5));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(openings.length, 1);
  openings[0]();
  assert.equal(sessionIn(await welcome), 5);
  assert.deepEqual(server.list().map(({ session, connected }) => [session, connected]), [[5, true]]); // prettier-ignore
  second.close();
});

test("hello said twice on one connection is refused, also while the first is being answered", async () => {
  let open = 0;
  const server = serverOf(async () => simpleSession(++open));
  const client = connect(server);
  const [first, second] = await Promise.allSettled([client.ask("hello", hello()), client.ask("hello", hello())]);
  assert.equal(first.status, "fulfilled");
  assert.equal((second as PromiseRejectedResult).reason.code, "EINVAL");
  await assert.rejects(client.ask("hello", hello()), { code: "EINVAL" });
  assert.equal(open, 1);
  client.close();
});

// Bytes that are no message, and messages that say what cannot be.

class Daemon {
  readonly #table = new MemoryTable();
  readonly #log = new MemoryLog();
  namespace!: Namespace;
  server!: SessionServer;

  async start(): Promise<void> {
    this.namespace = await openNamespace({ table: this.#table, log: this.#log, clock, limits: { resumeMs: 5000 } });
    const { namespace } = this;
    this.server = new SessionServer({
      openSession: (events, { resume, former }) => namespace.openSession(events, { durable: true, expires: true, resume, former }),
      written: () => undefined, store: "s", scheme: "copies:1", blocks: {} as BlockClient, clock, timeLimitMs: 5000, isAlive: () => true, trace: () => {},
    }); // prettier-ignore
  }

  /** The session is ended, and its mount hears of it: else all others, and the next start, wait until it must know. */
  async giveUp(session: SessionId): Promise<void> {
    this.namespace.expireSession(session, "for the test");
    const client = connect(this.server);
    await assert.rejects(client.ask("hello", hello(session)), { code: "ESTALE" });
    await client.ask("hello", hello());
    await client.ask("bye", encodeMessage("Empty", {}));
    client.close();
    while (await this.namespace.tick());
  }

  /** A session of before a restart of the namespace, which says hello and is to reclaim. */
  async resumed(): Promise<{ client: Client; session: SessionId }> {
    const { id } = await this.namespace.openSession(quietEvents, { durable: true });
    await this.start();
    const client = connect(this.server);
    assert.equal(sessionIn(await client.ask("hello", hello(id))), id);
    return { client, session: id };
  }
}

function mutated(bytes: Uint8Array, random: () => number): Uint8Array {
  const copy = Buffer.from(bytes);
  const kind = randomBelow(random, 4);
  if (kind === 0) return Buffer.from(Array.from({ length: randomBelow(random, 200) }, () => randomBelow(random, 256)));
  if (kind === 1) return copy.subarray(0, randomBelow(random, copy.length + 1));
  if (kind === 2) return Buffer.concat([copy, copy.subarray(randomBelow(random, copy.length)), Buffer.from([randomBelow(random, 256)])]); // prettier-ignore
  for (let count = 1 + randomBelow(random, 4); count > 0; count--)
    copy[randomBelow(random, copy.length)] = randomBelow(random, 256);
  return copy;
}

/** Answered or refused with one of these; anything else, or a connection that ended, is a failure. */
async function answered(asked: Promise<Message>, what: string): Promise<Message | null> {
  try {
    return await asked;
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    assert.ok(["EPROTO", "EINVAL", "ESTALE", "EAGAIN"].includes(code), `${what}: refused with ${code}: ${message}`);
    return null;
  }
}

test("hello with random and damaged bytes is answered or refused, and others are served", () =>
  forEachSeed(2, 1, async (seed) => {
    const random = seededRandom(seed);
    const daemon = new Daemon();
    await daemon.start();
    for (let count = 0; count < 150; count++) {
      const client = connect(daemon.server);
      const bytes = mutated(hello(randomBelow(random, 3)), random);
      const welcome = await answered(client.ask("hello", bytes), `hello ${Buffer.from(bytes).toString("hex")}`);
      if (welcome !== null) await client.ask("bye", encodeMessage("Empty", {}));
      client.close();
    }
    const client = connect(daemon.server);
    assert.ok(sessionIn(await client.ask("hello", hello())) > 0);
    assert.equal(daemon.server.list().length, 1);
    client.close();
  }));

const reclaim = (fields: object): Uint8Array =>
  encodeMessage("Reclaim", { known: [], shared: [], exclusive: [], locks: [], last: true, ...fields });
const someLock = { inode: 4, lock: { kind: "posix", type: "write", start: 0, end: 9, owner: "00ff", pid: 3 } };

test("reclaim with random and damaged bytes is answered or refused, and the namespace goes on", () =>
  forEachSeed(2, 1, async (seed) => {
    const random = seededRandom(seed);
    const daemon = new Daemon();
    await daemon.start();
    for (let count = 0; count < 60; count++) {
      const { client, session } = await daemon.resumed();
      const bytes = mutated(reclaim({ known: [1, 300], shared: [2, 70_000], exclusive: [3], locks: [someLock, someLock] }), random); // prettier-ignore
      await answered(client.ask("reclaim", bytes), `reclaim ${Buffer.from(bytes).toString("hex")}`);
      client.close();
      await daemon.giveUp(session);
    }
    const local = await daemon.namespace.openSession(quietEvents);
    assert.equal((await local.call("getAttributes", { inode: 1 as InodeId })).attributes.inode, 1);
  }));

test("a mountpoint has MOUNTPOINT_CHARACTERS_MAX characters, and not one more", async () => {
  const server = serverOf(async () => simpleSession(1));
  const ask = async (characters: number): Promise<Message> => {
    const body = {
      version: SESSION_PROTOCOL_VERSION,
      mountpoint: "m".repeat(characters),
      pid: process.pid,
      session: 0,
      store: "s",
    };
    const client = connect(server);
    return client.ask("hello", encodeMessage("Hello", body)).finally(() => client.close());
  };
  assert.equal(sessionIn(await ask(MOUNTPOINT_CHARACTERS_MAX)), 1);
  await assert.rejects(ask(MOUNTPOINT_CHARACTERS_MAX + 1), { code: "EINVAL", message: /4097 characters; at most 4096/ });
});

test("messages that are too large, too deep, or say what cannot be are refused with the reason", async () => {
  const daemon = new Daemon();
  await daemon.start();
  const many = Array.from({ length: RECLAIM_MAX + 1 }, (_, index) => index + 1);
  const wrong: [Uint8Array, string, RegExp][] = [
    [reclaim({ known: many }), "EINVAL", /8193 leases or locks at once/],
    [reclaim({ locks: many.map(() => someLock) }), "EINVAL", /8193 leases or locks at once/],
    [reclaim({ shared: [0] }), "EINVAL", /lease on inode 0/],
    [reclaim({ locks: [{ ...someLock, lock: { ...someLock.lock, type: "all" } }] }), "EINVAL", /a lock of kind posix, type all/],
    [reclaim({ locks: [{ ...someLock, lock: { ...someLock.lock, start: 10 } }] }), "EINVAL", /from 10 to 9/],
    [Buffer.alloc(1_000_000, 0x0b), "EPROTO", /message Reclaim of 1000000 bytes/],
  ];
  for (const [bytes, code, message] of wrong) {
    const { client, session } = await daemon.resumed();
    await assert.rejects(client.ask("reclaim", bytes), { code, message });
    client.close();
    await daemon.giveUp(session);
  }
  const client = connect(daemon.server);
  const long = encodeMessage("Hello", {
    version: SESSION_PROTOCOL_VERSION,
    mountpoint: "/".repeat(5000),
    pid: 1,
    session: 0,
    store: "",
  });
  await assert.rejects(client.ask("hello", long), { code: "EINVAL", message: /5000 characters/ });
  await assert.rejects(client.ask("hello", Buffer.alloc(1_000_000, 0x0b)), { code: "EPROTO" });
  await assert.rejects(client.ask("lookup", Buffer.alloc(0)), { code: "EINVAL", message: /before hello/ });
  client.close();
});

test("a mount that does not read is given up at its session's limit: a recall of its lease waits no longer, and other mounts not at all", () =>
  withSocketPair(async (stuck, served) => {
    const daemon = new Daemon();
    await daemon.start();
    const { namespace } = daemon;
    let retrieved = 0;
    const retrieve: BlockClient["retrieve"] = async () => void retrieved++;
    const server = new SessionServer({
      openSession: (events) => namespace.openSession(events, { durable: true, expires: true, limitMs: 500 }),
      written: () => undefined, store: "s", scheme: "copies:1", blocks: { retrieve } as BlockClient, clock, timeLimitMs: 500, isAlive: () => true, trace: () => {},
    }); // prettier-ignore
    server.serve(served);
    const connection = new Connection({
      stream: stuck,
      handle: async () => ({ body: encodeMessage("Empty", {}) }),
      setTimer: (action, delayMs) => clock.after(delayMs, action),
    });
    await connection.request("hello", { body: hello() }, { deadlineMs: 5000 });
    const inode = 1 as InodeId;
    await connection.request("acquire", { body: encodeRequest("acquire", { inode, mode: "exclusive" }) }, { deadlineMs: 5000 });
    stuck.pause();
    const block = { stripe: 1, index: 0 };
    const body = encodeBlockRequest("block.retrieve", { disk: 1, block, offset: 0, length: 1024 * 1024 });
    const asked = Array.from({ length: 200 }, () => connection.request("block.retrieve", { body }, { deadlineMs: 60_000 }));
    const refused = Promise.allSettled(asked);
    while (served.writableLength < UNSENT_WAIT_BYTES - 1024 * 1024) await new Promise(setImmediate);

    const client = connect(server);
    await client.ask("hello", hello());
    await client.ask("statistics", encodeRequest("statistics", {}));
    assert.equal(server.list().length, 2, "the others are served before the limit");
    const local = await namespace.openSession(quietEvents);
    await local.call("make", {
      parent: inode,
      name: "a" as ByteString,
      mode: 0o100644,
      umask: 0,
      uid: 0,
      gid: 0,
      exclusive: true,
    });
    assert.ok(served.destroyed, "the connection of the session that is over is closed");
    assert.ok(retrieved < 60, `${retrieved} blocks were read for it`);
    stuck.resume();
    for (const { status } of (await refused).slice(60)) assert.equal(status, "rejected");
    client.close();
  }));
