// The operation table without a kernel: requests are built byte by byte, the handlers record what they were called with.
import assert from "node:assert/strict";
import test from "node:test";
import { FsError } from "../../../fs/errno.ts";
import type { DirectorySink, Handlers } from "../../../fs/mount/handlers.ts";
import { operationByCode, operations } from "../../../fs/mount/operations.ts";
import type { Connection } from "../../../fs/mount/operations.ts";
import { ReplyBody, Request, arenaView } from "../../../fs/mount/operations-request.ts";
import type { Attributes, ByteString, InodeId } from "../../../fs/types.ts";
import { randomNumbers } from "../../fixture/random.ts";

const ARENA_BYTES = 4 << 20;
const REQUEST_AT = 4016;
const arena = arenaView(new ArrayBuffer(ARENA_BYTES), 0, ARENA_BYTES);

type Part = number | bigint | string | Uint8Array;

/** u32 for a number, u64 for a bigint, latin1 and NUL for a string. */
function bytesOf(parts: readonly Part[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === "string") return Buffer.from(`${part}\0`, "latin1");
      if (part instanceof Uint8Array) return Buffer.from(part);
      const buffer = Buffer.alloc(typeof part === "bigint" ? 8 : 4);
      if (typeof part === "bigint") buffer.writeBigUInt64LE(part);
      else buffer.writeUInt32LE(part >>> 0);
      return buffer;
    }),
  );
}

function place(code: number, body: Uint8Array): Request {
  const header = bytesOf([40 + body.length, code, 0x1_0000_0002n, 77n, 1000, 1001, 4242, 0]);
  arena.bytes.fill(0x41, REQUEST_AT, REQUEST_AT + 8192); // what an earlier request may have left: no NUL in sight
  arena.bytes.set(header, REQUEST_AT);
  arena.bytes.set(body, REQUEST_AT + 40);
  return new Request(arena, REQUEST_AT, 40 + body.length, 0);
}

interface Called {
  method: string;
  values: unknown[];
}

const attributes = { inode: 5 as InodeId, mode: 0o100644 } as Attributes;
const entry = { attributes, entryTimeoutMs: 0, attributeTimeoutMs: 0 };

/** Handlers that note their call and return what `answers` holds under their name. */
function recording(calls: Called[], answers: Record<string, unknown> = {}): Handlers {
  return new Proxy({} as Handlers, {
    get:
      (_target, method: string) =>
      (...values: unknown[]) => {
        calls.push({ method, values: values.map((value) => (value instanceof Request ? "caller" : value)) });
        const answer = answers[method];
        return typeof answer === "function" ? answer(...values) : answer;
      },
  });
}

function connectionOf(handlers: Handlers, extendedSetxattr = true): Connection & { interrupted: number[] } {
  const interrupted: number[] = [];
  return {
    handlers,
    extendedSetxattr,
    interrupted,
    initialize: () => undefined,
    writeInitialized: () => 64,
    interrupt: (unique) => interrupted.push(unique),
    slotBody: (request) => new ReplyBody(arena, request.slotBodyAt, 4096),
  };
}

function call(
  code: number,
  parts: readonly Part[],
  answers: Record<string, unknown> = {},
  extendedSetxattr = true,
): { calls: Called[]; result: unknown; request: Request } {
  const calls: Called[] = [];
  const body = bytesOf(parts);
  const request = place(code, body);
  const operation = operationByCode[code]!;
  assert.ok(
    body.length >= operation.bodyBytes,
    `${operation.name} is given ${body.length} bytes of body, needs ${operation.bodyBytes}`,
  );
  return { result: operation.call(request, connectionOf(recording(calls, answers), extendedSetxattr)), calls, request };
}

const zeros = (words: number): Uint8Array => new Uint8Array(4 * words);

/** Each operation's body as the kernel sends it, and the call that it becomes. */
const cases: [name: string, code: number, parts: Part[], method: string, values: unknown[]][] = [
  ["LOOKUP", 1, ["name\xff"], "lookup", [77, "name\xff"]],
  ["FORGET", 2, [3n], "forget", [77, 3]],
  ["GETATTR without a handle", 3, [0, 0, 9n], "getattr", [77, null]],
  ["GETATTR with a handle", 3, [1, 0, 9n], "getattr", [77, 9]],
  ["SETATTR of everything", 4, [0xfff & ~0x180, 0, 9n, 4096n, 5n, -7n & 0xffff_ffff_ffff_ffffn, 11n, 12n, 1, 2, 3, 0o600, 0, 1000, 1001, 0], "setattr",
    [77, { mode: 0o600, uid: 1000, gid: 1001, size: 4096, atime: { seconds: -7, nanoseconds: 1 }, mtime: { seconds: 11, nanoseconds: 2 }, ctime: { seconds: 12, nanoseconds: 3 }, handle: 9, clearSetId: true }]],
  ["SETATTR of times to now", 4, [0x1b0, 0, zeros(20)], "setattr", [77, { atime: "now", mtime: "now" }]],
  ["SETATTR of nothing", 4, [0, 0, zeros(20)], "setattr", [77, {}]],
  ["READLINK", 5, [], "readlink", [77]],
  ["SYMLINK", 6, ["name", "to/somewhere"], "symlink", [77, "name", "to/somewhere"]],
  ["MKNOD", 8, [0o20644, 0x103, 0o22, 0, "null"], "mknod", [77, "null", 0o20644, 0x103, 0o22]],
  ["MKDIR", 9, [0o755, 0o22, "d"], "mkdir", [77, "d", 0o755, 0o22]],
  ["UNLINK", 10, ["f"], "unlink", [77, "f"]],
  ["RMDIR", 11, ["d"], "rmdir", [77, "d"]],
  ["RENAME", 12, [88n, "a", "b"], "rename", [77, "a", 88, "b", 0]],
  ["LINK", 13, [5n, "new"], "link", [5, 77, "new"]],
  ["OPEN", 14, [0o102001, 1], "open", [77, 0o102001, true]],
  ["WRITE", 16, [9n, 2n ** 40n, 3, 4, 0n, 0o2001, 0, Buffer.from("abc")], "write", [77, 9, 2 ** 40, Buffer.from("abc"), 0o2001, true, false]],
  ["WRITE of a mapping", 16, [9n, 0n, 0, 1, 0n, 0, 0], "write", [77, 9, 0, Buffer.alloc(0), 0, false, true]],
  ["STATFS", 17, [], "statfs", [77]],
  ["RELEASE", 18, [9n, 0, 0, 5n], "release", [77, 9, null]],
  ["RELEASE with flock", 18, [9n, 0, 2, 0xffff_0000_0000_0001n], "release", [77, 9, "ffff0000:1"]],
  ["FSYNC", 20, [9n, 0, 0], "fsync", [77, 9, false]],
  ["FSYNC of data", 20, [9n, 1, 0], "fsync", [77, 9, true]],
  ["SETXATTR", 21, [5, 2, 1, 0, "user.a", Buffer.from("v\0lue")], "setxattr", [77, "user.a", Buffer.from("v\0lue"), 2, true]],
  ["SETXATTR of nothing", 21, [0, 1, 0, 0, "user.a"], "setxattr", [77, "user.a", Buffer.alloc(0), 1, false]],
  ["GETXATTR", 22, [100, 0, "user.a"], "getxattr", [77, "user.a"]],
  ["LISTXATTR", 23, [100, 0], "listxattr", [77]],
  ["REMOVEXATTR", 24, ["user.a"], "removexattr", [77, "user.a"]],
  ["FLUSH", 25, [9n, 0, 0, 0xabn], "flush", [77, 9, "0:ab"]],
  ["OPENDIR", 27, [0o200000, 0], "opendir", [77, 0o200000]],
  ["RELEASEDIR", 29, [9n, 0, 0, 0n], "releasedir", [77, 9]],
  ["FSYNCDIR", 30, [9n, 1, 0], "fsyncdir", [77, 9, true]],
  ["GETLK", 31, [9n, 7n, 10n, 19n, 1, 4242, 0, 0], "getlk", [77, 9, "0:7", { type: "write", start: 10, end: 19, pid: 4242 }]],
  ["SETLK of a flock", 32, [9n, 7n, 0n, 2n ** 63n - 1n, 0, 1, 1, 0], "setlk", [77, 9, "0:7", { type: "read", start: 0, end: Infinity, pid: 1 }, true, false]],
  ["SETLKW", 33, [9n, 7n, 0n, 2n ** 63n - 1n, 2, 1, 0, 0], "setlk", [77, 9, "0:7", { type: "unlock", start: 0, end: Infinity, pid: 1 }, false, true]],
  ["CREATE", 35, [0o102, 0o100644, 0o22, 0, "f"], "create", [77, "f", 0o100644, 0o102, 0o22, false]],
  ["CREATE", 35, [0o1101, 0o100644, 0o22, 1, "f"], "create", [77, "f", 0o100644, 0o1101, 0o22, true]],
  ["FALLOCATE", 43, [9n, 4096n, 8192n, 3, 0], "fallocate", [77, 9, 4096, 8192, 3]],
  ["RENAME2", 45, [88n, 2, 0, "a", "b"], "rename", [77, "a", 88, "b", 2]],
  ["LSEEK", 46, [9n, 100n, 4, 0], "lseek", [77, 9, 100, 4]],
  ["COPY_FILE_RANGE", 47, [9n, 1n, 88n, 10n, 2n, 4096n, 0n], "copyFileRange", [77, 9, 1, 88, 10, 2, 4096, 0]],
  ["COPY_FILE_RANGE_64 of all", 53, [9n, 1n, 88n, 10n, 2n, 2n ** 63n, 0n], "copyFileRange", [77, 9, 1, 88, 10, 2, Number.MAX_SAFE_INTEGER, 0]],
  ["SYNCFS", 50, [0n], "syncfs", [77]],
  ["TMPFILE", 51, [0o2, 0o100600, 0o77, 0, "/"], "tmpfile", [77, 0o100600, 0o2, 0o77]],
]; // prettier-ignore

for (const [name, code, parts, method, values] of cases) {
  test(`${name} is decoded`, () => {
    const { calls } = call(code, parts);
    const plain = (value: unknown): unknown => (value instanceof Uint8Array ? Buffer.from(value) : value);
    assert.deepEqual(
      calls.map((made) => ({ ...made, values: made.values.filter((value) => value !== "caller").map(plain) })),
      [{ method, values }],
    );
  });
}

test("SETXATTR of a kernel without the extension has 8 bytes before the name", () => {
  const { calls } = call(21, [1, 0, "user.a", Buffer.from("v")], {}, false);
  assert.deepEqual(calls[0].values.slice(1), [77, "user.a", Buffer.from("v"), 0, false]);
});

test("BATCH_FORGET and INTERRUPT reach their targets", () => {
  const { calls } = call(42, [2, 0, 5n, 1n, 6n, 7n]);
  assert.deepEqual(calls.map(({ values }) => values), [[5, 1], [6, 7]]); // prettier-ignore
  const connection = connectionOf(recording([]));
  operationByCode[36]!.call(place(36, bytesOf([0x1_0000_0002n])), connection);
  assert.deepEqual(connection.interrupted, [0x1_0000_0002]);
});

test("READ's buffer is the slot's page-aligned reply body of the asked length", () => {
  const { calls } = call(15, [9n, 4096n, 131072, 0, 0n, 0o100000, 0]);
  const [, node, handle, offset, length, into, flags] = calls[0].values as [
    string,
    number,
    number,
    number,
    number,
    Uint8Array,
    number,
  ];
  assert.deepEqual([node, handle, offset, length, flags], [77, 9, 4096, 131072, 0o100000]);
  assert.deepEqual([into.byteOffset - arena.bytes.byteOffset, into.length], [4096, 131072]);
});

function readdir(
  code: number,
  room: number,
  names: string[],
  fail?: Error,
): { taken: number; bytes: number; result: { bytes: number } } {
  let taken = 0;
  const answer = (
    _caller: unknown,
    _node: unknown,
    _handle: unknown,
    _offset: unknown,
    _plus: unknown,
    sink: DirectorySink,
  ): void => {
    for (const name of names)
      if (!sink({ name: name as ByteString, inode: 5 as InodeId, type: 8, cookie: ++taken, entry })) return void taken--;
    if (fail) throw fail;
  };
  const result = call(code, [9n, 0n, room, 0, 0n, 0, 0], { readdir: answer }).result as { bytes: number };
  return { taken, bytes: result.bytes, result };
}

test("READDIR takes items up to the last byte of the room and no further", () => {
  const names = Array.from({ length: 50 }, (_, i) => "x".repeat(1 + (i % 9)));
  const sizes = names.map((name) => Math.ceil((24 + name.length) / 8) * 8);
  for (let room = 40; room < 1600; room += 4) {
    const { taken, bytes } = readdir(28, room, names);
    let [expected, sum] = [0, 0];
    while (expected < 50 && sum + sizes[expected] <= room) sum += sizes[expected++];
    assert.deepEqual([taken, bytes], [expected, sum]);
  }
});

test("READDIRPLUS counts no look-up for dots and gives back all others when nobody waits for them", () => {
  const { result, taken } = readdir(44, 4096, [".", "..", "a", "b"]);
  assert.equal(taken, 4);
  const at = 4096 / 4;
  assert.deepEqual([arena.words[at], arena.words[at + (128 + 32) / 4], arena.words[at + 320 / 4]], [0, 0, 5]);
  const calls: Called[] = [];
  operationByCode[44]!.undo!(result, place(44, zeros(10)), connectionOf(recording(calls)));
  assert.deepEqual(calls, [{ method: "forget", values: [5, 1] }, { method: "forget", values: [5, 1] }]); // prettier-ignore
});

test("READDIR's error counts only before the first item, and room for no item is EINVAL", () => {
  assert.equal(readdir(28, 4096, ["a"], new FsError("EIO")).bytes, 32);
  assert.throws(() => readdir(28, 4096, [], new FsError("EIO")), { code: "EIO" });
  assert.throws(() => readdir(28, 24, ["a"]), { code: "EINVAL" });
  assert.equal(readdir(28, 4096, []).bytes, 0);
});

test("an xattr's value is answered by size where asked, and refused where it does not fit", () => {
  const body = new ReplyBody(arena, 65536, 4096);
  const encode = (code: number, room: number, value: unknown): number => {
    const { request } = call(code, code === 22 ? [room, 0, "user.a"] : [room, 0]);
    return operationByCode[code]!.encode!(body, value, request, connectionOf(recording([])));
  };
  assert.equal(encode(22, 0, Buffer.from("value")), 8);
  assert.equal(arena.words[65536 / 4], 5);
  assert.equal(encode(22, 5, Buffer.from("value")), 5);
  assert.equal(arena.bytes.toString("latin1", 65536, 65541), "value");
  assert.throws(() => encode(22, 4, Buffer.from("value")), { code: "ERANGE" });
  assert.throws(() => encode(22, 100_000, Buffer.alloc(65537)), { code: "E2BIG" });
  assert.equal(encode(23, 100, ["user.a", "user.b"]), 14);
  assert.equal(encode(23, 100, []), 0);
  assert.equal(arena.bytes.toString("latin1", 65536, 65543), "user.a\0");
});

test("a create that nobody waits for any more is closed and forgotten", () => {
  const calls: Called[] = [];
  operationByCode[35]!.undo!({ entry, opened: { handle: 3 } }, place(35, zeros(5)), connectionOf(recording(calls)));
  assert.deepEqual(calls.map(({ method }) => method), ["release", "forget"]); // prettier-ignore
});

test("names that are empty, unterminated, with a NUL inside or too long are refused", () => {
  const refused: [number, Part[], string][] = [
    [1, [""], "EINVAL"],
    [1, [Buffer.from("name")], "EINVAL"],
    [1, [Buffer.from("na\0me\0")], "EINVAL"],
    [1, ["x".repeat(256)], "ENAMETOOLONG"],
    [12, [88n, "only"], "EINVAL"],
    [12, [88n, "a", Buffer.from("b")], "EINVAL"],
    [6, ["name"], "EINVAL"],
    [6, ["name", "x".repeat(4096)], "ENAMETOOLONG"],
    [21, [10, 0, 0, 0, "user.a", Buffer.from("short")], "EINVAL"],
    [16, [9n, 0n, 100, 0, 0n, 0, 0, Buffer.from("short")], "EINVAL"],
    [15, [9n, 0n, (1 << 20) + 1, 0, 0n, 0, 0], "EINVAL"],
    [42, [3, 0, 5n, 1n], "EINVAL"],
    [31, [9n, 7n, 0n, 0n, 3, 0, 0, 0], "EINVAL"],
  ];
  for (const [code, parts, expected] of refused) {
    assert.throws(
      () => call(code, parts),
      { code: expected },
      `${operationByCode[code]!.name} ${JSON.stringify(parts, (_, v) => (typeof v === "bigint" ? String(v) : v))}`,
    );
  }
});

test("offsets and sizes that no exact number holds are clipped to one beyond every file's end", () => {
  const beyond = Number.MAX_SAFE_INTEGER;
  const offsetOf = (code: number, parts: Part[], position: number): unknown => call(code, parts, {}).calls[0].values[position];
  assert.equal(offsetOf(16, [9n, 2n ** 60n, 0, 0, 0n, 0, 0], 3), beyond);
  assert.equal(offsetOf(43, [9n, 2n ** 60n, 2n ** 61n, 0, 0], 3), beyond);
  assert.equal(offsetOf(43, [9n, 2n ** 60n, 2n ** 61n, 0, 0], 4), beyond);
});

test("every opcode up to 7.45 has a row, under its own number once", () => {
  const missing = [7, 19]; // never assigned
  for (let code = 1; code <= 53; code++) assert.equal(operationByCode[code]?.code, missing.includes(code) ? undefined : code);
  assert.equal(new Set(operations.map(({ code }) => code)).size, operations.length);
});

test("random bodies of every operation end in a call or an FsError, and a slot's data stays in the slot", () => {
  const below = randomNumbers(20261121);
  const random = (): number => below(2 ** 32);
  const connection = connectionOf(recording([], { readdir: () => undefined }));
  let refused = 0;
  for (let round = 0; round < 40_000; round++) {
    const operation = operations[random() % operations.length];
    const body = new Uint8Array(operation.bodyBytes + (random() % 64));
    for (let i = 0; i < body.length; i++) body[i] = random() % 3 === 0 ? random() : 0;
    const request = place(operation.code, body);
    try {
      operation.call(request, connection);
    } catch (error) {
      refused++;
      assert.ok(error instanceof FsError, `${operation.name}: ${String(error)}`);
    }
  }
  assert.ok(refused > 1000);
});
