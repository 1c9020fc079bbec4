// Which blocks to read: the smallest set of rows of a matrix whose combinations give certain other rows.
import type { Field, Matrix } from "./field.ts";

/** Up to so many rows to choose from all sets are tried, smallest first (at most 2^16 of them, some 100 ms); above it rows are left out greedily. */
export const EXHAUSTIVE_ROWS_MAX = 16;

/**
 * Row numbers among `available` that span the rows `wanted`: the fewest where available are at most EXHAUSTIVE_ROWS_MAX,
 * otherwise a set from which none can be left out. Wanted rows that are available come first, then the order of
 * `available` decides. null where all together do not span them.
 */
export function smallestSpan(
  field: Field,
  matrix: Matrix,
  available: readonly number[],
  wanted: readonly number[],
): number[] | null {
  const search = new SpanSearch(field, matrix, wanted);
  if (!search.spans(available)) return null;
  const there = new Set(available);
  const direct = [...new Set(wanted)].filter((row) => there.has(row));
  const others = available.filter((row) => !direct.includes(row));
  if (available.length <= EXHAUSTIVE_ROWS_MAX) {
    for (let size = 0; size <= others.length; size++) {
      const found = search.within(direct, others, size);
      if (found) return found;
    }
  }
  const kept = [...direct, ...others];
  for (let index = kept.length - 1; index >= 0; index--) {
    const without = kept.filter((_, other) => other !== index);
    if (search.spans(without)) kept.splice(index, 1);
  }
  return kept;
}

/** A row in a growing echelon form, and the column of its leading 1. */
interface Reduced {
  row: Uint16Array;
  pivot: number;
}

class SpanSearch {
  readonly #field: Field;
  readonly #matrix: Matrix;
  readonly #wanted: readonly number[];

  constructor(field: Field, matrix: Matrix, wanted: readonly number[]) {
    this.#field = field;
    this.#matrix = matrix;
    this.#wanted = wanted;
  }

  spans(rows: readonly number[]): boolean {
    const basis: Reduced[] = [];
    for (const row of rows) this.#add(basis, row);
    return this.#complete(basis);
  }

  /** direct and `size` of others that together span the wanted rows, or null. Sets with a superfluous row are passed over. */
  within(direct: readonly number[], others: readonly number[], size: number): number[] | null {
    const basis: Reduced[] = [];
    for (const row of direct) this.#add(basis, row);
    return this.#extend(basis, [...direct], others, 0, size);
  }

  #extend(basis: Reduced[], chosen: number[], others: readonly number[], from: number, left: number): number[] | null {
    if (left === 0) return this.#complete(basis) ? chosen : null;
    for (let index = from; index <= others.length - left; index++) {
      if (!this.#add(basis, others[index])) continue;
      const found = this.#extend(basis, [...chosen, others[index]], others, index + 1, left - 1);
      if (found) return found;
      basis.pop();
    }
    return null;
  }

  #complete(basis: readonly Reduced[]): boolean {
    return this.#wanted.every((row) => this.#reduce(basis, row).every((value) => value === 0));
  }

  /** Adds what is new in a row to the basis; false where it holds nothing new. */
  #add(basis: Reduced[], number: number): boolean {
    const row = this.#reduce(basis, number);
    const pivot = row.findIndex((value) => value !== 0);
    if (pivot < 0) return false;
    const scale = this.#field.inverse(row[pivot]);
    basis.push({ row: row.map((value) => this.#field.multiply(scale, value)), pivot });
    return true;
  }

  #reduce(basis: readonly Reduced[], number: number): Uint16Array {
    const { columns, values } = this.#matrix;
    const row = values.slice(number * columns, (number + 1) * columns);
    for (const earlier of basis) {
      const factor = row[earlier.pivot];
      if (factor === 0) continue;
      for (let column = 0; column < columns; column++) row[column] ^= this.#field.multiply(factor, earlier.row[column]);
    }
    return row;
  }
}
