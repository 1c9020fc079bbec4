// One step of a file's (or several files') way to the namespace: a sealed buffer that becomes a stripe, or ranges that
// go inline, or only attributes. Units of one file are committed in the order of their sealing, so what the namespace
// has of a file is always its state at some moment.

import type { Stripe } from "../../replication/stripe.ts";
import type { StripeBuffer } from "./buffers.ts";
import type { FileState } from "./file-state.ts";
import { COMMIT_FILE_BYTES, COMMIT_RANGE_BYTES } from "./limits.ts";
import type { Piece } from "./pieces.ts";

export interface SealedRange {
  start: number;
  length: number;
  sourceOffset: number;
  inline: Uint8Array | null;
}

export interface SealedFile {
  /** The file's dropCount when sealed: if it differs at the commit, the file's part is void (truncated to nothing, or gone). */
  dropCount: number;
  /** Size at the moment of sealing. */
  size: number;
  ranges: SealedRange[];
}

export interface FlushUnit {
  readonly sequence: number;
  readonly files: Map<FileState, SealedFile>;
  /** Null once stored, or if nothing is to be stored. */
  buffer: StripeBuffer | null;
  scheme: string;
  stripe: Stripe | null;
  stage: "sealed" | "storing" | "stored" | "committing" | "done";
  /** A commit that names its stripe has gone out: files may have it, whatever became of the answer. */
  sent: boolean;
  /** Why the last attempt failed, until it is tried again. */
  error: unknown;
  /** ... until one succeeds. */
  failed: unknown;
  /** Bytes of ranges. */
  bytes: number;
  /** Of these, inline. */
  inlineBytes: number;
  ranges: number;
  /** Time of sealing, ms. */
  since: number;
  /** Called when it is done or an attempt failed. */
  waiting: (() => void)[];
}

/** A unit with nothing in it yet. */
export function newUnit(sequence: number, since: number): FlushUnit {
  return {
    sequence, files: new Map(), buffer: null, scheme: "", stripe: null, stage: "stored", sent: false, error: null, failed: null, bytes: 0, inlineBytes: 0, ranges: 0, since, waiting: [],
  }; // prettier-ignore
}

/** What the unit takes in a commit request, and in the log. */
export function commitBytes(unit: FlushUnit): number {
  return unit.inlineBytes + unit.ranges * COMMIT_RANGE_BYTES + unit.files.size * COMMIT_FILE_BYTES;
}

/** The file's pieces that the unit carries, in the file's order: within the ranges that it had when sealed, as pieces only shrink. */
export function piecesOfUnit(file: FileState, unit: FlushUnit, ranges: readonly SealedRange[]): Piece[] {
  return file.pieces.within(ranges, (piece) => piece.unit === unit);
}
