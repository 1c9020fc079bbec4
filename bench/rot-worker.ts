// One program of the rot bench: writes files of its own in a directory and reads them back past the page cache, until
// its input ends; then prints how many reads there were, and the first that was wrong.

import fs from "node:fs";
import path from "node:path";
import { randomBelow, seededRandom } from "../storage/seeded-random.ts";

const [, , directory, seed] = process.argv;
const random = seededRandom(Number(seed));
const FILES = 24;
const BYTES_MAX = 1_500_000;
const O_DIRECT = 0o40000;

const written = new Map<string, { id: number; length: number }>();
let reads = 0;
let problem: string | null = null;
let ended = false;
process.stdin.on("end", () => (ended = true)).resume();

function dataOf(id: number, length: number): Buffer {
  const data = Buffer.alloc(length);
  for (let at = 0; at < length; at++) data[at] = id * 31 + at * 7 + (at >> 8);
  return data;
}

function writeOne(id: number): void {
  const name = path.join(directory, `file-${randomBelow(random, FILES)}`);
  const length = 1 + randomBelow(random, random() < 0.5 ? 20_000 : BYTES_MAX);
  const file = fs.openSync(name, "w");
  fs.writeSync(file, dataOf(id, length));
  fs.fsyncSync(file);
  fs.closeSync(file);
  written.set(name, { id, length });
}

function readOne(): void {
  const names = [...written.keys()];
  const name = names[randomBelow(random, names.length)];
  const { id, length } = written.get(name)!;
  const file = fs.openSync(name, fs.constants.O_RDONLY | O_DIRECT);
  const bytes = Buffer.alloc(Math.ceil(length / 4096) * 4096);
  let done = 0;
  for (let count = 1; count > 0 && done < length; done += count)
    count = fs.readSync(file, bytes, done, bytes.length - done, done);
  fs.closeSync(file);
  reads++;
  if (done !== length || !bytes.subarray(0, length).equals(dataOf(id, length)))
    problem ??= `${name}: ${length} bytes read back wrong`;
}

fs.mkdirSync(directory, { recursive: true });
for (let id = 1; !ended && problem === null; id++) {
  try {
    if (id < FILES || random() < 0.3) writeOne(id);
    else readOne();
  } catch (error) {
    problem = `${directory}, step ${id}: ${String(error)}`;
  }
  await new Promise((resolve) => setImmediate(resolve));
}
while (!ended) await new Promise((resolve) => setTimeout(resolve, 50));
process.stdout.write(JSON.stringify({ reads, problem }));
