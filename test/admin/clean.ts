// The cleaner on real disks: what du says before and after.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import type { StatusReport } from "../../admin/api.ts";
import { shell, type Store, withRunningStore } from "../fixture/store.ts";

/** Bytes that the blocks of all disks take of their filesystem. The indexes are counted by themselves: RocksDB keeps some MiB whatever there is. */
function diskBytes(store: Store): number {
  let bytes = 0;
  for (const disk of fs.readdirSync(store.data).filter((name) => name.startsWith("disk-"))) {
    const segments = path.join(store.data, disk, "segments");
    for (const name of fs.readdirSync(segments)) bytes += fs.statSync(path.join(segments, name)).blocks * 512;
  }
  return bytes;
}

const WORK = `
import os, random
random.seed(5)
size = 12 * 1000 * 1000
for index in range(4):
    with open(f"big-{index}", "wb") as file: file.write(random.randbytes(size))
    fd = os.open(f"big-{index}", os.O_RDWR)
    for round in range(600):
        os.pwrite(fd, random.randbytes(8192), random.randrange(size // 4096 - 2) * 4096)
        if round % 100 == 0: os.fsync(fd)
    os.fsync(fd)
    os.close(fd)
for index in range(300):
    fd = os.open(f"small-{index}", os.O_RDWR | os.O_CREAT)
    os.write(fd, random.randbytes(random.randrange(5000, 40000)))
    os.fsync(fd)
    os.close(fd)
os.remove("big-1")
for index in range(0, 300, 2): os.remove(f"small-{index}")
`;

test("after random overwrites and removals clean brings du of the disks to the live bytes times the scheme's factor", () =>
  withRunningStore("clean", async (store) => {
    fs.writeFileSync(path.join(store.directory, "work.py"), WORK);
    await shell(`cd "${store.mount}" && python3 ../work.py && sync -f . && md5sum * > ../sums`);
    const live = fs.readdirSync(store.mount).reduce((sum, name) => sum + fs.statSync(path.join(store.mount, name)).size, 0);
    const before = diskBytes(store);
    assert.ok(before > live * 1.5 * 1.25, `${before} bytes for ${live}: there is nothing to clean`);
    const ran = await store.cairn("clean");
    assert.equal(ran.code, 0, ran.stderr);
    assert.match(ran.stdout, /moved into full stripes/);
    assert.ok(diskBytes(store) < live * 1.5 * 1.25, `${diskBytes(store)} bytes for ${live} live ones, ${before} before`);
    const { cleaner } = await store.json<StatusReport>("status");
    assert.ok(cleaner.movedBytes > 0 && cleaner.error === null && cleaner.state === "idle");
    assert.ok(cleaner.storedBytes < cleaner.neededBytes * 1.1);
    assert.match((await store.cairn("status")).stdout, /cleaner +idle, .* moved/);
    const again = await store.cairn("clean");
    assert.match(again.stdout, /^0 B moved into full stripes/, "a second pass has nothing to do");
    await shell(`echo 3 > /proc/sys/vm/drop_caches || true; cd "${store.mount}" && md5sum --quiet -c ../sums`);
    assert.equal((await store.cairn("fsck", "--verify")).code, 0);
    assert.equal(await store.stop(), 0);
    await store.start();
    await shell(`cd "${store.mount}" && md5sum --quiet -c ../sums`);
  }));

test("files are written, read and removed while the cleaner works, also through a second mount", () =>
  withRunningStore("clean-busy", async (store) => {
    const second = path.join(store.directory, "second");
    assert.equal((await store.cairn("mount", second)).code, 0);
    const load = (mount: string, name: string): Promise<string> =>
      shell(
        `cd "${mount}"; for round in $(seq 1 12); do
           head -c 1500000 /dev/urandom > "${store.directory}/${name}"; cp "${store.directory}/${name}" ${name}
           for at in 1 5 9 20 33; do
             head -c 10000 /dev/urandom > "${store.directory}/${name}.piece"
             for file in ${name} "${store.directory}/${name}"; do dd if="${store.directory}/${name}.piece" of=$file bs=10000 seek=$at conv=notrunc status=none; done
           done
           sync -f ${name}; cmp ${name} "${store.directory}/${name}"; mv ${name} ${name}.$round; cmp ${name}.$round "${store.directory}/${name}"
           [ $round -le 2 ] || rm ${name}.$((round - 2))
         done`,
        { timeoutMs: 100_000 },
      );
    let working = true;
    const cleaning = (async () => {
      while (working) assert.equal((await store.cairn("clean")).code, 0);
    })();
    await Promise.all([load(store.mount, "one"), load(second, "two")]).finally(() => (working = false));
    await cleaning;
    assert.equal((await store.cairn("fsck", "--verify")).code, 0);
    await shell(`cmp "${store.mount}/two.12" "${store.directory}/two"; cmp "${second}/one.12" "${store.directory}/one"`);
    assert.equal((await store.cairn("unmount", second)).code, 0);
  }));

test("the cleaner can be paused and resumed", () =>
  withRunningStore("clean-pause", async (store) => {
    assert.equal((await store.json<StatusReport["cleaner"]>("clean", "--pause")).state, "paused");
    assert.equal((await store.json<StatusReport>("status")).cleaner.state, "paused");
    assert.equal((await store.json<StatusReport["cleaner"]>("clean", "--resume")).state, "idle");
    const both = await store.cairn("clean", "--pause", "--resume");
    assert.equal(both.code, 2);
  }));
