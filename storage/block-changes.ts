// What changed in the blocks of a disk, on its way from the segments to the index: recorded in memory, synced with the
// segments, written to the index's table; then empty segments go.
//
// The invariants of segment-blocks.ts are kept here.

import { BlockError, textOf } from "./block-errors.ts";
import type { BlockIndex, Change } from "./block-index.ts";
import type { Entry } from "./block-index-format.ts";
import { Rounds } from "./block-rounds.ts";
import type { BlockId } from "./blocks.ts";
import { eraseRecords } from "./segment-erase.ts";
import type { SegmentFiles } from "./segment-files.ts";
import type { SegmentWriter } from "./segment-writer.ts";
import type { Segment } from "./segment.ts";

/** Changes in memory that the index's table lacks: from the first number on they are written, at the second stores wait. */
const PENDING_CHANGES_SOME = 4096;
const PENDING_CHANGES_MAX = 16384;
/** Ready changes are written to the table when they are this many, or this old. */
const APPLY_CHANGES = 256;
const APPLY_AFTER_MS = 1000;

export interface BlockChangesParts {
  /** Of the disk, for errors. */
  path: string;
  files: SegmentFiles;
  segments: Map<number, Segment>;
  index: BlockIndex;
  writer: () => SegmentWriter;
  /** Milliseconds of a clock that never goes back. */
  now: () => number;
}

export class BlockChanges {
  readonly #parts: BlockChangesParts;
  readonly rounds = new Rounds(() => this.#syncRound());
  /** Segments to look at whether they can go. */
  readonly retired: Set<Segment>;
  #dirty = new Set<Segment>();
  #unsynced: Change[] = [];
  #applyRun: Promise<void> | null = null;
  #appliedAt: number;
  #failure: BlockError | null = null;
  /** Deletions are durable only with the index. */
  #mustFlush = false;

  constructor(parts: BlockChangesParts, retired: Set<Segment>) {
    this.#parts = parts;
    this.retired = retired;
    this.#appliedAt = parts.now();
  }

  /** So many wait for the table that relieve() is called for. */
  get many(): boolean {
    return this.#parts.index.pendingChanges >= PENDING_CHANGES_SOME;
  }

  /** Why the disk takes no more blocks. */
  get failure(): BlockError | null {
    return this.#failure;
  }

  /** Everything recorded so far is durable. */
  async sync(): Promise<void> {
    if (this.#dirty.size === 0 && this.#unsynced.length === 0) return (await this.rounds.running) ?? undefined;
    await this.rounds.run();
    if (this.#mustFlush) {
      this.#mustFlush = false;
      try {
        await this.settle();
        await this.#parts.index.flush();
      } catch (error) {
        this.#mustFlush = true;
        throw error;
      }
    }
    if (this.#parts.index.readyChanges >= APPLY_CHANGES || this.#parts.now() - this.#appliedAt >= APPLY_AFTER_MS)
      this.#applySoon();
  }

  /** Counts in memory at once; commit hands it to the next sync. */
  record(id: BlockId, entry: Entry | null, previous: Entry | null): Change {
    const change: Change = { id: { stripe: id.stripe, index: id.index }, entry, previous };
    this.#parts.index.record(change);
    if (entry !== null) this.#count(entry, 1);
    if (previous !== null) this.#count(previous, -1);
    return change;
  }

  #count({ segment, length }: Entry, sign: 1 | -1): void {
    const found = this.#parts.segments.get(segment);
    if (found === undefined) return;
    found.records += sign;
    found.blockBytes += sign * length;
  }

  /** The index names a record that is gone: a delete whose index change a crash took. */
  forget(id: BlockId, entry: Entry): void {
    if (!this.hasMoved(id, entry)) this.#unsynced.push(this.record(id, null, entry));
  }

  hasMoved(id: BlockId, entry: Entry): boolean {
    const now = this.#parts.index.lookupNow(id);
    return now !== undefined && (now === null || now.segment !== entry.segment || now.offset !== entry.offset);
  }

  /** Writes the deletions down. Where that fails, most likely for want of space, the next sync makes the index itself durable instead. */
  async note(changes: readonly Change[]): Promise<void> {
    const deletions = changes.map(({ id, previous }) => ({ id, sequence: previous!.sequence }));
    try {
      changes[changes.length - 1].note = await this.#parts.writer().appendDeletions(deletions);
    } catch {
      this.#mustFlush = true;
    }
  }

  /** Erases what the changes replaced; only then may they reach the index, or a segment could be removed before its marks are synced. */
  async commit(changes: readonly Change[], replaced: readonly Entry[]): Promise<void> {
    try {
      if (replaced.length > 0)
        await eraseRecords(this.#parts.files, this.#parts.segments, replaced, (segment) => this.markDirty(segment));
    } finally {
      for (const change of changes) this.#unsynced.push(change);
    }
  }

  /** Records that were written and shall not count. */
  async discard(entries: readonly Entry[]): Promise<void> {
    await eraseRecords(this.#parts.files, this.#parts.segments, entries, (segment) => this.markDirty(segment));
    for (const { segment, offset } of entries) this.#parts.segments.get(segment)?.unindexed.delete(offset);
  }

  markDirty(segment: Segment): void {
    this.#dirty.add(segment);
    this.#parts.files.pinned.add(segment.name);
  }

  async #syncRound(): Promise<void> {
    // The round before this one may have failed, with what its callers and those of this one wait for.
    if (this.#failure !== null) throw this.#failure;
    const segments = [...this.#dirty];
    const changes = this.#unsynced;
    this.#dirty = new Set();
    this.#unsynced = [];
    await Promise.all(segments.map((segment) => this.syncSegment(segment)));
    for (const segment of segments) if (!this.#dirty.has(segment)) this.#parts.files.pinned.delete(segment.name);
    this.#parts.index.ready(changes);
  }

  async syncSegment(segment: Segment): Promise<void> {
    try {
      await this.#parts.files.use(segment.name, "buffered", (file) => file.sync());
    } catch (error) {
      const text = `sync ${this.#parts.path}: ${textOf(error)}; the disk takes no more blocks until it is opened again`;
      this.#failure ??= new BlockError("EIO", text, { cause: error });
      throw this.#failure;
    }
  }

  /** Everything recorded so far is in the table. */
  async settle(): Promise<void> {
    await this.rounds.run();
    await this.#apply();
  }

  /** Brings the table up to what is synced, and removes segments that are empty. */
  async #apply(): Promise<void> {
    this.#appliedAt = this.#parts.now();
    await this.#parts.index.apply();
    await this.retire();
  }

  #applySoon(): void {
    if (this.#applyRun !== null) return;
    // A table that cannot be written shows when too many changes wait for it: see relieve.
    this.#applyRun = this.#apply()
      .catch(() => undefined)
      .finally(() => (this.#applyRun = null));
  }

  /** Many changes wait for the table: begins to write them; where they are too many, waits, and rejects if that fails. */
  async relieve(): Promise<void> {
    if (this.#parts.index.pendingChanges >= PENDING_CHANGES_MAX) return this.settle();
    if (this.#applyRun !== null) return;
    this.#applyRun = this.settle()
      .catch(() => undefined)
      .finally(() => (this.#applyRun = null));
  }

  async retire(): Promise<void> {
    const segments = [...this.retired].filter((segment) => segment.retirable);
    this.retired.clear();
    if (segments.length === 0) return;
    for (const segment of segments) {
      this.#parts.segments.delete(segment.number);
      this.#dirty.delete(segment);
    }
    // The index forgets first: a file that is missing though the index has it would be reported as damage.
    await this.#parts.index.dropSegments(segments);
    for (const segment of segments) await this.#parts.files.remove(segment.name);
  }

  /** A change that recovery or a repair has found and that is in memory already. */
  add(change: Change): void {
    this.#unsynced.push(change);
  }

  /** Resolves when no write to the table is under way. */
  async idle(): Promise<void> {
    await this.#applyRun?.catch(() => undefined);
  }
}
