import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import path from "node:path";
import test from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { mountFor } from "./mounted.ts";
import { lacking } from "../fixture/lacking.ts";
import { shell } from "./programs.ts";
import { makeSourceTree } from "./source-tree.ts";

test("dd writes and reads with every block size, direct and synchronous", async (t) => {
  const store = await mountFor(t);
  const script = `
    head -c 5000000 /dev/urandom > '${store.outside}/data'
    for bs in 511 4096 65536 1M 3M; do
      dd if='${store.outside}/data' of=copy bs=$bs conv=fsync status=none; cmp copy '${store.outside}/data'
      dd if=copy of='${store.outside}/back' bs=$bs status=none; cmp '${store.outside}/back' '${store.outside}/data'
    done
    dd if='${store.outside}/data' of=direct bs=64K count=76 oflag=direct status=none; cmp -n 4980736 direct '${store.outside}/data'
    dd if=direct of='${store.outside}/back' bs=1M iflag=direct status=none; cmp '${store.outside}/back' direct
    dd if='${store.outside}/data' of=sync bs=100K count=10 oflag=sync status=none; cmp -n 1024000 sync '${store.outside}/data'
    dd if=/dev/zero of=copy bs=1000 seek=2000 count=3 conv=notrunc status=none; stat -c %s copy
    tail -c +2003001 copy | cmp - <(tail -c +2003001 '${store.outside}/data')`;
  assert.equal(await shell(script, store.directory), "5000000\n");
});

test("cp copies with reflinks where it can, sparsely, and with all attributes", async (t) => {
  const store = await mountFor(t);
  const script = `
    head -c 3000000 /dev/urandom > a; sync a
    cp --reflink=auto a b; cmp a b; echo x >> b; cmp -n 3000000 a b
    truncate -s 30M holes; printf middle | dd of=holes bs=1 seek=15000000 conv=notrunc status=none
    cp --sparse=always holes copy; cmp holes copy
    cp --sparse=never --reflink=never holes full; cmp holes full
    chmod 640 a; touch -d 2002-03-04T05:06:07.123456789 a; cp -a a kept; stat -c '%a %y' kept | cut -d' ' -f1-3
    du -k copy | cut -f1; du -k full | cut -f1`;
  const [kept, sparse, full] = (await shell(script, store.directory, { TZ: "UTC" })).trim().split("\n");
  assert.equal(kept, "640 2002-03-04 05:06:07.123456789");
  assert.ok(Number(sparse) < 1024, `the sparse copy occupies ${sparse} KiB`);
  assert.ok(Number(full) > 0);
});

test("mv moves within the mount, out of it and back", async (t) => {
  const store = await mountFor(t);
  await makeSourceTree(path.join(store.directory, "tree"));
  const script = `
    before=$(cd tree; find . | sort | sha256sum)
    mv tree moved; mkdir sub; mv moved sub/tree
    mv sub/tree '${store.outside}/tree'; ls sub; mv '${store.outside}/tree' back
    after=$(cd back; find . | sort | sha256sum); test "$before" = "$after"
    test back/package.json -ef back/hardlink; readlink back/symlink; stat -c %y back/package.json | cut -c1-29
    echo old > x; echo new > y; mv y x; cat x; ls y 2>/dev/null || echo gone`;
  assert.equal(await shell(script, store.directory, { TZ: "UTC" }), "package.json\n2001-02-03 04:05:06.789012345\nnew\ngone\n");
});

test("find, grep, sort, du and chmod see every file of a tree", async (t) => {
  const store = await mountFor(t);
  await makeSourceTree(path.join(store.outside, "tree"));
  await shell(`cp -a '${store.outside}/tree' tree`, store.directory);
  const compared = [
    "find . -type f | LC_ALL=C sort", "find . -type d -empty", "find . -name '*.ts' -size +4k | sort", "find . -links 2 -type f | sort",
    "find . -newermt 2001-01-01 ! -newermt 2001-12-31 | sort", "grep -rl --include=*.ts import . | sort", "grep -rc return fs | sort",
    "cat $(find . -name '*.ts' | sort) | sort | sha256sum", "wc -c $(find . -name '*.js' | sort) | tail -1",
    "chmod -R go-rwx . && find . ! -type l -perm /077", "find . -type f -perm -100 | sort",
  ]; // prettier-ignore
  for (const script of compared) {
    const here = await shell(script, path.join(store.directory, "tree"));
    assert.equal(here, await shell(script, path.join(store.outside, "tree")), script);
  }
  await shell("rm -rf tree", store.directory);
});

test("tail -f shows lines as they are appended and follows a rotation", async (t) => {
  const store = await mountFor(t);
  await shell("echo first > log", store.directory);
  const tail = spawn("tail", ["-s", "0.05", "---disable-inotify", "-F", "log"], {
    cwd: store.directory,
    stdio: ["ignore", "pipe", "ignore"],
  });
  t.after(() => tail.kill("SIGKILL"));
  let seen = "";
  tail.stdout.on("data", (piece: Buffer) => (seen += piece.toString()));
  const shows = async (line: string): Promise<void> => {
    for (let tries = 0; !seen.includes(line); tries++) {
      assert.ok(tries < 400, `tail did not show "${line}" in 20 s; it showed: ${seen}`);
      await delay(50);
    }
  };
  await shows("first\n");
  for (const line of ["second", "third", "fourth"]) {
    await shell(`echo ${line} >> log`, store.directory);
    await shows(`${line}\n`);
  }
  await shell("mv log log.1; echo rotated > log", store.directory);
  await shows("rotated\n");
});

test("a file replaced as editors do it is always whole", async (t) => {
  const store = await mountFor(t);
  const script = `
    line() { for i in $(seq 500); do echo "$1"; done; }
    line 0 > file
    ( while [ ! -e stop ]; do sort -u file | wc -l; wc -l < file; done ) > '${store.outside}/seen' &
    reader=$!
    for i in $(seq 60); do line $i > .file.swp; cp -p file file~; mv .file.swp file; done
    touch stop; wait $reader
    LC_ALL=C sort -u '${store.outside}/seen'; tail -1 file; tail -1 file~`;
  assert.equal(await shell(script, store.directory), "1\n500\n60\n59\n");
});

test("vim saves a file in place and by renaming", { skip: lacking("vim") }, async (t) => {
  const store = await mountFor(t);
  const script = `
    printf 'one\\ntwo\\n' > file; chmod 640 file
    vim -u NONE -es -c 'set backup backupskip= backupcopy=no' -c '%s/one/first/' -c 'wq' file
    vim -u NONE -es -c 'set backup backupskip= backupcopy=yes' -c '%s/two/second/' -c 'wq' file
    cat file file~; stat -c %a file; ls -A`;
  assert.equal(await shell(script, store.directory), "first\nsecond\nfirst\ntwo\n640\nfile\nfile~\n");
});

test("2,000 small files are written, listed, read, renamed and removed", async (t) => {
  const store = await mountFor(t);
  const script = `
    mkdir d; cd d
    for i in $(seq 2000); do echo "file $i" > f$i; done
    ls | wc -l; cat f* | sort | sha256sum
    for i in $(seq 1 20 2000); do mv f$i g$i; done
    ls g* | wc -l; cat f* g* | sort | sha256sum
    cd ..; rm -rf d; ls`;
  const [count, before, moved, after] = (await shell(script, store.directory)).split("\n");
  assert.deepEqual([count, moved], ["2000", "100"]);
  assert.equal(after, before);
});

test("a file of 200 MiB is written, read back, overwritten in places and compared", async (t) => {
  const store = await mountFor(t);
  const script = `
    openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv 00 -in /dev/zero 2>/dev/null | head -c 209715200 > '${store.outside}/big' || true
    cp '${store.outside}/big' big; sync big; cmp big '${store.outside}/big'
    for at in 1 777777 52428799 104857600 209000000; do
      for file in big '${store.outside}/big'; do printf 'overwritten here' | dd of=$file bs=1 seek=$at conv=notrunc status=none; done
    done
    sync big; cmp big '${store.outside}/big'; truncate -s 150000001 big '${store.outside}/big'; cmp big '${store.outside}/big'; stat -c %s big`;
  assert.equal(await shell(script, store.directory), "150000001\n");
});
