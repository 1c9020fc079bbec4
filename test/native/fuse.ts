// The addon's connection over a socket pair instead of /dev/fuse: what it reads, writes, refuses and closes. With the
// real device it is tested by test/fs/mount/channel.ts.
import assert from "node:assert/strict";
import test from "node:test";
import { fuseAddon } from "../../native/fuse.ts";
import type { FuseConnection } from "../../native/fuse.ts";

const PAGE = 4096;
const ARENA_BYTES = 64 * PAGE;

interface Ends {
  connection: FuseConnection;
  /** The other end, as a connection of its own: what one replies the other receives. */
  peer: FuseConnection;
  bytes: Uint8Array;
  peerBytes: Uint8Array;
  events: string[];
}

function attach(
  descriptor: number,
  name: string,
  events: string[],
  limit = 16,
): { connection: FuseConnection; bytes: Uint8Array } {
  const arena = new ArrayBuffer(ARENA_BYTES + PAGE);
  const connection = fuseAddon().attach(
    descriptor,
    arena,
    () => {
      events.push(`${name} readable`);
      connection.setPolling(0);
    },
    (id, error) => events.push(`${name} notified ${id} ${error}`),
    "",
    "",
    0,
    limit,
  ) as FuseConnection;
  return { connection, bytes: new Uint8Array(arena, connection.arenaStart, ARENA_BYTES) };
}

async function withPair(body: (ends: Ends) => Promise<void> | void): Promise<void> {
  const pair = fuseAddon().socketPair() as [number, number];
  const events: string[] = [];
  const [one, two] = [attach(pair[0], "one", events), attach(pair[1], "two", events)];
  try {
    await body({ connection: one.connection, bytes: one.bytes, peer: two.connection, peerBytes: two.bytes, events });
  } finally {
    one.connection.close();
    two.connection.close();
  }
}

/** Until it holds other threads may have to be given the processor first. */
const UNTIL_MS_MAX = 30_000;

/** Turns of the event loop until the condition holds. */
async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + UNTIL_MS_MAX;
  while (!condition() && performance.now() < end) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(condition());
}

test("what one end replies, the other receives at the offset it names", () =>
  withPair(({ connection, peer, bytes, peerBytes }) => {
    assert.equal(peer.receive(0, 100), -11, "nothing is waiting");
    bytes.set([1, 2, 3, 4, 5], PAGE - 16);
    assert.equal(connection.reply(PAGE - 16, 5), 0);
    assert.equal(peer.receive(80, 3), 3);
    assert.equal(peer.receive(83, ARENA_BYTES - 83), 2);
    assert.deepEqual([...peerBytes.subarray(80, 86)], [1, 2, 3, 4, 5, 0]);
  }));

/** Whether the event loop slept while a timer ran. */
async function slept(ms: number): Promise<boolean> {
  await new Promise((resolve) => setImmediate(resolve));
  const before = performance.eventLoopUtilization();
  await new Promise((resolve) => setTimeout(resolve, ms));
  return performance.eventLoopUtilization(before).idle > 0;
}

/** On a loaded machine a timer may be over before the loop gets to sleep. */
async function untilSlept(): Promise<void> {
  for (let round = 0; round < 1000; round++) if (await slept(5)) return;
  assert.fail("the event loop never sleeps");
}

test("the event loop does not sleep during a vigil, which begins with a request", () =>
  withPair(async ({ connection, peer }) => {
    peer.setVigil(60_000_000);
    await untilSlept();
    connection.reply(0, 5);
    assert.equal(peer.receive(0, 100), 5);
    assert.equal(await slept(20), false);
    peer.setVigil(0);
    await untilSlept();
  }));

test("vigils that meet no request are given up, and tried again at one of 64 requests", () =>
  withPair(async ({ connection, peer }) => {
    const receive = (): void => {
      connection.reply(0, 5);
      assert.equal(peer.receive(0, 100), 5);
    };
    peer.setVigil(1);
    for (let vain = 0; vain < 4; vain++) {
      receive();
      await untilSlept();
    }
    peer.setVigil(60_000_000);
    for (let request = 0; request < 63; request++) receive();
    await untilSlept();
    receive();
    assert.equal(await slept(20), false);
  }));

test("a reply of buffers is its header and then each of them", () =>
  withPair(({ connection, peer, bytes, peerBytes }) => {
    bytes.set([9, 8], 0);
    const buffers = [Buffer.from("ab"), new Uint8Array(0), new Uint8Array([7])];
    assert.equal(connection.replyBuffers(0, 2, buffers), 0);
    assert.equal(peer.receive(0, 100), 5);
    assert.deepEqual([...peerBytes.subarray(0, 5)], [9, 8, 97, 98, 7]);
    assert.equal(
      connection.replyBuffers(
        0,
        2,
        Array.from({ length: 513 }, () => Buffer.from("a")),
      ),
      -7,
    );
    assert.equal(connection.replyBuffers(0, 2, ["no buffer" as unknown as Uint8Array]), -14);
  }));

test("offsets outside the arena are refused", () =>
  withPair(({ connection }) => {
    for (const [offset, length] of [[-1, 10], [0, -1], [ARENA_BYTES + PAGE, 1], [0, ARENA_BYTES + PAGE + 1], [0, 2 ** 40], [2 ** 52, 2 ** 52]]) {
      assert.equal(connection.receive(offset, length), -9);
      assert.equal(connection.reply(offset, length), -9);
      assert.equal(connection.replyBuffers(offset, length, []), -9);
    }
  })); // prettier-ignore

test("polling calls back when something is waiting, only while it is on", () =>
  withPair(async ({ connection, peer, events }) => {
    connection.reply(0, 1);
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(events, []);
    peer.setPolling(1);
    await until(() => events.length > 0);
    assert.deepEqual(events, ["two readable"]);
  }));

test("notifications are written by other threads, each whole, and each is completed", () =>
  withPair(async ({ connection, peer, peerBytes, events }) => {
    const message = new Uint8Array([1, 2, 3]);
    assert.equal(connection.notify(7, message), 0);
    message.fill(0); // it was copied
    assert.equal(connection.notify(8, new Uint8Array([4])), 0);
    connection.setPolling(1); // keeps the loop turning
    await until(() => events.length === 2);
    assert.deepEqual(events.toSorted(), ["one notified 7 0", "one notified 8 0"]);
    assert.equal(peer.receive(0, 10), 4);
    assert.ok(["1,2,3,4", "4,1,2,3"].includes([...peerBytes.subarray(0, 4)].join()));
  }));

test("a notification that fails is completed with its errno", () =>
  withPair(async ({ connection, peer, events }) => {
    process.on("SIGPIPE", () => {});
    peer.close();
    await new Promise((resolve) => setTimeout(resolve, 20));
    connection.notify(1, new Uint8Array(10));
    connection.setPolling(1);
    await until(() => events.includes("one notified 1 32"));
  }));

test("a full queue of notifications says so", async () => {
  const pair = fuseAddon().socketPair() as [number, number];
  const events: string[] = [];
  const { connection } = attach(pair[0], "one", events, 0);
  assert.equal(connection.notify(1, new Uint8Array(1)), -11);
  connection.close();
  fuseAddon().closeDescriptor(pair[1]);
});

test("a closed connection refuses everything and can be closed again", () =>
  withPair(({ connection }) => {
    connection.close();
    connection.close();
    assert.deepEqual(
      [
        connection.receive(0, 1),
        connection.reply(0, 1),
        connection.replyBuffers(0, 1, []),
        connection.notify(1, new Uint8Array(1)),
        connection.setPolling(1),
      ],
      [-9, -9, -9, -9, -9],
    );
    connection.beat();
    connection.armWatchdog(-1);
    connection.forgetMountpoint();
  }));

test("an arena too small to align is refused", () => {
  const pair = fuseAddon().socketPair() as [number, number];
  const attached = fuseAddon().attach(pair[0], new ArrayBuffer(100), () => {}, () => {}, "", "", 0, 1); // prettier-ignore
  assert.equal(attached, -22);
  pair.forEach((descriptor) => fuseAddon().closeDescriptor(descriptor));
});

test("a descriptor is received from a socket that sent none as ENODATA", () => {
  const [ours, theirs] = fuseAddon().socketPair() as [number, number];
  assert.equal(fuseAddon().receiveDescriptor(ours), -11);
  fuseAddon().closeDescriptor(theirs);
  assert.equal(fuseAddon().receiveDescriptor(ours), -61);
  fuseAddon().closeDescriptor(ours);
});
