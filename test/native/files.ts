import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { SystemError, allocateAligned, check, files, openFlags, raiseOpenFiles } from "../../native/files.ts";

const ADDON = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../../build/Release/files.node");

async function withFile(work: (fd: number, file: string) => Promise<void>): Promise<void> {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), "cairn-files-"));
  const file = path.join(directory, "file");
  const fd = check(await files.open(file, openFlags.readWrite | openFlags.create), "open", file);
  try {
    await work(fd, file);
  } finally {
    await files.close(fd);
    await fs.rm(directory, { recursive: true, force: true });
  }
}

test("operations resolve with negative error numbers, never reject", async () => {
  assert.equal(await files.open("/no/such/file", openFlags.readOnly), -2);
  assert.equal(await files.read(-1, new Uint8Array(1), 0), -9);
  assert.equal(await files.write(-1, [new Uint8Array(1)], 0), -9);
  assert.equal(await files.writeAndSync(-1, [new Uint8Array(1)], 0), -9);
  assert.equal(await files.sync(-1), -9);
  assert.equal(await files.close(-1), -9);
  assert.equal(files.size(-1), -9);
  assert.equal(files.lock(-1), -9);
});

test("wrong arguments are refused at once", () => {
  const wrong = files as unknown as Record<string, (...values: unknown[]) => unknown>;
  assert.throws(() => wrong.open(7, 0), TypeError);
  assert.throws(() => wrong.read(0, "text", 0), TypeError);
  assert.throws(() => wrong.read(0, new Uint16Array(4), 0), TypeError);
  assert.throws(() => wrong.write(0, new Uint8Array(4), 0), TypeError);
  assert.throws(() => wrong.write(0, [new Uint8Array(4), null], 0), TypeError);
  assert.throws(() => wrong.readNow(0, null, 0), TypeError);
  assert.throws(() => wrong.allocateMemory(0), /no memory/);
});

test("readNow gives what is in the page cache, and the end of the file as less", async () => {
  await withFile(async (fd) => {
    await files.write(fd, [new Uint8Array(10_000).fill(7)], 0);
    const into = new Uint8Array(8192);
    assert.equal(files.readNow(fd, into, 100), 8192);
    assert.ok(into.every((byte) => byte === 7));
    assert.equal(files.readNow(fd, into, 9_000), 1000);
    assert.equal(files.readNow(fd, into, 20_000), 0);
    assert.equal(files.readNow(fd, new Uint8Array(0), 0), 0);
  });
});

test("buffers stay alive while work on them runs, though nobody else refers to them", async () => {
  await withFile(async (fd) => {
    const writes = Array.from({ length: 64 }, (_, index) => files.write(fd, [new Uint8Array(65536).fill(index)], index * 65536));
    for (let round = 0; round < 20; round++) void new Uint8Array(1 << 20).fill(round);
    assert.deepEqual(await Promise.all(writes), writes.map(() => 65536)); // prettier-ignore
    const back = new Uint8Array(64 * 65536);
    assert.equal(await files.read(fd, back, 0), back.length);
    for (let index = 0; index < 64; index++)
      assert.ok(back.subarray(index * 65536, (index + 1) * 65536).every((byte) => byte === index));
  });
});

test("aligned memory serves O_DIRECT, is zero, and subarrays at pages do too", async () => {
  const memory = allocateAligned(3 * 4096);
  assert.ok(memory.every((byte) => byte === 0));
  await withFile(async (_, file) => {
    const fd = await files.open(file, openFlags.readWrite | openFlags.direct);
    if (fd === -22) return assert.ok(true, "a filesystem without O_DIRECT");
    memory.fill(9, 4096);
    assert.equal(await files.write(fd, [memory.subarray(4096)], 0), 8192);
    assert.equal(await files.read(fd, memory.subarray(0, 4096), 4096), 4096);
    assert.equal(memory[0], 9);
    await files.close(fd);
  });
});

test("writes with a sync may be under way side by side, and each lands where it should", async () => {
  await withFile(async (fd, file) => {
    for (let round = 0; round < 20; round++) {
      const writes = Array.from({ length: 8 }, (_, index) =>
        files.writeAndSync(fd, [new Uint8Array(100).fill(round * 8 + index)], (round * 8 + index) * 100),
      );
      assert.deepEqual(await Promise.all(writes), Array(8).fill(100));
      // Now and then long enough for the thread to fall asleep.
      if (round % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const bytes = await fs.readFile(file);
    const wanted = Buffer.concat(Array.from({ length: 160 }, (_, index) => Buffer.alloc(100, index)));
    assert.equal(Buffer.compare(bytes, wanted), 0);
  });
});

/** Ends while a write is under way, on the main thread or a worker's. */
const WRITE_AND_END = `
  const [addon, file, where] = process.argv.slice(1);
  const body = \`
    const files = require(\${JSON.stringify(addon)});
    files.open(\${JSON.stringify(file)}, 2).then(async (fd) => {
      await files.writeAndSync(fd, [new Uint8Array(10).fill(1)], 0);
      files.writeAndSync(fd, [new Uint8Array(1e7).fill(2)], 10);
      process.exit(0);
    });\`;
  if (where === "main") eval(body);
  else new (require("node:worker_threads").Worker)(body, { eval: true }).on("exit", (code) => process.exit(code));`;

test("a thread of JavaScript may end while a write with a sync is under way; what was written before stays", async () => {
  for (const where of ["main", "worker"]) {
    await withFile(async (_fd, file) => {
      const words = ["-e", WRITE_AND_END, ADDON, file, where];
      const ran = spawnSync(process.execPath, words, { encoding: "utf8", timeout: 60_000 });
      assert.equal(ran.status, 0, ran.stderr);
      assert.deepEqual((await fs.readFile(file)).subarray(0, 10), Buffer.alloc(10, 1));
    });
  }
});

test("a system error has the code, and names action and file", () => {
  const error = new SystemError(-28, "write", "/some/file");
  assert.equal(error.code, "ENOSPC");
  assert.equal(error.message, "write /some/file: no space left on device (ENOSPC)");
  for (const [errno, code] of [
    [117, "EUCLEAN"],
    [122, "EDQUOT"],
    [116, "ESTALE"],
    [74, "EBADMSG"],
    [133, "EHWPOISON"],
  ] as const)
    assert.equal(new SystemError(-errno, "read", "/some/file").code, code);
  assert.match(
    new SystemError(-117, "read", "/f").message,
    /^read \/f: structure needs cleaning: the filesystem is damaged \(EUCLEAN\)$/,
  );
  assert.equal(check(5, "x", "y"), 5);
});

test("the limit of open files goes up as far as allowed", () => {
  assert.ok(raiseOpenFiles() >= 1024);
  assert.equal(raiseOpenFiles(), raiseOpenFiles());
});

/** Heaps of malloc(3) beside the main one: they begin at multiples of 64 MiB. Runs in a process of its own. */
const COUNT_ARENAS = `
  const [file, limit] = process.argv.slice(1);
  if (limit !== "none") process.exitCode = require(file).limitArenas(Number(limit)) === 0 ? 0 : 1;
  const { scrypt } = require("node:crypto");
  const work = () => new Promise((resolve) => scrypt("a", "b", 1000, resolve));
  Promise.all(Array.from({ length: 64 }, work)).then(() => {
    const maps = require("node:fs").readFileSync("/proc/self/maps", "latin1").split("\\n");
    console.log(maps.filter((line) => /^[0-9a-f]*[048c]000000-/.test(line) && / rw-p 00000000 00:00 0 *$/.test(line)).length);
  });`;

function countArenas(limit: string): number {
  const env = { ...process.env, UV_THREADPOOL_SIZE: "16" };
  const ran = spawnSync(process.execPath, ["-e", COUNT_ARENAS, ADDON, limit], { env, encoding: "utf8" });
  assert.equal(ran.status, 0, ran.stderr);
  return Number(ran.stdout);
}

test("threads share the heaps that the limit leaves", () => {
  assert.ok(countArenas("1") < countArenas("none"));
});
