import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";
import { mountFor } from "./mounted.ts";
import { lacking } from "../fixture/lacking.ts";
import { shell } from "./programs.ts";
import { assertSameLines, attributes, checksums, makeSourceTree } from "./source-tree.ts";

const skip = lacking("setfacl", "setfattr");

/** Everything about a tree that must outlive the daemon, links and special files included. */
async function everything(directory: string): Promise<string> {
  const script = "getfacl -Rpn . ; getfattr -Rhd -m - . ; find . -printf '%p %i %n %U %G %C@\\n' | sort";
  return (await checksums(directory)) + (await attributes(directory)) + (await shell(script, directory));
}

test("a whole tree is the same after the daemon was stopped and started, twice", { skip }, async (t) => {
  const store = await mountFor(t);
  const tree = path.join(store.directory, "tree");
  await makeSourceTree(tree);
  const script = `
    mkfifo fifo; setfacl -m u:2001:rw,g:2100:r script; setfacl -d -m u:2001:rwx deep
    setfattr -n user.note -v kept script; head -c 3000000 /dev/urandom > large; fallocate -l 1000000 reserved
    fallocate -p -o 500000 -l 1000000 large; cp large copy; mkdir full; for i in $(seq 500); do echo $i > full/$i; done`;
  await shell(script, tree);
  const before = await everything(tree);
  await store.restart();
  assertSameLines(await everything(tree), before);
  await shell("mv full moved; rm -r deep; echo more >> script; truncate -s 100 large", tree);
  const changed = await everything(tree);
  await store.restart();
  assertSameLines(await everything(tree), changed);
  await shell("rm -rf tree", store.directory);
  assert.equal(await shell("ls -A", store.directory), "");
});

test("what was synced is there byte for byte after the daemon was killed", async (t) => {
  const store = await mountFor(t);
  const tree = path.join(store.directory, "tree");
  for (let round = 0; round < 3; round++) {
    await shell("rm -rf tree", store.directory);
    await makeSourceTree(tree);
    // Not `sync -f`: the kernel tells a FUSE filesystem nothing of syncfs(2).
    await shell("find . -depth ! -type l -print0 | xargs -0 sync", tree);
    const [sums, names] = [await checksums(tree), await attributes(tree)];
    await shell(`for i in $(seq 20); do head -c 100000 /dev/urandom > not-synced-$i; done`, store.directory);
    await store.crash();
    assertSameLines(await checksums(tree), sums);
    assertSameLines(await attributes(tree), names);
    await shell("rm -f not-synced-*", store.directory);
  }
});
