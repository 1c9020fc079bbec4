// Opening: whether table and log belong together, and carrying out what the log has and the table lacks.

import type { Log, LogIndex } from "../../storage/log.ts";
import type { Table } from "../../storage/table.ts";
import { RecordDamaged } from "./bytes.ts";
import { decodeEntry, type EntryKind, type EntryRecord } from "./entry.ts";
import { describeKey, splitKey, TAG_INODE, TAG_META } from "./keys.ts";
import { Overlay, type OverlayLimits, readApplied } from "./overlay.ts";
import { decodeNumber, openValue } from "./records.ts";

/** 2: the table counts promised bytes. */
export const FORMAT = 2;

/** Table and log do not fit together, or are of a newer version. Nothing was changed. */
export class NamespaceRefused extends Error {
  readonly code = "EIO";
}

export async function openTable(table: Table, log: Log, limits: OverlayLimits): Promise<{ overlay: Overlay; isNew: boolean }> {
  const stored = await readApplied(table);
  const applied = stored ?? { index: 0 as LogIndex, inodes: 0 };
  const first = log.first();
  const tail = log.tail();
  if (applied.index + 1 < first) {
    throw new NamespaceRefused(
      `namespace: the table holds changes up to ${applied.index} and the log begins at ${first}: changes between are missing; restore a table of at least ${first - 1}`,
    );
  }
  if (tail < applied.index) {
    throw new NamespaceRefused(
      `namespace: the log ends at ${tail} and the table already holds changes up to ${applied.index}: the end of the log is missing or it is another store's`,
    );
  }
  const overlay = new Overlay(table, log, applied, limits);
  await checkFormat(overlay);
  return { overlay, isNew: stored === null && tail === 0 };
}

async function checkFormat(overlay: Overlay): Promise<void> {
  const key = `${TAG_META}format`;
  const format = await overlay.get([key], ([value]) => (value === null ? null : decodeNumber(openValue(key, value))));
  if (format === null || format === FORMAT) return;
  throw new NamespaceRefused(
    `namespace: the table has format ${format}, this version reads ${FORMAT}; ${format > FORMAT ? "start the newer version that wrote it" : "start the older version that wrote it, and copy the files to a new store"}`,
  );
}

/** Takes up the log's entries above the applied index. Entries are idempotent: it does not matter whether the table has some of their records already. */
export async function replay(overlay: Overlay, log: Log): Promise<void> {
  if (log.tail() === overlay.appliedIndex) return;
  for await (const { index, entry } of log.read((overlay.appliedIndex + 1) as LogIndex)) {
    const { kind, records } = decodeEntry(entry, `log entry ${index}`);
    for (const { key, value } of records) {
      if (value !== null) openValue(key, value);
      checkKey(key, index);
      const { prefix, rest } = splitKey(key);
      overlay.set(prefix, rest, value);
    }
    overlay.inodes += inodesMade(kind, records);
    overlay.index = index;
    if (overlay.full) await overlay.apply();
  }
  await checkFormat(overlay);
}

function checkKey(key: string, index: number): void {
  const tagged = "inoesxuczrat\x01".includes(key[0] ?? "?") || (key[0] === "d" && key.length === 13);
  if (!tagged || (key[0] !== TAG_META && key.length < 9))
    throw new RecordDamaged(`namespace: log entry ${index} has an unknown key: ${describeKey(key.padEnd(9))}`);
}

/** How many inodes more (or fewer) there are after an entry. */
function inodesMade(kind: EntryKind, records: readonly EntryRecord[]): number {
  // One that found the name there (O_CREAT without O_EXCL) made none; its reply to a durable session is all that the entry has.
  if (kind === "make") return records.some(({ key, value }) => key[0] === TAG_INODE && value !== null) ? 1 : 0;
  if (kind === "makeUnnamed" || kind === "create-store") return 1;
  if (kind === "free") return -records.filter(({ key, value }) => key[0] === TAG_INODE && value === null).length;
  return 0;
}
