// Both mounts read and write one file of records. Each word of a record holds its version, so that a mix shows. Which versions
// are begun and acknowledged is kept in a local file outside of the store, which the programs of both sides share.
//
// Records without locks have one writer each: no byte that a reader sees may be older than what was acknowledged before it
// began, nor newer than what was begun when it ended. Records with fcntl locks are written by both sides: under the lock, all
// bytes have exactly the acknowledged version.

import { openSync, readSync, writeSync } from "node:fs";
import fs, { type FileHandle } from "node:fs/promises";
import path from "node:path";
import { randomBelow, type Random, seededRandom } from "../../storage/seeded-random.ts";
import { longest, type Part } from "./part.ts";
import { RangeLock } from "./range-lock.ts";
import type { Work } from "./work.ts";

/** No multiple of a page: neighbours share one. */
export const RECORD_BYTES = 5000;
const WORDS = RECORD_BYTES / 4;
const FREE_RECORDS = 32;
const LOCKED_RECORDS = 16;
const READERS = 2;
const LOCKED_LANES = 2;

const mask = (record: number, word: number): number => Math.imul(record * 65_536 + word + 1, 0x9e3779b1);

export function recordOf(record: number, version: number): Buffer {
  const words = Uint32Array.from({ length: WORDS }, (_, word) => version ^ mask(record, word));
  return Buffer.from(words.buffer);
}

/** The least and the greatest version that a record's words hold. */
export function versionsIn(record: number, bytes: Buffer): { min: number; max: number } {
  let [min, max] = [Infinity, -Infinity];
  for (let word = 0; word < WORDS; word++) {
    const version = (bytes.readUInt32LE(word * 4) ^ mask(record, word)) >>> 0;
    min = Math.min(min, version);
    max = Math.max(max, version);
  }
  return { min, max };
}

export async function readRecord(file: FileHandle, record: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(RECORD_BYTES), 0, RECORD_BYTES, record * RECORD_BYTES);
  if (bytesRead !== RECORD_BYTES) throw new Error(`record ${record} was read short: ${bytesRead} of ${RECORD_BYTES} bytes`);
  return buffer;
}

export class ShortWriteError extends Error {}

export async function writeRecord(file: FileHandle, record: number, version: number): Promise<void> {
  const { bytesWritten } = await file.write(recordOf(record, version), 0, RECORD_BYTES, record * RECORD_BYTES);
  if (bytesWritten !== RECORD_BYTES) throw new ShortWriteError(`record ${record} was written short: ${bytesWritten} bytes`);
}

/** Numbers that programs share in a local file, in two columns. */
export class Ledger {
  readonly #file: number;
  readonly #bytes = Buffer.alloc(4);

  constructor(file: string) {
    this.#file = openSync(file, "r+");
  }

  get(column: "acknowledged" | "begun", row: number): number {
    const count = readSync(this.#file, this.#bytes, 0, 4, row * 8 + (column === "begun" ? 4 : 0));
    return count === 4 ? this.#bytes.readUInt32LE() : 0;
  }

  set(column: "acknowledged" | "begun", row: number, value: number): void {
    this.#bytes.writeUInt32LE(value);
    writeSync(this.#file, this.#bytes, 0, 4, row * 8 + (column === "begun" ? 4 : 0));
  }
}

interface RecordsParameters {
  file: string;
  ledger: string;
  side: number;
  seconds: number;
}

export interface RecordsReport {
  reads: number;
  writes: number;
  mixed: number;
}

class Records {
  readonly counts: RecordsReport = { reads: 0, writes: 0, mixed: 0 };
  readonly #file: FileHandle;
  readonly #ledger: Ledger;
  readonly #work: Work;

  constructor(file: FileHandle, ledger: Ledger, work: Work) {
    this.#file = file;
    this.#ledger = ledger;
    this.#work = work;
  }

  async write(record: number): Promise<void> {
    const version = this.#ledger.get("acknowledged", record) + 1;
    this.#ledger.set("begun", record, version);
    await this.#work.timed(`write of record ${record}`, () => writeRecord(this.#file, record, version));
    this.#ledger.set("acknowledged", record, version);
    this.counts.writes++;
  }

  async read(record: number, locks: string): Promise<void> {
    const from = this.#ledger.get("acknowledged", record);
    const bytes = await this.#work.timed(`read of record ${record}`, () => readRecord(this.#file, record));
    const to = this.#ledger.get("begun", record);
    const { min, max } = versionsIn(record, bytes);
    this.counts.reads++;
    if (min !== max) this.counts.mixed++;
    if (min < from || max > to || (locks === "locked" && min !== max))
      this.#work.violation(`record ${record}, ${locks}, has bytes of version ${min} to ${max}; it must be ${from} to ${to}`);
  }
}

async function lockedLane(parameters: RecordsParameters, records: Records, random: Random, work: Work): Promise<void> {
  const lock = await RangeLock.open(parameters.file);
  while (!work.ended) {
    const record = FREE_RECORDS + randomBelow(random, LOCKED_RECORDS);
    const type = random() < 0.5 ? "write" : "read";
    const set = (how: "read" | "write" | "unlock"): Promise<void> =>
      work.timed(`${how} lock of record ${record}`, () => lock.set(how, record * RECORD_BYTES, RECORD_BYTES));
    await set(type);
    await records.read(record, "locked");
    if (type === "write") await records.write(record);
    await set("unlock");
  }
  lock.close();
}

export async function recordsProgram(parameters: RecordsParameters, work: Work): Promise<RecordsReport> {
  const file = await fs.open(parameters.file, "r+");
  const records = new Records(file, new Ledger(parameters.ledger), work);
  const randomOf = (lane: number): Random => seededRandom(parameters.side * 100 + lane);
  work.endAfter(parameters.seconds);
  const writer = async (random: Random): Promise<void> => {
    while (!work.ended) await records.write(randomBelow(random, FREE_RECORDS / 2) * 2 + parameters.side);
  };
  const reader = async (random: Random): Promise<void> => {
    while (!work.ended) await records.read(randomBelow(random, FREE_RECORDS), "without locks");
  };
  await work.lanes([
    () => writer(randomOf(0)),
    ...Array.from({ length: READERS }, (_, lane) => () => reader(randomOf(10 + lane))),
    ...Array.from({ length: LOCKED_LANES }, (_, lane) => () => lockedLane(parameters, records, randomOf(20 + lane), work)),
  ]);
  await file.close();
  return records.counts;
}

/** Makes a file of records, all of version 1. */
export async function fillProgram({ file, ledger }: { file: string; ledger: string }): Promise<object> {
  const handle = await fs.open(file, "w");
  await fs.writeFile(ledger, "");
  const versions = new Ledger(ledger);
  for (let record = 0; record < FREE_RECORDS + LOCKED_RECORDS; record++) {
    await writeRecord(handle, record, 1);
    versions.set("acknowledged", record, 1);
    versions.set("begun", record, 1);
  }
  await handle.close();
  return {};
}

export const recordsPart: Part = {
  name: "records",
  about: "both read and write one file of records, some under fcntl locks",
  async run({ store, one, second, seconds, start }) {
    const ledger = path.join(store.directory, "ledger");
    const files = [one, second.path].map((mount) => path.join(mount, "records"));
    await start("fill", { file: files[0], ledger }).result;
    const running = files.map((file, side) =>
      start<RecordsReport>("records", { file, ledger, side, seconds } satisfies RecordsParameters, seconds),
    );
    const reports = await Promise.all(running.map(({ result }) => result));
    const sum = (of: (report: RecordsReport) => number): number =>
      reports.reduce((total, report) => total + (report ? of(report) : 0), 0);
    return {
      reads: sum(({ reads }) => reads),
      writes: sum(({ writes }) => writes),
      "mixed, without locks": sum(({ mixed }) => mixed),
      ...longest(reports),
    };
  },
};
