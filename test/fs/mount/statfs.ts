import assert from "node:assert/strict";
import test from "node:test";
import { statfsOf } from "../../../fs/mount/statfs.ts";

const TIB = 2 ** 40;

test("figures of statfs fit 32 bits, for programs that have no more", () => {
  for (const totalBytes of [0, 1, 4096, TIB, 16 * TIB - 4096, 16 * TIB, 16 * TIB + 5, 700 * TIB, 8192 * TIB])
    for (const inodes of [0, 1, 5_000_000, 2 ** 31 - 1]) {
      const reply = statfsOf({ totalBytes, freeBytes: totalBytes / 2, inodes });
      for (const figure of [
        reply.blocks,
        reply.freeBlocks,
        reply.availableBlocks,
        reply.inodes,
        reply.freeInodes,
        reply.blockBytes,
      ])
        assert.ok(
          Number.isSafeInteger(figure) && figure >= 0 && figure < 2 ** 32,
          `${totalBytes} bytes, ${inodes} inodes: ${figure}`,
        );
      assert.equal(reply.inodes - reply.freeInodes, inodes);
      assert.ok(Math.abs(reply.blocks * reply.blockBytes - totalBytes) < reply.blockBytes);
    }
  assert.equal(statfsOf({ totalBytes: 16 * TIB - 4096, freeBytes: 0, inodes: 0 }).blockBytes, 4096);
});

test("a store of more inodes than 32 bits count tells their true number", () => {
  const inodes = 5e9;
  const reply = statfsOf({ totalBytes: TIB, freeBytes: TIB, inodes });
  assert.equal(reply.inodes - reply.freeInodes, inodes);
  assert.ok(reply.freeInodes > 0);
});
