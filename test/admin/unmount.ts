// `cairn unmount` where no daemon serves the store.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test, { after, before } from "node:test";
import { mountAgain } from "../fixture/second-mount.ts";
import { makeStore, type Store } from "../fixture/store.ts";

let store: Store;

before(async () => {
  store = makeStore("unmount");
  await store.start();
});

after(() => store.destroy());

const isThere = (pid: number): boolean => fs.existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, "utf8")); // prettier-ignore
const isMounted = (place: string): boolean => fs.readFileSync("/proc/self/mounts", "utf8").includes(` ${place} `);

test("a mount whose daemon is gone is ended: the process, the mount and its note go; others are refused by name", async () => {
  const idle = await mountAgain(store, "idle");
  const stopped = await mountAgain(store, "stopped");
  const dead = await mountAgain(store, "dead");
  fs.writeFileSync(path.join(idle.path, "unsynced"), "x");
  process.kill(stopped.pid, "SIGSTOP");
  await store.kill();
  process.kill(dead.pid, "SIGKILL");
  try {
    for (const mount of [idle, stopped, dead]) {
      // Two of them cannot end by themselves: one is stopped, one has what nobody can store.
      const ran = await store.cairn("unmount", mount.path, "--wait", "1");
      assert.equal(ran.code, 0, ran.stderr);
      assert.equal(ran.stdout.trim(), `unmounted ${mount.path}`);
      assert.equal(isThere(mount.pid), false, mount.path);
      assert.equal(isMounted(mount.path), false, mount.path);
    }
  } finally {
    if (isThere(stopped.pid)) process.kill(stopped.pid, "SIGKILL");
  }
  const again = await store.cairn("unmount", idle.path);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /idle is not a mount of this store \(mounts: none\)/);
  assert.deepEqual(fs.readdirSync(path.join(store.data, "mounts")), []);
});

test("beside a daemon that was started again, and after it, a mount is ended as ever, and its note is taken away", async () => {
  await store.start();
  const mount = await mountAgain(store, "ever");
  assert.equal(fs.readdirSync(path.join(store.data, "mounts")).length, 1);
  const ran = await store.cairn("unmount", mount.path);
  assert.equal(ran.code, 0, ran.stderr);
  assert.equal(isMounted(mount.path), false);
  assert.deepEqual(fs.readdirSync(path.join(store.data, "mounts")), []);
});
