// The namespace's records as bytes: those changed since the table was last written (in memory, the truth), above the
// table. All reads go through here, so that nobody sees the table without what it lacks.
//
// Invariants:
// 1. A record is in `current`, or in `applying`, or else the table's value is right.
// 2. What is written to the table is durable in the log before. So after a crash the log's tail is never behind the
//    table, and replaying from the table's applied index gives exactly the last durable state (entries are idempotent).
// 3. The applied index rides in the last batch of an apply; a crash between batches leaves records newer than the
//    applied index, which replay overwrites with the same or newer ones.

import type { Log, LogIndex } from "../../storage/log.ts";
import type { Table, TableBatch, TableSnapshot } from "../../storage/table.ts";
import { byteString, ByteWriter, checksum, checksumText, type Slice } from "./bytes.ts";
import { after, isGrouped, keyBytes, splitKey, TAG_META } from "./keys.ts";
import { openValue } from "./records.ts";

export const APPLIED_KEY = `${TAG_META}applied`;
/** Records in one write to the table: some 2 ms of the event loop. */
const RECORDS_PER_WRITE = 1024;
/** Entries read from the table in one hop of a scan. */
const SCAN_PAGE_RECORDS = 4096;

/** Applies that a read of the table may outlast before it begins again. */
const RETIRED_MAX = 8;

/** Another apply may begin in the turn in which one ends, but not again and again. */
const SNAPSHOT_ATTEMPTS_MAX = 100;

type Change = Slice | null;
const NO_CHANGES: readonly Changes[] = Object.freeze([]);

/** Changes made between two applies. Records with a rest are grouped by prefix, so that a range of one owner is cheap. */
class Changes {
  readonly flat = new Map<string, Change>();
  readonly groups = new Map<string, Map<string, Change>>();
  records = 0;
  bytes = 0;

  set(prefix: string, rest: string, change: Change): void {
    this.records++;
    this.bytes += change === null ? 64 : 96 + change.end - change.start;
    if (rest === "") {
      this.flat.set(prefix, change);
      return;
    }
    let group = this.groups.get(prefix);
    if (group === undefined) this.groups.set(prefix, (group = new Map()));
    group.set(rest, change);
  }

  get(prefix: string, rest: string): Change | undefined {
    return rest === "" ? this.flat.get(prefix) : this.groups.get(prefix)?.get(rest);
  }

  has(prefix: string): boolean {
    return this.flat.has(prefix) || this.groups.has(prefix);
  }

  *entries(): Generator<[string, Change]> {
    yield* this.flat;
    for (const [prefix, group] of this.groups) for (const [rest, change] of group) yield [prefix + rest, change];
  }
}

export interface OverlayLimits {
  /** An apply is due when this many records wait. */
  applyRecords: number;
  /** Callers wait when this many records, or bytes of them, wait. */
  maximumRecords: number;
  maximumBytes: number;
}

export interface ScannedRecord {
  key: string;
  value: Slice;
}

export class Overlay {
  readonly #table: Table;
  readonly #log: Log;
  readonly #limits: OverlayLimits;
  #current = new Changes();
  #applying: Changes | null = null;
  #applyRun: Promise<void> | null = null;
  /** Counts finished applies: a read that began before one may have missed what it removed from memory. */
  #applies = 0;
  /** What the last applies wrote, oldest first, as long as a read is under way that began before: it goes over what the read has found. A read over much takes longer than the time between two applies. */
  #retired: Changes[] = [];
  /** Reads under way, each with the number of applies at its begin. */
  readonly #reads = new Set<{ since: number }>();
  /** While a read's result is used: what was retired since it began. */
  #missed: readonly Changes[] = [];
  /** Everything up to this log index is in the table. */
  appliedIndex: LogIndex;
  /** Everything up to this log index is in `current`, `applying` or the table. */
  index: LogIndex;
  /** Inodes there are, as of `index`. */
  inodes: number;
  /** ... as of `appliedIndex`. */
  #appliedInodes: number;

  constructor(table: Table, log: Log, applied: Applied, limits: OverlayLimits) {
    this.#table = table;
    this.#log = log;
    this.#limits = limits;
    this.appliedIndex = applied.index;
    this.index = applied.index;
    this.inodes = applied.inodes;
    this.#appliedInodes = applied.inodes;
  }

  set(prefix: string, rest: string, change: Change): void {
    this.#current.set(prefix, rest, change);
  }

  /** The record's value where memory has the last word (null: deleted), undefined where the table must be asked. */
  peek(prefix: string, rest: string): Change | undefined {
    const change = this.#current.get(prefix, rest);
    return change !== undefined || this.#applying === null ? change : this.#applying.get(prefix, rest);
  }

  /** Applies are due, callers should wait. */
  get due(): boolean {
    return this.#current.records >= this.#limits.applyRecords;
  }

  get full(): boolean {
    return this.#current.records >= this.#limits.maximumRecords || this.#current.bytes >= this.#limits.maximumBytes;
  }

  get waiting(): number {
    return this.#current.records + (this.#applying?.records ?? 0);
  }

  /** Changes whenever memory may have let go of changes because the table has them. */
  get generation(): number {
    return this.#applies;
  }

  /** Mends the number of inodes, which is kept with the applied index and not in the log: it is durable after the next apply and flush of the table. */
  recount(difference: number): void {
    this.inodes += difference;
  }

  /** Values of whole keys, as of the moment of the call to `use`, which runs in the same turn as the last check. */
  get<T>(keys: readonly string[], use: (values: (Slice | null)[]) => T): Promise<T> {
    const read = (): Promise<(Uint8Array | null)[]> => this.#table.get(keys.map(keyBytes));
    return this.#read(read, (stored) => {
      const values = keys.map((key, index) => {
        const { prefix, rest } = splitKey(key);
        const change = this.peek(prefix, rest) ?? this.#peekMissed(prefix, rest);
        if (change !== undefined) return change;
        const bytes = stored[index];
        return bytes === null ? null : { bytes, start: 0, end: bytes.length };
      });
      return use(values);
    });
  }

  /** Reads the table and uses what was found in one turn, with #missed over it. */
  async #read<Found, T>(read: () => Promise<Found>, use: (found: Found) => T): Promise<T> {
    for (;;) {
      const begun = { since: this.#applies };
      this.#reads.add(begun);
      try {
        const found = await read();
        const applies = this.#applies - begun.since;
        if (applies > this.#retired.length) continue;
        this.#missed = applies === 0 ? NO_CHANGES : this.#retired.slice(-applies);
        return use(found);
      } finally {
        this.#missed = NO_CHANGES;
        this.#reads.delete(begun);
        this.#dropRetired();
      }
    }
  }

  /** Those of before the oldest read that is under way. */
  #dropRetired(): void {
    if (this.#retired.length === 0) return;
    let oldest = this.#applies;
    for (const { since } of this.#reads) oldest = Math.min(oldest, since);
    const kept = Math.min(this.#applies - oldest, RETIRED_MAX);
    if (kept < this.#retired.length) this.#retired.splice(0, this.#retired.length - kept);
  }

  #peekMissed(prefix: string, rest: string): Change | undefined {
    for (let index = this.#missed.length - 1; index >= 0; index--) {
      const change = this.#missed[index].get(prefix, rest);
      if (change !== undefined) return change;
    }
    return undefined;
  }

  /** All records in [from, to) of whole keys within one tag, in order, handed to `use` as get() does. At most `limit` of the table are looked at; `bound` is the key below which the records are complete. */
  scan<T>(from: string, to: string, limit: number, use: (records: ScannedRecord[], bound: string) => T): Promise<T> {
    const read = (): Promise<ScannedRecord[]> => scanTable(this.#table, from, to, limit);
    return this.#read(read, (stored) => {
      const bound = boundOf(stored, to, limit);
      return use(this.#merge(stored, from, bound), bound);
    });
  }

  /** The table's own records with keys in [from, to), handed to `use` as get() does: right only for prefixes without changes in memory (hasChanges). For what is likely wanted soon. */
  readAhead<T>(from: string, to: string, limit: number, use: (records: ScannedRecord[], bound: string) => T): Promise<T> {
    const read = (): Promise<ScannedRecord[]> => scanTable(this.#table, from, to, limit);
    return this.#read(read, (stored) => use(stored, boundOf(stored, to, limit)));
  }

  /** Whether memory has changes of records with this prefix that the table lacks, or lacked when the read began whose result is being used. */
  hasChanges(prefix: string): boolean {
    const inMemory = this.#current.has(prefix) || (this.#applying?.has(prefix) ?? false);
    return inMemory || this.#missed.some((changes) => changes.has(prefix));
  }

  #merge(stored: ScannedRecord[], from: string, bound: string): ScannedRecord[] {
    const changes = new Map<string, Change>();
    for (const missed of this.#missed) collect(missed, from, bound, changes);
    if (this.#applying !== null) collect(this.#applying, from, bound, changes);
    collect(this.#current, from, bound, changes);
    if (changes.size === 0) return stored;
    const merged = stored.filter((record) => !changes.has(record.key));
    for (const [key, value] of changes) if (value !== null) merged.push({ key, value });
    return merged.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  }

  /** Writes what has changed to the table. One runs at a time; a call during one waits for it. */
  apply(): Promise<void> {
    this.#applyRun ??= this.#apply().finally(() => {
      this.#applyRun = null;
    });
    return this.#applyRun;
  }

  async #apply(): Promise<void> {
    if (this.#applying === null) {
      if (this.index === this.appliedIndex && this.inodes === this.#appliedInodes) return;
      this.#applying = this.#current;
      this.#current = new Changes();
      this.#applyingState = { index: this.index, inodes: this.inodes };
    }
    const state = this.#applyingState;
    await this.#log.sync(state.index);
    let batch: TableBatch = { puts: [], deletes: [] };
    for (const [key, change] of this.#applying.entries()) {
      if (change === null) batch.deletes.push(keyBytes(key));
      else batch.puts.push({ key: keyBytes(key), value: change.bytes.subarray(change.start, change.end) });
      if (batch.puts.length + batch.deletes.length < RECORDS_PER_WRITE) continue;
      await this.#table.write(batch);
      batch = { puts: [], deletes: [] };
    }
    batch.puts.push({ key: keyBytes(APPLIED_KEY), value: encodeApplied(state) });
    await this.#table.write(batch);
    this.appliedIndex = state.index;
    this.#appliedInodes = state.inodes;
    this.#retired.push(this.#applying);
    this.#applying = null;
    this.#applies++;
    this.#dropRetired();
  }

  /**
   * The records as they were at one log index, between two transactions, however much changes afterwards. Applies what
   * waits first. To be closed: it holds space in the table.
   */
  async snapshot(): Promise<OverlaySnapshot> {
    for (let attempt = 0; attempt < SNAPSHOT_ATTEMPTS_MAX; attempt++) {
      await this.apply();
      // Between two applies the table is exactly what the log was at `appliedIndex`; during one it may be torn.
      if (this.#applying === null)
        return new OverlaySnapshot(this.#table.snapshot(), { index: this.appliedIndex, inodes: this.#appliedInodes });
    }
    throw new Error(`a snapshot of the table: each of ${SNAPSHOT_ATTEMPTS_MAX} attempts met a write to it`);
  }

  #applyingState: Applied = { index: 0 as LogIndex, inodes: 0 };

  /** Makes the table durable and drops log entries that it holds. */
  async trim(): Promise<void> {
    const applied = this.appliedIndex;
    await this.#table.flush();
    if (applied >= this.#log.first()) await this.#log.trim((applied + 1) as LogIndex);
  }
}

/** The key below which what was found is complete. */
function boundOf(stored: readonly ScannedRecord[], to: string, limit: number): string {
  return stored.length < limit ? to : `${stored[stored.length - 1].key}\0`;
}

async function scanTable(table: Pick<Table, "range">, from: string, to: string, limit: number): Promise<ScannedRecord[]> {
  const records: ScannedRecord[] = [];
  let gte = keyBytes(from);
  const lt = keyBytes(to);
  while (records.length < limit) {
    const count = Math.min(limit - records.length, SCAN_PAGE_RECORDS);
    const page = await table.range({ gte, lt, limit: count });
    for (const { key, value } of page) {
      records.push({
        key: byteString(key),
        value: { bytes: value, start: 0, end: value.length },
      });
    }
    if (page.length < count) break;
    gte = keyBytes(`${records[records.length - 1].key}\0`);
  }
  return records;
}

function collect(changes: Changes, from: string, bound: string, into: Map<string, Change>): void {
  const { prefix } = splitKey(from);
  if (isGrouped(from) && prefix.length === 9 && bound <= after(prefix)) {
    for (const [rest, change] of changes.groups.get(prefix) ?? []) {
      const key = prefix + rest;
      if (key >= from && key < bound) into.set(key, change);
    }
    return;
  }
  for (const [key, change] of changes.entries()) if (key >= from && key < bound) into.set(key, change);
}

/** All records at one moment. */
export class OverlaySnapshot {
  readonly #table: TableSnapshot;
  readonly index: LogIndex;
  readonly inodes: number;

  constructor(table: TableSnapshot, applied: Applied) {
    this.#table = table;
    this.index = applied.index;
    this.inodes = applied.inodes;
  }

  /** As Overlay.scan. */
  async scan<T>(from: string, to: string, limit: number, use: (records: ScannedRecord[], bound: string) => T): Promise<T> {
    const stored = await scanTable(this.#table, from, to, limit);
    return use(stored, stored.length < limit ? to : `${stored[stored.length - 1].key}\0`);
  }

  close(): Promise<void> {
    return this.#table.close();
  }
}

/** What the table says of itself: it holds everything up to this log index, and so many inodes. */
export interface Applied {
  index: LogIndex;
  inodes: number;
}

/** The one value that is written past the log. */
function encodeApplied(applied: Applied): Buffer {
  const writer = new ByteWriter();
  writer.varint(applied.index);
  writer.varint(applied.inodes);
  writer.uint32(checksum(writer.bytes, 0, writer.at, checksumText(APPLIED_KEY)));
  return Buffer.from(writer.bytes.subarray(0, writer.at));
}

/** What is stored in a table, or null in a table without it (a new one). */
export async function readApplied(table: Table): Promise<Applied | null> {
  const [bytes] = await table.get([keyBytes(APPLIED_KEY)]);
  if (bytes === null) return null;
  const reader = openValue(APPLIED_KEY, { bytes, start: 0, end: bytes.length });
  const applied = { index: reader.varint() as LogIndex, inodes: reader.varint() };
  reader.done();
  return applied;
}
