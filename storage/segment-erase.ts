// Takes records out of segments: their space goes back to the disk, and a scan will not find them again. A large
// record becomes a hole. A small one shares its first page with others, so it gets a deletion mark in its header, and
// whole pages of its data become a hole; the rest of its space returns with the segment.
import { codeOf } from "./block-errors.ts";
import type { Entry } from "./block-index-format.ts";
import { ALIGNMENT_BYTES, type DirectoryFile } from "./directory.ts";
import type { SegmentFiles } from "./segment-files.ts";
import { DELETION_MARK, DELETION_MARK_AT, recordBytes, recordHeaderBytes, roundUp, viewOf } from "./segment-format.ts";
import type { Segment } from "./segment.ts";

const MARK = new Uint8Array(4);
viewOf(MARK).setUint32(0, DELETION_MARK, true);

interface Run {
  from: number;
  to: number;
}

/** Erases the records, of segments that are there. Tries each one, then rejects with the first error, if any. What is changed is durable with the segment's next sync. */
export async function eraseRecords(
  files: SegmentFiles,
  segments: ReadonlyMap<number, Segment>,
  entries: readonly Entry[],
  onWritten: (segment: Segment) => void,
): Promise<void> {
  const bySegment = new Map<Segment, Entry[]>();
  for (const entry of entries) {
    const segment = segments.get(entry.segment);
    if (segment === undefined) continue;
    const list = bySegment.get(segment);
    if (list === undefined) bySegment.set(segment, [entry]);
    else list.push(entry);
  }
  let failure: { error: unknown } | null = null;
  for (const [segment, doomed] of bySegment) {
    doomed.sort((a, b) => a.offset - b.offset);
    await files
      .use(segment.name, "buffered", (file) =>
        segment.kind === "large" ? punchAll(file, segment, doomed) : markAll(file, segment, doomed),
      )
      .catch((error: unknown) => (failure ??= { error }));
    onWritten(segment);
  }
  if (failure !== null) throw (failure as { error: unknown }).error;
}

async function punchAll(file: DirectoryFile, segment: Segment, entries: readonly Entry[]): Promise<void> {
  const runs: Run[] = [];
  for (const { offset, length } of entries) {
    const to = offset + recordBytes(length, segment.kind);
    const last = runs.at(-1);
    if (last?.to === offset) last.to = to;
    else runs.push({ from: offset, to });
  }
  for (const { from, to } of runs) {
    try {
      await file.punch(from, to - from);
    } catch (error) {
      if (codeOf(error) !== "EOPNOTSUPP") throw error;
      await mark(
        file,
        entries.filter(({ offset }) => offset >= from && offset < to),
      );
    }
  }
}

async function markAll(file: DirectoryFile, segment: Segment, entries: readonly Entry[]): Promise<void> {
  await mark(file, entries);
  for (const { offset, length } of entries) {
    const from = roundUp(offset + recordHeaderBytes(length, segment.kind), ALIGNMENT_BYTES);
    const end = offset + recordBytes(length, segment.kind);
    const to = end - (end % ALIGNMENT_BYTES);
    if (to <= from) continue;
    try {
      await file.punch(from, to - from);
    } catch (error) {
      if (codeOf(error) !== "EOPNOTSUPP") throw error;
    }
  }
}

async function mark(file: DirectoryFile, entries: readonly Entry[]): Promise<void> {
  await Promise.all(entries.map(({ offset }) => file.write([MARK], offset + DELETION_MARK_AT)));
}
