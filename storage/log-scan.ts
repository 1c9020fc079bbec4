// Reads the local log's files: what is in them, where they end, and whether a crash explains how they look.
//
// 1. A file gets its name only when its header is durable and all records of the file before are. So a bad header, a
//    gap between files, or a bad record in any file but the last is damage.
// 2. In the last file, what was written after the last sync may be there in any part. So the first bad record may be
//    the torn end, unless a whole record behind it says that this index was durable: then it is damage.
import type { Directory } from "./directory.ts";
import { FILE_HEADER_BYTES, type LogRecord, firstIndexOf, parseFileHeader, parseRecord, recordKinds } from "./log-format.ts";
import { LogCorrupt } from "./log.ts";

export interface LogFile {
  name: string;
  firstIndex: number;
}

export interface LogScan {
  files: LogFile[];
  /** Index of the last whole entry; the first file's first index - 1 where there is none. */
  tail: number;
  /** Where the next record goes in the last file. */
  end: number;
  sealed: boolean;
  /** Whether bytes of a torn write lie behind the end of the last file. */
  torn: boolean;
}

/** Looks at every file. Null where there is no log yet. Errors: LogCorrupt, and the disk's own. */
export async function scanLog(directory: Directory): Promise<LogScan | null> {
  const files = logFiles(await directory.list(""));
  if (files.length === 0) return null;
  const scan: LogScan = { files, tail: files[0].firstIndex - 1, end: 0, sealed: false, torn: false };
  for (const [position, file] of files.entries()) {
    scanFile(directory, file, files[position + 1] ?? null, await readLogFile(directory, file), scan);
  }
  return scan;
}

function logFiles(names: readonly string[]): LogFile[] {
  return names.flatMap((name) => {
    const firstIndex = firstIndexOf(name);
    return firstIndex === null ? [] : [{ name, firstIndex }];
  });
}

/** All bytes of the file, in memory of their own. Errors: LogCorrupt where the header is not that of this file. */
export async function readLogFile(directory: Directory, { name, firstIndex }: LogFile): Promise<Buffer> {
  const file = await directory.open(name, { readOnly: true });
  try {
    const bytes = Buffer.allocUnsafeSlow(await file.size());
    const content = bytes.subarray(0, await file.read(bytes, 0));
    const header = parseFileHeader(content);
    if ("problem" in header) throw new LogCorrupt(`${directory.path}/${name}`, 0, header.problem);
    if (header.firstIndex !== firstIndex) {
      throw new LogCorrupt(
        `${directory.path}/${name}`,
        16,
        `its header says first entry ${header.firstIndex}, its name ${firstIndex}`,
      );
    }
    return content;
  } finally {
    await file.close();
  }
}

/** Records in order, as long as they are whole and their indexes follow. */
export function* recordsOf(content: Buffer, firstIndex: number): Generator<{ at: number; record: LogRecord }> {
  let at = FILE_HEADER_BYTES;
  let index = firstIndex;
  for (;;) {
    const record = parseRecord(content, at);
    if (record === null || record.index !== (record.kind === recordKinds.entry ? index : index - 1)) return;
    if (record.kind === recordKinds.entry) index++;
    yield { at, record };
    at = record.next;
  }
}

function scanFile(directory: Directory, file: LogFile, next: LogFile | null, content: Buffer, scan: LogScan): void {
  let continued = false;
  scan.end = FILE_HEADER_BYTES;
  for (const { record } of recordsOf(content, file.firstIndex)) {
    if (record.kind === recordKinds.entry) scan.tail = record.index;
    if (record.kind === recordKinds.seal) scan.sealed = true;
    if (record.kind === recordKinds.continued) continued = true;
    scan.end = record.next;
  }
  if (next !== null) {
    if (next.firstIndex === scan.tail + 1) return;
    if (isZero(content, scan.end))
      throw corrupt(
        directory,
        next,
        0,
        `entry ${scan.tail + 1} comes next, but it begins with ${next.firstIndex}: a file is missing`,
      );
    throw corrupt(directory, file, scan.end, `entry ${scan.tail + 1} is damaged`);
  }
  if (continued)
    throw corrupt(
      directory,
      file,
      scan.end,
      `the log goes on in a file that begins with entry ${scan.tail + 1}, which is missing`,
    );
  const witness = findWitness(content, scan.end, scan.tail + 1);
  scan.torn = !isZero(content, scan.end);
  if (witness !== null)
    throw corrupt(
      directory,
      file,
      scan.end,
      `entry ${scan.tail + 1} is damaged: it was durable, as the record at offset ${witness} says`,
    );
}

function isZero(content: Buffer, from: number): boolean {
  const words = new Int32Array(content.buffer, content.byteOffset, content.length >>> 2);
  for (let at = from >>> 2; at < words.length; at++) if (words[at] !== 0) return false;
  return content.subarray(words.length * 4).every((byte) => byte === 0);
}

/** Offset of a whole record behind `from` which says that entry `index` was durable. */
function findWitness(content: Buffer, from: number, index: number): number | null {
  const words = new Int32Array(content.buffer, content.byteOffset, content.length >>> 2);
  for (let at = from; at + 24 <= content.length; at += 8) {
    // The kind: zero wherever nothing was written, so empty space is passed at the speed of this line.
    if (words[(at + 20) >>> 2] === 0) continue;
    const record = parseRecord(content, at);
    if (record !== null && record.durable >= index) return at;
  }
  return null;
}

function corrupt(directory: Directory, file: LogFile, offset: number, what: string): LogCorrupt {
  return new LogCorrupt(`${directory.path}/${file.name}`, offset, what);
}
