// GFNI + AVX-512. One affine instruction multiplies 64 bytes by a constant of any field of 2^8 elements, as that is a
// linear map of bits; a product over GF(2^16) takes two, on bytes sorted into low and high ones.
#if defined(__x86_64__)
// GCC 12 warns of its own headers here (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <algorithm>

#include "kernels.h"
#include "tables.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,gfni,bmi2")
#include "blocking.h"

namespace {

using namespace cairn;

/** Sums of 6 rows x 4 vectors are 24 of the 32 registers; the rest holds sources and a coefficient. */
constexpr size_t rowsAtOnce = 6;
constexpr int vectorsAtOnce = 4;
constexpr size_t vectorBytes = 64;
/**
 * Targets of blocks from this length on are written past the caches, which saves reading them first: from memory a fifth to
 * two thirds faster, and 5 to 50 % still where a checksum of the targets follows (where all is in the third-level cache, that is
 * up to 13 % slower). Shorter ones are soon read again.
 */
constexpr size_t streamFromBytes = 1024 * 1024;

constexpr std::array<uint64_t, 256> bitMatrices8 = makeAllBitMatrices8();

struct Field8 {
  using Matrix = uint64_t;
  static Matrix make(uint32_t coefficient) { return bitMatrices8[coefficient]; }
  struct Sorted {
    __m512i bytes;
  };
  static Sorted sort(__m512i bytes) { return {bytes}; }
  static __m512i unsort(__m512i bytes) { return bytes; }
  struct Loaded {
    __m512i matrix;
  };
  static Loaded load(const Matrix& matrix) { return {_mm512_set1_epi64(static_cast<int64_t>(matrix))}; }
  static __m512i multiplyAdd(__m512i sum, const Sorted& source, const Loaded& coefficient) {
    return _mm512_xor_si512(sum, _mm512_gf2p8affine_epi64_epi8(source.bytes, coefficient.matrix, 0));
  }
};

struct Field16 {
  using Matrix = BitMatrices16;
  static Matrix make(uint32_t coefficient) { return makeBitMatrices16(coefficient); }
  /** Lanes of eight low and eight high bytes, and the same with halves exchanged. */
  struct Sorted {
    __m512i bytes;
    __m512i exchanged;
  };
  static Sorted sort(__m512i words) {
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    __m512i bytes = _mm512_shuffle_epi8(words, order);
    return {bytes, _mm512_shuffle_epi32(bytes, _MM_PERM_BADC)};
  }
  static __m512i unsort(__m512i bytes) {
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    return _mm512_shuffle_epi8(bytes, order);
  }
  struct Loaded {
    __m512i same;
    __m512i crossed;
  };
  static Loaded load(const Matrix& matrix) {
    return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(matrix.same))),
            _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(matrix.crossed)))};
  }
  static __m512i multiplyAdd(__m512i sum, const Sorted& source, const Loaded& coefficient) {
    return _mm512_ternarylogic_epi64(sum, _mm512_gf2p8affine_epi64_epi8(source.bytes, coefficient.same, 0),
                                     _mm512_gf2p8affine_epi64_epi8(source.exchanged, coefficient.crossed, 0), 0x96);
  }
};

/** Computes Vectors vectors of Rows targets from `at`; the last vector only where `mask` says so. FirstIsXor: row 0 has only ones. */
template <typename Field, size_t Rows, int Vectors, bool FirstIsXor, bool Masked, bool Streamed = false>
inline __attribute__((always_inline)) void step(const Part& part, const typename Field::Matrix* matrices, const uint8_t* const* sources,
                                                uint8_t* const* targets, size_t at, __mmask64 mask) {
  __m512i sums[Rows][Vectors];
  auto load = [&](const uint8_t* from) { return Masked ? _mm512_maskz_loadu_epi8(mask, from) : _mm512_loadu_si512(from); };
  for (size_t row = 0; row < Rows; row++) {
    for (int vector = 0; vector < Vectors; vector++) {
      sums[row][vector] = _mm512_setzero_si512();
      if (part.accumulate) sums[row][vector] = Field::sort(load(targets[row] + at + vector * vectorBytes)).bytes;
    }
  }
  for (size_t column = 0; column < part.columns; column++) {
    typename Field::Sorted bytes[Vectors];
    for (int vector = 0; vector < Vectors; vector++) bytes[vector] = Field::sort(load(sources[column] + at + vector * vectorBytes));
    for (size_t row = 0; row < Rows; row++) {
      if (FirstIsXor && row == 0) {
        for (int vector = 0; vector < Vectors; vector++) sums[0][vector] = _mm512_xor_si512(sums[0][vector], bytes[vector].bytes);
        continue;
      }
      auto coefficient = Field::load(matrices[column * Rows + row]);
      for (int vector = 0; vector < Vectors; vector++) sums[row][vector] = Field::multiplyAdd(sums[row][vector], bytes[vector], coefficient);
    }
  }
  for (size_t row = 0; row < Rows; row++) {
    for (int vector = 0; vector < Vectors; vector++) {
      __m512i bytes = Field::unsort(sums[row][vector]);
      uint8_t* to = targets[row] + at + vector * vectorBytes;
      if (Masked) {
        _mm512_mask_storeu_epi8(to, mask, bytes);
      } else if (Streamed) {
        _mm512_stream_si512(reinterpret_cast<__m512i*>(to), bytes);
      } else {
        _mm512_storeu_si512(to, bytes);
      }
    }
  }
}

/** Whether the targets may be written past the caches: large ones, finished in one pass, at a line's begin. */
inline bool streamed(const Part& part, size_t at) {
  const cairn::FieldJob& job = *part.job;
  bool yes = job.length >= streamFromBytes && part.end - part.begin == job.length && !part.accumulate;
  for (size_t row = 0; row < part.rows; row++) yes &= (reinterpret_cast<uintptr_t>(part.target(row)) + at) % vectorBytes == 0;
  return yes;
}

template <typename Field, size_t Rows, bool FirstIsXor>
void runRows(const Part& part, const typename Field::Matrix* matrices) {
  const uint8_t* sources[chunkColumns];
  uint8_t* targets[Rows];
  for (size_t column = 0; column < part.columns; column++) sources[column] = part.source(column);
  for (size_t row = 0; row < Rows; row++) targets[row] = part.target(row);
  size_t at = part.begin;
  constexpr size_t stepBytes = vectorsAtOnce * vectorBytes;
  // Buffers of one program mostly begin alike (large ones of Node 16 bytes after a page), so up to the first one's next
  // cache line goes first: loads that straddle lines halve the speed in the caches. Words must not be torn.
  size_t head = part.columns == 0 ? 0 : -(reinterpret_cast<uintptr_t>(sources[0]) + at) % vectorBytes;
  if (head % 2 == 0 && head > 0 && part.end - at >= stepBytes) {
    step<Field, Rows, 1, FirstIsXor, true>(part, matrices, sources, targets, at, _bzhi_u64(~0ULL, head));
    at += head;
  }
  if (streamed(part, at)) {
    for (; part.end - at >= stepBytes; at += stepBytes) {
      step<Field, Rows, vectorsAtOnce, FirstIsXor, false, true>(part, matrices, sources, targets, at, 0);
    }
    _mm_sfence();  // before another thread may be told that the job is done
  }
  for (; part.end - at >= stepBytes; at += stepBytes) {
    step<Field, Rows, vectorsAtOnce, FirstIsXor, false>(part, matrices, sources, targets, at, 0);
  }
  for (; part.end - at >= vectorBytes; at += vectorBytes) step<Field, Rows, 1, FirstIsXor, false>(part, matrices, sources, targets, at, 0);
  if (at < part.end) step<Field, Rows, 1, FirstIsXor, true>(part, matrices, sources, targets, at, _bzhi_u64(~0ULL, part.end - at));
}

template <typename Field, size_t Rows>
void runCount(const Part& part) {
  typename Field::Matrix matrices[Rows * chunkColumns];
  for (size_t column = 0; column < part.columns; column++) {
    for (size_t row = 0; row < Rows; row++) matrices[column * Rows + row] = Field::make(part.coefficient(row, column));
  }
  if (part.rowOfOnes(0)) {
    runRows<Field, Rows, true>(part, matrices);
  } else {
    runRows<Field, Rows, false>(part, matrices);
  }
}

template <typename Field>
void runPart(const Part& part) {
  using Run = void (*)(const Part&);
  static constexpr Run byRows[rowsAtOnce] = {runCount<Field, 1>, runCount<Field, 2>, runCount<Field, 3>,
                                             runCount<Field, 4>, runCount<Field, 5>, runCount<Field, 6>};
  byRows[part.rows - 1](part);
}

}  // namespace

void cairn::runGfni(const FieldJob& job) {
  runInParts(job, rowsAtOnce, chunkColumns, job.bits == 8 ? runPart<Field8> : runPart<Field16>);
}
#pragma GCC pop_options
#endif
