import assert from "node:assert/strict";
import test from "node:test";
import {
  BUFFER_FILES_MAX,
  BUFFER_PIECES_MAX,
  COMMIT_FILES_MAX,
  COMMIT_RANGES_MAX,
  RUN_GAP_MAX_BYTES,
} from "../../../fs/mount/limits.ts";
import { FsError } from "../../../fs/errno.ts";
import { Mount } from "../../../fs/mount/mount.ts";
import type { Reply, Request } from "../../../fs/messages.ts";
import { seededRandom } from "../../../storage/seeded-random.ts";
import { MemorySession, MemoryStripes } from "./doubles.ts";
import { close, createFile, openFile, read, sync, write } from "./program.ts";
import type { OpenFile } from "./program.ts";

const schemes = { full: "rs:4+2", small: "copies:3" };

/** Notes how large commits are. */
class WatchedSession extends MemorySession {
  commits: Request<"commit">[] = [];
  override on_commit(request: Request<"commit">): Reply<"commit"> {
    this.commits.push({
      files: request.files.map((file) => ({ ...file, extents: [...file.extents] })),
      stripes: request.stripes,
    });
    return super.on_commit(request);
  }
  most(count: (request: Request<"commit">) => number): number {
    return Math.max(0, ...this.commits.map(count));
  }
}

const extentsIn = (request: Request<"commit">): number => request.files.reduce((sum, { extents }) => sum + extents.length, 0);
async function newMount(): Promise<{ mount: Mount; session: WatchedSession; stripes: MemoryStripes }> {
  const session = new WatchedSession();
  const stripes = new MemoryStripes();
  return { mount: await Mount.open({ openSession: () => session, stripes, schemes }), session, stripes };
}

function numbered(index: number, length: number): Uint8Array {
  return new Uint8Array(length).map((_, at) => (index * 7 + at * 13) & 0xff);
}

test("files that grow in turn by a few bytes become one extent each", async () => {
  const { mount, session } = await newMount();
  const files = [await createFile(mount, "a"), await createFile(mount, "b")];
  const writes = 33_500;
  for (let index = 0; index < writes; index++)
    for (const [which, file] of files.entries()) await write(file, index * 4, numbered(index + which, 4));
  for (const [which, file] of files.entries()) {
    await sync(file);
    assert.equal(session.file(file.inode).extents.length, 1);
    const bytes = await read(file, 0, writes * 4);
    assert.equal(bytes.length, writes * 4);
    for (let index = 0; index < writes; index += 997)
      assert.deepEqual(new Uint8Array(bytes.subarray(index * 4, index * 4 + 4)), numbered(index + which, 4));
  }
  await mount.destroy();
});

test("a few bytes at every eighth become one extent with the zeros between them, also through another mount", async () => {
  const { mount, session, stripes } = await newMount();
  const file = await createFile(mount, "every-eighth");
  const writes = 30_000;
  for (let index = 0; index < writes; index++) await write(file, index * 8, new Uint8Array(4).fill(1 + (index % 255)));
  await sync(file);
  assert(session.file(file.inode).extents.length <= 2, `${session.file(file.inode).extents.length} extents`);
  const other = await Mount.open({ openSession: () => session, stripes, schemes });
  for (const reader of [file, await openFile(other, "every-eighth")]) {
    const bytes = await read(reader, 0, writes * 8);
    assert.equal(bytes.length, writes * 8 - 4);
    assert(bytes.every((byte, at) => byte === (at % 8 < 4 ? 1 + (Math.floor(at / 8) % 255) : 0)));
  }
  await mount.destroy();
  await other.destroy();
});

test("where bytes are between the ranges, or much is, nothing but the ranges is written", async () => {
  const { mount, session } = await newMount();
  const file = await createFile(mount, "holes");
  const step = RUN_GAP_MAX_BYTES + 2;
  for (let index = 0; index < 100; index++) await write(file, index * step, new Uint8Array(1).fill(7));
  await sync(file);
  assert.equal(session.file(file.inode).extents.length, 100);
  const over = await createFile(mount, "over");
  await write(over, 0, new Uint8Array(100_000).fill(1));
  await sync(over);
  for (let index = 0; index < 1000; index++) await write(over, index * 8, new Uint8Array(4).fill(2));
  await sync(over);
  const bytes = await read(over, 0, 100_000);
  assert(bytes.every((byte, at) => byte === (at < 8000 && at % 8 < 4 ? 2 : 1)));
  await mount.destroy();
});

test("more ranges than a commit takes go in several", async () => {
  const { mount, session } = await newMount();
  const file = await createFile(mount, "scattered");
  const writes = BUFFER_PIECES_MAX * 1.5;
  for (let index = 0; index < writes; index++) await write(file, index * 1000, new Uint8Array(4).fill(1 + (index % 255)));
  await sync(file);
  assert.equal(session.file(file.inode).extents.length, writes);
  assert.equal(session.most(extentsIn), COMMIT_RANGES_MAX);
  for (let index = 0; index < writes; index += 499) assert.equal((await read(file, index * 1000, 1))[0], 1 + (index % 255));
  await mount.destroy();
});

test("more files than a commit takes go in several", async () => {
  const { mount, session } = await newMount();
  const files: OpenFile[] = [];
  for (let index = 0; index < BUFFER_FILES_MAX * 2 + 1; index++) {
    const file = await createFile(mount, `file-${index}`);
    files.push(file);
    await write(file, 0, numbered(index, 40));
  }
  await mount.sync();
  assert.equal(
    session.most(({ files: { length } }) => length),
    COMMIT_FILES_MAX,
  );
  for (const [index, file] of files.entries()) assert.deepEqual(new Uint8Array(await read(file, 0, 50)), numbered(index, 40));
  await mount.destroy();
});

/** A flush meets disks that refuse, and later the same bytes go. */
async function failOnce(mount: Mount, stripes: MemoryStripes): Promise<void> {
  stripes.failure = new FsError("ENOSPC", "the disks are full");
  await mount.sync().catch(() => {});
  stripes.failure = null;
}

for (const seed of [1, 2, 3]) {
  test(`short writes in turn, over one another and beside long ones, agree with arrays of bytes, seed ${seed}`, async () => {
    const { mount, session, stripes } = await newMount();
    const random = seededRandom(seed);
    const below = (limit: number): number => Math.floor(random() * limit);
    const models: { name: string; file: OpenFile; bytes: Uint8Array; size: number }[] = [];
    for (let index = 0; index < 3; index++) {
      const name = `file-${index}`;
      models.push({ name, file: await createFile(mount, name), bytes: new Uint8Array(3_000_000), size: 0 });
    }
    const put = async (model: (typeof models)[number], offset: number, length: number): Promise<void> => {
      const data = new Uint8Array(length).fill(1 + below(255));
      model.bytes.set(data, offset);
      model.size = Math.max(model.size, offset + length);
      // What failed before is told once, and the write is not made.
      await write(model.file, offset, data).catch(() => write(model.file, offset, data));
    };
    for (let step = 0; step < 6_000; step++) {
      const model = models[below(models.length)];
      const choice = below(1000);
      if (choice < 500) await put(model, Math.min(model.size, 2_900_000), 1 + below(40));
      else if (choice < 940) await put(model, below(200_000), 1 + below(12));
      else if (choice < 985) await put(model, below(100) * 4096, 4096);
      else if (choice < 987) await sync(model.file).catch(() => sync(model.file));
      else if (choice < 989) await failOnce(mount, stripes);
      else if (choice < 990) for (let at = 0; at < 1_300_000; at += 100_000) await put(model, 700_000 + at, 100_000);
      else {
        const offset = below(400_000);
        const wanted = model.bytes.subarray(offset, Math.min(model.size, offset + 5000));
        assert.deepEqual(Buffer.from(await read(model.file, offset, 5000)), Buffer.from(wanted));
      }
    }
    await mount.sync();
    const other = await Mount.open({ openSession: () => session, stripes, schemes });
    for (const { name, file, bytes, size } of models) {
      await sync(file).catch(() => {});
      for (const reader of [file, await openFile(other, name)])
        assert(Buffer.from(await read(reader, 0, bytes.length)).equals(bytes.subarray(0, size)));
      await close(file);
    }
    await mount.destroy();
    await other.destroy();
  });
}
