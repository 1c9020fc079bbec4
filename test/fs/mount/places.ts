// Which look-ups make the kernel be brought to take a directory's new name, and which do not; test/mounts/moved.ts has the kernel.

import assert from "node:assert/strict";
import test from "node:test";
import type { Core } from "../../../fs/mount/core.ts";
import { LOOK_WAIT_MAX_MS, LOOKS_MAX, MOVED_THREADS_MAX, MOVED_TOLD_MS, PLACE_DEPTH_MAX, PLACES_MAX } from "../../../fs/mount/limits.ts"; // prettier-ignore
import { Looks } from "../../../fs/mount/look.ts";
import { Places } from "../../../fs/mount/places.ts";
import { ROOT_INODE, type ByteString, type InodeId } from "../../../fs/types.ts";

const [A, B, C, D] = [2, 3, 4, 5] as InodeId[];
const [ME, OTHER] = [100, 200];
const bytes = (text: string): ByteString => text as ByteString;

/** Directories a, b, c in the root; c was moved to b/d by another mount. */
function makePlaces(limits = {}) {
  const places = new Places(limits);
  const looks: { path: string; ended: (found: boolean) => void }[] = [];
  let nowMs = 5000;
  const timers = new Set<{ dueMs: number; action: () => void }>();
  const core = {
    clock: {
      nowMs: () => nowMs,
      after: (ms: number, action: () => void) => {
        const timer = { dueMs: nowMs + ms, action };
        timers.add(timer);
        return () => timers.delete(timer);
      },
    },
    caches: {
      lookUp: (names: readonly ByteString[]) => new Promise<boolean>((ended) => looks.push({ path: names.join("/"), ended })),
    },
  } as unknown as Core;
  const lookedUp = (inode: InodeId, parent: InodeId, name: string, thread = ME): Promise<void> | null =>
    places.lookedUp(core, inode, parent, bytes(name), thread);
  for (const [inode, name] of [[A, "a"], [B, "b"], [C, "c"]] as const) assert.equal(lookedUp(inode, ROOT_INODE, name), null); // prettier-ignore
  const pass = (ms: number): void => {
    nowMs += ms;
    for (const timer of timers)
      if (timer.dueMs <= nowMs) {
        timers.delete(timer);
        timer.action();
      }
  };
  return { places, looks, lookedUp, pass, timers };
}

test("a thread that was told of a moved directory and asks for its path again waits until it was looked up", async () => {
  const { looks, lookedUp, timers } = makePlaces();
  assert.equal(lookedUp(C, B, "d"), null);
  assert.equal(looks.length, 0, "it may not be in rename(2)");
  const waits = lookedUp(B, ROOT_INODE, "b");
  assert.deepEqual(looks.map(({ path }) => path), ["b/d"]); // prettier-ignore
  looks[0].ended(true);
  await waits;
  assert.equal(timers.size, 0);
  for (const [inode, parent, name] of [
    [B, ROOT_INODE, "b"],
    [A, ROOT_INODE, "a"],
    [C, B, "d"],
  ] as const)
    // prettier-ignore
    assert.equal(lookedUp(inode, parent, name), null, "it is there now");
  assert.equal(lookedUp(B, ROOT_INODE, "b"), null);
  assert.equal(looks.length, 1);
});

test("who walks through a moved directory, asks for others that moved, for new ones, or later, does not wait", () => {
  const { looks, lookedUp, pass } = makePlaces();
  lookedUp(D, C, "below");
  lookedUp(C, B, "d");
  assert.equal(lookedUp(D, C, "below"), null, "through it");
  assert.equal(lookedUp(B, ROOT_INODE, "b"), null);
  lookedUp(C, A, "d");
  assert.equal(lookedUp(A, B, "a"), null, "moved, too");
  lookedUp(C, B, "e");
  assert.equal(lookedUp(9 as InodeId, A, "new"), null);
  pass(MOVED_TOLD_MS + 1);
  assert.equal(lookedUp(B, ROOT_INODE, "b"), null);
  assert.equal(lookedUp(B, ROOT_INODE, "b", OTHER), null, "another thread");
  assert.equal(looks.length, 0);
});

test("a directory that the kernel may have failed to take is moved for every thread until it was looked up", async () => {
  const { looks, lookedUp, pass } = makePlaces();
  lookedUp(C, B, "d", OTHER);
  pass(10 * MOVED_TOLD_MS);
  lookedUp(C, B, "d");
  const first = lookedUp(B, ROOT_INODE, "b");
  looks[0].ended(false);
  await first;
  lookedUp(C, B, "d");
  const second = lookedUp(A, ROOT_INODE, "a");
  looks[1].ended(true);
  await second;
  lookedUp(C, B, "d");
  assert.equal(lookedUp(A, ROOT_INODE, "a"), null);
  assert.equal(looks.length, 2);
});

test("asked for twice without a name between, it is looked up for the next rename(2): this one holds the lock", async () => {
  const { looks, lookedUp } = makePlaces();
  lookedUp(C, B, "d");
  assert.equal(lookedUp(C, B, "d"), null);
  assert.equal(looks.length, 1);
  assert.equal(lookedUp(C, B, "d"), null);
  const waits = lookedUp(A, ROOT_INODE, "a");
  assert.equal(looks.length, 1, "the same look");
  looks[0].ended(true);
  await waits;
});

test("a look that takes too long holds the thread up for LOOK_WAIT_MAX_MS", async () => {
  const { looks, lookedUp, pass } = makePlaces();
  lookedUp(C, B, "d");
  const waits = lookedUp(B, ROOT_INODE, "b");
  pass(LOOK_WAIT_MAX_MS);
  await waits;
  assert.equal(looks.length, 1);
});

test("what was renamed here, or is forgotten by the kernel, is not moved", () => {
  const { places, looks, lookedUp } = makePlaces();
  places.put(C, B, bytes("d"));
  lookedUp(C, B, "d");
  assert.equal(lookedUp(B, ROOT_INODE, "b"), null);
  places.forget(C);
  lookedUp(C, A, "d");
  assert.equal(lookedUp(B, ROOT_INODE, "b"), null);
  places.putNew(C, B, bytes("listed"));
  lookedUp(C, A, "d");
  assert.equal(lookedUp(B, ROOT_INODE, "b"), null, "where it was is kept");
  assert.equal(looks.length, 0);
});

test("no more places, threads and names of a path are kept than their limits", async () => {
  const { places, looks, lookedUp } = makePlaces();
  let most = 0;
  for (let index = 0; index < PLACES_MAX + 10; index++) {
    lookedUp((100 + index) as InodeId, ROOT_INODE, `n${index}`);
    most = Math.max(most, places.counts.places);
  }
  assert.equal(most, PLACES_MAX);
  lookedUp(100 as InodeId, ROOT_INODE, "moved");
  assert.equal(places.counts.threads, 0, "the oldest place is not known any more");
  for (let thread = 0; thread < MOVED_THREADS_MAX + 10; thread++) {
    const index = PLACES_MAX - thread;
    lookedUp((100 + index) as InodeId, ROOT_INODE, `moved${index}`, thread);
  }
  assert.equal(places.counts.threads, MOVED_THREADS_MAX);
  const last = (100 + PLACES_MAX + 9) as InodeId;
  assert.equal(lookedUp(last, ROOT_INODE, `n${PLACES_MAX + 9}`, 0), null, "the oldest thread is not known any more");
  assert.equal(looks.length, 0);
  lookedUp(last, ROOT_INODE, `n${PLACES_MAX + 9}`, MOVED_THREADS_MAX + 9);
  assert.equal(looks.length, 1);

  const deep = makePlaces();
  for (let depth = 1; depth <= PLACE_DEPTH_MAX; depth++)
    deep.lookedUp((1000 + depth) as InodeId, depth === 1 ? ROOT_INODE : ((999 + depth) as InodeId), "n");
  deep.lookedUp(C, (1000 + PLACE_DEPTH_MAX - 1) as InodeId, "moved");
  void deep.lookedUp(B, ROOT_INODE, "b");
  assert.equal(deep.looks.length, 1, "as deep as the limit");
  deep.lookedUp(C, (1000 + PLACE_DEPTH_MAX) as InodeId, "moved");
  await deep.lookedUp(B, ROOT_INODE, "b");
  assert.equal(deep.looks.length, 1, "deeper: not looked up, and nobody waits");
});

test("LOOKS_MAX processes look at once; what is no mount of the store is not looked at", async () => {
  const traced: string[] = [];
  const looks = new Looks({ mountpoint: "/proc", deviceMinor: 1_000_000 }, (line) => traced.push(line));
  const running = Array.from({ length: LOOKS_MAX }, () => looks.lookUp([bytes("self")]));
  assert.equal(looks.running, LOOKS_MAX);
  assert.equal(await looks.lookUp([bytes("self")]), false);
  assert.equal(looks.running, LOOKS_MAX, "no other was started");
  assert.deepEqual(
    await Promise.all(running),
    running.map(() => false),
  );
  assert.equal(looks.running, 0);
  const ended = looks.lookUp([bytes("self")]);
  looks.end();
  assert.equal(await ended, false);
  assert.equal(await new Looks({ mountpoint: "/proc", deviceMinor: -1 }, () => {}).lookUp([bytes("self")]), false);
  assert.deepEqual(traced, []);
});
