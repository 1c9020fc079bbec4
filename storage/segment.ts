// One segment file as the store knows it while running: how far it is written, what in it is alive, and what of that
// the index has. No bytes here; segment-writer.ts appends, block-reader.ts reads, segment-scan.ts walks.
//
// Invariants:
// 1. Places below `frontier` are written once, but for deletion marks and punched holes.
// 2. `unindexed` holds, in order, the places of records that were begun and are neither in the index nor given up.
// 3. `indexedRecords` and `indexedBytes` change only when the index's batch that says so has been written.
import { alignmentOf, segmentName, SEGMENT_HEADER_BYTES, type SegmentKind } from "./segment-format.ts";
import type { SegmentSummary } from "./block-index-format.ts";

export class Segment {
  readonly number: number;
  readonly kind: SegmentKind;
  readonly name: string;
  readonly alignment: number;
  /** Where the next record goes. */
  frontier = SEGMENT_HEADER_BYTES;
  /** End of the space reserved for the file. */
  allocated = 0;
  /** The frontier never passes this. */
  limit: number;
  /** Takes no more records. */
  sealed = false;
  #writing = 0;
  #waiting: (() => void)[] = [];
  records = 0;
  blockBytes = 0;
  indexedRecords = 0;
  indexedBytes = 0;
  readonly unindexed = new Set<number>();

  constructor(number: number, kind: SegmentKind, limit: number) {
    this.number = number;
    this.kind = kind;
    this.name = segmentName(number, kind);
    this.alignment = alignmentOf(kind);
    this.limit = limit;
  }

  get writing(): number {
    return this.#writing;
  }

  beginWrite(): void {
    this.#writing++;
  }

  endWrite(): void {
    if (--this.#writing === 0) for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Resolves when no write runs. */
  idle(): Promise<void> {
    return this.#writing === 0 ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Takes the place of a record. */
  reserve(bytes: number): number {
    const offset = this.frontier;
    this.frontier += bytes;
    this.unindexed.add(offset);
    return offset;
  }

  /** All places below this are indexed once those in `applying` are. */
  indexedUpTo(applying: ReadonlySet<number>): number {
    for (const offset of this.unindexed) if (!applying.has(offset)) return offset;
    return this.frontier;
  }

  summary(applying: ReadonlySet<number>, records: number, blockBytes: number): SegmentSummary {
    return {
      indexedUpTo: this.indexedUpTo(applying),
      records: this.indexedRecords + records,
      blockBytes: this.indexedBytes + blockBytes,
    };
  }

  /** Nothing in it is alive, nothing will come, and the index says so too. */
  get retirable(): boolean {
    return this.sealed && this.records === 0 && this.indexedRecords === 0 && this.writing === 0 && this.unindexed.size === 0;
  }
}
