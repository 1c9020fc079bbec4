// The block store of one disk (storage/blocks.ts): blocks are records in append-only segment files, found through an
// index. This file puts the parts together: segment-writer.ts appends, block-reader.ts reads and checks,
// block-index.ts knows where, segment-recovery.ts mends both after a crash.
//
// Invariants:
// 1. The segments are the truth. The index's table gets a change only after the bytes it speaks of are synced.
// 2. A record that no change speaks of any more is marked deleted or punched out, so a scan does not bring it back.
// 3. After a failed fdatasync nothing is stored or called durable any more: the kernel may have dropped the bytes and
//    would report the next sync as good (fsync(2)). Reads go on; opening the disk again finds out what is there.
//
// Above 600 lines because storing, syncing, deleting, settling and recovering keep these invariants together over one
// set of private fields; what needs none of them is in the files named above.

import { crc32cPieces } from "../native/kernels.ts";
import { AlignedPool } from "./aligned-pool.ts";
import { BlockError, codeOf, nameOf, textOf, type Damage, type OnDamage } from "./block-errors.ts";
import { BlockIndex, keyOf, type Change } from "./block-index.ts";
import type { Entry } from "./block-index-format.ts";
import { BlockReader, dataOffsetOf, READ_SCRATCH_BYTES } from "./block-reader.ts";
import { Rounds } from "./block-rounds.ts";
import {
  BLOCK_MAX_BYTES,
  PIECE_BYTES,
  type BlockId,
  type BlockInfo,
  type Blocks,
  type BlockSpace,
  type CompactOptions,
  type CompactStep,
} from "./blocks.ts";
import { ALIGNMENT_BYTES, type Directory } from "./directory.ts";
import { checkDiskIdentity, saltOf, type DiskIdentity } from "./disk-identity.ts";
import { eraseRecords } from "./segment-erase.ts";
import { SegmentCompactor } from "./segment-compact.ts";
import { SEGMENTS_FOLDER, SegmentFiles } from "./segment-files.ts";
import { piecesOf, type Deletion } from "./segment-format.ts";
import {
  findSegments,
  openIndex,
  recoverSegment,
  searchRecord,
  strandedBlocks,
  type FoundRecord,
  type IndexStore,
  type OpenedIndex,
} from "./segment-recovery.ts";
import { scanWindow } from "./segment-scan.ts";
import { segmentLimit, SegmentWriter } from "./segment-writer.ts";
import { Segment } from "./segment.ts";

export interface SegmentBlocksOptions {
  /** The disk: its identity file is there already (disk-identity.ts). */
  directory: Directory;
  identity: DiskIdentity;
  index: IndexStore;
  /** Milliseconds of a clock that never goes back. */
  now: () => number;
  /** Told of everything that is not as it was written. May be called at any time; must not throw. */
  onDamage?: OnDamage;
  /** Memory for index entries of blocks that were used lately. Default 8 MiB. */
  cacheBytes?: number;
  /** Kept free on the disk for the index and for deletes. Default: 1 % of the disk, at most 64 MiB. */
  reserveBytes?: number;
  /** Default: 256 MiB for large blocks, 64 MiB for small ones, less on a small disk. */
  segmentBytesMax?: number;
}

const CACHE_BYTES_DEFAULT = 8 * 1024 * 1024;
const RESERVE_BYTES_MAX = 64 * 1024 * 1024;
/** Large writes at once; each needs two pages for its header and tail. */
const LARGE_WRITES_MAX = 64;
/** Buffers for blocks whose memory is not aligned, and for reads of parts of pieces. */
const WRITE_SCRATCH_BUFFERS = 4;
const READ_SCRATCH_BUFFERS = 16;
/** Changes in memory that the index's table lacks: from the first number on they are written, at the second stores wait. */
const PENDING_CHANGES_SOME = 4096;
const PENDING_CHANGES_MAX = 16384;
/** Ready changes are written to the table when they are this many, or this old. */
const APPLY_CHANGES = 256;
const APPLY_AFTER_MS = 1000;
const SPACE_AGE_MAX_MS = 1000;
const DELETES_AT_ONCE = 256;

/** Opens the disk's blocks; after a crash this repairs the index. Errors: of the disk, and BlockError EINVAL where a format is of another version. */
export async function openSegmentBlocks(options: SegmentBlocksOptions): Promise<SegmentBlocks> {
  const onDamage = options.onDamage ?? (() => undefined);
  const salt = saltOf(options.identity);
  const opened = await openIndex(options.index, options.directory.path, salt, onDamage);
  try {
    const blocks = new SegmentBlocks(options, opened);
    await blocks.recover(opened);
    return blocks;
  } catch (error) {
    await opened.table.close().catch(() => undefined);
    throw error;
  }
}

export class SegmentBlocks implements Blocks {
  readonly #options: SegmentBlocksOptions;
  readonly #directory: Directory;
  readonly #salt: number;
  readonly #onDamage: OnDamage;
  readonly #files: SegmentFiles;
  readonly #segments = new Map<number, Segment>();
  readonly #index: BlockIndex;
  readonly #reader: BlockReader;
  readonly #compactor: SegmentCompactor;
  readonly #pages = new AlignedPool({ bufferBytes: 2 * ALIGNMENT_BYTES, buffersMax: LARGE_WRITES_MAX });
  readonly #writeScratch = new AlignedPool({ bufferBytes: BLOCK_MAX_BYTES, buffersMax: WRITE_SCRATCH_BUFFERS });
  #writer!: SegmentWriter;
  #dirty = new Set<Segment>();
  #unsynced: Change[] = [];
  readonly #rounds = new Rounds(() => this.#syncRound());
  readonly #busy = new Map<number | string, Promise<unknown>>();
  readonly #retired = new Set<Segment>();
  #applyRun: Promise<void> | null = null;
  #appliedAt: number;
  #failure: BlockError | null = null;
  #closed = false;
  /** Deletions are durable only with the index. */
  #mustFlush = false;
  /** While recovering: blocks that were deleted, and up to which record. */
  readonly #deletions = new Map<number | string, number>();
  #space: { at: number; value: Promise<{ totalBytes: number; freeBytes: number }> } | null = null;

  /** Use openSegmentBlocks. */
  constructor(options: SegmentBlocksOptions, opened: OpenedIndex) {
    this.#options = options;
    this.#directory = options.directory;
    this.#salt = saltOf(options.identity);
    this.#onDamage = options.onDamage ?? (() => undefined);
    this.#files = new SegmentFiles(options.directory);
    this.#appliedAt = options.now();
    this.#index = new BlockIndex({
      table: opened.table,
      segments: this.#segments,
      salt: this.#salt,
      sequence: () => this.#writer.sequence,
      cacheBytes: options.cacheBytes ?? CACHE_BYTES_DEFAULT,
      onDamagedValue: (id) => this.#repairValue(id),
      onRetirable: (segment) => this.#retired.add(segment),
    });
    this.#reader = new BlockReader(
      this.#files,
      new AlignedPool({ bufferBytes: READ_SCRATCH_BYTES, buffersMax: READ_SCRATCH_BUFFERS }),
    );
    this.#compactor = this.#newCompactor();
  }

  #newCompactor(): SegmentCompactor {
    return new SegmentCompactor({
      segments: this.#segments,
      files: this.#files,
      salt: this.#salt,
      writer: () => this.#writer,
      lookup: (id) => this.#index.lookup(id),
      read: async (segment, entry, into) => (await this.#reader.read(segment, entry, 0, into)) < 0,
      alone: (ids, action) => this.#alone(ids, action),
      sync: () => this.#rounds.run(),
      replace: (blocks) => {
        const changes = blocks.map(({ id, from, to }) => this.#record(id, to, from));
        return this.#commit(
          changes,
          blocks.map(({ from }) => from),
        );
      },
      discard: (entries) => this.#discard(entries),
      settle: () => this.#settle(),
    });
  }

  /** For openSegmentBlocks only. */
  async recover(opened: OpenedIndex): Promise<void> {
    const found = await findSegments(this.#directory, this.#files, opened, this.#salt, this.#onDamage);
    const highest = Math.max(0, ...found.map(({ segment }) => segment.number), ...opened.summaries.keys());
    for (const { segment } of found) this.#segments.set(segment.number, segment);
    const { totalBytes } = await this.#directory.space();
    await this.#index.start();
    const scanned: Segment[] = [];
    let sequence = opened.sequence;
    const window = scanWindow();
    const context = {
      files: this.#files,
      salt: this.#salt,
      onDamage: this.#onDamage,
      onRecords: (records: readonly FoundRecord[]) => this.#recoverRecords(records),
      onSpoiled: (entries: readonly Entry[]) => this.#commit([], entries),
      onDeletions: (deletions: readonly Deletion[]) => this.#recoverDeletions(deletions),
    };
    // Sequence numbers matter to the table's head only, which is written after the scan.
    this.#writer = this.#newWriter(highest + 1, sequence);
    for (const one of found) {
      // Without an index nobody knows what was synced; only the last segments may hold anything torn.
      const last = !found.some(({ segment }) => segment.kind === one.segment.kind && segment.number > one.segment.number);
      const result = await recoverSegment(one, context, !opened.rebuild || last, window);
      sequence = Math.max(sequence, result.highestSequence);
      this.#writer = this.#newWriter(highest + 1, sequence);
      if (!result.scanned) continue;
      scanned.push(one.segment);
      this.#markDirty(one.segment);
      if (this.#index.pendingChanges > PENDING_CHANGES_SOME) await this.#settle();
    }
    this.#deletions.clear();
    await this.#dropMissing(opened);
    await this.#finishRecovery(scanned, totalBytes);
  }

  async store(id: BlockId, bytes: Uint8Array): Promise<void> {
    requireId(id);
    if (bytes.length === 0 || bytes.length > BLOCK_MAX_BYTES)
      throw new BlockError("EINVAL", `store ${nameOf(id)}: it has ${bytes.length} bytes, required are 1 to ${BLOCK_MAX_BYTES}`);
    this.#requireUsable(`store ${nameOf(id)}`);
    if (this.#index.pendingChanges >= PENDING_CHANGES_SOME) await this.#relieve();
    const checksums = new Uint32Array(piecesOf(bytes.length));
    crc32cPieces(bytes, PIECE_BYTES, checksums);
    await this.#alone([id], async () => {
      const known = this.#index.lookupNow(id);
      const previous = known === undefined ? await this.#index.lookup(id) : known;
      if (previous !== null && (await this.#isStored(id, previous, bytes.length, checksums))) return;
      const entry = await this.#writer.append(id, bytes, checksums);
      await this.#commit([this.#record(id, entry, previous)], previous === null ? [] : [previous]);
    });
  }

  async sync(): Promise<void> {
    this.#requireUsable(`sync ${this.#directory.path}`);
    if (this.#dirty.size === 0 && this.#unsynced.length === 0) return (await this.#rounds.running) ?? undefined;
    await this.#rounds.run();
    if (this.#mustFlush) {
      this.#mustFlush = false;
      try {
        await this.#settle();
        await this.#index.flush();
      } catch (error) {
        this.#mustFlush = true;
        throw error;
      }
    }
    if (this.#index.readyChanges >= APPLY_CHANGES || this.#options.now() - this.#appliedAt >= APPLY_AFTER_MS) this.#applySoon();
  }

  async retrieve(id: BlockId, offset: number, into: Uint8Array): Promise<void> {
    // A block may move or go while it is read; then what was read is looked at again in its new place.
    for (let attempt = 1; ; attempt++) {
      const known = this.#index.lookupNow(id);
      const entry = known === undefined ? await this.#index.lookup(id) : known;
      if (entry === null) throw this.#unknown(id);
      requireRange(id, entry, offset, into.length);
      const segment = this.#segments.get(entry.segment);
      let wrong = 0;
      try {
        if (segment !== undefined) wrong = await this.#reader.read(segment, entry, offset, into);
        if (segment !== undefined && wrong < 0) return;
      } catch (error) {
        if (!this.#hasMoved(id, entry)) throw this.#readFailure(id, segment!, entry, error);
      }
      if (this.#hasMoved(id, entry) && attempt < 4) continue;
      await this.#explain(id, segment, entry, wrong);
    }
  }

  retrieveNow(id: BlockId, offset: number, into: Uint8Array): boolean {
    const entry = this.#index.lookupNow(id);
    if (entry === undefined) return false;
    if (entry === null) throw this.#unknown(id);
    requireRange(id, entry, offset, into.length);
    const segment = this.#segments.get(entry.segment);
    // What is wrong is found out, and said, by retrieve.
    return segment !== undefined && this.#reader.readNow(segment, entry, offset, into) === -1;
  }

  async delete(ids: readonly BlockId[]): Promise<void> {
    this.#requireUsable(`delete ${ids.length} blocks of ${this.#directory.path}`);
    for (let start = 0; start < ids.length; start += DELETES_AT_ONCE) {
      const part = ids.slice(start, start + DELETES_AT_ONCE);
      await this.#alone(part, async () => {
        await Promise.all(part.map((id) => this.#index.lookup(id)));
        const entries: Entry[] = [];
        const changes: Change[] = [];
        for (const id of part) {
          const entry = this.#index.lookupNow(id) ?? (await this.#index.lookup(id));
          if (entry === null) continue;
          entries.push(entry);
          changes.push(this.#record(id, null, entry));
        }
        if (changes.length === 0) return;
        await this.#note(changes);
        await this.#commit(changes, entries);
      });
    }
    if (this.#index.pendingChanges >= PENDING_CHANGES_SOME) await this.#relieve();
  }

  async list(after: BlockId | null, limit: number): Promise<BlockInfo[]> {
    const found = await this.#index.list(after, limit);
    return found.map(({ id, entry }) => this.#infoOf(id, entry));
  }

  async locate(id: BlockId): Promise<BlockInfo | null> {
    const entry = await this.#index.lookup(id);
    return entry === null ? null : this.#infoOf(id, entry);
  }

  async verify(id: BlockId): Promise<"good" | "missing" | "damaged"> {
    for (let attempt = 1; ; attempt++) {
      const entry = await this.#index.lookup(id);
      if (entry === null) return "missing";
      const segment = this.#segments.get(entry.segment);
      if (segment === undefined) return "missing";
      let state: "good" | "erased" | "damaged";
      try {
        state = await this.#reader.verify(segment, entry, this.#placeOf(entry));
      } catch (error) {
        if (this.#hasMoved(id, entry) && attempt < 4) continue;
        throw this.#readFailure(id, segment, entry, error);
      }
      if (state === "good") return state;
      if (this.#hasMoved(id, entry) && attempt < 4) continue;
      if (state === "damaged") {
        this.#onDamage(this.#damageOf(id, segment, entry, entry.offset, "the record differs from its checksums"));
        return state;
      }
      this.#forget(id, entry);
      return "missing";
    }
  }

  compact(options: CompactOptions): Promise<CompactStep> {
    this.#requireUsable(`compact ${this.#directory.path}`);
    return this.#compactor.step(options);
  }

  async space(): Promise<BlockSpace> {
    const now = this.#options.now();
    if (this.#space === null || now - this.#space.at >= SPACE_AGE_MAX_MS) {
      const value = this.#directory.space();
      this.#space = { at: now, value };
      value.catch(() => (this.#space = null));
    }
    const { totalBytes, freeBytes } = await this.#space.value;
    let blocks = 0;
    let blockBytes = 0;
    for (const segment of this.#segments.values()) {
      blocks += segment.records;
      blockBytes += segment.blockBytes;
    }
    const usable = Math.max(0, freeBytes - this.#reserveBytes(totalBytes)) + this.#writer.unusedBytes;
    return { totalBytes, freeBytes: usable, blockBytes, blocks };
  }

  /** Null, or why the disk cannot be used: a failed sync, or its directory or identity is gone or another one's. For the caller to mark the disk failed. */
  async healthy(): Promise<string | null> {
    if (this.#failure !== null) return this.#failure.message;
    try {
      await checkDiskIdentity(this.#directory, this.#options.identity);
      await this.#directory.list(SEGMENTS_FOLDER);
      return null;
    } catch (error) {
      return textOf(error);
    }
  }

  /** Makes everything durable and closes. No other call may run or follow. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (this.#failure !== null) return;
      await this.#writer.close();
      await this.#settle();
      await this.#index.writeSummaries(this.#segments.values());
      await this.#index.flush();
    } finally {
      await this.#applyRun?.catch(() => undefined);
      await this.#files.close();
      await this.#index.close();
    }
  }

  #newWriter(nextNumber: number, sequence: number): SegmentWriter {
    return new SegmentWriter(
      {
        files: this.#files,
        salt: this.#salt,
        segments: this.#segments,
        pages: this.#pages,
        scratch: this.#writeScratch,
        space: () => this.#directory.space(),
        reserveBytes: (totalBytes) => this.#reserveBytes(totalBytes),
        syncNames: () => this.#directory.syncNames(SEGMENTS_FOLDER),
        syncSegment: (segment) => this.#syncSegment(segment),
        onWritten: (segment) => this.#markDirty(segment),
        onEmpty: (segment) => this.#retired.add(segment),
        segmentBytesMax: this.#options.segmentBytesMax,
      },
      nextNumber,
      sequence,
    );
  }

  /** Recovered records: each counts unless a newer one of its block is known. */
  async #recoverRecords(records: readonly FoundRecord[]): Promise<void> {
    const answers = await Promise.all(records.map(({ id }) => this.#index.lookup(id)));
    const losers: Entry[] = [];
    const changes: Change[] = [];
    for (const [at, { id, entry }] of records.entries()) {
      const now = this.#index.lookupNow(id);
      const known = now === undefined ? answers[at] : now;
      if (known !== null && known.segment === entry.segment && known.offset === entry.offset) continue;
      const deleted = (this.#deletions.get(keyOf(id)) ?? -1) >= entry.sequence;
      if (deleted || (known !== null && known.sequence > entry.sequence)) losers.push(entry);
      else {
        if (known !== null && this.#segments.has(known.segment)) losers.push(known);
        this.#segments.get(entry.segment)!.unindexed.add(entry.offset);
        changes.push(this.#record(id, entry, known));
      }
    }
    await this.#commit(changes, losers);
  }

  /** Deletions that were written down: the index may have missed them. */
  async #recoverDeletions(deletions: readonly Deletion[]): Promise<void> {
    const answers = await Promise.all(deletions.map(({ id }) => this.#index.lookup(id)));
    const changes: Change[] = [];
    for (const [at, { id, sequence }] of deletions.entries()) {
      const key = keyOf(id);
      this.#deletions.set(key, Math.max(sequence, this.#deletions.get(key) ?? -1));
      const now = this.#index.lookupNow(id);
      const known = now === undefined ? answers[at] : now;
      if (known !== null && known.sequence <= sequence) changes.push(this.#record(id, null, known));
    }
    await this.#commit(
      changes,
      changes.map(({ previous }) => previous!),
    );
  }

  async #dropMissing({ summaries, table }: OpenedIndex): Promise<void> {
    const missing = [...summaries].filter(([number]) => !this.#segments.has(number));
    const lost = missing.filter(([, { records }]) => records > 0);
    if (lost.length > 0) {
      for (const { id, entry } of await strandedBlocks(table, (number) => this.#segments.has(number))) {
        if (this.#hasMoved(id, entry)) continue;
        this.#unsynced.push(this.#record(id, null, entry));
        if (this.#index.pendingChanges > PENDING_CHANGES_SOME) await this.#settle();
      }
    }
    for (const [number, { records }] of lost) {
      const text = `open ${this.#directory.path}: segment ${number} with ${records} blocks is missing; they are lost on this disk`;
      this.#onDamage({ kind: "missing", file: `${this.#directory.path}/${SEGMENTS_FOLDER}`, text });
    }
    await this.#settle();
    if (missing.length > 0) await this.#index.dropSegments(missing.map(([number]) => new Segment(number, "large", 0)));
  }

  /** Cuts torn ends off, tells the index how far it has come, and finds the segments to go on in. */
  async #finishRecovery(touched: readonly Segment[], totalBytes: number): Promise<void> {
    // An empty one may have been removed meanwhile.
    const scanned = touched.filter(({ number }) => this.#segments.has(number));
    for (const segment of scanned) {
      await this.#files.use(segment.name, "buffered", (file) => file.truncate(segment.frontier));
      segment.allocated = segment.frontier;
    }
    await this.#index.writeSummaries(scanned);
    for (const kind of ["large", "small"] as const) {
      const last = [...this.#segments.values()].filter((segment) => segment.kind === kind).at(-1);
      if (last === undefined || scanned.includes(last) || last.records === 0) continue;
      last.limit = segmentLimit(kind, totalBytes, this.#options.segmentBytesMax);
      if (last.frontier < last.limit) this.#writer.adopt(last);
    }
    for (const segment of this.#segments.values()) if (segment.retirable) this.#retired.add(segment);
    await this.#retire();
  }

  /** Whether the same bytes are stored and readable. Error EEXIST where other bytes are stored. */
  async #isStored(id: BlockId, entry: Entry, length: number, checksums: Uint32Array): Promise<boolean> {
    if (entry.length !== length || entry.checksums.some((checksum, piece) => checksum !== checksums[piece])) {
      throw new BlockError("EEXIST", `store ${nameOf(id)} on ${this.#directory.path}: it is stored with other bytes already`);
    }
    // Storing again is how a damaged block is mended.
    const segment = this.#segments.get(entry.segment);
    return (
      segment !== undefined && (await this.#reader.verify(segment, entry, this.#placeOf(entry)).catch(() => "damaged")) === "good"
    );
  }

  /** Counts in memory at once; #commit hands it to the next sync. */
  #record(id: BlockId, entry: Entry | null, previous: Entry | null): Change {
    const change: Change = { id: { stripe: id.stripe, index: id.index }, entry, previous };
    this.#index.record(change);
    if (entry !== null) this.#count(entry, 1);
    if (previous !== null) this.#count(previous, -1);
    return change;
  }

  #count({ segment, length }: Entry, sign: 1 | -1): void {
    const found = this.#segments.get(segment);
    if (found === undefined) return;
    found.records += sign;
    found.blockBytes += sign * length;
  }

  /** The index names a record that is gone: a delete whose index change a crash took. */
  #forget(id: BlockId, entry: Entry): void {
    if (!this.#hasMoved(id, entry)) this.#unsynced.push(this.#record(id, null, entry));
  }

  #hasMoved(id: BlockId, entry: Entry): boolean {
    const now = this.#index.lookupNow(id);
    return now !== undefined && (now === null || now.segment !== entry.segment || now.offset !== entry.offset);
  }

  /** Writes the deletions down. Where that fails, most likely for want of space, the next sync makes the index itself durable instead. */
  async #note(changes: readonly Change[]): Promise<void> {
    const deletions = changes.map(({ id, previous }) => ({ id, sequence: previous!.sequence }));
    try {
      changes[changes.length - 1].note = await this.#writer.appendDeletions(deletions);
    } catch {
      this.#mustFlush = true;
    }
  }

  /** Erases what the changes replaced; only then may they reach the index, or a segment could be removed before its marks are synced. */
  async #commit(changes: readonly Change[], replaced: readonly Entry[]): Promise<void> {
    try {
      if (replaced.length > 0) await eraseRecords(this.#files, this.#segments, replaced, (segment) => this.#markDirty(segment));
    } finally {
      for (const change of changes) this.#unsynced.push(change);
    }
  }

  /** Records that were written and shall not count. */
  async #discard(entries: readonly Entry[]): Promise<void> {
    await eraseRecords(this.#files, this.#segments, entries, (segment) => this.#markDirty(segment));
    for (const { segment, offset } of entries) this.#segments.get(segment)?.unindexed.delete(offset);
  }

  #markDirty(segment: Segment): void {
    this.#dirty.add(segment);
    this.#files.pinned.add(segment.name);
  }

  async #syncRound(): Promise<void> {
    const segments = [...this.#dirty];
    const changes = this.#unsynced;
    this.#dirty = new Set();
    this.#unsynced = [];
    await Promise.all(segments.map((segment) => this.#syncSegment(segment)));
    for (const segment of segments) if (!this.#dirty.has(segment)) this.#files.pinned.delete(segment.name);
    this.#index.ready(changes);
  }

  async #syncSegment(segment: Segment): Promise<void> {
    try {
      await this.#files.use(segment.name, "buffered", (file) => file.sync());
    } catch (error) {
      const text = `sync ${this.#directory.path}: ${textOf(error)}; the disk takes no more blocks until it is opened again`;
      this.#failure ??= new BlockError("EIO", text, { cause: error });
      throw this.#failure;
    }
  }

  /** Everything recorded so far is in the table. */
  async #settle(): Promise<void> {
    await this.#rounds.run();
    await this.#apply();
  }

  /** Brings the table up to what is synced, and removes segments that are empty. */
  async #apply(): Promise<void> {
    this.#appliedAt = this.#options.now();
    await this.#index.apply();
    await this.#retire();
  }

  #applySoon(): void {
    if (this.#applyRun !== null) return;
    // A table that cannot be written shows when too many changes wait for it: see #relieve.
    this.#applyRun = this.#apply()
      .catch(() => undefined)
      .finally(() => (this.#applyRun = null));
  }

  /** Many changes wait for the table: begins to write them; where they are too many, waits, and rejects if that fails. */
  async #relieve(): Promise<void> {
    if (this.#index.pendingChanges >= PENDING_CHANGES_MAX) return this.#settle();
    if (this.#applyRun !== null) return;
    this.#applyRun = this.#settle()
      .catch(() => undefined)
      .finally(() => (this.#applyRun = null));
  }

  async #retire(): Promise<void> {
    const segments = [...this.#retired].filter((segment) => segment.retirable);
    this.#retired.clear();
    if (segments.length === 0) return;
    for (const segment of segments) {
      this.#segments.delete(segment.number);
      this.#dirty.delete(segment);
    }
    // The index forgets first: a file that is missing though the index has it would be reported as damage.
    await this.#index.dropSegments(segments);
    for (const segment of segments) await this.#files.remove(segment.name);
  }

  /** Runs the action while no other one runs for any of these blocks. */
  async #alone(ids: readonly BlockId[], action: () => Promise<void>): Promise<void> {
    const keys = ids.map(keyOf);
    for (let at = 0; at < keys.length;) {
      const busy = this.#busy.get(keys[at]);
      if (busy === undefined) at++;
      else {
        await busy;
        at = 0;
      }
    }
    const run = action();
    const quiet = run.catch(() => undefined);
    for (const key of keys) this.#busy.set(key, quiet);
    try {
      await run;
    } finally {
      for (const key of keys) if (this.#busy.get(key) === quiet) this.#busy.delete(key);
    }
  }

  async #repairValue(id: BlockId): Promise<Entry | null> {
    this.#onDamage({
      kind: "index",
      file: this.#directory.path,
      id,
      text: `look up ${nameOf(id)} on ${this.#directory.path}: its index value differs from its checksum; the segments are searched`,
    });
    const entry = await searchRecord(id, this.#segments.values(), this.#files, this.#salt);
    if (entry !== null && this.#index.lookupNow(id) === undefined) {
      // It was counted when it was stored: the change replaces itself.
      const change: Change = { id, entry, previous: entry };
      this.#index.record(change);
      this.#unsynced.push(change);
    }
    return entry;
  }

  /** Throws what a failed check means. */
  async #explain(id: BlockId, segment: Segment | undefined, entry: Entry, piece: number): Promise<never> {
    const state =
      segment === undefined ? "erased" : await this.#reader.header(segment, entry, this.#placeOf(entry)).catch(() => "damaged");
    if (segment === undefined || state === "erased") {
      this.#onDamage({
        kind: "index",
        file: this.#directory.path,
        id,
        text: `retrieve ${nameOf(id)} on ${this.#directory.path}: the index has it, its record is gone`,
      });
      this.#forget(id, entry);
      throw this.#unknown(id);
    }
    const offset = dataOffsetOf(segment, entry) + piece * PIECE_BYTES;
    const damage = this.#damageOf(id, segment, entry, offset, `the piece at ${offset} differs from its checksum`);
    this.#onDamage(damage);
    throw new BlockError("EBADMSG", damage.text);
  }

  #damageOf(id: BlockId, segment: Segment, entry: Entry, offset: number, what: string): Damage {
    const file = this.#files.pathOf(segment.name);
    return { kind: "corrupt", file, offset, bytes: entry.length, id, text: `retrieve ${nameOf(id)} from ${file}: ${what}` };
  }

  #readFailure(id: BlockId, segment: Segment, entry: Entry, error: unknown): BlockError {
    const text = `retrieve ${nameOf(id)} from ${this.#files.pathOf(segment.name)} at ${entry.offset}: ${textOf(error)}`;
    return new BlockError(codeOf(error) === "EBUSY" ? "EBUSY" : "EIO", text, { cause: error });
  }

  #unknown(id: BlockId): BlockError {
    return new BlockError("ENOENT", `retrieve ${nameOf(id)} from ${this.#directory.path}: it is not stored there`);
  }

  #infoOf(id: BlockId, entry: Entry): BlockInfo {
    const segment = this.#segments.get(entry.segment);
    const file = segment === undefined ? "" : `${SEGMENTS_FOLDER}/${segment.name}`;
    return {
      stripe: id.stripe,
      index: id.index,
      bytes: entry.length,
      file,
      offset: segment === undefined ? entry.offset : dataOffsetOf(segment, entry),
    };
  }

  #placeOf(entry: Entry): { salt: number; segment: number; offset: number } {
    return { salt: this.#salt, segment: entry.segment, offset: entry.offset };
  }

  #reserveBytes(totalBytes: number): number {
    return this.#options.reserveBytes ?? Math.min(RESERVE_BYTES_MAX, Math.floor(totalBytes / 100));
  }

  #requireUsable(action: string): void {
    if (this.#closed) throw new BlockError("EIO", `${action}: the disk is closed`);
    if (this.#failure !== null) throw this.#failure;
  }
}

function requireId({ stripe, index }: BlockId): void {
  if (!Number.isSafeInteger(stripe) || stripe < 0 || !Number.isInteger(index) || index < 0 || index > 0xffff) {
    throw new BlockError(
      "EINVAL",
      `block ${index} of stripe ${stripe}: the stripe is required to be an integer from 0, the index one from 0 to 65535`,
    );
  }
}

function requireRange(id: BlockId, entry: Entry, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > entry.length) {
    throw new BlockError(
      "EINVAL",
      `retrieve ${nameOf(id)}: bytes ${offset} to ${offset + length} are asked for, it has ${entry.length}`,
    );
  }
}
