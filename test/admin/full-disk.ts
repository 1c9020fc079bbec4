// A full medium, on a small filesystem of the test's own: writers get ENOSPC, nothing that was stored is lost, and room
// that is made is used again. Data directory and disks are on the same medium, so the namespace is out of room as well.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { StatusReport } from "../../admin/api.ts";
import { eventually } from "../fixture/eventually.ts";
import { makeStore, run, shell, type Store } from "../fixture/store.ts";

const needsRoot = { skip: process.getuid!() === 0 ? false : "mounting a small filesystem needs root" };

async function onMedium(name: string, mount: (data: string, directory: string) => string, body: (store: Store) => Promise<void>) {
  const store = makeStore(`full-${name}`);
  try {
    fs.mkdirSync(store.data);
    await shell(mount(store.data, store.directory));
    await body(store);
  } finally {
    await store.destroy();
  }
}

const tmpfs = (data: string): string => `mount -t tmpfs -o size=300m none "${data}"`;
const ext4 = (data: string, directory: string): string =>
  `truncate -s 400M "${directory}/image" && mkfs.ext4 -q "${directory}/image" && mount -o loop "${directory}/image" "${data}"`;

async function freeBytes(directory: string): Promise<number> {
  const [blocks, blockBytes] = (await shell(`stat -f -c '%a %S' "${directory}"`)).trim().split(" ").map(Number);
  return blocks * blockBytes;
}

/** Writes until it is refused; returns what the program said. */
async function fill(file: string, input = "/dev/zero"): Promise<string> {
  const ran = await run("dd", [`if=${input}`, `of=${file}`, "bs=1M", "count=2000", "conv=fsync"], { timeoutMs: 60_000 });
  assert.equal(ran.code, 1, `the medium was not full after ${fs.statSync(file).size} bytes`);
  return ran.stderr;
}

/** Makes small files of 1000 bytes; returns the names of those that were written, and what refused the others. */
async function makeSmall(directory: string, count: number): Promise<{ made: number; errors: string[] }> {
  const script = `
import os, sys
made, errors = 0, set()
try: os.makedirs(sys.argv[1], exist_ok=True)
except OSError as error: errors.add(os.strerror(error.errno))
for number in range(int(sys.argv[2])):
    try:
        descriptor = os.open(f"{sys.argv[1]}/{'n' * 200}{number:06d}", os.O_CREAT | os.O_WRONLY)
        try: os.write(descriptor, b"%06d" % number * 200)
        finally: os.close(descriptor)
        made += 1
    except OSError as error:
        errors.add(os.strerror(error.errno))
        if number - made > 50: break
print(made, "|".join(sorted(errors)))`;
  const ran = await run("python3", ["-c", script, directory, String(count)], { timeoutMs: 60_000 });
  assert.equal(ran.code, 0, ran.stderr);
  const [made, ...errors] = ran.stdout.trim().split(" ");
  return { made: Number(made), errors: errors.join(" ").split("|").filter(Boolean) };
}

test("a full disk: writers get ENOSPC, nothing stored is lost, removing files makes room, also after a restart", needsRoot, () =>
  onMedium("own", tmpfs, async (store) => {
    await store.start();
    const promised = await freeBytes(store.mount);
    await shell(
      `head -c 20000000 /dev/urandom > "${store.directory}/a" && cp "${store.directory}/a" "${store.mount}/a" && sync "${store.mount}/a"`,
    );
    assert.match(await fill(path.join(store.mount, "big")), /No space left on device/);
    const written = Number(await shell(`stat -c %s "${store.mount}/big"`)) + 20_000_000;
    assert.ok(written > promised * 0.6, `${promised} bytes were said to be free, ${written} could be written`);
    assert.ok(written < promised * 1.05, `${promised} bytes were said to be free, ${written} were written`);
    await eventually("df says that it is full", async () => (await freeBytes(store.mount)) < promised * 0.05);
    await shell(`echo 3 > /proc/sys/vm/drop_caches; cmp "${store.directory}/a" "${store.mount}/a"`);
    const status = await store.json<StatusReport>("status");
    assert.deepEqual(status.disks.map((disk) => disk.state), Array(6).fill("active")); // prettier-ignore
    // Not store.kill(), which takes away all mounts below the store's directory.
    const gone = new Promise((resolve) => store.process!.once("exit", resolve));
    store.process!.kill("SIGKILL");
    await gone;
    await store.start();
    await shell(`cmp "${store.directory}/a" "${store.mount}/a"; rm "${store.mount}/big"`);
    await eventually("the removed file's space is free", async () => (await freeBytes(store.mount)) > promised * 0.5);
    await shell(`cp "${store.directory}/a" "${store.mount}/b" && sync "${store.mount}/b"`);
    assert.equal(await store.stop(), 0);
    await store.start();
    await shell(`cmp "${store.directory}/a" "${store.mount}/a" && cmp "${store.directory}/a" "${store.mount}/b"`);
  }),
);

test("a medium that others filled: the namespace goes on, says ENOSPC, and recovers by itself", needsRoot, () =>
  onMedium("others", ext4, async (store) => {
    await store.start();
    await shell(
      `head -c 20000000 /dev/urandom > "${store.directory}/a" && cp "${store.directory}/a" "${store.mount}/a" && sync "${store.mount}/a"`,
    );
    // Neither a directory is made without room.
    fs.mkdirSync(path.join(store.mount, "first"));
    await fill(path.join(store.data, "others"));
    const first = await makeSmall(path.join(store.mount, "first"), 20_000);
    assert.deepEqual(first.errors, ["No space left on device"]);
    await shell(`sync "${store.mount}/a"; cmp "${store.directory}/a" "${store.mount}/a"`);
    // Its table cannot be written now. What it lacks is in the log.
    await sleep(2000);
    assert.equal((await store.json<StatusReport>("status")).health, "healthy");
    fs.rmSync(path.join(store.data, "others"));
    await eventually("small files are taken again", async () => {
      const { made } = await makeSmall(path.join(store.mount, "second"), 1000);
      return made === 1000;
    });
    await shell(`cp "${store.directory}/a" "${store.mount}/b"; sync "${store.mount}/b"`);
    assert.equal(await store.stop(), 0);
    await store.start();
    await shell(`cmp "${store.directory}/a" "${store.mount}/a" && cmp "${store.directory}/a" "${store.mount}/b"`);
    await shell(
      `cd "${store.mount}/second" && test $(ls | wc -l) = 1000 && test "$(cat *000999 | head -c 6)" = 000999 && test $(cat * | wc -c) = 1200000`,
    );
  }),
);

test("a start on a medium without any room says so, and works once there is some", needsRoot, () =>
  onMedium("start", ext4, async (store) => {
    await store.start();
    await shell(`echo kept > "${store.mount}/file"`);
    assert.equal(await store.stop(), 0);
    await fill(path.join(store.data, "others"));
    const ran = await store.cairn("up", "--mount", store.mount, "--detach");
    if (ran.code !== 0) {
      assert.equal(ran.code, 1);
      assert.match(ran.stderr, /full|No space left|ENOSPC/);
    } else {
      assert.equal((await run("cat", [path.join(store.mount, "file")])).stdout, "kept\n");
      await store.cairn("down");
    }
    fs.rmSync(path.join(store.data, "others"));
    await store.start();
    assert.equal((await run("cat", [path.join(store.mount, "file")])).stdout, "kept\n");
  }),
);

test("a store that does not fit on its medium leaves nothing half-made behind", needsRoot, () =>
  onMedium("create", (data) => `mount -t tmpfs -o size=8m none "${data}"`, async (store) => {
    const ran = await store.cairn("up", "--mount", store.mount, "--detach");
    assert.equal(ran.code, 1, ran.stdout);
    assert.match(ran.stderr, /full|No space left|ENOSPC|free/);
    assert.doesNotMatch(ran.stderr, /^\s+at /m);
    await shell(`mount -o remount,size=300m "${store.data}"`);
    await store.start();
  })); // prettier-ignore

/** A store on six small disks of their own, and its data directory elsewhere. */
async function onSmallDisks(name: string, body: (store: Store, disks: string[]) => Promise<void>): Promise<void> {
  const store = makeStore(`full-${name}`);
  const disks = [1, 2, 3, 4, 5, 6].map((number) => path.join(store.directory, `disk${number}`));
  try {
    for (const disk of disks) {
      fs.mkdirSync(disk);
      await shell(`mount -t tmpfs -o size=80m none "${disk}" && mkdir "${disk}/cairn"`);
    }
    await store.start(...disks.flatMap((disk) => ["--disk", path.join(disk, "cairn")]));
    await body(store, disks);
  } finally {
    await store.destroy();
  }
}

test("full disks: who removes a file can write at once, and what is reserved is there, also after kill -9", needsRoot, () =>
  onSmallDisks("reserved", async (store) => {
    const free = await freeBytes(store.mount);
    const at = (file: string): string => `"${path.join(store.mount, file)}"`;
    const filled = await run("dd", ["if=/dev/zero", `of=${path.join(store.mount, "big")}`, "bs=1M", "count=2000"]);
    assert.match(filled.stderr, /error writing .*No space left on device/, "write(2) says so, not fsync");
    await shell(`sync ${at("big")}`);
    const size = fs.statSync(path.join(store.mount, "big")).size;
    await shell(`rm ${at("big")} && dd if=/dev/zero of=${at("next")} bs=1M count=${Math.floor(size / 2 ** 20) - 8} conv=fsync`);
    await shell(`touch ${at("made")} && rm ${at("next")} ${at("made")}`);

    const reservedBytes = Math.floor((free * 0.6) / 2 ** 20) * 2 ** 20;
    await shell(`fallocate -l ${reservedBytes} ${at("first")}`);
    await assert.rejects(shell(`fallocate -l ${reservedBytes} ${at("second")}`), /No space left on device/);
    assert.equal(fs.statSync(path.join(store.mount, "second")).blocks, 0);
    const { space } = await store.json<StatusReport>("status");
    assert.equal(space.reservedBytes, reservedBytes);
    for (const bytes of [space.freeBytes, await freeBytes(store.mount)]) assert.ok(bytes < space.totalBytes - reservedBytes);
    assert.match(await fill(path.join(store.mount, "other")), /No space left on device/);
    const gone = new Promise((resolve) => store.process!.once("exit", resolve));
    store.process!.kill("SIGKILL");
    await gone;
    await store.start();
    await shell(
      `dd if=/dev/zero bs=1M count=${reservedBytes / 2 ** 20} | tr '\\0' x | dd of=${at("first")} bs=1M iflag=fullblock conv=notrunc,fsync`,
    );
    assert.equal((await store.json<StatusReport>("status")).space.reservedBytes, 0);
    assert.equal((await shell(`tr -d x < ${at("first")} | wc -c`)).trim(), "0");
    assert.equal((await store.cairn("fsck")).code, 0);
  }),
);

test(
  "disks without a single free byte: files are removed, and a start says which disk needs room and fails none",
  needsRoot,
  () =>
    onSmallDisks("zero", async (store, disks) => {
      await shell(`head -c 20000000 /dev/urandom > "${store.directory}/a" && cp "${store.directory}/a" "${store.mount}/a"`);
      await shell(`sync "${store.mount}/a" && echo kept > "${store.mount}/kept"`);
      const full = (name: string): Promise<unknown> =>
        Promise.all(disks.map((disk) => run("dd", ["if=/dev/zero", `of=${path.join(disk, name)}`, "bs=4k"])));
      await full("others");
      await shell(`rm "${store.mount}/kept"`);
      assert.equal(await store.stop(), 0);
      await full("more");
      const ran = await store.cairn("up", "--mount", store.mount, "--detach");
      assert.equal(ran.code, 1);
      assert.match(
        ran.stderr,
        /disk [1-6] \(.*disk[1-6]\/cairn\) has no room to be opened.*Make room on that filesystem and start again/,
      );
      for (const disk of disks) for (const name of ["others", "more"]) fs.rmSync(path.join(disk, name));
      await store.start();
      const status = await store.json<StatusReport>("status");
      assert.deepEqual(status.disks.map((disk) => disk.state), Array(6).fill("active")); // prettier-ignore
      await shell(`cmp "${store.directory}/a" "${store.mount}/a" && test ! -e "${store.mount}/kept"`);
    }),
);
