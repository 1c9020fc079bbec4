import assert from "node:assert/strict";
import test from "node:test";
import { after, id8, keyBytes, TAG_INODE, TAG_NAME, TAG_ORDER } from "../../../fs/namespace/keys.ts";
import { S_IFDIR } from "../../../fs/types.ts";
import { makeEntry, name, openStore, problems } from "./memory-log.ts";

test("the check finds names, orders and inodes that are missing, in directories of many pages and of few names", async () => {
  const store = await openStore();
  const directories = [];
  for (let count = 0; count < 30; count++)
    directories.push(await makeEntry(store.session, store.root, `small-${count}`, S_IFDIR | 0o755));
  // More names than one page of the walk has, and than are held before the orders are read.
  const large = await makeEntry(store.session, store.root, "large", S_IFDIR | 0o755);
  for (let count = 0; count < 20_000; count++) await makeEntry(store.session, large.inode, `file-${count}`);
  for (const { inode } of directories) for (const word of ["a", "b"]) await makeEntry(store.session, inode, word);
  await store.namespace.apply();
  assert.deepEqual(await problems(store.namespace), []);

  const small = directories[17].inode;
  const { inode: lost } = (await store.session.call("lookup", { parent: small, name: name("a") })).attributes!;
  const [order] = await store.table.range({
    gte: keyBytes(TAG_ORDER + id8(large.inode)),
    lt: keyBytes(after(TAG_ORDER + id8(large.inode))),
    limit: 1,
  });
  await store.table.write({
    puts: [],
    deletes: [order.key, keyBytes(`${TAG_NAME}${id8(directories[3].inode)}b`), keyBytes(TAG_INODE + id8(lost))],
  });
  const all = await problems(store.namespace);
  const found = all.map(({ mending }) => mending?.kind).sort();
  // The name without an order; the order without a name; the name without an inode; the number of inodes.
  assert.deepEqual(found, ["dangling", "inodes", "name", "order"]);
});
