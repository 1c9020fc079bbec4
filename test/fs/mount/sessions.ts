// A mount and its leases: what it may go on believing when it is recalled, forgets, loses its session, or is not heard.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import type { DirectoryItem } from "../../../fs/mount/handlers.ts";
import { IDLE_FILES_MAX, TOLD_MS } from "../../../fs/mount/limits.ts";
import { ROOT_INODE } from "../../../fs/types.ts";
import type { ByteString, InodeId } from "../../../fs/types.ts";
import { eventually } from "../../fixture/eventually.ts";
import { caller } from "./doubles.ts";
import { attributes, close, createFile, openFile, read, sync, truncate, write } from "./program.ts";
import { Moment, settled, type Side, Store } from "./two-mounts.ts";

// The mounts' own timers keep no process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const bytes = (value: number, length: number): Uint8Array => new Uint8Array(length).fill(value);

test("what mounts believe to hold is what they were granted", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const made = await createFile(one.mount, "file");
  await write(made, 0, bytes(1, 5000));
  const opened = await openFile(two.mount, "file");
  await write(opened, 0, bytes(2, 100));
  assert.equal((await attributes(made)).size, 5000);
  assert.deepEqual(await store.ungranted(), []);
  one.session.expire();
  assert.notDeepEqual(await store.ungranted(), []);
  await one.session.renew();
  assert.deepEqual(await store.ungranted(), []);
  await store.close();
});

test("a recall that outlives its session leaves no lease, and nothing of what was known", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const ours = await createFile(one.mount, "file");
  await write(ours, 0, bytes(1, 5000));
  await sync(ours);
  const commits = one.session.holdRequests("commit");
  await write(ours, 5000, bytes(2, 5000));
  const theirs = openFile(two.mount, "file");
  await settled();
  await one.session.renew();
  const file = await theirs;
  await write(file, 0, bytes(3, 7));
  await sync(file);
  commits.happen();
  await settled();
  assert.deepEqual(await store.ungranted(), []);
  await assert.rejects(sync(ours), { code: "EIO" });
  assert.equal((await attributes(ours)).size, 5000);
  await truncate(file, 7);
  assert.equal((await attributes(ours)).size, 7);
  assert.deepEqual(await read(ours, 0, 100), bytes(3, 7));
  assert.deepEqual(await store.ungranted(), []);
  await store.close();
});

test("a file that is recalled is not replaced by another state of it, however many are closed meanwhile", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const theirs = await createFile(two.mount, "file");
  const made = await openFile(one.mount, "file");
  await write(made, 0, bytes(1, 8192));
  await sync(made);
  await close(made);
  const pages = new Moment();
  one.kernel.drop = () => pages.happened;
  const written = write(theirs, 0, bytes(2, 100));
  await settled();
  for (let number = 0; number <= IDLE_FILES_MAX; number++) await close(await createFile(one.mount, `other-${number}`));
  let placed = false;
  const late = openFile(one.mount, "file")
    .then((ours) => write(ours, 0, bytes(3, 50)))
    .then(() => (placed = true));
  await settled();
  assert.equal(placed, false, "written beside the recall");
  pages.happen();
  await Promise.all([written, late]);
  const found = await read(theirs, 0, 101);
  assert.deepEqual([found[0], found[49], found[50], found[99], found[100]], [3, 3, 2, 2, 1]);
  assert.deepEqual(await store.ungranted(), []);
  await store.close();
});

/** Waits for what the mount does from time to time. */
async function forgetSent({ session }: Side): Promise<void> {
  const before = session.calls.filter(([name]) => name === "forget").length;
  await eventually("a forget is sent", () => session.calls.filter(([name]) => name === "forget").length > before);
  await settled();
}

async function modeOf({ mount }: Side, inode: InodeId): Promise<number> {
  return (await mount.getattr(caller, inode, null)).attributes.mode & 0o777;
}

for (const how of ["looked up", "opened with O_CREAT"]) {
  test(`what is ${how} while it is forgotten is held afterwards, and recalled`, async () => {
    const store = await Store.open();
    const [one, two] = [await store.mount(), await store.mount()];
    const { inode } = await createFile(two.mount, "file");
    await one.mount.lookup(caller, ROOT_INODE, "file" as ByteString);
    one.mount.forget(inode, 1);
    const replies = one.session.holdReplies(how === "looked up" ? "lookup" : "make");
    const found =
      how === "looked up" ? one.mount.lookup(caller, ROOT_INODE, "file" as ByteString) : createFile(one.mount, "file");
    await forgetSent(one);
    replies.happen();
    await found;
    assert.deepEqual(await store.ungranted(), []);
    await two.mount.setattr(caller, inode, { mode: 0o600 });
    assert.equal(await modeOf(one, inode), 0o600);
    await store.close();
  });
}

test("a listing that goes on after inodes of it were forgotten does not bring them back", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const { inode } = await createFile(two.mount, "file");
  await createFile(two.mount, "more");
  const { handle } = await one.mount.opendir(caller, ROOT_INODE, 0);
  const list = async (): Promise<Map<string, DirectoryItem>> => {
    const items = new Map<string, DirectoryItem>();
    await one.mount.readdir(caller, ROOT_INODE, handle, 2, true, (item) => items.set(item.name, item).size > 0);
    return items;
  };
  assert.equal((await list()).get("file")?.entry?.attributes.inode, inode);
  one.mount.forget(inode, 1);
  await forgetSent(one);
  const items = await list();
  assert.deepEqual([...items.keys()], ["file", "more"]);
  assert.equal(items.get("file")?.entry, null);
  assert.notEqual(items.get("more")?.entry, null);
  assert.deepEqual(await store.ungranted(), []);
  await store.close();
});

for (const when of ["just before", "during"]) {
  test(`a listing that is given ${when} a recall of its directory is not kept by the kernel`, async () => {
    const store = await Store.open();
    const [one, two, three] = [await store.mount(), await store.mount(), await store.mount()];
    const dirty = await createFile(three.mount, "file");
    await write(dirty, 0, bytes(1, 5000));
    const keeps = async (): Promise<boolean | undefined> => (await one.mount.opendir(caller, ROOT_INODE, 0)).keepCache;
    const { handle, keepCache } = await one.mount.opendir(caller, ROOT_INODE, 0);
    assert.equal(keepCache, true);
    const list = async (): Promise<void> => one.mount.readdir(caller, ROOT_INODE, handle, 0, false, () => true);
    await list();
    await new Promise((resolve) => setTimeout(resolve, 2 * TOLD_MS));
    if (when === "just before") {
      store.stillMs = performance.now();
      await list();
    }
    const answer = new Moment();
    one.kernel.drop = async () => (when === "during" ? answer.happened : undefined);
    const removed = two.mount.unlink(caller, ROOT_INODE, "file" as ByteString);
    await settled();
    if (when === "during") await list();
    answer.happen();
    await removed;
    const drops = one.kernel.dropped.length;
    store.stillMs = null;
    assert.equal(await keeps(), false);
    await eventually("it may be kept again", async () => (await keeps()) === true);
    // How often depends on what the mount's timers meet.
    assert.deepEqual([...new Set(one.kernel.dropped.slice(drops))], [ROOT_INODE]);
    await store.close();
  });
}

test("a forget that was not answered is sent again", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const { inode } = await createFile(two.mount, "file");
  await one.mount.lookup(caller, ROOT_INODE, "file" as ByteString);
  one.session.unsent.set("forget", new Error("no daemon"));
  one.mount.forget(inode, 1);
  await forgetSent(one);
  one.session.unsent.clear();
  await forgetSent(one);
  assert.deepEqual(one.session.calls.at(-1), ["forget", { inodes: [inode] }]);
  await store.close();
});

test("open(O_CREAT) of a file that is there waits for a change of its directory, as a look-up does", async () => {
  const store = await Store.open();
  const [one, two, three] = [await store.mount(), await store.mount(), await store.mount()];
  await createFile(three.mount, "there");
  const dirty = await createFile(three.mount, "removed");
  await write(dirty, 0, bytes(1, 5000));
  await two.mount.lookup(caller, ROOT_INODE, "there" as ByteString);
  await two.mount.getattr(caller, ROOT_INODE, null);
  const commits = three.session.holdRequests("commit");
  const unlinked = one.mount.unlink(caller, ROOT_INODE, "removed" as ByteString);
  await settled();
  const opened = createFile(two.mount, "there");
  await settled();
  commits.happen();
  await Promise.all([unlinked, opened]);
  await settled();
  const [ours, theirs] = await Promise.all([one, two].map(({ mount }) => mount.getattr(caller, ROOT_INODE, null)));
  assert.deepEqual(theirs.attributes, ours.attributes);
  await store.close();
});

test("a file that is open when its session is lost stays when another mount removes it later", async () => {
  const store = await Store.open();
  const [one, two] = [await store.mount(), await store.mount()];
  const file = await createFile(one.mount, "file");
  await write(file, 0, bytes(1, 5000));
  await sync(file);
  const { handle } = await one.mount.opendir(caller, ROOT_INODE, 0);
  await one.session.renew();
  await two.mount.unlink(caller, ROOT_INODE, "file" as ByteString);
  while (await store.namespace.tick());
  assert.deepEqual(await read(file, 0, 5000), bytes(1, 5000));
  assert.deepEqual(await store.ungranted(), []);
  await one.mount.releasedir(caller, ROOT_INODE, handle);
  await store.close();
});

test("after a session was lost the kernel's pages of open files go first, and no open keeps those that are still to go", async () => {
  const store = await Store.open();
  const { mount, session, kernel } = await store.mount();
  const closed: InodeId[] = [];
  for (let number = 0; number < 40; number++) {
    const file = await createFile(mount, `closed-${number}`);
    await close(file);
    closed.push(file.inode);
  }
  const open = await createFile(mount, "open");
  const asked: InodeId[] = [];
  const pages = new Moment();
  kernel.drop = (inode) => (asked.push(inode), pages.happened);
  await session.renew();
  assert.equal(asked[0], open.inode);
  const last = closed.find((inode) => !asked.includes(inode))!;
  const keeps = async (): Promise<boolean | undefined> => (await mount.open(caller, last, 0, false)).keepCache;
  assert.equal(await keeps(), false);
  pages.happen();
  await settled();
  assert.equal(await keeps(), true);
  await store.close();
});
