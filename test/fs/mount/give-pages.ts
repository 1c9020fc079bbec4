import assert from "node:assert/strict";
import test from "node:test";
import type { OperationName, Reply, Request, SessionEvents } from "../../../fs/messages.ts";
import { GIVEN_FILE_MAX_BYTES } from "../../../fs/mount/limits.ts";
import { Mount } from "../../../fs/mount/mount.ts";
import type { InodeId } from "../../../fs/types.ts";
import { MemorySession, MemoryStripes } from "./doubles.ts";
import { close, createFile, openFile, sync, write } from "./program.ts";

const O_NOATIME = 0o1000000;
const O_DIRECT = 0o40000;

/** Answers extents at once, as a namespace in the same process does. */
class NearSession extends MemorySession {
  callNow<Name extends OperationName>(operation: Name, request: Request<Name>): Reply<Name> | Promise<Reply<Name>> {
    if (operation !== "extents") return this.call(operation, request);
    return this.on_extents(request as Request<"extents">) as Reply<Name>;
  }
}

interface Given {
  mount: Mount;
  session: NearSession;
  events: SessionEvents;
  /** What the kernel was given, a line each. */
  given: string[];
}

async function newMount(drop: () => Promise<void> = async () => {}): Promise<Given> {
  let events: SessionEvents | null = null;
  const session = new NearSession();
  const mount = await Mount.open({
    openSession: (mine) => ((events = mine), session),
    stripes: new MemoryStripes(),
    schemes: { full: "rs:4+2", small: "copies:3" },
  });
  const given: string[] = [];
  mount.attach({
    invalidateInode: async () => (await drop(), true),
    invalidateEntry: async () => {},
    notifyDelete: async () => {},
    incrementEpoch: async () => {},
    storePages: (inode, length, fill) => {
      const into = new Uint8Array(length);
      if (!fill(into)) return false;
      given.push(`${inode}: ${Buffer.from(into).toString("latin1")}`);
      return true;
    },
  });
  return { mount, session, events: events!, given };
}

/** A file that the mount knows nothing of any more, read since it was last changed unless `read` is false. */
async function settledFile({ mount, session }: Given, name: string, content: string, read = true): Promise<InodeId> {
  const file = await createFile(mount, name);
  await write(file, 0, Buffer.from(content, "latin1"));
  await sync(file);
  await close(file);
  if (read) session.file(file.inode).attributes.atimeSeconds = Math.floor(Date.now() / 1000) + 60;
  mount.forget(file.inode, 1);
  return file.inode;
}

test("a small file's bytes are given to the kernel when it is opened to be read, once", async () => {
  const made = await newMount();
  const { mount, given } = made;
  const inode = await settledFile(made, "small", "content");
  const first = await openFile(mount, "small", 0);
  assert.deepEqual(given, [`${inode}: content`]);
  const second = await openFile(mount, "small", 0);
  await close(first);
  await close(second);
  await close(await openFile(mount, "small", 0));
  assert.equal(given.length, 1);
  await mount.destroy();
});

test("after a recall took the pages they are given anew, as they are then", async () => {
  const made = await newMount();
  const { mount, events, given } = made;
  const inode = await settledFile(made, "small", "content");
  await close(await openFile(mount, "small", 0));
  await events.recall(inode, "known");
  // The recall is over when the namespace has taken its answer.
  await new Promise((resolve) => setTimeout(resolve, 5));
  await close(await openFile(mount, "small", 0));
  assert.deepEqual(given, [`${inode}: content`, `${inode}: content`]);
  await mount.destroy();
});

test("no bytes are given while a recall goes on", async () => {
  const made = await newMount(async () => close(await openFile(made.mount, "small", 0)));
  const { mount, events, given } = made;
  const inode = await settledFile(made, "small", "content");
  await close(await openFile(mount, "small", 1));
  await events.recall(inode, "known");
  assert.deepEqual(given, []);
  await mount.destroy();
});

test("where the read would change the access time the kernel asks for the bytes itself", async () => {
  const made = await newMount();
  const { mount, given } = made;
  const inode = await settledFile(made, "new", "content", false);
  await close(await openFile(mount, "new", 0));
  assert.deepEqual(given, []);
  await close(await openFile(mount, "new", O_NOATIME));
  assert.deepEqual(given, [`${inode}: content`]);
  await mount.destroy();
});

test("writers, direct readers, a second handle, and empty and large files are given nothing", async () => {
  const made = await newMount();
  const { mount, given } = made;
  await settledFile(made, "small", "content");
  await settledFile(made, "empty", "");
  await settledFile(made, "large", "x".repeat(GIVEN_FILE_MAX_BYTES + 1));
  for (const [name, flags] of [
    ["small", 1],
    ["small", 2],
    ["small", O_DIRECT],
    ["empty", 0],
    ["large", 0],
  ] as const)
    // prettier-ignore
    await close(await openFile(mount, name, flags));
  const writer = await openFile(mount, "small", 2);
  await close(await openFile(mount, "small", 0));
  await close(writer);
  assert.deepEqual(given, []);
  await mount.destroy();
});
