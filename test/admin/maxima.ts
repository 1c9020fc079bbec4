// Maxima of the daemon's sockets and tasks.

import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { BODY_MAX_BYTES, type Control, serveApi } from "../../admin/api-server.ts";
import type { RunningStore } from "../../admin/running-store.ts";
import { CONNECTIONS_MAX, listenForSessions } from "../../admin/session-listener.ts";
import { ENDED_TASKS_MAX, Tasks } from "../../admin/tasks.ts";
import { Throttle } from "../../replication/throttle.ts";
import { SimulatedClock } from "../../storage/clock.ts";

async function withSocket(action: (socket: string) => Promise<void>): Promise<void> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "cairn-maxima-"));
  try {
    await action(path.join(directory, "test.sock"));
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

function post(socketPath: string, body: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, path: "/v1/cleaner", method: "POST" }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += String(chunk)));
      response.on("end", () => resolve({ status: response.statusCode!, text }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

test("a request of BODY_MAX_BYTES is taken, a longer one is refused with the reason, and the next is served", () =>
  withSocket(async (socket) => {
    const control = { pauseCleaner: () => ({}) } as unknown as Control;
    const server = await serveApi(control, socket, () => {});
    const body = JSON.stringify({ paused: true });
    const most = body.padEnd(BODY_MAX_BYTES);
    assert.deepEqual(await post(socket, most), { status: 200, text: "{}" });
    const refused = await post(socket, `${most} `);
    assert.equal(refused.status, 400);
    assert.match(refused.text, /the request is longer than 65536 bytes/);
    assert.equal((await post(socket, body)).status, 200);
    await server.close();
  }));

test("CONNECTIONS_MAX mounts are connected; one more is closed, the daemon says so, and it gets in when another goes", () =>
  withSocket(async (socket) => {
    const traces: string[] = [];
    const store = { namespace: {}, blocks: {}, trace: (text: string) => traces.push(text), description: {} } as unknown as RunningStore; // prettier-ignore
    const listener = await listenForSessions(store, socket, 60_000);
    const streams: net.Socket[] = [];
    const open = async (): Promise<net.Socket> => {
      const stream = net.connect(socket);
      await new Promise((resolve) => stream.once("connect", resolve));
      return stream;
    };
    for (let count = 0; count < CONNECTIONS_MAX; count++) streams.push(await open());
    const isClosed = (stream: net.Socket): Promise<boolean> =>
      new Promise((resolve) => {
        stream.on("close", () => resolve(true));
        stream.resume();
        setTimeout(() => resolve(false), 200);
      });
    const further = await open();
    assert.equal(await isClosed(further), true);
    assert.deepEqual(traces, ["sessions: a mount was turned away, 256 are connected, which is the limit"]);
    assert.equal(await isClosed(streams[0]), false);
    await new Promise((resolve) => streams[0].on("close", resolve).destroy());
    const next = await open();
    assert.equal(await isClosed(next), false);
    for (const stream of [...streams, next]) stream.destroy();
    await listener.close();
  }));

test("ENDED_TASKS_MAX ended tasks are kept, the latest ones, and no running one goes", async () => {
  const clock = new SimulatedClock();
  const tasks = new Tasks(clock, new Throttle(clock, 1));
  let end = (): void => {};
  const start = (subject: string, run: () => Promise<void>): number =>
    tasks.start({ kind: "scrub", subject, title: subject, unit: "blocks", run }).report.id;
  const running = start("running", () => new Promise<void>((resolve) => (end = resolve)));
  const ids: number[] = [];
  for (let count = 0; count < ENDED_TASKS_MAX + 5; count++) {
    ids.push(start(`ended-${count}`, async () => {}));
    await new Promise(setImmediate);
  }
  const last = start("last", async () => {});
  assert.deepEqual(tasks.list().map(({ id }) => id), [running, ...ids.slice(-ENDED_TASKS_MAX), last]); // prettier-ignore
  assert.throws(() => tasks.find(ids[0]), /there is no task/);
  end();
  await tasks.stop();
});
