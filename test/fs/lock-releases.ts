// Locks of programs that end while the namespace is away: they are given back all the same.

import assert from "node:assert/strict";
import test from "node:test";
import type { Session } from "../../fs/messages.ts";
import { Mount } from "../../fs/mount/mount.ts";
import { RELEASE_AGAIN_MS } from "../../fs/mount/limits.ts";
import { Releases } from "../../fs/mount/releases.ts";
import type { InodeId } from "../../fs/types.ts";
import { Machine } from "./machine.ts";
import { caller, MemoryStripes } from "./mount/doubles.ts";
import { createFile, openFile, type OpenFile } from "./mount/program.ts";
import { TestClock } from "./namespace/memory-log.ts";

const schemes = { full: "copies:1", small: "copies:1" };
const AWAY_MS = 65_000;
const lock = { type: "write", start: 0, end: 9, pid: 1 } as const;

async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function passMs(clock: TestClock, ms: number): Promise<void> {
  for (const end = clock.nowMs() + ms; clock.nowMs() < end; await settle()) clock.advance(100);
}

async function done<T>(clock: TestClock, promise: Promise<T> | T): Promise<T> {
  let over = false;
  const end = (): void => void (over = true);
  Promise.resolve(promise).then(end, end);
  await settle();
  for (let count = 0; count < 2000 && !over; count++) await passMs(clock, 100);
  assert.ok(over, "answered");
  return promise;
}

interface Scene {
  clock: TestClock;
  machine: Machine;
  mount: Mount;
  ours: OpenFile;
  other: Mount;
  /** Whether the mount gets connections. */
  reaches: boolean;
}

async function openMount(machine: Machine, connect = machine.connect): Promise<Mount> {
  return Mount.open({
    openSession: (events) => machine.open(events, connect),
    stripes: new MemoryStripes(),
    schemes,
    clock: machine.clock,
  });
}

async function newScene(): Promise<Scene> {
  const clock = new TestClock();
  const machine = new Machine(clock);
  await machine.start();
  const scene = { clock, machine, reaches: true } as Scene;
  scene.mount = await openMount(machine, async () => {
    if (!scene.reaches) throw new Error("there is no way to the server");
    return machine.connect();
  });
  scene.ours = await done(clock, createFile(scene.mount, "file"));
  return scene;
}

const KINDS: Record<string, { flock: boolean; end: (file: OpenFile) => unknown }> = {
  "byte-range": { flock: false, end: ({ mount, inode, handle }) => mount.flush(caller, inode, handle, "owner") },
  flock: { flock: true, end: ({ mount, inode, handle }) => mount.release(caller, inode, handle, "owner") },
  "open file description": { flock: false, end: ({ mount, inode, handle }) => mount.release(caller, inode, handle, null) },
};

for (const [what, { flock, end }] of Object.entries(KINDS)) {
  for (const away of ["the server is killed", "the connection is cut"]) {
    test(`a lock (${what}) of a program that ends while ${away} is given back afterwards`, async () => {
      const scene = await newScene();
      const { clock, machine, mount, ours } = scene;
      await done(clock, mount.setlk(caller, ours.inode, ours.handle, "owner", lock, flock, false));
      if (away === "the server is killed") machine.kill();
      else {
        scene.reaches = false;
        machine.cut();
      }
      await passMs(clock, AWAY_MS);
      await done(clock, end(ours) as Promise<void>);
      if (away === "the server is killed") await machine.start();
      scene.reaches = true;
      await passMs(clock, 5000);
      const other = await done(clock, openMount(machine));
      const theirs = await done(clock, openFile(other, "file"));
      await done(clock, other.setlk(caller, theirs.inode, theirs.handle, "other", lock, flock, false));
    });
  }
}

test("a lock that is taken after its owner's name was given out again is not given back by the release of before", async () => {
  const scene = await newScene();
  const { clock, machine, mount, ours } = scene;
  const { inode, handle } = ours;
  await done(clock, mount.setlk(caller, inode, handle, "owner", lock, false, false));
  scene.reaches = false;
  machine.cut();
  await passMs(clock, AWAY_MS);
  await done(clock, mount.flush(caller, inode, handle, "owner") as Promise<void>);
  await assert.rejects(done(clock, mount.setlk(caller, inode, handle, "owner", lock, false, false)), { code: "EIO" });
  scene.reaches = true;
  for (let count = 0; count < 50 && !mount.session.connected; count++) await passMs(clock, 100);
  await done(clock, mount.setlk(caller, inode, handle, "owner", lock, false, false));
  await passMs(clock, 5 * RELEASE_AGAIN_MS);
  const other = await done(clock, openMount(machine));
  const theirs = await done(clock, openFile(other, "file"));
  const refused = done(clock, other.setlk(caller, theirs.inode, theirs.handle, "other", lock, false, false));
  await assert.rejects(refused, { code: "EAGAIN" });
});

test("releases that are not answered are kept up to a limit, from which on no lock is asked for, and are all sent in the end", async () => {
  const clock = new TestClock();
  let away = true;
  const sent: string[] = [];
  const session = {
    call: async (_: string, { owner }: { owner: string }) => {
      if (away) throw new Error("nobody is there");
      sent.push(owner);
      return {};
    },
  } as unknown as Session;
  const releases = new Releases({ session, clock, trace: () => {}, limit: 3 });
  const inode = 5 as InodeId;
  for (const owner of ["a", "b", "c"]) {
    assert.equal(releases.beforeLock(inode, "posix", owner), undefined);
    await releases.release(inode, "posix", owner);
  }
  await releases.release(inode, "posix", "a");
  assert.equal(releases.waiting, 3);
  assert.throws(() => releases.beforeLock(inode, "posix", "d"), { code: "ENOLCK", message: /3 owners .* at most 3/ });
  await passMs(clock, 10 * RELEASE_AGAIN_MS);
  assert.equal(releases.waiting, 3);
  away = false;
  await passMs(clock, RELEASE_AGAIN_MS);
  assert.deepEqual(sent.sort(), ["a", "b", "c"]);
  assert.equal(releases.waiting, 0);
  assert.equal(releases.beforeLock(inode, "posix", "d"), undefined);
});

test("releases end with their session", async () => {
  const clock = new TestClock();
  let asked = 0;
  const session = { call: async () => Promise.reject(new Error(`asked ${++asked} times`)) } as unknown as Session;
  const releases = new Releases({ session, clock, trace: () => {} });
  await releases.release(5 as InodeId, "flock", "one");
  releases.clear();
  await passMs(clock, 5 * RELEASE_AGAIN_MS);
  assert.equal(asked, 1);
});
