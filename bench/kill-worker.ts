// One program of the kill bench, in a process of its own on a mount whose daemon will be killed under it:
//   node kill-worker.js write|verify KIND DIRECTORY JOURNAL SEED
// `write` works until the mount is gone and notes in the journal, which is not on the mount, what it is about to do and
// what it was told is durable. `verify` compares what is there with the journal, and prints what cannot be.

import fs from "node:fs";
import path from "node:path";
import { randomBelow, seededRandom, type Random } from "../storage/seeded-random.ts";
import {
  type Content,
  contentOf,
  EMPTY,
  isTornWrite,
  sameContent,
  truncateContent,
  writeContent,
} from "../test/simulate/content.ts";

const [, , mode, kind, directory, journal, seedText] = process.argv;
const random = seededRandom(Number(seedText));
const FILE_BYTES = 300_000;
const WRITE_BYTES = 40_000;
const TARGET_BYTES = 20_000;

type Change = { at: number; length: number; id: number } | { size: number };

function dataOf(id: number, length: number): Buffer {
  const data = Buffer.alloc(length);
  for (let at = 0; at < length; at++) data[at] = id * 31 + at * 7 + (at >> 8);
  return data;
}

/** Endless and the same for the same seed: 0 stands for fsync. */
function* changesOf(random: Random): Generator<Change | 0> {
  for (let id = 1; ; id++) {
    const choice = random();
    if (choice < 0.12) yield 0;
    else if (choice < 0.2) yield { size: randomBelow(random, FILE_BYTES) };
    else yield { at: randomBelow(random, FILE_BYTES), length: 1 + randomBelow(random, choice < 0.8 ? 3000 : WRITE_BYTES), id };
  }
}

function note(out: number, number: number): void {
  fs.writeSync(out, `${number}\n`);
}

/** The last number noted, 0 for none. */
function lastNote(name: string): number {
  const text = fs.existsSync(name) ? fs.readFileSync(name, "latin1") : "";
  return Number(text.slice(0, text.lastIndexOf("\n")).split("\n").at(-1) ?? 0);
}

function syncDirectory(): void {
  const handle = fs.openSync(directory, "r");
  fs.fsyncSync(handle);
  fs.closeSync(handle);
}

const WRITERS: Record<string, () => void> = {
  overwrite() {
    const [begun, durable] = [fs.openSync(`${journal}.begun`, "a"), fs.openSync(`${journal}.durable`, "a")];
    const file = fs.openSync(path.join(directory, "data"), "w+");
    let step = 0;
    for (const change of changesOf(random)) {
      note(begun, ++step);
      if (change === 0) {
        fs.fsyncSync(file);
        note(durable, step);
      } else if ("size" in change) fs.ftruncateSync(file, change.size);
      else fs.writeSync(file, dataOf(change.id, change.length), 0, change.length, change.at);
    }
  },
  rename() {
    const [begun, durable] = [fs.openSync(`${journal}.begun`, "a"), fs.openSync(`${journal}.durable`, "a")];
    for (let id = 1; ; id++) {
      note(begun, id);
      const temporary = path.join(directory, "new");
      const file = fs.openSync(temporary, "w");
      fs.writeSync(file, `${id}\n`);
      fs.writeSync(file, dataOf(id, TARGET_BYTES));
      fs.fsyncSync(file);
      fs.closeSync(file);
      fs.renameSync(temporary, path.join(directory, "target"));
      if (id % 3 !== 0) continue;
      syncDirectory();
      note(durable, id);
    }
  },
  create() {
    const [begun, durable] = [fs.openSync(`${journal}.begun`, "a"), fs.openSync(`${journal}.durable`, "a")];
    for (let id = 1; ; id++) {
      note(begun, id);
      fs.writeFileSync(path.join(directory, `file-${id}`), dataOf(id, id % 5000));
      if (id % 20 !== 0) continue;
      const last = fs.openSync(path.join(directory, `file-${id}`), "r+");
      fs.fsyncSync(last);
      fs.closeSync(last);
      note(durable, id);
    }
  },
};

const VERIFIERS: Record<string, (begun: number, durable: number) => string | null> = {
  overwrite(begun, durable) {
    const name = path.join(directory, "data");
    if (!fs.existsSync(name)) return durable > 0 ? `${name} is gone, though it was synced` : null;
    const found = contentOf(fs.readFileSync(name));
    let [content, step] = [EMPTY as Content, 0];
    for (const change of changesOf(random)) {
      if (step >= durable && sameContent(content, found)) return null;
      if (++step > begun) break;
      if (change === 0) continue;
      const before = content;
      if ("size" in change) content = truncateContent(content, change.size);
      else content = writeContent(content, change.at, dataOf(change.id, change.length));
      if (step <= durable || "size" in change) continue;
      if (isTornWrite(found, before, content, change.at, change.at + change.length)) return null;
    }
    return `${name} of ${found.size} bytes is none of its states from step ${durable} (synced) to ${begun}`;
  },
  rename(begun, durable) {
    const name = path.join(directory, "target");
    if (!fs.existsSync(name)) return durable > 0 ? `${name} is gone, though its directory was synced` : null;
    const bytes = fs.readFileSync(name);
    const line = bytes.indexOf(10);
    const id = Number(bytes.subarray(0, line).toString());
    if (!(id >= Math.max(1, durable) && id <= begun)) return `${name} has number ${id}; synced ${durable}, begun ${begun}`;
    const whole = Buffer.concat([Buffer.from(`${id}\n`), dataOf(id, TARGET_BYTES)]);
    return whole.equals(bytes) ? null : `${name} of ${bytes.length} bytes, number ${id}, is not whole`;
  },
  create(begun, durable) {
    const ids = fs.readdirSync(directory).map((name) => Number(name.slice(5))).sort((a, b) => a - b); // prettier-ignore
    if (ids.length < durable) return `${ids.length} files are there, ${durable} were synced`;
    if (ids.some((id, index) => id !== index + 1)) return `files are there out of order: ${ids.join(" ").slice(0, 200)}`;
    if (ids.length > begun) return `${ids.length} files are there, ${begun} were begun`;
    for (const id of ids) {
      const bytes = fs.readFileSync(path.join(directory, `file-${id}`));
      const expected = dataOf(id, id % 5000);
      // fsync makes one file's data durable, and every name: of the others a first part may be there.
      if (!expected.subarray(0, bytes.length).equals(bytes)) return `file-${id} has bytes that were never written to it`;
      if (id % 20 === 0 && id <= durable && bytes.length !== expected.length)
        return `file-${id} was synced and has ${bytes.length} bytes`;
    }
    return null;
  },
};

if (mode === "write") {
  WRITERS[kind]();
} else {
  const [begun, durable] = [lastNote(`${journal}.begun`), lastNote(`${journal}.durable`)];
  const problem = fs.existsSync(directory)
    ? VERIFIERS[kind](begun, durable)
    : durable > 0
      ? `${directory} is gone, though what is in it was synced`
      : null;
  process.stdout.write(`${JSON.stringify({ problem, begun, durable })}\n`);
}
