import assert from "node:assert/strict";
import test from "node:test";
import {
  checkDiskIdentity,
  createDiskIdentity,
  DISK_IDENTITY_FILE,
  readDiskIdentity,
  saltOf,
} from "../../storage/disk-identity.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";

const IDENTITY = { store: "0a6bb1a0-70e2-4f0c-8b4f-3a5d9e0c7f21", disk: 4 };

async function withText(text: string): Promise<SimulatedDirectory> {
  const directory = new SimulatedDirectory({ seed: 1 });
  const file = await directory.open(DISK_IDENTITY_FILE, { create: true });
  await file.write([Buffer.from(text)], 0);
  await file.close();
  return directory;
}

test("a disk's identity is what was created, also after a power cut, and has these bytes", async () => {
  for (let seed = 1; seed < 20; seed++) {
    const directory = new SimulatedDirectory({ seed });
    await createDiskIdentity(directory, IDENTITY);
    directory.crash();
    assert.deepEqual(await readDiskIdentity(directory), IDENTITY);
    await checkDiskIdentity(directory, IDENTITY);
    const text = '{\n  "format": 1,\n  "store": "0a6bb1a0-70e2-4f0c-8b4f-3a5d9e0c7f21",\n  "disk": 4\n}\n';
    assert.equal(Buffer.from(directory.contents(DISK_IDENTITY_FILE)).toString(), text);
  }
});

test("when any call of making a disk fails or the power goes, it is whole or can be made again", async () => {
  for (let call = 1; call < 12; call++) {
    const directory = new SimulatedDirectory({ seed: call });
    directory.faults = [{ call, code: "EIO" }];
    await createDiskIdentity(directory, IDENTITY).catch(() => undefined);
    directory.faults = [];
    directory.crash();
    const found = await readDiskIdentity(directory).catch((error: { problem: string }) => error.problem);
    if (found === "missing") await createDiskIdentity(directory, IDENTITY);
    assert.deepEqual(await readDiskIdentity(directory), IDENTITY);
  }
});

test("a directory that is a disk already is not made one again", async () => {
  const directory = new SimulatedDirectory({ seed: 1 });
  await createDiskIdentity(directory, IDENTITY);
  await assert.rejects(createDiskIdentity(directory, { ...IDENTITY, disk: 5 }), {
    problem: "present",
    message: /empty directory/,
  });
  assert.deepEqual(await readDiskIdentity(directory), IDENTITY);
});

test("a missing, damaged, newer or foreign identity is refused with what is there and what is required", async () => {
  await assert.rejects(readDiskIdentity(new SimulatedDirectory({ seed: 1 })), { problem: "missing", message: /there is none/ });
  for (const text of [
    "",
    "{",
    "null",
    "[]",
    '{"format":1}',
    '{"format":1,"store":"x"}',
    '{"format":"1","store":"x","disk":1}',
    "\0\0\0\0",
  ]) {
    await assert.rejects(readDiskIdentity(await withText(text)), { problem: "unreadable" }, JSON.stringify(text));
  }
  await assert.rejects(readDiskIdentity(await withText('{"format":2,"store":"x","disk":1}')), {
    problem: "version",
    message: /format 2.*format 1/,
  });
  const directory = await withText('{"format":1,"store":"x","disk":1}');
  await assert.rejects(checkDiskIdentity(directory, { store: "y", disk: 1 }), {
    problem: "foreign",
    message: /store x.*store y/,
  });
  await assert.rejects(checkDiskIdentity(directory, { store: "x", disk: 2 }), { problem: "foreign", message: /disk 1.*disk 2/ });
  directory.broken = "EIO";
  await assert.rejects(readDiskIdentity(directory), { problem: "unreadable", message: /EIO/ });
});

test("disks differ in their salt", () => {
  assert.notEqual(saltOf(IDENTITY), saltOf({ ...IDENTITY, disk: 5 }));
});
