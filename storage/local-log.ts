// The embedded log: storage/log.ts over append-only files of a bounded size in one directory.
//
// 1. One job at a time is under way on the files: a write, or a write with fdatasync. What is appended meanwhile goes
//    with the next one, so group commit needs no timer.
// 2. After a write or fdatasync failed nothing is tried again: Linux reports a lost write once and then forgets it, so a
//    second fdatasync would lie. The log has failed for good. The exception is making a new file on a full disk: that
//    changes nothing, so it is tried again later.
// 3. A file gets its name only when its header is durable and so is all of the file before (log-scan.ts relies on it).
// 4. The next file is reserved ahead (spare.tmp), so a disk that runs full still takes the log entries that free space.
// 5. A small write that reaches the end of the space written so far adds zeros behind it: a later fdatasync into written
//    space needs no commit of ext4's journal (4 KiB: 103 us; into reserved space 166; growing the file 192).
import assert from "node:assert/strict";
import { type Clock, systemClock } from "./clock.ts";
import type { Directory, DirectoryFile } from "./directory.ts";
import { ENTRY_MAX_BYTES, FILE_HEADER_BYTES, encodeFileHeader, logFileName, recordBytes, recordKinds } from "./log-format.ts";
import { type LogFile, readLogFile, recordsOf, scanLog } from "./log-scan.ts";
import { type Log, LogCorrupt, LogFailed, type LogIndex, LogSealed } from "./log.ts";
import { RecordBuffer } from "./record-buffer.ts";

export interface LocalLogOptions {
  clock?: Clock;
  /** Size of one file; one larger batch of entries still goes into one. Default 32 MiB. */
  fileBytes?: number;
  /** Index of the first entry, where the directory has no log yet. Default 1. */
  firstIndex?: number;
}

const FILE_BYTES_DEFAULT = 32 * 1024 * 1024;
/** What is pending this long is written, so that a killed process loses milliseconds. */
const WRITE_DELAY_MS = 3;
/** Written at once from here on. */
const WRITE_BYTES = 256 * 1024;
/** An entry is durable at most this long after its append, unasked. */
const SYNC_DELAY_MS = 1000;
/** A disk that was full is asked again after this. */
const RETRY_DELAY_MS = 1000;
/** Zeros written ahead of small batches (invariant 5). */
const AHEAD = new Uint8Array(512 * 1024);
const AHEAD_BATCH_BYTES = 64 * 1024;
const SPARE_NAME = "spare.tmp";
const EMPTY = new Uint8Array(0);

interface Waiter {
  index: number;
  resolve: () => void;
  reject: (error: Error) => void;
}

export class LocalLog implements Log {
  readonly #directory: Directory;
  readonly #clock: Clock;
  readonly #fileBytes: number;
  readonly #records = new RecordBuffer();
  #files: LogFile[] = [];
  #file!: DirectoryFile;
  /** Where the next record goes, and how far the file was ever written. */
  #position = 0;
  #writtenEnd = 0;
  /** Indexes: last appended, last written to the file, last durable, and last that somebody wants durable. */
  #tail = 0;
  #written = 0;
  #durable = 0;
  #wanted = 0;
  #writing = 0;
  #writeDue = false;
  #running: Promise<void> | null = null;
  #cancelWrite: (() => void) | null = null;
  #cancelSync: (() => void) | null = null;
  #cancelRetry: (() => void) | null = null;
  #waiters: Waiter[] = [];
  #drainWaiters: Waiter[] = [];
  #spare: Promise<DirectoryFile> | null = null;
  #ended: "open" | "sealed" | "closed" = "open";
  #full: LogFailed | null = null;
  #failure: LogFailed | null = null;

  private constructor(directory: Directory, { clock = systemClock, fileBytes = FILE_BYTES_DEFAULT }: LocalLogOptions) {
    this.#directory = directory;
    this.#clock = clock;
    this.#fileBytes = fileBytes;
  }

  /** Opens the log in the directory (making it and an empty log where there is none; the name of the directory itself is the caller's to sync), cuts off what a crash tore. Errors: LogCorrupt; the disk's own. */
  static async open(directory: Directory, options: LocalLogOptions = {}): Promise<LocalLog> {
    const log = new LocalLog(directory, options);
    await directory.makeDirectory("");
    await directory.remove(SPARE_NAME);
    const scan = await scanLog(directory);
    if (scan === null) {
      log.#begin((options.firstIndex ?? 1) - 1);
      await log.#enterNewFile();
      return log;
    }
    log.#begin(scan.tail);
    log.#files = scan.files;
    log.#ended = scan.sealed ? "sealed" : "open";
    await log.#enterLastFile(scan.end, scan.torn);
    return log;
  }

  get pendingBytes(): number {
    return this.#records.bytes + this.#writing;
  }

  get sealed(): boolean {
    return this.#ended === "sealed";
  }

  append(entry: Uint8Array): LogIndex {
    if (this.#failure !== null) throw this.#failure;
    if (this.#full !== null) throw this.#full;
    if (this.#ended !== "open") throw new LogSealed(`append to the log in ${this.#directory.path}: it is ${this.#ended}`);
    assert(entry.length <= ENTRY_MAX_BYTES, `log: an entry of ${entry.length} bytes, at most ${ENTRY_MAX_BYTES} are allowed`);
    this.#tail++;
    this.#records.append(recordKinds.entry, this.#tail, this.#durable, entry);
    this.#schedule();
    return this.#tail as LogIndex;
  }

  sync(index: LogIndex): Promise<void> {
    if (index <= this.#durable) return Promise.resolve();
    const refusal = this.#failure ?? this.#full;
    if (refusal !== null) return Promise.reject(refusal);
    assert(index <= this.#tail, `log: sync of entry ${index}, the last one is ${this.#tail}`);
    this.#wanted = Math.max(this.#wanted, index);
    return new Promise((resolve, reject) => {
      this.#waiters.push({ index, resolve, reject });
      this.#run();
    });
  }

  async drained(): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    if (this.#written === this.#tail) return;
    const index = this.#tail;
    this.#writeDue = true;
    await new Promise<void>((resolve, reject) => {
      this.#drainWaiters.push({ index, resolve, reject });
      this.#run();
    });
  }

  tail(): LogIndex {
    return this.#tail as LogIndex;
  }

  first(): LogIndex {
    return this.#files[0].firstIndex as LogIndex;
  }

  async *read(from: LogIndex): AsyncIterable<{ index: LogIndex; entry: Uint8Array }> {
    const last = this.#tail;
    if (from > last) return;
    await this.drained();
    if (from < this.first())
      throw new RangeError(`read the log in ${this.#directory.path} from entry ${from}: the first one kept is ${this.first()}`);
    let next: number = from;
    while (next <= last) {
      const file = this.#files.findLast(({ firstIndex }) => firstIndex <= next)!;
      const content = await readLogFile(this.#directory, file);
      let end = FILE_HEADER_BYTES;
      for (const { record } of recordsOf(content, file.firstIndex)) {
        end = record.next;
        if (record.kind !== recordKinds.entry || record.index < next) continue;
        if (record.index > last) return;
        yield { index: record.index as LogIndex, entry: record.payload };
        next = record.index + 1;
      }
      const following = this.#files.find(({ firstIndex }) => firstIndex > file.firstIndex)?.firstIndex ?? last + 1;
      if (next < following) throw new LogCorrupt(`${this.#directory.path}/${file.name}`, end, `entry ${next} is damaged`);
    }
  }

  async trim(below: LogIndex): Promise<void> {
    while (this.#files.length > 1 && this.#files[1].firstIndex <= below) {
      // One name at a time, each durable before the next, so that a crash leaves no gap.
      const [oldest] = this.#files.splice(0, 1);
      await this.#directory.remove(oldest.name);
      await this.#directory.syncNames("");
    }
  }

  async seal(): Promise<LogIndex> {
    if (this.#ended === "open") {
      this.#ended = "sealed";
      await this.#finish(recordKinds.seal);
    }
    return this.#tail as LogIndex;
  }

  async close(): Promise<void> {
    const before = this.#ended;
    if (before === "closed") return;
    this.#ended = "closed";
    try {
      if (before === "open" && this.#failure === null) await this.#finish(recordKinds.mark);
    } finally {
      await this.#running;
      this.#cancelTimers();
      const spare = await this.#spare?.catch(() => null);
      await spare?.close();
      await this.#file.close();
    }
  }

  /** Makes all entries durable, then a record that says so: from then on any damage to them is told from a torn end. */
  async #finish(kind: number): Promise<void> {
    await this.sync(this.#tail as LogIndex);
    await this.#running;
    if (this.#failure !== null) throw this.#failure;
    this.#records.append(kind, this.#tail, this.#durable, EMPTY);
    this.#running = this.#write(true);
    await this.#running.catch((error) => this.#fail(error));
    this.#running = null;
    if (this.#failure !== null) throw this.#failure;
  }

  #begin(tail: number): void {
    this.#tail = this.#written = this.#durable = this.#wanted = tail;
  }

  #schedule(): void {
    if (this.#running !== null) return;
    if (this.#records.bytes >= WRITE_BYTES) this.#run();
    else {
      this.#cancelWrite ??= this.#clock.after(WRITE_DELAY_MS, () => {
        this.#cancelWrite = null;
        this.#writeDue = true;
        this.#run();
      });
    }
    this.#cancelSync ??= this.#clock.after(SYNC_DELAY_MS, () => {
      this.#cancelSync = null;
      this.#wanted = this.#tail;
      this.#run();
    });
  }

  #run(): void {
    if (this.#running !== null || this.#failure !== null) return;
    this.#running = this.#pump();
  }

  async #pump(): Promise<void> {
    // Let the callers of this turn of the event loop all come in first: they share the write.
    await null;
    try {
      while (this.#wanted > this.#durable || this.#writeDue || this.#records.bytes >= WRITE_BYTES) {
        if (!(await this.#makeRoom())) break;
        await this.#write(this.#wanted > this.#durable);
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#running = null;
    if (this.#failure === null && this.#full === null && this.#durable < this.#tail) this.#schedule();
  }

  /** One job: everything pending, with an fdatasync where `sync`. */
  async #write(sync: boolean): Promise<void> {
    this.#writeDue = false;
    this.#cancelWrite?.();
    this.#cancelWrite = null;
    const last = this.#tail;
    const batch = this.#records.take();
    this.#writing = batch.bytes;
    if (batch.bytes === 0) {
      if (sync) await this.#file.sync();
    } else {
      const buffers = this.#withZerosAhead(batch.buffers, batch.bytes);
      if (sync) await this.#file.writeAndSync(buffers, this.#position);
      else await this.#file.write(buffers, this.#position);
    }
    this.#position += batch.bytes;
    this.#records.recycle(batch);
    this.#writing = 0;
    this.#written = last;
    if (sync) this.#nowDurable(last);
    this.#drainWaiters = settle(this.#drainWaiters, this.#written);
  }

  #withZerosAhead(buffers: Uint8Array[], bytes: number): Uint8Array[] {
    const end = this.#position + bytes;
    if (end <= this.#writtenEnd) return buffers;
    const zeros = bytes > AHEAD_BATCH_BYTES ? 0 : Math.max(0, Math.min(AHEAD.length, this.#fileBytes - end));
    this.#writtenEnd = end + zeros;
    return zeros === 0 ? buffers : [...buffers, AHEAD.subarray(0, zeros)];
  }

  #nowDurable(index: number): void {
    this.#durable = index;
    this.#cancelSync?.();
    this.#cancelSync = null;
    this.#waiters = settle(this.#waiters, index);
  }

  /** Goes on in a new file where this one is full. False where the disk has no space for one: callers were told. */
  async #makeRoom(): Promise<boolean> {
    const needed = this.#records.bytes + recordBytes(0);
    if (this.#position + needed <= this.#fileBytes || this.#position === FILE_HEADER_BYTES || this.#records.bytes === 0)
      return true;
    if (this.#durable < this.#written) await this.#file.sync();
    this.#nowDurable(this.#written);
    const old = { file: this.#file, position: this.#position };
    try {
      await this.#enterNewFile();
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOSPC") throw error;
      this.#isFull(error as Error);
      return false;
    }
    await this.#writeContinued(old.file, old.position);
    return true;
  }

  async #writeContinued(file: DirectoryFile, position: number): Promise<void> {
    const record = new RecordBuffer();
    record.append(recordKinds.continued, this.#written, this.#durable, EMPTY);
    await file.writeAndSync(record.take().buffers, position);
    await file.close();
  }

  /** Makes the file after the last written entry and turns to it. Changes nothing where it throws ENOSPC. */
  async #enterNewFile(): Promise<void> {
    const firstIndex = this.#written + 1;
    const name = logFileName(firstIndex);
    this.#spare ??= this.#makeSpare();
    let file: DirectoryFile;
    try {
      file = await this.#spare;
    } finally {
      this.#spare = null;
    }
    await file.writeAndSync([encodeFileHeader(firstIndex, this.#fileBytes)], 0);
    await this.#directory.rename(SPARE_NAME, name);
    await this.#directory.syncNames("");
    this.#files.push({ name, firstIndex });
    this.#file = file;
    this.#position = FILE_HEADER_BYTES;
    this.#writtenEnd = FILE_HEADER_BYTES;
    this.#prepareSpare();
  }

  #prepareSpare(): void {
    this.#spare = this.#makeSpare();
    // Its failure is told when it is needed, and then tried once more.
    this.#spare.catch(() => {
      this.#spare = null;
    });
  }

  async #makeSpare(): Promise<DirectoryFile> {
    await this.#directory.remove(SPARE_NAME);
    const file = await this.#directory.open(SPARE_NAME, { create: true });
    try {
      await file.allocate(0, this.#fileBytes);
      await file.sync();
    } catch (error) {
      await file.close();
      await this.#directory.remove(SPARE_NAME);
      throw error;
    }
    return file;
  }

  async #enterLastFile(end: number, torn: boolean): Promise<void> {
    const { name } = this.#files.at(-1)!;
    this.#file = await this.#directory.open(name);
    const size = await this.#file.size();
    // Torn bytes would be taken for entries again once the ones before them are written anew.
    for (let at = end; torn && at < size; at += AHEAD.length)
      await this.#file.write([AHEAD.subarray(0, Math.min(AHEAD.length, size - at))], at);
    // What was read may be in the page cache only, after a process that was killed.
    await this.#file.sync();
    this.#position = end;
    this.#writtenEnd = torn ? size : end;
    this.#prepareSpare();
  }

  #isFull(cause: Error): void {
    this.#full = new LogFailed("ENOSPC", `extend the log in ${this.#directory.path}: its disk is full`, { cause });
    this.#rejectAll(this.#full);
    this.#cancelRetry ??= this.#clock.after(RETRY_DELAY_MS, () => {
      this.#cancelRetry = null;
      this.#full = null;
      this.#writeDue = true;
      this.#run();
    });
  }

  #fail(error: unknown): void {
    const cause = error as Error & { code?: string };
    this.#failure = new LogFailed(cause.code ?? "EIO", `write the log in ${this.#directory.path}: ${cause.message}`, { cause });
    this.#cancelTimers();
    this.#rejectAll(this.#failure);
  }

  #rejectAll(error: Error): void {
    for (const { reject } of [...this.#waiters.splice(0), ...this.#drainWaiters.splice(0)]) reject(error);
  }

  #cancelTimers(): void {
    for (const cancel of [this.#cancelWrite, this.#cancelSync, this.#cancelRetry]) cancel?.();
    this.#cancelWrite = this.#cancelSync = this.#cancelRetry = null;
  }
}

/** Resolves the waiters up to the index; returns the others. */
function settle(waiters: Waiter[], index: number): Waiter[] {
  if (waiters.length === 0) return waiters;
  const left: Waiter[] = [];
  for (const waiter of waiters) {
    if (waiter.index <= index) waiter.resolve();
    else left.push(waiter);
  }
  return left;
}
