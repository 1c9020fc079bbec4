// Linear algebra over the fields of field.ts: what turns a code's definition into coefficients. All functions are pure
// and leave their arguments as they are. Sizes are at most a few hundred, so cubic algorithms are fine.
import type { Field, Matrix } from "./field.ts";

/** A rows x columns matrix of the values given row by row, or of zeros. */
export function matrixOf(rows: number, columns: number, values?: ArrayLike<number>): Matrix {
  if (values && values.length !== rows * columns) {
    throw new RangeError(`matrix: ${values.length} values for ${rows} x ${columns}; it must be ${rows * columns}`);
  }
  return { rows, columns, values: values ? Uint16Array.from(values) : new Uint16Array(rows * columns) };
}

export function identity(size: number): Matrix {
  const result = matrixOf(size, size);
  for (let index = 0; index < size; index++) result.values[index * size + index] = 1;
  return result;
}

export function element(matrix: Matrix, row: number, column: number): number {
  return matrix.values[row * matrix.columns + column];
}

/** The rows of these numbers, in this order. */
export function selectRows(matrix: Matrix, rows: readonly number[]): Matrix {
  const result = matrixOf(rows.length, matrix.columns);
  rows.forEach((row, index) => {
    result.values.set(matrix.values.subarray(row * matrix.columns, (row + 1) * matrix.columns), index * matrix.columns);
  });
  return result;
}

/** The rows of `upper`, then those of `lower`. */
export function stack(upper: Matrix, lower: Matrix): Matrix {
  if (upper.columns !== lower.columns) throw new RangeError(`matrix: cannot stack ${upper.columns} columns on ${lower.columns}`);
  return matrixOf(upper.rows + lower.rows, upper.columns, [...upper.values, ...lower.values]);
}

export function multiply(field: Field, a: Matrix, b: Matrix): Matrix {
  if (a.columns !== b.rows)
    throw new RangeError(`matrix: cannot multiply ${a.rows} x ${a.columns} with ${b.rows} x ${b.columns}`);
  const result = matrixOf(a.rows, b.columns);
  for (let row = 0; row < a.rows; row++) {
    for (let inner = 0; inner < a.columns; inner++) {
      addRow(field, result.values, row * b.columns, b.values, inner * b.columns, b.columns, element(a, row, inner));
    }
  }
  return result;
}

/** target[at..] += coefficient * source[from..], over `count` elements. */
function addRow(
  field: Field,
  target: Uint16Array,
  at: number,
  source: Uint16Array,
  from: number,
  count: number,
  coefficient: number,
): void {
  if (coefficient === 0) return;
  for (let column = 0; column < count; column++) target[at + column] ^= field.multiply(coefficient, source[from + column]);
}

function scaleRow(field: Field, values: Uint16Array, at: number, count: number, coefficient: number): void {
  for (let column = 0; column < count; column++) values[at + column] = field.multiply(coefficient, values[at + column]);
}

function swapRows(values: Uint16Array, columns: number, a: number, b: number): void {
  if (a === b) return;
  const row = values.slice(a * columns, (a + 1) * columns);
  values.copyWithin(a * columns, b * columns, (b + 1) * columns);
  values.set(row, b * columns);
}

/** The inverse of a square matrix, or null where it has none. */
export function invert(field: Field, matrix: Matrix): Matrix | null {
  if (matrix.rows !== matrix.columns)
    throw new RangeError(`matrix: ${matrix.rows} x ${matrix.columns} is not square and has no inverse`);
  return express(field, matrix, identity(matrix.rows));
}

export function rank(field: Field, matrix: Matrix): number {
  return independentRows(field, matrix).length;
}

/** The numbers of the first rows that are linearly independent of those before them: as many as the rank. */
export function independentRows(field: Field, matrix: Matrix): number[] {
  const { columns } = matrix;
  const values = matrix.values.slice();
  const found: { row: number; pivot: number }[] = [];
  for (let row = 0; row < matrix.rows && found.length < columns; row++) {
    for (const earlier of found) {
      addRow(field, values, row * columns, values, earlier.row * columns, columns, values[row * columns + earlier.pivot]);
    }
    const pivot = values.subarray(row * columns, (row + 1) * columns).findIndex((value) => value !== 0);
    if (pivot < 0) continue;
    scaleRow(field, values, row * columns, columns, field.inverse(values[row * columns + pivot]));
    found.push({ row, pivot });
  }
  return found.map(({ row }) => row);
}

/**
 * Writes the rows of `wanted` as combinations of the rows of `given`: X with X * given = wanted, or null where some
 * wanted row is not in their span. With `given` the coding rows of the blocks at hand and `wanted` those of the blocks
 * asked for, X is what decodes. Where the rows of `given` depend on each other there are several X; this is one of them.
 */
export function express(field: Field, given: Matrix, wanted: Matrix): Matrix | null {
  if (given.columns !== wanted.columns)
    throw new RangeError(`matrix: cannot express ${wanted.columns} columns by ${given.columns}`);
  const { columns, rows } = given;
  // Gauss-Jordan over [given | identity]: the right part says how each reduced row is made of the given ones.
  const width = columns + rows;
  const values = new Uint16Array(rows * width);
  for (let row = 0; row < rows; row++) {
    values.set(given.values.subarray(row * columns, (row + 1) * columns), row * width);
    values[row * width + columns + row] = 1;
  }
  const pivots = reduce(field, values, rows, width, columns);
  const result = matrixOf(wanted.rows, rows);
  const left = new Uint16Array(width);
  for (let row = 0; row < wanted.rows; row++) {
    left.fill(0);
    left.set(wanted.values.subarray(row * columns, (row + 1) * columns));
    pivots.forEach((pivot, index) => addRow(field, left, 0, values, index * width, width, left[pivot]));
    if (left.subarray(0, columns).some((value) => value !== 0)) return null;
    result.values.set(left.subarray(columns), row * rows);
  }
  return result;
}

/** Brings the first `columns` columns to reduced row echelon form; returns the pivot column of each leading row. */
function reduce(field: Field, values: Uint16Array, rows: number, width: number, columns: number): number[] {
  const pivots: number[] = [];
  for (let column = 0; column < columns && pivots.length < rows; column++) {
    let row = pivots.length;
    while (row < rows && values[row * width + column] === 0) row++;
    if (row === rows) continue;
    const leading = pivots.length;
    swapRows(values, width, leading, row);
    scaleRow(field, values, leading * width, width, field.inverse(values[leading * width + column]));
    for (let other = 0; other < rows; other++) {
      if (other !== leading) addRow(field, values, other * width, values, leading * width, width, values[other * width + column]);
    }
    pivots.push(column);
  }
  return pivots;
}

/**
 * The m x k matrix of Cairn's Reed-Solomon: element (i, j) = (k xor j) / ((k+i) xor j), the operands read as field elements. That is the Cauchy matrix 1 / (x_i + y_j) of x_i = k+i, y_j = j with
 * every column scaled so that row 0 is all ones: the first parity block is the plain xor of the data. Every square
 * submatrix of a Cauchy matrix is invertible, scaled columns or not, so the identity above it makes a code of which any
 * k of the k + m rows decode. Stored blocks depend on these very numbers: never change them.
 */
export function cauchy(field: Field, k: number, m: number): Matrix {
  if (k + m > field.order) throw new RangeError(`matrix: a Cauchy matrix of ${m} x ${k} needs k + m <= ${field.order}`);
  const result = matrixOf(m, k);
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < k; column++) result.values[row * k + column] = field.divide(k ^ column, (k + row) ^ column);
  }
  return result;
}
