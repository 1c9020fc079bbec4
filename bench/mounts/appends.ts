// Both mounts append records of 100 B to 300 KiB to one file with O_APPEND, each with one write: every record must be there
// whole, once, those of a lane in their order.
//
// A record: 8 bytes that no record's content holds, u32 lane, u32 number, u32 length of all, then bytes that follow from them.

import { createReadStream } from "node:fs";
import fs from "node:fs/promises";
import path from "node:path";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { shell } from "../../test/fixture/store.ts";
import { longest, type Part } from "./part.ts";
import type { Work } from "./work.ts";

const MARK = Buffer.from([0xff, 0xfe, 0xff, 0xfd, 0xff, 0xfc, 0xff, 0xfb]);
const HEAD_BYTES = 20;
const BYTES_MIN = 100;
const BYTES_MAX = 300 * 1024;
const LANES = 2;
/** Of each side. */
const WRITTEN_BYTES_MAX = 256 * 1024 * 1024;
const READ_BYTES = 4 * 1024 * 1024;

function recordOf(lane: number, number: number, length: number): Buffer {
  const record = Buffer.alloc(length);
  for (let at = HEAD_BYTES; at < length; at++) record[at] = (at * 7 + (at >> 7) + number * 31 + lane * 101) & 0x7f;
  MARK.copy(record);
  record.writeUInt32LE(lane, 8);
  record.writeUInt32LE(number, 12);
  record.writeUInt32LE(length, 16);
  return record;
}

interface AppendsParameters {
  file: string;
  side: number;
  seconds: number;
}

interface AppendsReport {
  /** Of each lane, by its number over both sides: how many records it wrote. */
  written: Record<number, number>;
  bytes: number;
}

export async function appendsProgram({ file, side, seconds }: AppendsParameters, work: Work): Promise<AppendsReport> {
  const report: AppendsReport = { written: {}, bytes: 0 };
  work.endAfter(seconds);
  const append = async (lane: number): Promise<void> => {
    const random = seededRandom(lane);
    const handle = await fs.open(file, "a");
    while (!work.ended && report.bytes < WRITTEN_BYTES_MAX) {
      // Half are small.
      const length = BYTES_MIN + randomBelow(random, random() < 0.5 ? 8192 : BYTES_MAX - BYTES_MIN + 1);
      const number = report.written[lane] ?? 0;
      const record = recordOf(lane, number, length);
      const { bytesWritten } = await work.timed(`append of ${length} B`, () => handle.write(record));
      if (bytesWritten !== length) work.violation(`an append of ${length} B wrote ${bytesWritten}`);
      report.written[lane] = number + 1;
      report.bytes += length;
    }
    await work.timed("close", () => handle.close());
  };
  await work.lanes(Array.from({ length: LANES }, (_, lane) => () => append(side * LANES + lane)));
  return report;
}

interface Found {
  whole: number;
  /** Stretches that are no whole record. */
  torn: number;
  tornBytes: number;
  disordered: number;
  bytes: number;
}

export async function verifyAppendsProgram({ file }: { file: string }): Promise<Found> {
  const found: Found = { whole: 0, torn: 0, tornBytes: 0, disordered: 0, bytes: 0 };
  const next = new Map<number, number>();
  let [carry, inTorn] = [Buffer.alloc(0), false];
  /** Takes one record, or the bytes up to the next mark; false where more must be read first. */
  const take = (last: boolean): boolean => {
    if (carry.length < HEAD_BYTES && !(last && carry.length > 0)) return false;
    const length = carry.length < HEAD_BYTES ? 0 : carry.readUInt32LE(16);
    if (length >= BYTES_MIN && length <= BYTES_MAX && carry.subarray(0, MARK.length).equals(MARK)) {
      if (carry.length < length && !last) return false;
      const [lane, number] = [carry.readUInt32LE(8), carry.readUInt32LE(12)];
      if (carry.subarray(0, length).equals(recordOf(lane, number, length))) {
        if (number < (next.get(lane) ?? 0)) found.disordered++;
        next.set(lane, number + 1);
        found.whole++;
        inTorn = false;
        carry = carry.subarray(length);
        return true;
      }
    }
    if (!inTorn) found.torn++;
    inTorn = true;
    const mark = carry.indexOf(MARK, 1);
    const skipped = mark >= 0 ? mark : last ? carry.length : carry.length - MARK.length;
    found.tornBytes += skipped;
    carry = carry.subarray(skipped);
    return skipped > 0;
  };
  for await (const chunk of createReadStream(file, { highWaterMark: READ_BYTES })) {
    found.bytes += (chunk as Buffer).length;
    carry = Buffer.concat([carry, chunk as Buffer]);
    while (take(false));
  }
  while (take(true));
  return found;
}

export const appendsPart: Part = {
  name: "appends",
  about: "both append records of 100 B to 300 KiB to one file",
  async run({ one, second, seconds: all, violation, start }) {
    const seconds = Math.max(1, all / 4);
    const files = [one, second.path].map((mount) => path.join(mount, "log"));
    await shell(`: > ${files[0]}`);
    const running = files.map((file, side) =>
      start<AppendsReport>("appends", { file, side, seconds } satisfies AppendsParameters, seconds),
    );
    const reports = await Promise.all(running.map(({ result }) => result));
    const written = reports.flatMap((report) => Object.values(report?.written ?? {})).reduce((sum, count) => sum + count, 0);
    const bytes = reports.reduce((sum, report) => sum + (report?.bytes ?? 0), 0);
    const figures = { records: written, MiB: Math.round(bytes / 2 ** 20), torn: 0 };
    for (const file of files) {
      const found = await start<Found>("verify appends", { file }).result;
      if (found === null || reports.includes(null)) continue;
      figures.torn = written - found.whole;
      const wrong = found.whole !== written || found.torn > 0 || found.disordered > 0 || found.bytes !== bytes;
      if (wrong)
        violation(
          `${file} has ${found.whole} of ${written} records whole, ${found.torn} stretches (${found.tornBytes} B) that are none, ${found.disordered} out of order, ${found.bytes} of ${bytes} B`,
        );
    }
    return { ...figures, ...longest(reports) };
  },
};
