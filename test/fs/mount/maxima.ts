import assert from "node:assert/strict";
import test from "node:test";
import { CLEAN_PIECES_PER_FILE_MAX } from "../../../fs/mount/limits.ts";
import { Mount } from "../../../fs/mount/mount.ts";
import { MemorySession, MemoryStripes } from "./doubles.ts";
import { createFile, openFile, read } from "./program.ts";

const schemes = { full: "rs:4+2", small: "copies:3" };

test("a read over more pieces than CLEAN_PIECES_PER_FILE_MAX ends, and is right; beyond them the older half goes", async () => {
  const session = new MemorySession();
  const stripes = new MemoryStripes();
  const mount = await Mount.open({ openSession: () => session, stripes, schemes });
  const { inode } = await createFile(mount, "pieces");
  const file = session.file(inode);
  const count = CLEAN_PIECES_PER_FILE_MAX;
  for (let at = 0; at < count; at++) file.extents.push({ offset: at * 2, length: 1, inline: new Uint8Array([1 + (at % 255)]) });
  file.attributes.size = 2 * count;
  const other = await Mount.open({ openSession: () => session, stripes, schemes });
  const reader = await openFile(other, "pieces");
  const bytes = await read(reader, 0, 2 * count);
  assert.equal(bytes.length, 2 * count);
  assert.ok(bytes.every((byte, at) => byte === (at % 2 === 0 ? 1 + ((at / 2) % 255) : 0)));
});
