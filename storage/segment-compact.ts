// Gives back the space of deleted small blocks: moves the blocks that still live out of a small segment that is mostly
// dead, after which the segment is removed as any empty one is. Large blocks need none of this: they leave holes.
//
// Order: the copies are appended and made durable; only then do they count, and the old records are marked deleted; only
// when the marks are durable too does the index's table hear of it. A crash in between leaves two good records of a block,
// of which the one with the higher sequence number counts (segment-recovery.ts).
import type { Entry } from "./block-index-format.ts";
import type { BlockId, CompactOptions, CompactStep } from "./blocks.ts";
import type { SegmentFiles } from "./segment-files.ts";
import { recordHeaderBytes, SEGMENT_HEADER_BYTES } from "./segment-format.ts";
import { scanSegment, scanWindow } from "./segment-scan.ts";
import type { SegmentWriter } from "./segment-writer.ts";
import type { Segment } from "./segment.ts";

export interface MovedBlock {
  id: BlockId;
  from: Entry;
  to: Entry;
}

/** What compaction needs of the store that it works for. */
export interface CompactContext {
  segments: ReadonlyMap<number, Segment>;
  files: SegmentFiles;
  salt: number;
  writer(): SegmentWriter;
  lookup(id: BlockId): Promise<Entry | null>;
  /** Fills `into` with the whole block; false where it differs from its checksums. */
  read(segment: Segment, entry: Entry, into: Uint8Array): Promise<boolean>;
  /** Runs the action while no other one runs for any of these blocks. */
  alone(ids: readonly BlockId[], action: () => Promise<void>): Promise<void>;
  /** Everything written before is durable. */
  sync(): Promise<void>;
  /** The copies count from here on; the old records are erased. */
  replace(blocks: readonly MovedBlock[]): Promise<void>;
  /** Records that shall not count. */
  discard(entries: readonly Entry[]): Promise<void>;
  /** The index's table is up to date, and empty segments are removed. */
  settle(): Promise<void>;
}

/** A smaller file is not worth the work. */
const SEGMENT_FROM_BYTES = 128 * 1024;
/** Blocks moved with one sync. Deletes and stores of these blocks wait for it. */
const GROUP_BLOCKS = 64;
const GROUP_BYTES = 2 * 1024 * 1024;

export class SegmentCompactor {
  readonly #context: CompactContext;
  /** Segments in which something lives that cannot be moved (it is damaged): scrub finds it. */
  readonly #stuck = new Set<Segment>();
  #running: Promise<CompactStep> | null = null;

  constructor(context: CompactContext) {
    this.#context = context;
  }

  /** Empties one segment. Calls at once share a step. */
  step(options: CompactOptions): Promise<CompactStep> {
    this.#running ??= this.#step(options).finally(() => (this.#running = null));
    return this.#running;
  }

  async #step({ below, thorough }: CompactOptions): Promise<CompactStep> {
    const { writer, settle } = this.#context;
    if (thorough) {
      const open = writer().openSmall;
      if (open !== null && isSparse(open, below)) await writer().endSmall();
      // What was appended lately must be in the index before its segment can go.
      await settle();
    }
    const segment = this.#choose(below);
    if (segment === null) {
      if (thorough) await writer().trim();
      return { movedBytes: 0, more: false };
    }
    const movedBytes = await this.#empty(segment);
    await settle();
    if (this.#context.segments.get(segment.number) === segment) this.#stuck.add(segment);
    return { movedBytes, more: true };
  }

  /** The one with the smallest live share. */
  #choose(below: number): Segment | null {
    let best: Segment | null = null;
    for (const segment of this.#context.segments.values()) {
      const ready = segment.kind === "small" && segment.sealed && segment.writing === 0 && segment.unindexed.size === 0;
      if (!ready || segment.records === 0 || this.#stuck.has(segment) || !isSparse(segment, below)) continue;
      if (best === null || liveShare(segment) < liveShare(best)) best = segment;
    }
    return best;
  }

  async #empty(segment: Segment): Promise<number> {
    const { files, salt } = this.#context;
    const range = { from: SEGMENT_HEADER_BYTES, to: segment.frontier, checkData: false, window: scanWindow(), salt };
    let movedBytes = 0;
    let group: BlockId[] = [];
    let groupBytes = 0;
    for await (const step of scanSegment(files, segment, range)) {
      if (step.kind !== "record" || step.deleted) continue;
      group.push(step.id);
      groupBytes += step.entry.length;
      if (group.length < GROUP_BLOCKS && groupBytes < GROUP_BYTES) continue;
      movedBytes += await this.#moveGroup(segment, group);
      group = [];
      groupBytes = 0;
    }
    if (group.length > 0) movedBytes += await this.#moveGroup(segment, group);
    return movedBytes;
  }

  /** Moves those of the blocks that live in the segment. */
  async #moveGroup(segment: Segment, ids: readonly BlockId[]): Promise<number> {
    let movedBytes = 0;
    await this.#context.alone(ids, async () => {
      const found = await Promise.all(ids.map((id) => this.#read(segment, id)));
      const live = found.filter((block) => block !== null);
      const blocks = await this.#append(live);
      if (blocks.length === 0) return;
      await this.#context.sync();
      await this.#context.replace(blocks);
      movedBytes = blocks.reduce((sum, { to }) => sum + to.length, 0);
    });
    return movedBytes;
  }

  async #read(segment: Segment, id: BlockId): Promise<{ id: BlockId; from: Entry; bytes: Uint8Array } | null> {
    const from = await this.#context.lookup(id);
    if (from === null || from.segment !== segment.number) return null;
    const bytes = new Uint8Array(from.length);
    return (await this.#context.read(segment, from, bytes)) ? { id, from, bytes } : null;
  }

  /** All or none: the copies of a group that failed in part are taken back. */
  async #append(live: readonly { id: BlockId; from: Entry; bytes: Uint8Array }[]): Promise<MovedBlock[]> {
    const writer = this.#context.writer();
    const results = await Promise.allSettled(live.map(({ id, from, bytes }) => writer.append(id, bytes, from.checksums)));
    const failed = results.find((result) => result.status === "rejected");
    const copies = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    if (failed !== undefined) {
      await this.#context.discard(copies);
      throw failed.reason;
    }
    return live.map(({ id, from }, index) => ({ id, from, to: copies[index] }));
  }
}

function isSparse(segment: Segment, below: number): boolean {
  return segment.frontier >= SEGMENT_FROM_BYTES && liveShare(segment) < below;
}

/** Of the file's bytes, records that live, with their headers. */
function liveShare({ records, blockBytes, frontier }: Segment): number {
  const overhead = recordHeaderBytes(1, "small");
  return (blockBytes + records * overhead) / (frontier - SEGMENT_HEADER_BYTES);
}
