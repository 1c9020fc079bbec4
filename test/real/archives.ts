import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";
import { mountFor } from "./mounted.ts";
import { lacking } from "../fixture/lacking.ts";
import { shell } from "./programs.ts";
import { assertSameLines, attributes, checksums, makeSourceTree } from "./source-tree.ts";

test("tar unpacks a source tree on the mount and packs it again without a difference", async (t) => {
  const store = await mountFor(t);
  const original = path.join(store.outside, "tree");
  await makeSourceTree(original);
  await shell(
    `tar -C '${original}' --format=posix -cf '${store.outside}/in.tar' .; mkdir tree; tar -C tree -xpf '${store.outside}/in.tar'`,
    store.directory,
  );
  const unpacked = path.join(store.directory, "tree");
  assertSameLines(await checksums(unpacked), await checksums(original));
  assertSameLines(await attributes(unpacked), await attributes(original));
  await shell(
    `tar -C tree --format=posix -cf packed.tar .; mkdir '${store.outside}/back'; tar -C '${store.outside}/back' -xpf packed.tar`,
    store.directory,
  );
  assertSameLines(await checksums(path.join(store.outside, "back")), await checksums(original));
  assertSameLines(await attributes(path.join(store.outside, "back")), await attributes(original));
  await shell("rm -rf tree packed.tar", store.directory);
  assert.equal(await shell("ls -A", store.directory), "");
});

test("tar keeps hard links and sparse files", async (t) => {
  const store = await mountFor(t);
  const script = `
    mkdir in; cd in; echo hello > a; ln a b; truncate -s 20M hole; echo end >> hole; cd ..
    tar -C in -S -cf in.tar .; mkdir out; tar -C out -xf in.tar
    stat -c '%h %s' out/a; test out/a -ef out/b; cmp in/hole out/hole; du -k out/hole in.tar | cut -f1`;
  const [links, hole, archive] = (await shell(script, store.directory)).trim().split("\n");
  assert.equal(links, "2 6");
  assert.ok(Number(hole) < 1024, `the sparse file occupies ${hole} KiB`);
  assert.ok(Number(archive) < 1024, `the archive occupies ${archive} KiB`);
});

test(
  "rsync -aHAX copies a tree with links, ACLs and xattrs, and a second pass finds nothing to do",
  { skip: lacking("rsync", "setfacl", "setfattr") },
  async (t) => {
    const store = await mountFor(t);
    const original = path.join(store.outside, "tree");
    await makeSourceTree(original);
    await shell(
      "setfacl -m u:2001:rw,g:2100:r package.json; setfattr -n user.note -v kept package.json; setfacl -d -m u:2001:rwx deep",
      original,
    );
    await shell(`rsync -aHAX '${original}/' tree/`, store.directory);
    const again = "rsync -aHAX --itemize-changes";
    assert.equal(await shell(`${again} '${original}/' tree/`, store.directory), "");
    assert.equal(await shell(`${again} --checksum '${original}/' tree/`, store.directory), "");
    assert.equal(await shell("getfattr --only-values -n user.note tree/package.json", store.directory), "kept");
    assert.match(await shell("getfacl -pn tree/package.json", store.directory), /user:2001:rw-/);
    assert.match(await shell("getfacl -pn tree/deep", store.directory), /default:user:2001:rwx/);
    await shell(`rsync -aHAX tree/ '${store.outside}/back/'`, store.directory);
    assert.equal(await shell(`${again} '${store.outside}/back/' '${original}/'`, store.directory), "");
    await shell(`echo changed >> '${original}/script'; rm '${original}/symlink'`, store.directory);
    assert.match(await shell(`${again} --delete '${original}/' tree/`, store.directory), /deleting +symlink\n(.|\n)*script/);
    assertSameLines(await checksums(path.join(store.directory, "tree")), await checksums(original));
  },
);

test("ar makes an archive of objects and rewrites it", { skip: lacking("gcc", "ar") }, async (t) => {
  const store = await mountFor(t);
  const script = `
    printf 'int one(void){return 1;}' > one.c; printf 'int two(void){return 2;}' > two.c
    gcc -c one.c two.c; ar rcs both.a one.o two.o; ar t both.a; ar d both.a one.o; ar t both.a`;
  assert.equal(await shell(script, store.directory), "one.o\ntwo.o\ntwo.o\n");
});
