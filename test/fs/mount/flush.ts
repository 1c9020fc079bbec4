import assert from "node:assert/strict";
import test from "node:test";
import { FsError } from "../../../fs/errno.ts";
import type { ErrnoName } from "../../../fs/errno.ts";
import type { Reply, Request } from "../../../fs/messages.ts";
import { COMMIT_BYTES_MAX, LOSSES_MAX, UNCOMMITTED_INLINE_MAX_BYTES } from "../../../fs/mount/limits.ts";
import { Losses, UnwrittenError } from "../../../fs/mount/losses.ts";
import { Mount } from "../../../fs/mount/mount.ts";
import type { InodeId } from "../../../fs/types.ts";
import { MemorySession, MemoryStripes } from "./doubles.ts";
import { attributes, close, createFile, openFile, read, sync, write } from "./program.ts";
import type { OpenFile } from "./program.ts";

const schemes = { full: "rs:4+2", small: "copies:3" };

/** Refuses what it is told to, and can keep commits waiting. */
class RefusingSession extends MemorySession {
  refuse: (request: Request<"commit">) => ErrnoName | null = () => null;
  gate: Promise<void> = Promise.resolve();
  commits = 0;
  mostBytes = 0;

  override async call<Name extends Parameters<MemorySession["call"]>[0]>(
    operation: Name,
    request: Request<Name>,
  ): Promise<Reply<Name>> {
    if (operation === "commit") await this.gate;
    return super.call(operation, request);
  }
  override on_commit(request: Request<"commit">): Reply<"commit"> {
    this.commits++;
    const code = this.refuse(request);
    if (code !== null) throw new FsError(code, `refused by the test (${code})`);
    let bytes = 0;
    for (const { extents } of request.files) for (const { inline } of extents) bytes += inline?.length ?? 0;
    this.mostBytes = Math.max(this.mostBytes, bytes);
    return super.on_commit(request);
  }
}

interface Setup {
  mount: Mount;
  session: RefusingSession;
  stripes: MemoryStripes;
  traces: string[];
}

async function newMount(): Promise<Setup> {
  const session = new RefusingSession();
  const stripes = new MemoryStripes();
  const traces: string[] = [];
  const mount = await Mount.open({ openSession: () => session, stripes, schemes, trace: (line) => traces.push(line) });
  return { mount, session, stripes, traces };
}

function refusesFile(inode: InodeId, code: ErrnoName): (request: Request<"commit">) => ErrnoName | null {
  return ({ files }) => (files.some((file) => file.inode === inode) ? code : null);
}

async function filledFiles(mount: Mount, count: number, bytes: number): Promise<OpenFile[]> {
  const files: OpenFile[] = [];
  for (let index = 0; index < count; index++) {
    const file = await createFile(mount, `file-${index}`);
    await write(file, 0, new Uint8Array(bytes).fill(index + 1));
    files.push(file);
  }
  return files;
}

for (const bytes of [100, 50_000]) {
  test(`what the namespace refuses for ever is given up for the file concerned, and every other file of the batch is committed (${bytes} bytes each)`, async () => {
    const { mount, session } = await newMount();
    const files = await filledFiles(mount, 12, bytes);
    const bad = files[5];
    session.refuse = refusesFile(bad.inode, "EINVAL");
    await mount.sync();
    for (const [index, file] of files.entries()) {
      if (file === bad) continue;
      assert.equal(session.file(file.inode).attributes.size, bytes);
      assert.deepEqual(new Uint8Array(await read(file, 0, bytes)), new Uint8Array(bytes).fill(index + 1));
      await sync(file);
    }
    assert.equal((await attributes(bad)).size, 0);
    assert.equal((await read(bad, 0, bytes)).length, 0);
    const { commits } = session;
    await assert.rejects(async () => sync(bad), { code: "EIO" });
    await sync(bad);
    assert.equal(session.commits, commits, "nothing is tried again");
    session.refuse = () => null;
    await write(bad, 0, new Uint8Array(10).fill(9));
    await sync(bad);
    assert.equal(session.file(bad.inode).attributes.size, 10);
    // A program was told.
    await mount.destroy();
  });
}

test("what a disk says when it is synced is no refusal of the commit behind it: nothing is given up", async () => {
  const { mount, session, stripes, traces } = await newMount();
  const [file] = await filledFiles(mount, 1, 300_000);
  const syncDisks = stripes.sync.bind(stripes);
  stripes.sync = () => Promise.reject(Object.assign(new Error("fdatasync: Bad file descriptor"), { code: "EBADF" }));
  await assert.rejects(sync(file), { code: "EBADF" });
  stripes.sync = syncDisks;
  await sync(file);
  assert.deepEqual(await read(file, 0, 300_001), new Uint8Array(300_000).fill(1));
  assert.equal(session.commits, 1);
  assert.ok(!traces.some((line) => line.includes("given up")), traces.join());
  await mount.destroy();
});

test("one refused file among hundreds of synced ones costs few requests, and the next write, fsync or close of it is told once", async () => {
  const { mount, session } = await newMount();
  const files = await filledFiles(mount, 300, 20);
  for (const [call, index] of [
    ["write", 10],
    ["fsync", 150],
    ["close", 299],
  ] as const) {
    const bad = files[index];
    session.refuse = refusesFile(bad.inode, "EFBIG");
    session.commits = 0;
    for (const file of files) await write(file, 100, new Uint8Array(4).fill(call.length));
    await mount.sync();
    assert(session.commits < 40, `${session.commits} commits`);
    const refused = { code: "EFBIG" };
    if (call === "write") await assert.rejects(async () => write(bad, 0, new Uint8Array(1)), refused);
    if (call === "fsync") await assert.rejects(async () => sync(bad), refused);
    if (call === "close")
      await assert.rejects(
        async () => mount.flush({ ...bad, uid: 0, gid: 0, pid: 1 } as never, bad.inode, bad.handle, "o"),
        refused,
      );
    await sync(bad);
    session.refuse = () => null;
  }
  await mount.destroy();
});

test("a failure that may pass is tried again, and no other file waits for it or hides it", async () => {
  const { mount, session, stripes } = await newMount();
  const large = await createFile(mount, "large");
  await write(large, 0, new Uint8Array(200_000).fill(1));
  stripes.failure = new FsError("ENOSPC", "the disks are full");
  await assert.rejects(async () => sync(large), { code: "ENOSPC" });
  const small = await createFile(mount, "small");
  await write(small, 0, new Uint8Array(10).fill(2));
  await sync(small);
  // Another file's success does not make it forgotten.
  await assert.rejects(async () => mount.sync(), { code: "ENOSPC" });
  await assert.rejects(async () => sync(large), { code: "ENOSPC" });
  stripes.failure = null;
  await sync(large);
  await mount.sync();
  assert.equal(session.file(large.inode).attributes.size, 200_000);
  await mount.destroy();
});

test("a mount that ends says of each file how much was not written, whatever else succeeded", async () => {
  const { mount, stripes, traces } = await newMount();
  const large = await createFile(mount, "large");
  await write(large, 0, new Uint8Array(200_000).fill(1));
  const other = await createFile(mount, "other");
  await write(other, 0, new Uint8Array(100_000).fill(1));
  stripes.failure = new FsError("ENOSPC", "the disks are full");
  const small = await createFile(mount, "small");
  await write(small, 0, new Uint8Array(10).fill(2));
  await close(large);
  const ended = mount.destroy();
  await assert.rejects(ended, (error) => {
    assert(error instanceof UnwrittenError);
    const lost = new Map(error.files.map(({ inode, bytes }) => [inode, bytes]));
    assert.equal(lost.get(large.inode), 200_000);
    assert.equal(lost.get(other.inode), 100_000);
    assert.match(error.message, /^\d+ bytes of \d files were not written: .*inode \d+ \(200000 bytes\)/);
    assert.match(error.message, /the disks are full/);
    return true;
  });
  assert(traces.some((line) => line.includes("were not written")));
});

test("what was given up and no program was told of is the error of the mount's end, although everything else was written", async () => {
  const { mount, session } = await newMount();
  const [bad, good] = await filledFiles(mount, 2, 100);
  session.refuse = refusesFile(bad.inode, "EINVAL");
  await mount.sync();
  assert.equal(session.file(good.inode).attributes.size, 100);
  await assert.rejects(mount.destroy(), {
    code: "EIO",
    message: `100 bytes of 1 file were not written: inode ${bad.inode} (100 bytes)`,
  });
});

test("losses beyond the listed ones are counted", () => {
  const losses = new Losses();
  assert.equal(losses.error(null), null);
  for (let inode = 1; inode <= LOSSES_MAX + 5; inode++) losses.add(inode as InodeId, 10);
  const error = losses.error(null)!;
  assert.equal(error.files.length, LOSSES_MAX);
  assert(
    error.message.startsWith(`${(LOSSES_MAX + 5) * 10} bytes of ${LOSSES_MAX + 5} files were not written: inode 1 (10 bytes), `),
  );
  assert(error.message.endsWith(`, ${LOSSES_MAX + 5 - 20} more`));
});

test("inline bytes that wait for a commit are bounded: writers wait, and each commit takes at most its share", async () => {
  const { mount, session } = await newMount();
  const files: OpenFile[] = [];
  for (let index = 0; index < 300; index++) files.push(await createFile(mount, `synced-${index}`));
  let open!: () => void;
  session.gate = new Promise((resolve) => (open = resolve));
  const syncs: Promise<void>[] = [];
  const program = async (): Promise<void> => {
    for (const [index, file] of files.entries()) {
      for (let part = 0; part < 16; part++) await write(file, part * 8192, new Uint8Array(4096).fill(index + part));
      syncs.push(sync(file));
    }
  };
  const written = program();
  const turns = async (count: number): Promise<void> => {
    for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  for (let round = 0; round < 1000 && mount.counts().bufferedBytes <= UNCOMMITTED_INLINE_MAX_BYTES; round++) await turns(10);
  await turns(500);
  const { bufferedBytes } = mount.counts();
  assert(bufferedBytes > UNCOMMITTED_INLINE_MAX_BYTES, `${bufferedBytes} bytes wait`);
  assert(bufferedBytes <= UNCOMMITTED_INLINE_MAX_BYTES + 4 * 1024 * 1024, `${bufferedBytes} bytes wait`);
  open();
  await written;
  await Promise.all(syncs);
  assert(session.mostBytes > COMMIT_BYTES_MAX / 2, `${session.mostBytes} bytes in the largest commit`);
  assert(session.mostBytes <= COMMIT_BYTES_MAX, `${session.mostBytes} bytes in the largest commit`);
  for (const [index, file] of files.entries()) assert.equal((await read(file, 8192, 1))[0], (index + 1) & 0xff);
  await mount.destroy();
});

test("while commits fail and much waits, writes are refused with the reason and nothing more is taken", async () => {
  const { mount, session } = await newMount();
  const files: OpenFile[] = [];
  for (let index = 0; index < 400; index++) files.push(await createFile(mount, `full-${index}`));
  session.refuse = () => "ENOSPC";
  let refused = 0;
  for (const file of files) {
    try {
      for (let part = 0; part < 16; part++) await write(file, part * 8192, new Uint8Array(4096).fill(1));
      await sync(file);
    } catch (error) {
      assert.equal((error as FsError).code, "ENOSPC");
      refused++;
    }
  }
  assert.equal(refused, 400);
  assert(mount.counts().bufferedBytes <= UNCOMMITTED_INLINE_MAX_BYTES + 5 * 1024 * 1024, `${mount.counts().bufferedBytes}`);
  session.refuse = () => null;
  await mount.sync();
  const again = await openFile(mount, "full-0");
  assert.equal((await read(again, 0, 4096)).length, 4096);
  await mount.destroy();
});

test("a number of blocks that the kernel was told while data was on its way is dropped once the namespace has counted", async () => {
  const { mount, session } = await newMount();
  const dropped: [InodeId, number][] = [];
  mount.attach({
    invalidateInode: async (inode: InodeId, offset: number) => {
      dropped.push([inode, offset]);
      return true;
    },
    invalidateEntry: async () => true,
    notifyDelete: async () => true,
    incrementEpoch: async () => true,
  } as never);
  const file = await createFile(mount, "blocks");
  await write(file, 0, new Uint8Array(100).fill(1));
  const estimate = (await attributes(file)).allocatedBytes;
  assert.equal(estimate, 4096);
  session.file(file.inode).attributes.allocatedBytes = 100;
  await sync(file);
  assert.equal((await attributes(file)).allocatedBytes, 100);
  assert.deepEqual(dropped, [[file.inode, -1]]);
  // Nobody was told anything else: nothing is dropped.
  await write(file, 0, new Uint8Array(100).fill(2));
  await sync(file);
  assert.equal(dropped.length, 1);
  await mount.destroy();
});
