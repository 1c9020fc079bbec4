// Opening a disk: brings the index up to the segments. In the ordinary case reads nothing but the index's summaries;
// after a crash it scans each segment from where the index ends; without an index it scans them all.
//
// Of several records of one block the one with the highest sequence number counts. A deleted record carries a mark or
// is a hole, both durable before the index forgets the block, so a scan finds no block that was deleted and synced.
import { BlockError, textOf, type OnDamage } from "./block-errors.ts";
import {
  decodeBlockKey,
  decodeEntry,
  decodeMeta,
  decodeSegmentKey,
  decodeSummary,
  blockRange,
  INDEX_VERSION,
  META_KEY,
  segmentRange,
  type Entry,
  type SegmentSummary,
} from "./block-index-format.ts";
import type { BlockId } from "./blocks.ts";
import type { Directory } from "./directory.ts";
import { SEGMENTS_FOLDER, type SegmentFiles } from "./segment-files.ts";
import { type Deletion, checkSegmentHeader, parseSegmentName, recordBytes, SEGMENT_HEADER_BYTES } from "./segment-format.ts";
import { scanSegment, scanWindow, type ScanStep } from "./segment-scan.ts";
import { Segment } from "./segment.ts";
import type { Table } from "./table.ts";

/** How the index's table is opened and, where it is of no use any more, removed. The table made by the next open() is empty. */
export interface IndexStore {
  open(): Promise<Table>;
  reset(): Promise<void>;
}

export interface OpenedIndex {
  table: Table;
  sequence: number;
  summaries: Map<number, SegmentSummary>;
  /** All segments must be scanned. */
  rebuild: boolean;
}

/** Opens the index; a damaged one is removed and reported. Error where it is of another version. */
export async function openIndex(store: IndexStore, diskPath: string, salt: number, onDamage: OnDamage): Promise<OpenedIndex> {
  const reset = async (table: Table | null, text: string): Promise<OpenedIndex> => {
    onDamage({
      kind: "index",
      file: diskPath,
      text: `open the block index of ${diskPath}: ${text}; it is built again from the segments`,
    });
    await table?.close().catch(() => undefined);
    await store.reset();
    return { table: await store.open(), sequence: 0, summaries: new Map(), rebuild: true };
  };
  let table: Table;
  try {
    table = await store.open();
  } catch (error) {
    // Nothing that making it anew could mend.
    if (["EBUSY", "EACCES", "EPERM", "ENOSPC", "EMFILE", "EROFS"].includes(String((error as { code?: unknown }).code)))
      throw error;
    return reset(null, textOf(error));
  }
  try {
    const [value] = await table.get([META_KEY]);
    const rows = await table.range(segmentRange);
    if (value === null) {
      const blocks = await table.range({ ...blockRange(null), limit: 1 });
      if (rows.length + blocks.length > 0) return await reset(table, "it lacks its head");
      return { table, sequence: 0, summaries: new Map(), rebuild: true };
    }
    const meta = decodeMeta(value);
    if (meta === null) return await reset(table, "its head differs from its checksum");
    if (meta.version > INDEX_VERSION) {
      await table.close();
      throw new BlockError(
        "EINVAL",
        `open the block index of ${diskPath}: it has version ${meta.version}, this program knows version ${INDEX_VERSION}`,
      );
    }
    if (meta.version !== INDEX_VERSION || meta.salt !== salt)
      return await reset(table, "it belongs to another disk or an older version");
    const summaries = new Map<number, SegmentSummary>();
    for (const { key, value: row } of rows) {
      const summary = decodeSummary(key, row);
      if (summary === null) return await reset(table, `its entry of segment ${decodeSegmentKey(key)} differs from its checksum`);
      summaries.set(decodeSegmentKey(key), summary);
    }
    return { table, sequence: meta.sequence, summaries, rebuild: false };
  } catch (error) {
    if (error instanceof BlockError) throw error;
    return reset(table, textOf(error));
  }
}

export interface FoundSegment {
  segment: Segment;
  fileBytes: number;
  summary: SegmentSummary | null;
}

/** The segments in the directory, by number.  Error where one is of another version. */
export async function findSegments(
  directory: Directory,
  files: SegmentFiles,
  index: OpenedIndex,
  salt: number,
  onDamage: OnDamage,
): Promise<FoundSegment[]> {
  await directory.makeDirectory(SEGMENTS_FOLDER);
  await directory.syncNames("");
  const found: FoundSegment[] = [];
  for (const name of await directory.list(SEGMENTS_FOLDER)) {
    const parsed = parseSegmentName(name);
    if (parsed === null) continue;
    const segment = new Segment(parsed.number, parsed.kind, 0);
    const fileBytes = await files.use(name, "buffered", (file) => file.size());
    const summary = index.summaries.get(parsed.number) ?? null;
    const page = new Uint8Array(SEGMENT_HEADER_BYTES);
    const read = await files.use(name, "buffered", (file) => file.read(page, 0));
    const state = checkSegmentHeader(page.subarray(0, read), parsed.kind, parsed.number, salt);
    if (typeof state === "object") {
      throw new BlockError(
        "EINVAL",
        `open ${files.pathOf(name)}: the segment has version ${state.version}, this program knows version 1`,
      );
    }
    if (state === "foreign") {
      throw new BlockError(
        "EINVAL",
        `open ${files.pathOf(name)}: the segment was written for another disk, kind or number; move it away`,
      );
    }
    // A blank page with records behind it is found by the scan; without any the file is a segment that was never used.
    if (state === "damaged" || (state === "blank" && summary !== null)) {
      onDamage({
        kind: "corrupt",
        file: files.pathOf(name),
        offset: 0,
        bytes: SEGMENT_HEADER_BYTES,
        text: `open ${files.pathOf(name)}: the segment's header is damaged; its records are read all the same`,
      });
    }
    segment.records = segment.indexedRecords = summary?.records ?? 0;
    segment.blockBytes = segment.indexedBytes = summary?.blockBytes ?? 0;
    segment.sealed = true;
    found.push({ segment, fileBytes, summary });
  }
  return found.sort((a, b) => a.segment.number - b.segment.number);
}

export interface FoundRecord {
  id: BlockId;
  entry: Entry;
}

/** Records are handed over in groups, so that a look into the index is one call for many. */
const GROUP_RECORDS = 256;

/** What recovery needs of the store that it fills. */
export interface Recovering {
  files: SegmentFiles;
  salt: number;
  onDamage: OnDamage;
  /** Whole, live records in file order; some may be in the index already. */
  onRecords(records: readonly FoundRecord[]): Promise<void>;
  /** Records that differ from their checksums. */
  onSpoiled(entries: readonly Entry[]): Promise<void>;
  /** Of records that lie before or behind, in this segment or another one. */
  onDeletions(deletions: readonly Deletion[]): Promise<void>;
}

type Suspect = Exclude<ScanStep, { kind: "deletions" }>;

/** Brings one segment up to date: its frontier behind the last record, and the records that the index may lack. `checkData` reads their data too. */
export async function recoverSegment(
  { segment, fileBytes, summary }: FoundSegment,
  store: Recovering,
  checkData: boolean,
  window: Uint8Array,
): Promise<{ highestSequence: number; scanned: boolean }> {
  const from = Math.max(SEGMENT_HEADER_BYTES, summary?.indexedUpTo ?? 0);
  segment.frontier = from;
  segment.allocated = fileBytes;
  if (fileBytes <= from) return { highestSequence: 0, scanned: fileBytes < from };
  let highestSequence = 0;
  const suspects: Suspect[] = [];
  const group: FoundRecord[] = [];
  for await (const step of scanSegment(store.files, segment, { from, to: fileBytes, checkData, window, salt: store.salt })) {
    if (step.kind === "garbage" || (step.kind === "record" && !step.whole)) {
      suspects.push(step);
      continue;
    }
    if (suspects.length > 0) await giveUp(store, segment, suspects.splice(0));
    segment.frontier = step.end;
    highestSequence = Math.max(highestSequence, step.kind === "record" ? step.entry.sequence : step.sequence);
    if (step.kind === "deletions") await store.onDeletions(step.deletions);
    else if (!step.deleted) group.push(step);
    if (group.length === GROUP_RECORDS) await store.onRecords(group.splice(0));
  }
  await store.onRecords(group);
  // What is not whole at the end of the segment is what a crash cut off.
  for (const suspect of suspects) report(store, segment, suspect, "torn");
  return { highestSequence, scanned: true };
}

/** Bytes between good records: reported, and erased so that a later scan which reads headers only cannot take them for blocks. */
async function giveUp(store: Recovering, segment: Segment, suspects: readonly Suspect[]): Promise<void> {
  for (const suspect of suspects) report(store, segment, suspect, "corrupt");
  await store.onSpoiled(suspects.flatMap((suspect) => (suspect.kind === "record" ? [suspect.entry] : [])));
}

function report(store: Recovering, segment: Segment, step: Suspect, kind: "torn" | "corrupt"): void {
  const file = store.files.pathOf(segment.name);
  if (step.kind === "garbage") {
    store.onDamage({
      kind,
      file,
      offset: step.offset,
      bytes: step.bytes,
      text: `scan ${file}: ${step.bytes} bytes at ${step.offset} are no record (${kind})`,
    });
    return;
  }
  const { id, entry } = step;
  const bytes = recordBytes(entry.length, segment.kind);
  store.onDamage({
    kind,
    file,
    offset: entry.offset,
    bytes,
    id,
    text: `scan ${file}: the record at ${entry.offset} of block ${id.index} of stripe ${id.stripe} differs from its checksums (${kind})`,
  });
}

/** Looks through all segments for the newest record of one block. Slow (reads every header): for a damaged index value only. */
export async function searchRecord(
  id: BlockId,
  segments: Iterable<Segment>,
  files: SegmentFiles,
  salt: number,
): Promise<Entry | null> {
  const window = scanWindow();
  let best: Entry | null = null;
  for (const segment of segments) {
    for await (const step of scanSegment(files, segment, {
      from: SEGMENT_HEADER_BYTES,
      to: segment.frontier,
      checkData: false,
      window,
      salt,
    })) {
      if (step.kind !== "record" || step.deleted || step.id.stripe !== id.stripe || step.id.index !== id.index) continue;
      if (best === null || step.entry.sequence > best.sequence) best = step.entry;
    }
  }
  return best;
}

/** Blocks that the index places in segments that are not there. */
export async function strandedBlocks(table: Table, isThere: (segment: number) => boolean): Promise<FoundRecord[]> {
  const stranded: FoundRecord[] = [];
  let after: BlockId | null = null;
  for (;;) {
    const rows = await table.range({ ...blockRange(after), limit: 1024 });
    for (const { key, value } of rows) {
      const entry = decodeEntry(key, value);
      after = decodeBlockKey(key);
      if (entry !== null && !isThere(entry.segment)) stranded.push({ id: after, entry });
    }
    if (rows.length < 1024) return stranded;
  }
}
