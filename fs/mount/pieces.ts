// What a mount knows of one file's bytes: an ordered list of pieces, which do not overlap. A gap between pieces means
// "not asked yet". Pure data: no I/O, no session.
//
// A piece is pinned while the namespace does not have it (its bytes are in a write buffer, or in a stripe that no
// commit has named yet). Everything else may be dropped at any time and asked for again.

import type { Stripe } from "../../replication/stripe.ts";
import type { StripeBuffer } from "./buffers.ts";
import type { FlushUnit } from "./flush-unit.ts";

export const BUFFERED = 0;
export const STRIPED = 1;
export const INLINE = 2;
/** Reserved and zero. */
export const UNWRITTEN = 3;
export const HOLE = 4;
export type PieceKind = 0 | 1 | 2 | 3 | 4;
export type PieceSource = StripeBuffer | Stripe | Uint8Array | null;

export class Piece {
  start: number;
  end: number;
  kind: PieceKind;
  source: PieceSource;
  /** Where the first byte is in the source. */
  sourceOffset: number;
  /** The flush that carries it to the namespace: set from sealing to commit. */
  unit: FlushUnit | null;
  /** When it was put into its list: higher is later. */
  age = 0;
  constructor(start: number, end: number, kind: PieceKind, source: PieceSource, sourceOffset: number, unit: FlushUnit | null) {
    this.start = start;
    this.end = end;
    this.kind = kind;
    this.source = source;
    this.sourceOffset = sourceOffset;
    this.unit = unit;
  }

  get pinned(): boolean {
    return this.kind === BUFFERED || this.unit !== null;
  }
}

export class Pieces {
  #list: Piece[] = [];
  #put = 0;

  get count(): number {
    return this.#list.length;
  }

  at(index: number): Piece | undefined {
    return this.#list[index];
  }

  all(): readonly Piece[] {
    return this.#list;
  }

  /** Index of the first piece that ends after the offset (count if none). O(log n). */
  indexAfter(offset: number): number {
    const list = this.#list;
    let low = 0;
    let high = list.length;
    if (high > 0 && list[high - 1].end <= offset) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (list[middle].end <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Makes [start, end) unknown, cutting pieces that reach beyond it. */
  remove(start: number, end: number): void {
    if (start >= end) return;
    const list = this.#list;
    let from = this.indexAfter(start);
    if (from === list.length || list[from].start >= end) return;
    const first = list[from];
    if (first.start < start) {
      if (first.end > end) {
        list.splice(from + 1, 0, tailOf(first, end));
        first.end = start;
        return;
      }
      first.end = start;
      from++;
    }
    let to = from;
    while (to < list.length && list[to].end <= end) to++;
    if (to < list.length && list[to].start < end) cutFront(list[to], end);
    if (to > from) list.splice(from, to - from);
  }

  /** Puts the piece in place of whatever its range held. Moving the rest of a long list is what costs: at most once, and not where one piece takes another's place. */
  put(piece: Piece): void {
    const list = this.#list;
    piece.age = ++this.#put;
    const index = this.indexAfter(piece.start);
    if (index === list.length) {
      list.push(piece);
      return;
    }
    const there = list[index];
    if (there.start === piece.start && there.end === piece.end) {
      list[index] = piece;
    } else if (there.start < piece.start && there.end > piece.end) {
      list.splice(index + 1, 0, piece, tailOf(there, piece.end));
      there.end = piece.start;
    } else if (there.start === piece.start && there.end > piece.end) {
      cutFront(there, piece.end);
      list.splice(index, 0, piece);
    } else {
      this.remove(piece.start, piece.end);
      list.splice(this.indexAfter(piece.start), 0, piece);
    }
  }

  /** The pieces that touch any of the ranges (any order, overlaps allowed) and that `wanted` takes, in the file's order. O(ranges * log n), but no more than one walk. */
  within(ranges: readonly { start: number; length: number }[], wanted: (piece: Piece) => boolean): Piece[] {
    const list = this.#list;
    if (ranges.length === 1) return this.#between(ranges[0], wanted);
    if (ranges.length * Math.log2(list.length + 1) > list.length) return list.filter(wanted);
    const found = new Set<Piece>();
    for (const range of ranges) for (const piece of this.#between(range, wanted)) found.add(piece);
    return [...found].sort((a, b) => a.start - b.start);
  }

  #between({ start, length }: { start: number; length: number }, wanted: (piece: Piece) => boolean): Piece[] {
    const list = this.#list;
    const found: Piece[] = [];
    for (let index = this.indexAfter(start); index < list.length && list[index].start < start + length; index++)
      if (wanted(list[index])) found.push(list[index]);
    return found;
  }

  /** Puts the piece only where nothing is known. */
  fill(piece: Piece): void {
    let start = piece.start;
    while (start < piece.end) {
      const index = this.indexAfter(start);
      const next = this.#list[index];
      const gapEnd = next === undefined ? piece.end : Math.min(piece.end, next.start);
      if (gapEnd > start) {
        const part = new Piece(start, gapEnd, piece.kind, piece.source, piece.sourceOffset + (start - piece.start), piece.unit);
        part.age = ++this.#put;
        this.#list.splice(index, 0, part);
      }
      start = next === undefined ? piece.end : Math.max(gapEnd, next.end);
    }
  }

  /** Drops every piece that is not pinned. Returns how many went. O(n). */
  dropClean(): number {
    const before = this.#list.length;
    this.#list = this.#list.filter((piece) => piece.pinned);
    return before - this.#list.length;
  }

  /** Drops the half of the pieces that are not pinned that has been here longest. Sorts them, so it should be rare. */
  dropOldest(): void {
    const ages = this.#list.flatMap((piece) => (piece.pinned ? [] : [piece.age])).sort((a, b) => a - b);
    if (ages.length === 0) return;
    const last = ages[Math.ceil(ages.length / 2) - 1];
    this.#list = this.#list.filter((piece) => piece.pinned || piece.age > last);
  }

  /** Drops clean pieces that touch [start, end). */
  dropCleanIn(start: number, end: number): void {
    const list = this.#list;
    const from = this.indexAfter(start);
    let to = from;
    while (to < list.length && list[to].start < end) to++;
    if (to > from) list.splice(from, to - from, ...list.slice(from, to).filter((piece) => piece.pinned));
  }

  clear(): void {
    this.#list = [];
  }
}

function cutFront(piece: Piece, start: number): void {
  piece.sourceOffset += start - piece.start;
  piece.start = start;
}

function tailOf(piece: Piece, start: number): Piece {
  const tail = new Piece(start, piece.end, piece.kind, piece.source, piece.sourceOffset + (start - piece.start), piece.unit);
  tail.age = piece.age;
  return tail;
}
