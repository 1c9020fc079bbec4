// Opening the blocks of a disk: takes up what the segments have and the index lacks, drops what is gone, and finds the
// segments to go on in. How one segment is read is in segment-recovery.ts.

import type { OnDamage } from "./block-errors.ts";
import type { BlockChanges } from "./block-changes.ts";
import { keyOf, type BlockIndex, type Change } from "./block-index.ts";
import type { Entry } from "./block-index-format.ts";
import type { Directory } from "./directory.ts";
import { SEGMENTS_FOLDER, type SegmentFiles } from "./segment-files.ts";
import type { Deletion } from "./segment-format.ts";
import { findSegments, recoverSegment, strandedBlocks, type FoundRecord, type OpenedIndex } from "./segment-recovery.ts";
import { scanWindow } from "./segment-scan.ts";
import { segmentLimit, type SegmentWriter } from "./segment-writer.ts";
import { Segment } from "./segment.ts";

export interface BlocksRecoveryParts {
  opened: OpenedIndex;
  directory: Directory;
  salt: number;
  onDamage: OnDamage;
  files: SegmentFiles;
  segments: Map<number, Segment>;
  index: BlockIndex;
  changes: BlockChanges;
  /** Makes the writer, again where a higher sequence number was found. */
  startWriter: (nextNumber: number, sequence: number) => void;
  writer: () => SegmentWriter;
  segmentBytesMax?: number;
}

export class BlocksRecovery {
  readonly #parts: BlocksRecoveryParts;
  /** Blocks that were deleted, and up to which record. */
  readonly #deletions = new Map<number | string, number>();

  constructor(parts: BlocksRecoveryParts) {
    this.#parts = parts;
  }

  async run(): Promise<void> {
    const { opened } = this.#parts;
    const found = await findSegments(this.#parts.directory, this.#parts.files, opened, this.#parts.salt, this.#parts.onDamage);
    const highest = Math.max(0, ...found.map(({ segment }) => segment.number), ...opened.summaries.keys());
    for (const { segment } of found) this.#parts.segments.set(segment.number, segment);
    const { totalBytes } = await this.#parts.directory.space();
    await this.#parts.index.start();
    const scanned: Segment[] = [];
    let sequence = opened.sequence;
    const window = scanWindow();
    const context = {
      files: this.#parts.files,
      salt: this.#parts.salt,
      onDamage: this.#parts.onDamage,
      onRecords: (records: readonly FoundRecord[]) => this.#records(records),
      onSpoiled: (entries: readonly Entry[]) => this.#parts.changes.commit([], entries),
      onDeletions: (deletions: readonly Deletion[]) => this.#foundDeletions(deletions),
    };
    // Sequence numbers matter to the table's head only, which is written after the scan.
    this.#parts.startWriter(highest + 1, sequence);
    for (const one of found) {
      // Without an index nobody knows what was synced; only the last segments may hold anything torn.
      const last = !found.some(({ segment }) => segment.kind === one.segment.kind && segment.number > one.segment.number);
      const result = await recoverSegment(one, context, !opened.rebuild || last, window);
      sequence = Math.max(sequence, result.highestSequence);
      this.#parts.startWriter(highest + 1, sequence);
      if (!result.scanned) continue;
      scanned.push(one.segment);
      this.#parts.changes.markDirty(one.segment);
      if (this.#parts.changes.many) await this.#parts.changes.settle();
    }
    this.#deletions.clear();
    await this.#dropMissing();
    await this.#finishRecovery(scanned, totalBytes);
  }

  /** Recovered records: each counts unless a newer one of its block is known. */
  async #records(records: readonly FoundRecord[]): Promise<void> {
    const answers = await Promise.all(records.map(({ id }) => this.#parts.index.lookup(id)));
    const losers: Entry[] = [];
    const changes: Change[] = [];
    for (const [at, { id, entry }] of records.entries()) {
      const now = this.#parts.index.lookupNow(id);
      const known = now === undefined ? answers[at] : now;
      if (known !== null && known.segment === entry.segment && known.offset === entry.offset) continue;
      const deleted = (this.#deletions.get(keyOf(id)) ?? -1) >= entry.sequence;
      if (deleted || (known !== null && known.sequence > entry.sequence)) losers.push(entry);
      else {
        if (known !== null && this.#parts.segments.has(known.segment)) losers.push(known);
        this.#parts.segments.get(entry.segment)!.unindexed.add(entry.offset);
        changes.push(this.#parts.changes.record(id, entry, known));
      }
    }
    await this.#parts.changes.commit(changes, losers);
  }

  /** Deletions that were written down: the index may have missed them. */
  async #foundDeletions(deletions: readonly Deletion[]): Promise<void> {
    const answers = await Promise.all(deletions.map(({ id }) => this.#parts.index.lookup(id)));
    const changes: Change[] = [];
    for (const [at, { id, sequence }] of deletions.entries()) {
      const key = keyOf(id);
      this.#deletions.set(key, Math.max(sequence, this.#deletions.get(key) ?? -1));
      const now = this.#parts.index.lookupNow(id);
      const known = now === undefined ? answers[at] : now;
      if (known !== null && known.sequence <= sequence) changes.push(this.#parts.changes.record(id, null, known));
    }
    await this.#parts.changes.commit(
      changes,
      changes.map(({ previous }) => previous!),
    );
  }

  async #dropMissing(): Promise<void> {
    const { summaries, table } = this.#parts.opened;
    const missing = [...summaries].filter(([number]) => !this.#parts.segments.has(number));
    const lost = missing.filter(([, { records }]) => records > 0);
    if (lost.length > 0) {
      for (const { id, entry } of await strandedBlocks(table, (number) => this.#parts.segments.has(number))) {
        if (this.#parts.changes.hasMoved(id, entry)) continue;
        this.#parts.changes.add(this.#parts.changes.record(id, null, entry));
        if (this.#parts.changes.many) await this.#parts.changes.settle();
      }
    }
    for (const [number, { records }] of lost) {
      const text = `open ${this.#parts.directory.path}: segment ${number} with ${records} blocks is missing; they are lost on this disk`;
      this.#parts.onDamage({ kind: "missing", file: `${this.#parts.directory.path}/${SEGMENTS_FOLDER}`, text });
    }
    await this.#parts.changes.settle();
    if (missing.length > 0) await this.#parts.index.dropSegments(missing.map(([number]) => new Segment(number, "large", 0)));
  }

  /** Cuts torn ends off, tells the index how far it has come, and finds the segments to go on in. */
  async #finishRecovery(touched: readonly Segment[], totalBytes: number): Promise<void> {
    // An empty one may have been removed meanwhile.
    const scanned = touched.filter(({ number }) => this.#parts.segments.has(number));
    for (const segment of scanned) {
      await this.#parts.files.use(segment.name, "buffered", (file) => file.truncate(segment.frontier));
      segment.allocated = segment.frontier;
      this.#parts.changes.markDirty(segment);
    }
    // A torn end that came back with the next crash, behind segments that are newer by then, would pass for whole where the index is lost too.
    await this.#parts.changes.rounds.run();
    await this.#parts.index.writeSummaries(scanned);
    for (const kind of ["large", "small"] as const) {
      const last = [...this.#parts.segments.values()].filter((segment) => segment.kind === kind).at(-1);
      if (last === undefined || scanned.includes(last) || last.records === 0) continue;
      last.limit = segmentLimit(kind, totalBytes, this.#parts.segmentBytesMax);
      if (last.frontier < last.limit) this.#parts.writer().adopt(last);
    }
    for (const segment of this.#parts.segments.values()) if (segment.retirable) this.#parts.changes.retired.add(segment);
    await this.#parts.changes.retire();
  }
}
