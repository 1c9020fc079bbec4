// What the parts of the check share: what a problem is, and walking the records of a snapshot.

import type { InodeId, StripeId } from "../types.ts";
import { RecordDamaged, type Slice } from "./bytes.ts";
import { after } from "./keys.ts";
import type { Mending } from "./mend.ts";
import type { OverlaySnapshot, ScannedRecord } from "./overlay.ts";

/** The classes of problems (admin/DESIGN.md says what each means). */
export type ProblemKind = "damaged" | "links" | "entry" | "orphan" | "extent" | "stripe" | "count";

export interface Problem {
  /** A class of problem, for programs. */
  kind: ProblemKind;
  /** What is wrong, for people: names the record, what it says and what it should say. */
  text: string;
  /** How it can be mended without losing what could be live; absent where it cannot. */
  mending?: Mending;
  /** What it is about. */
  inode?: InodeId;
  stripe?: StripeId;
  /** Bytes of files are lost with it: all in this stripe, or of this inode. */
  loses?: "stripe" | "inode";
}

export interface CheckOptions {
  /** Extents were put into quarantine: stripes may seem to have fewer live bytes than they count. */
  extentsAreMissing?: boolean;
}

export type Found = Generator<Problem>;
export type Visit = (key: string, value: Slice) => Found;

const PAGE_RECORDS = 4096;

/** A part of the records in [from, to), and where the next part begins. */
export function nextPage(
  overlay: OverlaySnapshot,
  from: string,
  to: string,
): Promise<{ records: ScannedRecord[]; bound: string }> {
  return overlay.scan(from, to, PAGE_RECORDS, (records, bound) => ({ records, bound }));
}

/** Walks one tag, or one prefix. */
export function walk(overlay: OverlaySnapshot, prefix: string, visit: Visit): AsyncGenerator<Problem> {
  return walkRange(overlay, prefix, after(prefix), visit);
}

export async function* walkRange(overlay: OverlaySnapshot, from: string, to: string, visit: Visit): AsyncGenerator<Problem> {
  while (from < to) {
    const page = await nextPage(overlay, from, to);
    from = page.bound;
    for (const { key, value } of page.records) yield* visitSafely(key, value, visit);
  }
}

/** A damaged record is a problem, and the walk goes on. */
export function* visitSafely(key: string, value: Slice, visit: Visit): Found {
  try {
    yield* visit(key, value);
  } catch (error) {
    yield damaged(key, error);
  }
}

/** The problem of a record that could not be read. */
export function damaged(key: string, error: unknown, about: Pick<Problem, "inode" | "stripe" | "loses"> = {}): Problem {
  const mending: Mending | undefined = error instanceof RecordDamaged ? { kind: "damaged", key } : undefined;
  return { kind: "damaged", text: (error as Error).message, mending, ...about };
}
