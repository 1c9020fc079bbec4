// A mount's way to its server while that is gone: who waits, for how long, and what is refused.

import assert from "node:assert/strict";
import type { Duplex } from "node:stream";
import test from "node:test";
import { LINK_WAITING_MAX, PAUSE_MAX_MS, SessionLink } from "../../fs/session-link.ts";
import { Connection } from "../../replication/connection.ts";
import { duplexPair } from "../fixture/duplex.ts";
import { TestClock } from "./namespace/memory-log.ts";

const none = new Uint8Array();
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
};

interface Scene {
  link: SessionLink;
  clock: TestClock;
  ask: (deadlineMs?: number) => Promise<unknown>;
  cut: () => Promise<void>;
  /** Whether the server can be reached. */
  there: (is: boolean) => void;
  attempts: () => number;
}

async function newScene(): Promise<Scene> {
  const clock = new TestClock();
  let [there, attempts] = [true, 0];
  let ours: Duplex;
  const connect = async (): Promise<Duplex> => {
    attempts++;
    if (!there) throw new Error("connection refused");
    const [left, right] = duplexPair();
    left.on("close", () => right.destroy());
    new Connection({ stream: right, handle: async () => ({ body: Buffer.from("done") }), setTimer: (action, ms) => clock.after(ms, action) }); // prettier-ignore
    return (ours = left);
  };
  const link = new SessionLink({
    connect, greet: async () => {}, handle: async () => ({ body: none }), clock, random: () => 0, over: assert.fail, trace: () => {},
  }); // prettier-ignore
  await link.open();
  return {
    link,
    clock,
    ask: (deadlineMs = 1e6) => link.request("x", { body: none }, { deadlineMs, renewable: true }),
    cut: async () => (ours.destroy(), settle()),
    there: (is) => (there = is),
    attempts: () => attempts,
  };
}

async function passMs(clock: TestClock, ms: number): Promise<void> {
  for (const end = clock.nowMs() + ms; clock.nowMs() < end; await settle()) clock.advance(500);
}

test("LINK_WAITING_MAX requests wait for a server that is gone; one more is EIO at once, and all others are answered when it is back", async () => {
  const { link, clock, ask, cut, there } = await newScene();
  there(false);
  await cut();
  const all = Array.from({ length: LINK_WAITING_MAX }, () => ask());
  await assert.rejects(ask(), { code: "EIO", message: /9728 requests wait for the daemon already/ });
  there(true);
  await passMs(clock, 2000);
  await Promise.all(all);
  await ask();
  link.close();
});

test("a server that is gone is waited for until PAUSE_MAX_MS, or until the deadline; from then on requests are refused at once, and served when it is back", async () => {
  const { link, clock, ask, cut, there, attempts } = await newScene();
  there(false);
  await cut();
  const waiting = assert.rejects(ask(), { code: "ETIMEDOUT" });
  const short = assert.rejects(ask(1000), { code: "ETIMEDOUT" });
  await passMs(clock, 1000);
  await short;
  let over = false;
  void waiting.then(() => (over = true));
  await passMs(clock, PAUSE_MAX_MS - 2000);
  assert.equal(over, false);
  await passMs(clock, 1000);
  await waiting;
  await assert.rejects(ask(), { code: "EIO", message: /no daemon for 60 s/ });
  const before = attempts();
  await passMs(clock, 60_000);
  assert.ok(attempts() - before >= 60 && attempts() - before <= 120, `${attempts() - before} attempts in a minute`);
  there(true);
  await passMs(clock, 2000);
  await ask();
  link.close();
});
