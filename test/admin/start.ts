// Starts on machines that lack something, or by people who may not do everything. What root is needed for happens in a
// mount namespace of its own (unshare -m), so nothing of it is seen outside and nothing is left.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import type { StatusReport } from "../../admin/api.ts";
import { lacking } from "../fixture/lacking.ts";
import { type Ran, run, shell, type Store, withStore } from "../fixture/store.ts";

const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const program = path.join(checkout, "cairn.cjs");
const asRoot = process.getuid!() === 0;
const needsRoot = { skip: asRoot ? false : "a mount namespace needs root" };

/** Runs the shell script in a mount namespace of its own; $CAIRN is the command, $DIR the store's directory. */
function inNamespace(store: Store, script: string, command = program): Promise<Ran> {
  const env = { CAIRN: `timeout 60 ${process.execPath} ${command}`, DIR: store.directory, NODE: process.execPath };
  return run("unshare", ["-m", "/bin/bash", "-uc", script], { env, cwd: store.directory });
}

const UP = `$CAIRN up --data "$DIR/data" --mount "$DIR/mnt"`;
/** A /dev of this namespace's own, with a FUSE device of the given mode. */
const ownDevices = (mode: string): string =>
  `mount -t tmpfs -o mode=755 none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9; mknod -m ${mode} /dev/fuse c 10 229;`;
const AS_NOBODY = `setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$DIR"`;

const NOT_TO_RUN = /\/node_modules\/@?(typescript|oxlint|prettier)(\/|$)|\/prebuilds\/(?!linux)./;

/** A copy of what the command consists of, that every user may read: the checkout may lie where others may not look. Returns its cairn.cjs. */
async function readableProgram(store: Store): Promise<string> {
  const copy = path.join(store.directory, "program");
  for (const part of ["cairn.cjs", "package.json", "binding.gyp", "dist", "build/Release", "node_modules"])
    fs.cpSync(path.join(checkout, part), path.join(copy, part), {
      recursive: true,
      filter: (from) => !NOT_TO_RUN.test(from.slice(checkout.length)),
    });
  await shell(`chmod -R a+rX "${copy}"`);
  return path.join(copy, "cairn.cjs");
}

test("no /dev/fuse: refused with what to do, and the store that was made starts as soon as there is one", needsRoot, () =>
  withStore("start-no-fuse", async (store) => {
    for (const words of ["", "--detach"]) {
      const ran = await inNamespace(store, `${ownDevices("666")} rm /dev/fuse; ${UP} ${words}`);
      assert.equal(ran.code, 1, ran.stdout);
      assert.match(ran.stderr, /\/dev\/fuse is not there.*modprobe fuse/);
    }
    const wrong = await inNamespace(store, `mount --bind /dev/null /dev/fuse; ${UP}`);
    assert.equal(wrong.code, 1, wrong.stdout);
    assert.match(wrong.stderr, /\/dev\/fuse is not the FUSE device/);
    assert.equal(fs.existsSync(store.mount), false, "a mountpoint that was made for nothing is removed");
    await store.start();
    assert.equal((await store.json<StatusReport>("status")).health, "healthy");
  }),
);

test("a mountpoint where something is mounted is refused, and left alone", needsRoot, () =>
  withStore("start-busy", async (store) => {
    const ran = await inNamespace(
      store,
      `mkdir "$DIR/mnt"; mount -t tmpfs none "$DIR/mnt"; touch "$DIR/mnt/theirs"; ${UP}; echo "code $?"; ls "$DIR/mnt"`,
    );
    assert.match(ran.stderr, /already has none \(tmpfs\) mounted.*umount/);
    assert.match(ran.stdout, /code 1\ntheirs/);
  }),
);

test("a data directory that cannot be written to is refused, naming it", needsRoot, () =>
  withStore("start-read-only", async (store) => {
    await store.start();
    assert.equal(await store.stop(), 0);
    for (const words of ["", "--detach"]) {
      const ran = await inNamespace(store, `mount --bind data data; mount -o remount,ro,bind data; ${UP} ${words}`);
      assert.equal(ran.code, 1, ran.stdout);
      assert.match(ran.stderr, /data\/(lock|trace): read-only file system|read-only file system.*data\/(lock|trace)/i);
    }
  }),
);

test("a data directory that is a file is refused", () =>
  withStore("start-file", async (store) => {
    fs.writeFileSync(store.data, "");
    for (const words of [[], ["--detach"]]) {
      const ran = await store.cairn("up", "--mount", store.mount, ...words);
      assert.equal(ran.code, 1);
      assert.match(ran.stderr, /cannot (read|write) .*data\//);
    }
  }));

const needsFusermount = { skip: needsRoot.skip || lacking("fusermount3") };

test("an ordinary user mounts through fusermount3, twice, and takes both away", needsFusermount, () =>
  withStore("start-user", async (store) => {
    fs.chownSync(store.directory, 65534, 65534);
    const command = await readableProgram(store);
    const script = `${UP} --detach && echo hello > mnt/file && $CAIRN mount two --data data && cat two/file && grep -c fuse.cairn /proc/mounts
      $CAIRN unmount two --data data && $CAIRN down --data data; echo "code $?"; grep -c fuse.cairn /proc/mounts
      mkdir bin && ln -s "$NODE" bin/node && PATH="$DIR/bin" $NODE ${command} up --data data --mount mnt; echo "code $?"`;
    fs.writeFileSync(path.join(store.directory, "script"), script);
    const ran = await inNamespace(
      store,
      `${ownDevices("666")} umount -a -t fuse.cairn 2>/dev/null; ${AS_NOBODY} bash -u script`,
      command,
    );
    assert.match(ran.stdout, /hello\n2\n[\s\S]*stopped\ncode 0\n0\ncode 1/, ran.stdout + ran.stderr);
    assert.match(ran.stderr, /fusermount3 was not found.*apt-get install fuse3/);
    const closed = await inNamespace(store, `${ownDevices("600")} ${AS_NOBODY} ${UP}`, command);
    assert.equal(closed.code, 1);
    assert.match(closed.stderr, /\/dev\/fuse may not be opened.*EACCES.*chmod 666/);
  }),
);

test("long paths with spaces and letters of any language, from another directory", () =>
  withStore("start-paths", async (store) => {
    const deep = path.join(store.directory, "d".repeat(100), "Größe und 長い");
    fs.mkdirSync(deep, { recursive: true });
    const data = path.join(deep, "dätä");
    const mount = path.join(deep, "mnt é");
    const cairn = (words: string[], cwd = "/"): Promise<Ran> => run(process.execPath, [program, ...words], { cwd });
    try {
      const up = await cairn(["up", "--data", data, "--mount", mount, "--detach"]);
      assert.equal(up.code, 0, up.stderr);
      await shell(`echo hello > "${mount}/ä file"`);
      const where = await cairn(["where", "mnt é/ä file", "--data", data], deep);
      assert.equal(where.code, 0, where.stderr);
      const second = await cairn(["mount", "zwei", "--data", "dätä"], deep);
      assert.equal(second.code, 0, second.stderr);
      assert.equal(await shell(`cat "${deep}/zwei/ä file"`), "hello\n");
      assert.equal((await cairn(["unmount", "zwei", "--data", "dätä"], deep)).code, 0);
    } finally {
      const down = await cairn(["down", "--data", data]);
      assert.equal(down.code, 0, down.stderr);
    }
  }));

test("after a kill -9 the next start takes over: sockets, lock, mount and daemon.json of the dead one do not matter", () =>
  withStore("start-killed", async (store) => {
    await store.start();
    await shell(`echo kept > "${store.mount}/file" && sync "${store.mount}/file"`);
    const gone = new Promise((resolve) => store.process!.once("exit", resolve));
    store.process!.kill("SIGKILL");
    await gone;
    for (const name of ["control.sock", "session.sock", "daemon.json"])
      assert.ok(fs.existsSync(path.join(store.data, name)), name);
    assert.equal((await store.cairn("status")).code, 3);
    assert.equal((await store.cairn("mount", path.join(store.directory, "two"))).code, 3);
    await store.start();
    assert.equal(await shell(`cat "${store.mount}/file"`), "kept\n");
  }));

test("a creation that fails at its third disk leaves nothing in the way of the next one", () =>
  withStore("start-third", async (store) => {
    const disks = ["one", "two", "three"].map((name) => path.join(store.directory, name));
    fs.mkdirSync(disks[2]);
    fs.writeFileSync(path.join(disks[2], "theirs"), "");
    const words = ["--scheme", "copies:3", ...disks.flatMap((disk) => ["--disk", disk])];
    const refused = await store.cairn("up", "--mount", store.mount, ...words);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /three.*theirs/);
    fs.rmSync(path.join(disks[2], "theirs"));
    await store.start(...words);
  }));
