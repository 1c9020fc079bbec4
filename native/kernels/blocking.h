// Cuts a job into parts that fit a vector kernel: groups of rows whose sums are kept in registers, and chunks of
// columns whose coefficients are kept on the stack. Included by each vector kernel, after its target pragma, inside no
// namespace; everything here is local to the including file, as it is compiled for that file's instructions.
#pragma once

#include <algorithm>

#include "kernels.h"

namespace {

/** Coefficients of a chunk in the widest form (GF(2^16) nibble tables, 128 bytes): 6 rows x 32 columns x 128 = 24 KiB. */
constexpr size_t chunkColumns = 32;
/** Where the sources are read more than once, the pieces of all of them together stay in half of a usual L2. */
constexpr size_t pieceTotalBytes = 128 * 1024;
constexpr size_t pieceAlignment = 512;

/** One group of rows over one chunk of columns of one piece. */
struct Part {
  const cairn::FieldJob* job;
  size_t row;
  size_t rows;
  size_t column;
  size_t columns;
  size_t begin;
  size_t end;
  bool accumulate;

  uint16_t coefficient(size_t r, size_t c) const { return job->coefficients[(row + r) * job->columns + column + c]; }
  const uint8_t* source(size_t c) const { return job->sources[column + c]; }
  uint8_t* target(size_t r) const { return job->targets[row + r]; }
  /** Whether a row is a plain xor of the sources, as the first parity of Reed-Solomon is. */
  bool rowOfOnes(size_t r) const {
    for (size_t c = 0; c < columns; c++) {
      if (coefficient(r, c) != 1) return false;
    }
    return true;
  }
};

template <typename RunPart>
void runInParts(const cairn::FieldJob& job, size_t rowsAtOnce, size_t columnsAtOnce, RunPart runPart) {
  bool onePass = job.rows <= rowsAtOnce && job.columns <= columnsAtOnce;
  size_t piece = job.length;
  if (!onePass) {
    piece = pieceTotalBytes / std::max<size_t>(job.columns, 1) / pieceAlignment * pieceAlignment;
    piece = std::max(piece, 4 * pieceAlignment);
  }
  for (size_t begin = 0; begin < job.length; begin += piece) {
    size_t end = std::min(job.length, begin + piece);
    for (size_t row = 0; row < job.rows; row += rowsAtOnce) {
      size_t column = 0;
      do {  // once even without columns: the targets become zero
        size_t columns = std::min(columnsAtOnce, job.columns - column);
        runPart(Part{&job, row, std::min(rowsAtOnce, job.rows - row), column, columns, begin, end, job.accumulate || column > 0});
        column += columns;
      } while (column < job.columns);
    }
  }
}

}  // namespace
