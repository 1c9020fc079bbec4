import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import type { StatusReport, WhereReport } from "../../admin/api.ts";
import { run, shell, withStore } from "../fixture/store.ts";

test("up creates a store with six disks and rs:4+2, a second start finds the same files", () =>
  withStore("up", async (store) => {
    await store.start();
    const status = await store.json<StatusReport>("status");
    assert.equal(status.store.scheme, "rs:4+2");
    assert.equal(status.disks.length, 6);
    assert.equal(status.health, "healthy");
    await shell(
      `cp -r /usr/include/linux "${store.mount}/" && head -c 10000000 /dev/urandom > "${store.directory}/random" && cp "${store.directory}/random" "${store.mount}/"`,
    );
    assert.equal(await store.stop(), 0);
    assert.deepEqual(fs.readdirSync(store.mount), []);
    await store.start();
    await shell(`diff -r /usr/include/linux "${store.mount}/linux" && cmp "${store.directory}/random" "${store.mount}/random"`);
  }));

test("any two lost disks: reads and writes go on, status says so, replace restores full redundancy", () =>
  withStore("lost", async (store) => {
    await store.start();
    await shell(
      `head -c 30000000 /dev/urandom > "${store.directory}/a" && cp "${store.directory}/a" "${store.mount}/a" && sync "${store.mount}/a"`,
    );
    fs.rmSync(path.join(store.data, "disk-2"), { recursive: true });
    fs.rmSync(path.join(store.data, "disk-5"), { recursive: true });
    await shell(`echo 3 > /proc/sys/vm/drop_caches || true; cmp "${store.directory}/a" "${store.mount}/a"`);
    await shell(`head -c 20000000 "${store.directory}/a" > "${store.mount}/b" && sync "${store.mount}/b"`);
    const degraded = await store.json<StatusReport>("status");
    assert.equal(degraded.health, "degraded");
    assert.deepEqual(degraded.disks.filter((disk) => disk.state === "failed").map((disk) => disk.id), [2, 5]); // prettier-ignore
    assert.ok(degraded.stripes.degraded > 0);
    for (const disk of ["2", "5"]) assert.equal((await store.cairn("disk", "replace", disk)).code, 0);
    const healed = await store.json<StatusReport>("status");
    assert.equal(healed.health, "healthy", healed.problems.join("; "));
    assert.equal(healed.stripes.degraded, 0);
    fs.rmSync(path.join(store.data, "disk-1"), { recursive: true });
    fs.rmSync(path.join(store.data, "disk-6"), { recursive: true });
    await shell(
      `echo 3 > /proc/sys/vm/drop_caches || true; cmp "${store.directory}/a" "${store.mount}/a" && cmp -n 20000000 "${store.directory}/a" "${store.mount}/b"`,
    );
  }));

test("scrub finds and repairs flipped bytes in segment files", () =>
  withStore("scrub", async (store) => {
    await store.start();
    await shell(
      `head -c 20000000 /dev/urandom > "${store.directory}/a" && cp "${store.directory}/a" "${store.mount}/a" && sync "${store.mount}/a"`,
    );
    const where = await store.json<WhereReport>("where", path.join(store.mount, "a"));
    const block = where.extents[0].blocks[1];
    assert.ok(block.file && block.offset !== null);
    const descriptor = fs.openSync(block.file, "r+");
    fs.writeSync(descriptor, Buffer.from("damaged"), 0, 7, block.offset + 100);
    fs.closeSync(descriptor);
    const ran = await store.cairn("scrub");
    assert.equal(ran.code, 0, ran.stderr);
    assert.match(ran.stdout, /1 damaged, 1 repaired, 0 not repaired/);
    assert.match((await store.cairn("scrub")).stdout, /0 damaged, 0 repaired/);
    await shell(`echo 3 > /proc/sys/vm/drop_caches || true; cmp "${store.directory}/a" "${store.mount}/a"`);
  }));

test("--detach returns 0 once the mount serves, and non-zero with the reason where it does not", () =>
  withStore("detach", async (store) => {
    const up = await store.cairn("up", "--mount", store.mount, "--detach");
    assert.equal(up.code, 0, up.stderr);
    await shell(`echo hello > "${store.mount}/file" && test "$(cat "${store.mount}/file")" = hello`);
    const again = await store.cairn("up", "--mount", store.mount, "--detach");
    assert.equal(again.code, 1);
    assert.match(again.stderr, /already/);
    const down = await store.cairn("down");
    assert.equal(down.code, 0, down.stderr);
    const status = await store.cairn("status");
    assert.equal(status.code, 3);
    assert.match(status.stderr, /cairn up/);
  }));

test("mount gives a second mount of the same files, unmount ends it", () =>
  withStore("second", async (store) => {
    await store.start();
    const second = path.join(store.directory, "second");
    assert.equal((await store.cairn("mount", second)).code, 0);
    await shell(
      `echo one > "${store.mount}/file" && test "$(cat "${second}/file")" = one && echo two > "${second}/file" && test "$(cat "${store.mount}/file")" = two`,
    );
    assert.equal((await store.cairn("unmount", second)).code, 0);
    assert.deepEqual(fs.readdirSync(second), []);
  }));

test("a dead daemon's mount is cleaned up at the next start", () =>
  withStore("stale", async (store) => {
    await store.start();
    const { process: daemon } = store;
    const gone = new Promise((resolve) => daemon!.once("exit", resolve));
    daemon!.kill("SIGKILL");
    await gone;
    assert.notEqual((await run("ls", [store.mount])).code, 0);
    await store.start();
    await shell(`ls "${store.mount}"`);
  }));

test("disk add and remove: removal drains first", () =>
  withStore("drain", async (store) => {
    await store.start("--disks", "6");
    await shell(
      `head -c 20000000 /dev/urandom > "${store.directory}/a" && cp "${store.directory}/a" "${store.mount}/a" && sync "${store.mount}/a"`,
    );
    const refused = await store.cairn("disk", "remove", "3");
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /rs:4\+2 needs 6 disks/);
    assert.equal((await store.cairn("disk", "add", path.join(store.directory, "disk-7"))).code, 0);
    const removed = await store.cairn("disk", "remove", "3");
    assert.equal(removed.code, 0, removed.stderr);
    fs.rmSync(path.join(store.data, "disk-3"), { recursive: true });
    const status = await store.json<StatusReport>("status");
    assert.equal(status.health, "healthy", status.problems.join("; "));
    assert.deepEqual(status.disks.map((disk) => disk.id), [1, 2, 4, 5, 6, 7]); // prettier-ignore
    await shell(`echo 3 > /proc/sys/vm/drop_caches || true; cmp "${store.directory}/a" "${store.mount}/a"`);
  }));

test("files that were written, read and removed leave no inode behind", () =>
  withStore("removed", async (store) => {
    await store.start();
    const { inodes: before } = await store.json<StatusReport>("status");
    await shell(
      `cd "${store.mount}"; for i in $(seq 60); do head -c 5000 /dev/zero > f; cat f > /dev/null; echo x > g; mv g f; cat f > /dev/null; rm f; done`,
    );
    let after = Infinity;
    for (let tries = 0; tries < 40 && after > before; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      after = (await store.json<StatusReport>("status")).inodes;
    }
    assert.equal(after, before);
  }));
