// The block index: which block lies where. A table (RocksDB) behind, what it does not have yet (`pending`) and a
// bounded cache in front. The segments are the truth; this can be lost and is rebuilt from them.
//
// Order: a change counts in memory at once (record), becomes ready for the table when the bytes that it speaks of
// are synced (ready), and is written there later, in order and in batches (apply). So the table never names a record
// that a crash could have taken, and a scan from a segment's `indexedUpTo` finds all that the table lacks.
import type { Table, TableBatch } from "./table.ts";
import {
  blockKey,
  blockRange,
  decodeBlockKey,
  decodeEntry,
  encodeEntry,
  encodeMeta,
  encodeSummary,
  INDEX_VERSION,
  META_KEY,
  segmentKey,
  type Entry,
} from "./block-index-format.ts";
import type { BlockId } from "./blocks.ts";
import { Rounds } from "./block-rounds.ts";
import type { Segment } from "./segment.ts";

export interface Change {
  id: BlockId;
  /** Null: deleted. */
  entry: Entry | null;
  /** What it replaces. */
  previous: Entry | null;
  /** A record of deletions that need not be scanned again once this change, the last of its group, is in the table. */
  note?: Pick<Entry, "segment" | "offset">;
}

export interface IndexOptions {
  table: Table;
  segments: Map<number, Segment>;
  salt: number;
  /** The highest sequence number given out. */
  sequence(): number;
  cacheBytes: number;
  /** A value in the table differs from its own checksum; resolves with what the segments say. */
  onDamagedValue(id: BlockId): Promise<Entry | null>;
  /** The index says of the segment that nothing in it lives. */
  onRetirable(segment: Segment): void;
}

/** Changes in one batch; with 64 checksums each 400 KB. */
const BATCH_CHANGES_MAX = 1024;
/** Keys asked for in one call. */
const KEYS_MAX = 256;

/** A number where it is exact, which is much cheaper than a string. */
type Key = number | string;

interface Question {
  id: BlockId;
  key: Key;
  stale: boolean;
  promise: Promise<Entry | null>;
  resolve(entry: Entry | null): void;
  reject(error: unknown): void;
}

export function keyOf({ stripe, index }: BlockId): Key {
  return stripe < 2 ** 43 && index < 512 ? stripe * 512 + index : `${stripe}.${index}`;
}

export class BlockIndex {
  readonly #options: IndexOptions;
  readonly #table: Table;
  readonly #pending = new Map<Key, Change>();
  #ready: Change[] = [];
  readonly #cache = new Map<Key, Entry>();
  #cacheBytes = 0;
  readonly #questions = new Map<Key, Question>();
  #asking: Question[] = [];
  /** No block of a higher stripe is stored: new blocks need no look into the table. */
  #highestStripe = -1;
  readonly #rounds = new Rounds(() => this.#applyReady());

  constructor(options: IndexOptions) {
    this.#options = options;
    this.#table = options.table;
  }

  /** To be called before anything else. */
  async start(): Promise<void> {
    const [last] = await this.#table.range({ ...blockRange(null), limit: 1, reverse: true });
    if (last !== undefined) this.#highestStripe = decodeBlockKey(last.key).stripe;
  }

  /** Changes that the table does not have yet. */
  get pendingChanges(): number {
    return this.#pending.size;
  }

  get readyChanges(): number {
    return this.#ready.length;
  }

  /** Where the block is, null if it is not stored, undefined if only the table knows. */
  lookupNow(id: BlockId): Entry | null | undefined {
    const key = keyOf(id);
    const change = this.#pending.get(key);
    if (change !== undefined) return change.entry;
    const entry = this.#cache.get(key);
    if (entry !== undefined) {
      this.#cache.delete(key);
      this.#cache.set(key, entry);
      return entry;
    }
    return id.stripe > this.#highestStripe ? null : undefined;
  }

  /** Where the block is, or null. Questions of one turn of the event loop share a call. */
  async lookup(id: BlockId): Promise<Entry | null> {
    const known = this.lookupNow(id);
    return known === undefined ? this.#ask(id) : known;
  }

  /** Takes the change into account at once. */
  record(change: Change): void {
    const key = keyOf(change.id);
    this.#pending.set(key, change);
    this.#uncache(key);
    if (change.entry !== null) this.#highestStripe = Math.max(this.#highestStripe, change.id.stripe);
  }

  /** The bytes that these recorded changes speak of are synced. */
  ready(changes: readonly Change[]): void {
    for (const change of changes) this.#ready.push(change);
  }

  /** Writes what is ready to the table; calls at once share a run. After an error everything is still ready. */
  apply(): Promise<void> {
    return this.#rounds.run();
  }

  async flush(): Promise<void> {
    await this.#table.flush();
  }

  /** Blocks in order after `after`. */
  async list(after: BlockId | null, limit: number): Promise<{ id: BlockId; entry: Entry }[]> {
    const recent = [...this.#pending.values()].filter(({ id }) => after === null || compareIds(id, after) > 0);
    const rows = await this.#table.range({ ...blockRange(after), limit: limit + recent.length });
    const found = new Map<Key, { id: BlockId; entry: Entry }>();
    for (const { key, value } of rows) {
      const id = decodeBlockKey(key);
      const entry = decodeEntry(key, value) ?? (await this.#options.onDamagedValue(id));
      if (entry !== null) found.set(keyOf(id), { id, entry });
    }
    // Where the table's answer ended early, blocks beyond its end may be missing from it: those come next time.
    const end = rows.length < limit + recent.length ? null : decodeBlockKey(rows[rows.length - 1].key);
    for (const { id } of recent) {
      const key = keyOf(id);
      const change = this.#pending.get(key);
      if (change === undefined || (end !== null && compareIds(id, end) > 0)) continue;
      if (change.entry === null) found.delete(key);
      else found.set(key, { id, entry: change.entry });
    }
    return [...found.values()].sort((a, b) => compareIds(a.id, b.id)).slice(0, limit);
  }

  /** Writes what the index knows of these segments, for those that no change speaks of. */
  async writeSummaries(segments: Iterable<Segment>): Promise<void> {
    const batch: TableBatch = { puts: [this.#meta()], deletes: [] };
    for (const segment of segments) batch.puts.push(summaryPut(segment, new Set(), 0, 0));
    await this.#table.write(batch);
  }

  /** Forgets a segment, durably. */
  async dropSegments(segments: readonly Segment[]): Promise<void> {
    await this.#table.write({ puts: [], deletes: segments.map(({ number }) => segmentKey(number)) });
    await this.#table.flush();
  }

  async close(): Promise<void> {
    await this.#table.close();
  }

  #ask(id: BlockId): Promise<Entry | null> {
    const key = keyOf(id);
    const asked = this.#questions.get(key);
    if (asked !== undefined) return asked.promise;
    const question = { id, key, stale: false } as Question;
    question.promise = new Promise((resolve, reject) => Object.assign(question, { resolve, reject }));
    this.#questions.set(key, question);
    if (this.#asking.push(question) === 1) queueMicrotask(() => this.#askTable());
    return question.promise;
  }

  #askTable(): void {
    const questions = this.#asking;
    this.#asking = [];
    for (let start = 0; start < questions.length; start += KEYS_MAX) {
      const part = questions.slice(start, start + KEYS_MAX);
      this.#answer(part).catch((error: unknown) => {
        for (const question of part) {
          this.#questions.delete(question.key);
          question.reject(error);
        }
      });
    }
  }

  async #answer(questions: Question[]): Promise<void> {
    const keys = questions.map(({ id }) => blockKey(id));
    const values = await this.#table.get(keys);
    for (const [at, question] of questions.entries()) {
      const value = values[at];
      let entry = value === null ? null : decodeEntry(keys[at], value);
      if (value !== null && entry === null) entry = await this.#options.onDamagedValue(question.id);
      this.#questions.delete(question.key);
      const now = this.lookupNow(question.id);
      if (now !== undefined) question.resolve(now);
      else if (question.stale) this.#ask(question.id).then(question.resolve, question.reject);
      else {
        if (entry !== null) this.#keep(question.key, entry);
        question.resolve(entry);
      }
    }
  }

  async #applyReady(): Promise<void> {
    while (this.#ready.length > 0) {
      const changes = this.#ready.slice(0, BATCH_CHANGES_MAX);
      const touched = this.#deltas(changes);
      const last = new Map<Key, Change>();
      for (const change of changes) last.set(keyOf(change.id), change);
      const batch: TableBatch = { puts: [this.#meta()], deletes: [] };
      for (const { id, entry } of last.values()) {
        const key = blockKey(id);
        if (entry === null) batch.deletes.push(key);
        else batch.puts.push({ key, value: encodeEntry(key, entry) });
      }
      for (const [segment, { applied, records, bytes }] of touched) batch.puts.push(summaryPut(segment, applied, records, bytes));
      await this.#table.write(batch);
      this.#ready.splice(0, changes.length);
      this.#settle(changes, touched);
    }
  }

  #deltas(changes: readonly Change[]): Map<Segment, Delta> {
    const touched = new Map<Segment, Delta>();
    const deltaOf = (number: number): Delta | undefined => {
      const segment = this.#options.segments.get(number);
      if (segment === undefined) return undefined;
      let delta = touched.get(segment);
      if (delta === undefined) touched.set(segment, (delta = { applied: new Set(), records: 0, bytes: 0 }));
      return delta;
    };
    const add = (entry: Entry | null, sign: 1 | -1): void => {
      const delta = entry === null ? undefined : deltaOf(entry.segment);
      if (entry === null || delta === undefined) return;
      delta.records += sign;
      delta.bytes += sign * entry.length;
      if (sign === 1) delta.applied.add(entry.offset);
    };
    for (const { entry, previous, note } of changes) {
      add(entry, 1);
      add(previous, -1);
      if (note !== undefined) deltaOf(note.segment)?.applied.add(note.offset);
    }
    return touched;
  }

  #settle(changes: readonly Change[], touched: Map<Segment, Delta>): void {
    for (const change of changes) {
      const key = keyOf(change.id);
      const question = this.#questions.get(key);
      if (question !== undefined) question.stale = true;
      if (this.#pending.get(key) !== change) continue;
      this.#pending.delete(key);
      if (change.entry !== null) this.#keep(key, change.entry);
    }
    for (const [segment, { applied, records, bytes }] of touched) {
      segment.indexedRecords += records;
      segment.indexedBytes += bytes;
      for (const offset of applied) segment.unindexed.delete(offset);
      if (segment.retirable) this.#options.onRetirable(segment);
    }
  }

  #meta(): { key: Uint8Array; value: Uint8Array } {
    return {
      key: META_KEY,
      value: encodeMeta({ version: INDEX_VERSION, salt: this.#options.salt, sequence: this.#options.sequence() }),
    };
  }

  #keep(key: Key, entry: Entry): void {
    this.#uncache(key);
    this.#cache.set(key, entry);
    this.#cacheBytes += costOf(entry);
    for (const [oldest, { checksums }] of this.#cache) {
      if (this.#cacheBytes <= this.#options.cacheBytes) break;
      this.#cache.delete(oldest);
      this.#cacheBytes -= ENTRY_COST_BYTES + checksums.byteLength;
    }
  }

  #uncache(key: Key): void {
    const entry = this.#cache.get(key);
    if (entry === undefined) return;
    this.#cache.delete(key);
    this.#cacheBytes -= costOf(entry);
  }
}

interface Delta {
  applied: Set<number>;
  records: number;
  bytes: number;
}

/** An entry, its typed array and its place in the map, as heap snapshots show them. */
const ENTRY_COST_BYTES = 320;

function costOf(entry: Entry): number {
  return ENTRY_COST_BYTES + entry.checksums.byteLength;
}

function summaryPut(
  segment: Segment,
  applied: ReadonlySet<number>,
  records: number,
  bytes: number,
): { key: Uint8Array; value: Uint8Array } {
  const key = segmentKey(segment.number);
  return { key, value: encodeSummary(key, segment.summary(applied, records, bytes)) };
}

export function compareIds(a: BlockId, b: BlockId): number {
  return a.stripe - b.stripe || a.index - b.index;
}
