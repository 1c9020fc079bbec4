// What the mount remembers of files, and when it lets go.

import assert from "node:assert/strict";
import test from "node:test";
import type { FileState } from "../../../fs/mount/file-state.ts";
import { Inodes } from "../../../fs/mount/inodes.ts";
import { CLEAN_PIECES_MAX, FORGOTTEN_INODES_MAX, IDLE_FILES_MAX } from "../../../fs/mount/limits.ts";
import { Marks } from "../../../fs/mount/marks.ts";
import { HOLE, Piece } from "../../../fs/mount/pieces.ts";
import { S_IFREG } from "../../../fs/types.ts";
import type { InodeId } from "../../../fs/types.ts";
import { MemorySession, newAttributes } from "./doubles.ts";

function newInodes(): { inodes: Inodes; marks: Marks; session: MemorySession } {
  const [session, marks] = [new MemorySession(), new Marks()];
  return { inodes: new Inodes(session, marks, () => {}), marks, session };
}

function idleFile(inodes: Inodes, number: number, pieces = 0): FileState {
  const attributes = newAttributes(number as InodeId, S_IFREG | 0o644);
  inodes.entry(attributes, "shared");
  const file = inodes.open(attributes);
  for (let at = 0; at < pieces; at++) file.pieces.put(new Piece(2 * at, 2 * at + 1, HOLE, null, 0, null));
  inodes.settleFile(file);
  return file;
}

test("pieces that a file loses while it is idle do not count for ever", () => {
  const { inodes } = newInodes();
  const each = CLEAN_PIECES_MAX / 8;
  for (let round = 0; round < 20; round++) idleFile(inodes, 2, each).pieces.clear();
  idleFile(inodes, 3, each);
  idleFile(inodes, 4, each);
  for (const number of [2, 3, 4]) assert.notEqual(inodes.file(number as InodeId), undefined, `inode ${number} is known still`);
});

test("of idle files, and of their pieces, as many are kept as the limits say, the latest ones", () => {
  const { inodes } = newInodes();
  for (let number = 2; number < IDLE_FILES_MAX + 12; number++) idleFile(inodes, number);
  assert.equal([...inodes.files()].length, IDLE_FILES_MAX);
  assert.equal(inodes.file(2 as InodeId), undefined);
  const last = (IDLE_FILES_MAX + 12) as InodeId;
  idleFile(inodes, last, CLEAN_PIECES_MAX + 1);
  assert.equal([...inodes.files()].length, 0);
});

for (const what of ["a recall", "a change", "an acquire", "a read", "a write that waits"]) {
  test(`a file with ${what} under way is kept, and goes when that is over and a tick has looked`, async () => {
    const { inodes, session } = newInodes();
    const file = idleFile(inodes, 2);
    const set = (on: boolean): void => {
      if (what === "a recall") file.recall = on ? Promise.resolve() : null;
      else if (what === "a change") file.tail = on ? Promise.resolve() : null;
      else if (what === "an acquire") file.acquiring = on ? 1 : 0;
      else if (what === "a read") file.reads = on ? 1 : 0;
      else file.placing = on ? 1 : 0;
    };
    set(true);
    for (let number = 3; number < IDLE_FILES_MAX + 12; number++) idleFile(inodes, number);
    inodes.settlePutOff();
    assert.equal(inodes.file(2 as InodeId), file);
    inodes.forget(2 as InodeId, 1);
    inodes.settlePutOff();
    assert.equal(inodes.file(2 as InodeId), file);
    set(false);
    inodes.settlePutOff();
    assert.equal(inodes.file(2 as InodeId), undefined);
    await inodes.sendForgets();
    assert.deepEqual(session.calls, ["forget"]);
  });
}

test("a recall only ever reduces a lease", () => {
  const { inodes } = newInodes();
  const file = idleFile(inodes, 2);
  inodes.reduced(2 as InodeId, "known");
  inodes.reduced(2 as InodeId, "shared");
  assert.equal(file.lease, "known");
  assert.equal(inodes.lease(2 as InodeId), "known");
});

test("beyond the inodes whose forgets are remembered, older replies count as overtaken", () => {
  const marks = new Marks();
  const [first, other] = [2 as InodeId, 1_000_000 as InodeId];
  const before = marks.take();
  marks.forgetBegins([first]);
  assert.equal(marks.mayBeForgotten(first, marks.take()), true);
  assert.equal(marks.mayBeForgotten(other, before), false);
  marks.forgetEnds([first]);
  const after = marks.take();
  assert.deepEqual([before, after].map((mark) => marks.mayBeForgotten(first, mark)), [true, false]); // prettier-ignore
  for (let number = 3; number < FORGOTTEN_INODES_MAX + 3; number++) {
    marks.forgetBegins([number as InodeId]);
    marks.forgetEnds([number as InodeId]);
  }
  assert.deepEqual([before, after, marks.take()].map((mark) => marks.mayBeForgotten(other, mark)), [true, false, false]); // prettier-ignore
});

test("what is asked or answered during a recall, or of an earlier session, is not kept", () => {
  const marks = new Marks();
  const before = marks.take();
  assert.equal(marks.isCurrent(before), true);
  marks.recallBegins();
  const during = marks.take();
  assert.deepEqual([marks.isCurrent(before), marks.isCurrent(during)], [false, false]);
  marks.recallEnds();
  const after = marks.take();
  assert.deepEqual([marks.isCurrent(before), marks.isCurrent(during), marks.isCurrent(after)], [false, false, true]);
  marks.sessionBegins();
  assert.equal(marks.isCurrent(after), false);
});
