// Maxima of what a disk stores: the largest is taken and read back, one more is refused, and all else goes on.

import assert from "node:assert/strict";
import test from "node:test";
import { DISK_IDENTITY_FILE, IDENTITY_MAX_BYTES, readDiskIdentity } from "../../storage/disk-identity.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { ENTRY_MAX_BYTES } from "../../storage/log-format.ts";
import { OPEN_FILES_MAX, SEGMENTS_FOLDER, SegmentFiles } from "../../storage/segment-files.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";

test("an entry of ENTRY_MAX_BYTES is written and read, one of a byte more is refused, and the log goes on", async () => {
  const directory = new SimulatedDirectory({ seed: 1 });
  const log = await LocalLog.open(directory);
  const most = new Uint8Array(ENTRY_MAX_BYTES).fill(7);
  log.append(most);
  assert.throws(() => log.append(new Uint8Array(ENTRY_MAX_BYTES + 1)), /an entry of 16777217 bytes, at most 16777216/);
  log.append(new Uint8Array([1]));
  await log.sync(log.tail());
  await log.close();
  const again = await LocalLog.open(directory);
  const lengths: number[] = [];
  for await (const { entry } of again.read(again.first())) lengths.push(entry.length);
  assert.deepEqual(lengths, [ENTRY_MAX_BYTES, 1]);
  await again.close();
});

test("a disk's identity ends within IDENTITY_MAX_BYTES, or is unreadable", async () => {
  const text = '{"format":1,"store":"x","disk":1}';
  const identity = async (bytes: number): Promise<unknown> => {
    const directory = new SimulatedDirectory({ seed: 1 });
    const file = await directory.open(DISK_IDENTITY_FILE, { create: true });
    await file.write([Buffer.from(text.padStart(bytes))], 0);
    await file.close();
    return readDiskIdentity(directory);
  };
  assert.deepEqual(await identity(IDENTITY_MAX_BYTES), { store: "x", disk: 1 });
  await assert.rejects(identity(IDENTITY_MAX_BYTES + 1), { problem: "unreadable" });
});

test("OPEN_FILES_MAX segments stay open; with more the one that was used longest ago is closed, and opened again when it is used", async () => {
  const directory = new SimulatedDirectory({ seed: 1 });
  await directory.makeDirectory(SEGMENTS_FOLDER);
  const files = new SegmentFiles(directory);
  const names = Array.from({ length: OPEN_FILES_MAX + 1 }, (_, index) => `segment-${index}`);
  const use = (name: string): Promise<number> => files.use(name, "buffered", (file) => file.size());
  for (const name of names.slice(0, -1)) await files.create(name);
  await use(names[0]);
  assert.ok(names.slice(0, -1).every((name) => files.now(name) !== null));
  await files.create(names[OPEN_FILES_MAX]);
  await use(names[0]);
  assert.deepEqual(names.filter((name) => files.now(name) === null), [names[1]]); // prettier-ignore
  assert.equal(await use(names[1]), 0);
  await files.close();
});
