// Golden bytes of the protocol's structures, as the kernel's include/uapi/linux/fuse.h lays them out.
import assert from "node:assert/strict";
import test from "node:test";
import * as protocol from "../../../fs/mount/protocol.ts";
import { MAX_WRITE_BYTES, negotiate, readInit, writeInit } from "../../../fs/mount/protocol-init.ts";
import {
  deleteMessage,
  incrementEpochMessage,
  invalidateEntryMessage,
  invalidateInodeMessage,
  writeStoreHead,
} from "../../../fs/mount/protocol-notify.ts";
import type { Attributes, ByteString, InodeId } from "../../../fs/types.ts";

/** Dirty memory, so that fields left unwritten show. */
function memory(bytes: number): { words: Uint32Array; bytes: Uint8Array } {
  const buffer = new ArrayBuffer(bytes);
  new Uint8Array(buffer).fill(0xee);
  return { words: new Uint32Array(buffer), bytes: new Uint8Array(buffer) };
}

function hex(bytes: Uint8Array, from = 0, to = bytes.length): string {
  return Buffer.from(bytes.subarray(from, to)).toString("hex").match(/.{1,16}/g)!.join(" "); // prettier-ignore
}

const attributes: Attributes = {
  inode: 0x1_0000_0002 as InodeId,
  mode: 0o100644,
  linkCount: 3,
  uid: 1000,
  gid: 0xfffffffe,
  device: 0x0801,
  size: 2 ** 52 - 1,
  allocatedBytes: 513,
  atimeSeconds: -1,
  atimeNanoseconds: 999_999_999,
  mtimeSeconds: 2 ** 33 + 5,
  mtimeNanoseconds: 7,
  ctimeSeconds: -(2 ** 33),
  ctimeNanoseconds: 0,
};
const attributesHex =
  "0200000001000000 ffffffffffff0f00 0200000000000000 ffffffffffffffff 0500000002000000 00000000feffffff " +
  "ffc99a3b07000000 00000000a4810000 03000000e8030000 feffffff01080000 0010000000000000";

test("struct fuse_attr", () => {
  const { words, bytes } = memory(protocol.ATTRIBUTES_BYTES);
  protocol.writeAttributes(words, 0, attributes, 4096);
  assert.equal(hex(bytes), attributesHex);
});

test("struct fuse_entry_out, with timeouts to the nanosecond and bounded above", () => {
  const { words, bytes } = memory(protocol.ENTRY_OUT_BYTES);
  protocol.writeEntry(words, 0, attributes, 1500, 1e15, 4096);
  assert.equal(
    hex(bytes),
    `0200000001000000 0000000000000000 0100000000000000 0000008000000000 0065cd1d00000000 ${attributesHex}`,
  );
});

test("struct fuse_entry_out of a name that does not exist", () => {
  const { words, bytes } = memory(protocol.ENTRY_OUT_BYTES);
  protocol.writeEntry(words, 0, null, 60_000, 0, 4096);
  assert.equal(hex(bytes), `0000000000000000 0000000000000000 3c00000000000000 ${"0000000000000000 ".repeat(13).trim()}`);
});

test("struct fuse_attr_out", () => {
  const { words, bytes } = memory(protocol.ATTR_OUT_BYTES);
  protocol.writeAttributesOut(words, 0, attributes, 250, 4096);
  assert.equal(hex(bytes), `0000000000000000 80b2e60e00000000 ${attributesHex}`);
});

test("struct fuse_dirent is padded with zeros to 8 bytes, for every length of name", () => {
  for (let length = 1; length <= 255; length++) {
    const { words, bytes } = memory(320);
    const name = "\xff".repeat(length) as ByteString;
    const taken = protocol.writeDirent(words, bytes, 16, 5, 9, 8, name);
    assert.equal(taken, Math.ceil((24 + length) / 8) * 8);
    assert.equal(taken, protocol.direntBytes(length));
    assert.equal(hex(bytes, 16, 40), `0500000000000000 0900000000000000 ${length.toString(16).padStart(2, "0")}00000008000000`);
    assert.equal(hex(bytes, 40, 16 + taken).replaceAll(" ", ""), "ff".repeat(length).padEnd((taken - 24) * 2, "0"));
    assert.equal(bytes[16 + taken], 0xee);
    assert.equal(bytes[15], 0xee);
  }
});

test("struct fuse_out_header carries a negated error", () => {
  const { words, bytes } = memory(16);
  protocol.writeOutHeader(words, 0, 16, 2, 0x89abcdef, 0x1234);
  assert.equal(hex(bytes), "10000000feffffff efcdab8934120000");
});

test("64-bit fields are read exactly, and those above 2^53 are marked", () => {
  const words = new Uint32Array(2);
  const read = (low: number, high: number): [number, number] => {
    words.set([low, high]);
    return [protocol.readU64(words, 0), protocol.readS64(words, 0)];
  };
  assert.deepEqual(read(0xffffffff, 0x1fffff), [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]);
  assert.equal(read(0, 0x200000)[0], -1);
  assert.deepEqual(read(0xffffffff, 0xffffffff), [-1, -1]);
  assert.equal(read(0, 0xffffffff)[1], -(2 ** 32));
  for (const value of [0, 1, -1, 2 ** 32, -(2 ** 32), 2 ** 52 + 1, -(2 ** 40) - 3, Number.MAX_SAFE_INTEGER]) {
    protocol.writeS64(words, 0, value);
    assert.equal(protocol.readS64(words, 0), value);
  }
});

test("a lock to the end of the file is Infinity both ways", () => {
  const words = new Uint32Array(2);
  protocol.writeLockEnd(words, 0, Infinity);
  assert.deepEqual([...words], [0xffffffff, 0x7fffffff]);
  assert.equal(protocol.readLockEnd(words, 0), Infinity);
  protocol.writeLockEnd(words, 0, 99);
  assert.equal(protocol.readLockEnd(words, 0), 99);
});

test("INIT takes the flags that both sides know and asks for 1 MiB requests", () => {
  const everything = new Uint32Array([7, 45, 131072, 0xffffffff, 0xffffffff]);
  const init = readInit(everything, 0, 5);
  assert.deepEqual(init, { major: 7, minor: 45, maxReadaheadBytes: 131072, flags: 0xffffffff, flags2: 0xffffffff });
  const negotiated = negotiate(init);
  assert.equal(negotiated.extendedSetxattr, true);
  const { words, bytes } = memory(protocol.INIT_OUT_BYTES);
  assert.equal(writeInit(words, 0, negotiated), 64);
  assert.equal(
    hex(bytes),
    "070000002d000000 000002007b64f472 4000300000001000 0100000000010000 0800000000000000 0000000000000000 0000000000000000 0000000000000000",
  );
  assert.equal(MAX_WRITE_BYTES, 1 << 20);
});

test("INIT of a 5.4 kernel has no second word of flags and gets none", () => {
  const init = readInit(new Uint32Array([7, 31, 131072, 0x3ffffff, 0xffff]), 0, 4);
  assert.equal(init.flags2, 0);
  const negotiated = negotiate(init);
  assert.deepEqual([negotiated.minor, negotiated.flags2, negotiated.extendedSetxattr], [31, 0, false]);
  assert.equal(negotiated.flags & ~0x3ffffff, 0);
});

test("notifications", () => {
  const [parent, child] = [1 as InodeId, 0x1_0000_0005 as InodeId];
  assert.equal(
    hex(invalidateInodeMessage(child, -1, 0)),
    "2800000002000000 0000000000000000 0500000001000000 ffffffffffffffff 0000000000000000",
  );
  assert.equal(
    hex(invalidateEntryMessage(parent, "ab\xff" as ByteString)),
    "2400000003000000 0000000000000000 0100000000000000 0300000000000000 6162ff00",
  );
  assert.equal(
    hex(deleteMessage(parent, child, "x" as ByteString)),
    "2a00000006000000 0000000000000000 0100000000000000 0500000001000000 0100000000000000 7800",
  );
  const words = new Uint32Array(10);
  writeStoreHead(words, 0, child, 0x3000, 0x234);
  assert.equal(
    hex(new Uint8Array(words.buffer)),
    "5c02000004000000 0000000000000000 0500000001000000 0030000000000000 3402000000000000",
  );
  assert.equal(hex(incrementEpochMessage()), "1000000008000000 0000000000000000");
});
