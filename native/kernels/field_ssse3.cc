// SSSE3: the byte-shuffle kernel on vectors of 16 bytes.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "tables.h"

#pragma GCC push_options
#pragma GCC target("ssse3")
#include "blocking.h"

namespace {

struct Vector {
  static constexpr size_t bytes = 16;
  __m128i value;
  static Vector load(const uint8_t* from) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))}; }
  static Vector all(int byte) { return {_mm_set1_epi8(static_cast<char>(byte))}; }
  static Vector table(const uint8_t* from) { return {_mm_load_si128(reinterpret_cast<const __m128i*>(from))}; }
  void store(uint8_t* to) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), value); }
  Vector operator&(Vector other) const { return {_mm_and_si128(value, other.value)}; }
  Vector operator^(Vector other) const { return {_mm_xor_si128(value, other.value)}; }
  Vector shiftRight4() const { return {_mm_srli_epi64(value, 4)}; }
  Vector lookup(Vector nibbles) const { return {_mm_shuffle_epi8(value, nibbles.value)}; }
  /** The eight low bytes, then the eight high bytes. */
  Vector sortWords() const {
    return {_mm_shuffle_epi8(value, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15))};
  }
  Vector lowHalves(Vector other) const { return {_mm_unpacklo_epi64(value, other.value)}; }
  Vector highHalves(Vector other) const { return {_mm_unpackhi_epi64(value, other.value)}; }
  Vector interleaveLow(Vector other) const { return {_mm_unpacklo_epi8(value, other.value)}; }
  Vector interleaveHigh(Vector other) const { return {_mm_unpackhi_epi8(value, other.value)}; }
};

}  // namespace

#include "field_pshufb.h"

void cairn::runSsse3(const FieldJob& job) { runJob(job); }
#pragma GCC pop_options
#endif
