// AVX2: the byte-shuffle kernel on vectors of 32 bytes.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "tables.h"

#pragma GCC push_options
#pragma GCC target("avx2")
#include "blocking.h"

namespace {

struct Vector {
  static constexpr size_t bytes = 32;
  __m256i value;
  static Vector load(const uint8_t* from) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))}; }
  static Vector all(int byte) { return {_mm256_set1_epi8(static_cast<char>(byte))}; }
  static Vector table(const uint8_t* from) { return {_mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(from)))}; }
  void store(uint8_t* to) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value); }
  Vector operator&(Vector other) const { return {_mm256_and_si256(value, other.value)}; }
  Vector operator^(Vector other) const { return {_mm256_xor_si256(value, other.value)}; }
  Vector shiftRight4() const { return {_mm256_srli_epi64(value, 4)}; }
  Vector lookup(Vector nibbles) const { return {_mm256_shuffle_epi8(value, nibbles.value)}; }
  /** Each 128-bit lane: its eight low bytes, then its eight high bytes. */
  Vector sortWords() const {
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return {_mm256_shuffle_epi8(value, _mm256_broadcastsi128_si256(order))};
  }
  Vector lowHalves(Vector other) const { return {_mm256_unpacklo_epi64(value, other.value)}; }
  Vector highHalves(Vector other) const { return {_mm256_unpackhi_epi64(value, other.value)}; }
  Vector interleaveLow(Vector other) const { return {_mm256_unpacklo_epi8(value, other.value)}; }
  Vector interleaveHigh(Vector other) const { return {_mm256_unpackhi_epi8(value, other.value)}; }
};

}  // namespace

#include "field_pshufb.h"

void cairn::runAvx2(const FieldJob& job) { runJob(job); }
#pragma GCC pop_options
#endif
