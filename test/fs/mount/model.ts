// The mount's data operations against a plain array of bytes, at random.

import assert from "node:assert/strict";
import type { Mount } from "../../../fs/mount/mount.ts";
import { randomBelow } from "../../../storage/seeded-random.ts";
import type { Random } from "../../../storage/seeded-random.ts";
import { caller } from "./doubles.ts";
import { attributes, close, createFile, openFile, read, sync, truncate, write } from "./program.ts";
import type { OpenFile } from "./program.ts";

export interface Modelled {
  name: string;
  file: OpenFile;
  bytes: Uint8Array;
  size: number;
}

export interface ModelOptions {
  files: number;
  steps: number;
  maximumBytes: number;
  random: Random;
}

export async function newFiles(mount: Mount, { files, maximumBytes }: ModelOptions): Promise<Modelled[]> {
  const list: Modelled[] = [];
  for (let index = 0; index < files; index++) {
    const name = `model-${index}`;
    list.push({ name, file: await createFile(mount, name), bytes: new Uint8Array(maximumBytes), size: 0 });
  }
  return list;
}

export async function runSteps(mount: Mount, list: Modelled[], options: ModelOptions): Promise<void> {
  for (let step = 0; step < options.steps; step++) {
    const model = list[randomBelow(options.random, list.length)];
    const action = await oneStep(mount, list, model, options);
    const { size } = await attributes(model.file);
    assert.equal(size, model.size, `step ${step} (${action}): size of ${model.name}`);
  }
}

function chunkLength(random: Random, room: number): number {
  const kind = randomBelow(random, 10);
  const most = kind < 5 ? 5000 : kind < 9 ? 70_000 : 1_100_000;
  return Math.min(room, 1 + randomBelow(random, most));
}

async function oneStep(mount: Mount, list: Modelled[], model: Modelled, { random, maximumBytes }: ModelOptions): Promise<string> {
  const dice = randomBelow(random, 100);
  const offset = randomBelow(random, maximumBytes);
  const length = chunkLength(random, maximumBytes - offset);
  if (dice < 40) return writeStep(model, random() < 0.4 ? Math.min(model.size, maximumBytes - length) : offset, length, random);
  if (dice < 75) return readStep(model, offset, length);
  if (dice < 80) return truncateStep(model, random() < 0.2 ? 0 : offset);
  if (dice < 84) return punchStep(mount, model, offset, length);
  if (dice < 88) return copyStep(mount, model, list[randomBelow(random, list.length)], random, maximumBytes);
  if (dice < 94) {
    await sync(model.file);
    return "fsync";
  }
  if (dice < 96) return seekStep(mount, model, offset);
  if (dice < 99) return reopenStep(mount, model);
  await mount.sync();
  return "sync";
}

async function writeStep(model: Modelled, offset: number, length: number, random: Random): Promise<string> {
  const data = new Uint8Array(length);
  const seed = randomBelow(random, 256);
  for (let index = 0; index < length; index++) data[index] = (seed + index * 7 + (index >> 8)) & 255;
  await write(model.file, offset, data);
  model.bytes.set(data, offset);
  model.size = Math.max(model.size, offset + length);
  return `write ${length} at ${offset}`;
}

export async function readStep(model: Modelled, offset: number, length: number): Promise<string> {
  const wanted = model.bytes.subarray(offset, Math.max(offset, Math.min(model.size, offset + length)));
  const got = await read(model.file, offset, length);
  assert.equal(got.length, wanted.length, `read ${length} at ${offset} of ${model.name}: number of bytes`);
  if (Buffer.compare(got, wanted) !== 0) {
    const at = got.findIndex((byte, index) => byte !== wanted[index]);
    assert.fail(`read ${length} at ${offset} of ${model.name}: byte ${offset + at} is ${got[at]}, should be ${wanted[at]}`);
  }
  return `read ${length} at ${offset}`;
}

async function truncateStep(model: Modelled, size: number): Promise<string> {
  await truncate(model.file, size);
  if (size < model.size) model.bytes.fill(0, size, model.size);
  model.size = size;
  return `truncate to ${size}`;
}

async function punchStep(mount: Mount, model: Modelled, offset: number, length: number): Promise<string> {
  await mount.fallocate(caller, model.file.inode, model.file.handle, offset, length, 3);
  model.bytes.fill(0, offset, Math.min(offset + length, model.bytes.length));
  return `punch ${length} at ${offset}`;
}

async function copyStep(mount: Mount, from: Modelled, to: Modelled, random: Random, maximumBytes: number): Promise<string> {
  const fromOffset = randomBelow(random, maximumBytes);
  const toOffset = randomBelow(random, maximumBytes);
  const length = chunkLength(random, maximumBytes - Math.max(fromOffset, toOffset));
  if (from === to && fromOffset < toOffset + length && toOffset < fromOffset + length) return "no copy";
  const copied = await mount.copyFileRange(
    caller, from.file.inode, from.file.handle, fromOffset, to.file.inode, to.file.handle, toOffset, length, 0,
  ); // prettier-ignore
  assert.equal(copied, Math.max(0, Math.min(length, from.size - fromOffset)), "bytes copied");
  to.bytes.set(from.bytes.slice(fromOffset, fromOffset + copied), toOffset);
  if (copied > 0) to.size = Math.max(to.size, toOffset + copied);
  return `copy ${length} from ${fromOffset} to ${toOffset}`;
}

/** What lseek calls a hole must be zeros. */
async function seekStep(mount: Mount, model: Modelled, offset: number): Promise<string> {
  if (offset >= model.size) return "no seek";
  const data = await Promise.resolve(mount.lseek(caller, model.file.inode, model.file.handle, offset, 3)).catch(() => model.size);
  assert(
    model.bytes.subarray(offset, data).every((byte) => byte === 0),
    `lseek of ${model.name} calls [${offset}, ${data}) a hole, but it has data`,
  );
  return `seek from ${offset}`;
}

async function reopenStep(mount: Mount, model: Modelled): Promise<string> {
  await close(model.file);
  model.file = await openFile(mount, model.name);
  return "reopen";
}
