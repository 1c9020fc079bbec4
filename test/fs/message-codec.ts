import assert from "node:assert/strict";
import test from "node:test";
import { decodeReply, decodeRequest, encodeReply, encodeRequest } from "../../fs/message-codec.ts";
import type { OperationName, Reply, Request } from "../../fs/messages.ts";
import type { Attributes, ByteString, InodeId, StripeId } from "../../fs/types.ts";
import type { DiskId } from "../../replication/stripe.ts";

const inode = (2 ** 40 + 5) as InodeId;
const attributes: Attributes = {
  inode, mode: 0o100644, linkCount: 2, uid: 1000, gid: 4294967294, device: 0, size: 2 ** 44, allocatedBytes: 4096,
  atimeSeconds: -5, atimeNanoseconds: 999_999_999, mtimeSeconds: 2 ** 34, mtimeNanoseconds: 0, ctimeSeconds: 1, ctimeNanoseconds: 2,
}; // prettier-ignore
const odd = "caf\xe9\x01\xff" as ByteString;

const requests: { [Name in OperationName]?: Request<Name>[] } = {
  lookup: [{ parent: inode, name: odd }],
  setAttributes: [
    { inode, change: { mode: 0, size: 0, atime: "now", mtime: { seconds: -1, nanoseconds: 5 } } },
    { inode, change: {} },
  ],
  make: [{ parent: inode, name: odd, mode: 0o120777, umask: 0o22, uid: 0, gid: 0, target: odd, exclusive: true }],
  commit: [
    {
      files: [
        {
          inode,
          extents: [
            { offset: 0, length: 3, inline: Buffer.from("abc") },
            { offset: 2 ** 43, length: 4096, stripe: 9 as StripeId, stripeOffset: 0 },
            { offset: 5, length: 1 },
          ],
          sizeAtLeast: 7,
          change: { mtime: "now" },
        },
      ],
      stripes: [{ id: 9, scheme: "rs:4+2", dataBytes: 4096, blockBytes: 4096, disks: [1, 2, 3, 4, 5, 6] as DiskId[] }],
    },
  ],
  lock: [{ inode, lock: { kind: "posix", type: "write", start: 0, end: Infinity, owner: "ab", pid: 3 }, wait: true, ticket: 8 }, { inode, lock: { kind: "flock", type: "read", start: 0, end: 0, owner: "ab", pid: 3 }, wait: false, ticket: 0 }], // prettier-ignore
  forget: [{ inodes: [] }, { inodes: [inode, 1 as InodeId] }],
};

const replies: { [Name in OperationName]?: Reply<Name>[] } = {
  lookup: [{ attributes: null }, { attributes }],
  rename: [{ moved: attributes, replaced: null, parent: attributes, newParent: attributes }],
  list: [
    {
      entries: [
        { name: odd, inode, type: 0o040000, cookie: 77 },
        { name: odd, inode, type: 0o100000, cookie: 78, attributes },
      ],
      newestCookie: 80,
    },
  ],
  getXattr: [{ value: null }, { value: Buffer.from([]) }, { value: Buffer.from([0, 255]) }],
  extents: [{ extents: [], stripes: [], end: 2 ** 52 }],
  testLock: [{ conflict: null }, { conflict: { kind: "posix", type: "read", start: 5, end: Infinity, owner: "x", pid: 1 } }],
};

const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_key, item: unknown) => (item === Infinity ? "Infinity" : item)));

for (const [name, values] of Object.entries(requests) as [OperationName, never[]][]) {
  test(`requests of ${name} survive encoding`, () => {
    for (const value of values) assert.deepEqual(plain(decodeRequest(name, encodeRequest(name, value))), plain(value));
  });
}

for (const [name, values] of Object.entries(replies) as [OperationName, never[]][]) {
  test(`replies of ${name} survive encoding`, () => {
    for (const value of values) assert.deepEqual(plain(decodeReply(name, encodeReply(name, value))), plain(value));
  });
}

test("a look-up's golden bytes", () => {
  assert.equal(
    Buffer.from(encodeRequest("lookup", { parent: 1 as InodeId, name: "a\xff" as ByteString })).toString("hex"),
    "08011202" + "61ff",
  );
});

test("truncated and random bytes are refused with EPROTO or decode to something, never crash", () => {
  const whole = Buffer.from(encodeRequest("commit", requests.commit![0]));
  for (let cut = 0; cut < whole.length; cut++) {
    try {
      decodeRequest("commit", whole.subarray(0, cut));
    } catch (error) {
      assert.equal((error as { code?: string }).code, "EPROTO");
    }
  }
});
