import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { readNote } from "../../admin/note-file.ts";

test("a note has all its fields, each of its type, or it is none", async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "cairn-note-"));
  const file = path.join(directory, "note.json");
  const read = (text: string): Promise<unknown> => {
    fs.writeFileSync(file, text);
    return readNote(file, { pid: "count", path: "name", version: "text" });
  };
  try {
    assert.deepEqual(await read('{"pid":7,"path":"/a","version":"","more":1}'), { pid: 7, path: "/a", version: "" });
    const wrong = [
      "", "7", "null", "[]", '{"pid":7,"path":"/a"', '{"pid":7,"path":"/a"}', '{"pid":0,"path":"/a","version":"1"}',
      '{"pid":1.5,"path":"/a","version":"1"}', '{"pid":"7","path":"/a","version":"1"}', '{"pid":7,"path":"","version":"1"}',
      '{"pid":7,"path":"/a","version":1}', '{"pid":1e300,"path":"/a","version":"1"}',
    ]; // prettier-ignore
    for (const text of wrong) assert.equal(await read(text), null, text);
    fs.rmSync(file);
    assert.equal(await readNote(file, { pid: "count" }), null);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});
