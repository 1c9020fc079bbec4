// What storage/directory.ts promises, on the real disk and on the simulated one.
import assert from "node:assert/strict";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { allocateAligned } from "../../native/files.ts";
import { ALIGNMENT_BYTES, type Directory, type DirectoryFile } from "../../storage/directory.ts";
import { RealDirectory } from "../../storage/real-directory.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";

const text = (value: string): Uint8Array => Buffer.from(value, "latin1");

async function eachDirectory(work: (directory: Directory) => Promise<void>): Promise<void> {
  await work(new SimulatedDirectory({ seed: 1 }));
  const place = await fs.mkdtemp(path.join(os.tmpdir(), "cairn-directory-"));
  try {
    await work(new RealDirectory(place));
  } finally {
    await fs.rm(place, { recursive: true, force: true });
  }
}

async function readText(file: DirectoryFile, position: number, length: number): Promise<string> {
  const buffer = new Uint8Array(length);
  const bytes = await file.read(buffer, position);
  return Buffer.from(buffer.subarray(0, bytes)).toString("latin1");
}

test("what is written is read, from anywhere, and reads end at the end of the file", async () => {
  await eachDirectory(async (directory) => {
    const file = await directory.open("file", { create: true });
    await file.write([text("hello "), text(""), text("world")], 3);
    assert.equal(await file.size(), 14);
    assert.equal(await readText(file, 0, 100), "\0\0\0hello world");
    assert.equal(await readText(file, 9, 3), "wor");
    assert.equal(await readText(file, 14, 3), "");
    assert.equal(await readText(file, 1000, 3), "");
    await file.write([text("HELLO")], 3);
    await file.writeAndSync([text("!")], 14);
    assert.equal(await readText(file, 3, 100), "HELLO world!");
    const now = new Uint8Array(5);
    assert.equal(file.readNow(now, 3), 5);
    assert.equal(Buffer.from(now).toString("latin1"), "HELLO");
    assert.equal(file.readNow(new Uint8Array(100), 3), 12);
    await file.close();
  });
});

test("writes of thousands of buffers are whole", async () => {
  await eachDirectory(async (directory) => {
    const file = await directory.open("file", { create: true });
    const buffers = Array.from({ length: 5000 }, (_, index) => text(`${index},`));
    await file.write(buffers, 0);
    assert.equal(await readText(file, 0, 1e6), Buffer.concat(buffers).toString("latin1"));
    await file.close();
  });
});

test("allocate grows with zeros, punch gives zeros, truncate cuts both ways", async () => {
  await eachDirectory(async (directory) => {
    const file = await directory.open("file", { create: true });
    await file.allocate(0, 16384);
    assert.equal(await file.size(), 16384);
    await file.write([new Uint8Array(16384).fill(1)], 0);
    await file.punch(4000, 8000);
    const bytes = new Uint8Array(16384);
    await file.read(bytes, 0);
    assert.ok(bytes.every((byte, at) => byte === (at >= 4000 && at < 12000 ? 0 : 1)));
    assert.equal(await file.size(), 16384);
    await file.truncate(100);
    await file.truncate(200);
    assert.equal(await readText(file, 0, 1000), "\u0001".repeat(100) + "\0".repeat(100));
    await file.sync();
    await file.close();
  });
});

test("direct files take aligned memory and give the same bytes", async () => {
  await eachDirectory(async (directory) => {
    const buffer = allocateAligned(4 * ALIGNMENT_BYTES);
    buffer.forEach((_, at) => (buffer[at] = at % 251));
    const file = await directory.open("direct", { create: true, direct: true });
    await file.allocate(0, 64 * 1024);
    await file.write([buffer], ALIGNMENT_BYTES);
    await file.sync();
    const back = allocateAligned(4 * ALIGNMENT_BYTES);
    assert.equal(await file.read(back, ALIGNMENT_BYTES), back.length);
    assert.deepEqual(back, buffer);
    assert.equal(file.readNow(back, 0), -1);
    await file.close();
  });
});

test("names: made, listed in order, renamed over others, removed with all below", async () => {
  await eachDirectory(async (directory) => {
    await directory.makeDirectory("a/b/c");
    await directory.makeDirectory("a/b/c");
    for (const name of ["z", "y", "a/b/x"]) await (await directory.open(name, { create: true })).close();
    assert.deepEqual(await directory.list(""), ["a", "y", "z"]);
    assert.deepEqual(await directory.list("a/b"), ["c", "x"]);
    await directory.rename("z", "y");
    await directory.rename("a/b", "moved");
    await directory.syncNames("");
    assert.deepEqual(await directory.list(""), ["a", "moved", "y"]);
    assert.deepEqual(await directory.list("moved"), ["c", "x"]);
    await directory.remove("moved");
    await directory.remove("never there");
    assert.deepEqual(await directory.list(""), ["a", "y"]);
    const { totalBytes, freeBytes } = await directory.space();
    assert.ok(totalBytes >= freeBytes && freeBytes > 0);
  });
});

test("errors carry the system's code and name the file and the action", async () => {
  await eachDirectory(async (directory) => {
    const refused = async (work: Promise<unknown>, code: string, name: string): Promise<void> => {
      await assert.rejects(work, (error: Error & { code: string }) => {
        assert.equal(error.code, code, error.message);
        assert.ok(error.message.includes(name), error.message);
        return true;
      });
    };
    await refused(directory.open("missing"), "ENOENT", "missing");
    await refused(directory.list("missing"), "ENOENT", "missing");
    await refused(directory.rename("missing", "other"), "ENOENT", "missing");
    await refused(directory.open("no/such/folder", { create: true }), "ENOENT", "no/such/folder");
    await directory.makeDirectory("folder");
    await refused(directory.open("folder"), "EISDIR", "folder");
    const file = await directory.open("file", { create: true });
    const readOnly = await directory.open("file", { readOnly: true });
    await refused(readOnly.write([text("x")], 0), "EBADF", "file");
    await file.close();
    await readOnly.close();
  });
});

test("a lock is held by one open file until it is closed", async () => {
  await eachDirectory(async (directory) => {
    const first = await directory.open("lock", { create: true });
    const second = await directory.open("lock");
    assert.equal(first.tryLock(), true);
    assert.equal(first.tryLock(), true);
    assert.equal(second.tryLock(), false);
    await first.close();
    assert.equal(second.tryLock(), true);
    await second.close();
  });
});

test("the real directory refuses names that leave it, and files used after close", async () => {
  const directory = new RealDirectory(os.tmpdir());
  await assert.rejects(directory.open("../etc/passwd"), /leaves it/);
  await assert.rejects(directory.open("/etc/passwd"), /leaves it/);
  const place = await fs.mkdtemp(path.join(os.tmpdir(), "cairn-directory-"));
  try {
    const file = await new RealDirectory(place).open("file", { create: true });
    await file.close();
    await file.close();
    await assert.rejects(file.read(new Uint8Array(1), 0), /after it was closed/);
  } finally {
    await fs.rm(place, { recursive: true, force: true });
  }
});

test("a crash of the simulated disk keeps what was synced, and may tear, drop and reorder the rest at sectors", async () => {
  const outcomes = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const disk = new SimulatedDirectory({ seed });
    const file = await disk.open("file", { create: true });
    await file.write([new Uint8Array(2048).fill(1)], 0);
    await file.sync();
    await disk.syncNames("");
    await file.write([new Uint8Array(1024).fill(2)], 0);
    await file.write([new Uint8Array(1024).fill(3)], 1024);
    disk.crash();
    await assert.rejects(file.read(new Uint8Array(1), 0), { code: "EIO" });
    const bytes = disk.contents("file");
    assert.equal(bytes.length, 2048);
    const sectors = [0, 512, 1024, 1536].map((at) => bytes[at]);
    for (const [sector, value] of sectors.entries())
      assert.ok(bytes.subarray(sector * 512, sector * 512 + 512).every((byte) => byte === value));
    assert.ok(sectors.every((value, sector) => value === 1 || value === (sector < 2 ? 2 : 3)));
    outcomes.add(sectors.join(""));
  }
  for (const outcome of ["1111", "2233", "2111", "1133", "1213"])
    assert.ok(outcomes.has(outcome), `${outcome} in ${[...outcomes].join(" ")}`);
});

test("names that were not synced may be lost by a crash, synced ones not", async () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 100; seed++) {
    const disk = new SimulatedDirectory({ seed });
    await disk.open("kept", { create: true });
    await disk.syncNames("");
    await disk.open("perhaps", { create: true });
    await disk.rename("kept", "renamed");
    disk.crash();
    const names = disk.fileNames();
    assert.equal(names.filter((name) => name === "kept" || name === "renamed").length, 1);
    seen.add(names.join());
  }
  assert.deepEqual([...seen].sort(), ["kept", "kept,perhaps", "perhaps,renamed", "renamed"]);
});

test("after a failed sync reads show the bytes, and a later sync does not bring them to the medium", async () => {
  let lost = 0;
  for (let seed = 0; seed < 50; seed++) {
    const disk = new SimulatedDirectory({ seed });
    const file = await disk.open("file", { create: true });
    await disk.syncNames("");
    await file.write([text("precious")], 0);
    disk.faults = [{ call: disk.calls + 1, code: "EIO" }];
    await assert.rejects(file.sync(), { code: "EIO" });
    await file.sync();
    assert.equal(await readText(file, 0, 8), "precious");
    disk.crash();
    if (Buffer.from(disk.contents("file")).toString("latin1") !== "precious") lost++;
  }
  assert.ok(lost > 5);
});

test("a bounded simulated disk runs full, and has space again after punch and remove", async () => {
  const disk = new SimulatedDirectory({ seed: 1, totalBytes: 8 * 4096 });
  const file = await disk.open("file", { create: true });
  await file.write([new Uint8Array(6 * 4096).fill(1)], 0);
  await assert.rejects(file.write([new Uint8Array(3 * 4096)], 6 * 4096), { code: "ENOSPC" });
  await assert.rejects(file.allocate(0, 9 * 4096), { code: "ENOSPC" });
  await file.punch(0, 2 * 4096);
  await file.write([new Uint8Array(3 * 4096)], 6 * 4096);
  await disk.remove("file");
  assert.equal(disk.usedBytes(), 0);
});
