// CRC32C by VPCLMULQDQ on AVX-512: 256 bytes at a time are folded onto the next 256 by carry-less multiplication, four
// vectors in flight; what is left is 16 bytes, whose checksum the CRC32 instruction takes. Folding leaves that instruction's
// unit idle, so of buffers that are likely to be in the caches it takes a third of the bytes in the same loop (`mixed`).
// Source: Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009).
#if defined(__x86_64__)
// GCC 12 warns of its own headers here (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstring>

#include "crc32c.h"
#include "kernels.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,vpclmulqdq,pclmul,sse4.2")
namespace {

using namespace cairn;

/** Below this the folding's beginning and end cost more than they save (measured: bench coding). */
constexpr size_t foldFromBytes = 512;

/** From here on it pays to begin at a cache line: large buffers of Node begin 16 bytes after one. 16 KiB of such are a tenth faster so. */
constexpr size_t alignFromBytes = 8 * 1024;

/**
 * From here on only folding, which reads in order: of so much a good part comes from memory, where that is up to 5 % faster,
 * while mixing is 16 % faster in the second-level cache.
 */
constexpr size_t foldOnlyFromBytes = 256 * 1024;

/**
 * One round of mixing: four streams of the CRC32 instruction over 256 bytes each, then 2 KiB of folding. Less than a page, so that the
 * processor's prefetching sees one stream: rounds of 16 KiB are 3 % faster in the cache and half as fast from memory.
 */
constexpr size_t mixedSteps = 8;
constexpr size_t streamStepBytes = 32;
constexpr size_t streamBytes = mixedSteps * streamStepBytes;
constexpr size_t mixedBytes = 4 * streamBytes + mixedSteps * 256;

/** Powers that carry a 128-bit lane over `Bits` bits, for its first (higher powers) and second 64 bits; +-32 as the operand is 64 and the power 32 bits wide, and one position for the reflection. */
template <uint64_t Bits>
inline __m128i powers() {
  constexpr uint64_t first = static_cast<uint64_t>(crcPower(Bits + 32)) << 1;
  constexpr uint64_t second = static_cast<uint64_t>(crcPower(Bits - 32)) << 1;
  return _mm_set_epi64x(static_cast<int64_t>(second), static_cast<int64_t>(first));
}

inline __m512i fold(__m512i state, __m512i next, __m512i power) {
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(state, power, 0x00), _mm512_clmulepi64_epi128(state, power, 0x11), next, 0x96);
}

inline __m128i fold(__m128i state, __m128i next, __m128i power) {
  return _mm_ternarylogic_epi64(_mm_clmulepi64_si128(state, power, 0x00), _mm_clmulepi64_si128(state, power, 0x11), next, 0x96);
}

inline __m512i load(const uint8_t* from) { return _mm512_loadu_si512(from); }

inline uint64_t word(const uint8_t* from) {
  uint64_t value;
  memcpy(&value, from, 8);
  return value;
}

/** The four vectors in flight: what all bytes so far amount to, as if they were the last 256 of them. */
struct Folded {
  __m512i first, second, third, fourth;
};

inline void foldNext(Folded& state, const uint8_t* bytes, __m512i power) {
  state.first = fold(state.first, load(bytes), power);
  state.second = fold(state.second, load(bytes + 64), power);
  state.third = fold(state.third, load(bytes + 128), power);
  state.fourth = fold(state.fourth, load(bytes + 192), power);
}

/** A CRC32 stream's state, that `Bytes` bytes follow, as the last 8 of these bytes would bring it about; see `shift` in crc32c_sse42.cc. */
template <uint64_t Bytes>
inline __m128i carried(uint64_t state) {
  constexpr uint32_t power = crcPower(8 * Bytes - 33);
  return _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(state)), _mm_cvtsi32_si128(static_cast<int>(power)), 0);
}

/** Takes mixedBytes into the state: first the four streams' parts, one after the other, then what is folded. */
inline void mixed(Folded& state, const uint8_t* bytes, __m512i by256) {
  const uint8_t* folding = bytes + 4 * streamBytes;
  uint64_t stream0 = 0, stream1 = 0, stream2 = 0, stream3 = 0;
  __m512i power = _mm512_broadcast_i32x4(powers<8 * (256 + 4 * streamBytes)>());  // over the streams' parts, too
  for (size_t step = 0; step < mixedSteps; step++, folding += 256, bytes += streamStepBytes) {
    foldNext(state, folding, power);
#pragma GCC unroll 4
    for (size_t at = 0; at < streamStepBytes; at += 8) {
      stream0 = _mm_crc32_u64(stream0, word(bytes + at));
      stream1 = _mm_crc32_u64(stream1, word(bytes + streamBytes + at));
      stream2 = _mm_crc32_u64(stream2, word(bytes + 2 * streamBytes + at));
      stream3 = _mm_crc32_u64(stream3, word(bytes + 3 * streamBytes + at));
    }
    power = by256;
  }
  __m128i former = _mm_xor_si128(carried<mixedBytes - streamBytes>(stream0), carried<mixedBytes - 2 * streamBytes>(stream1));
  __m128i latter = _mm_xor_si128(carried<mixedBytes - 3 * streamBytes>(stream2), carried<mixedBytes - 4 * streamBytes>(stream3));
  state.fourth = _mm512_xor_si512(state.fourth, _mm512_maskz_broadcastq_epi64(0x80, _mm_xor_si128(former, latter)));
}

/** The four vectors as one of 16 bytes, with all further whole 16 bytes. */
inline __m128i lastLane(const Folded& folded, const uint8_t*& bytes, size_t& length) {
  const __m512i by64 = _mm512_broadcast_i32x4(powers<512>());
  const __m128i by16 = powers<128>();
  // All at once, each over its own distance: one after the other, they would wait for each other.
  __m512i state = fold(folded.first, folded.fourth, _mm512_broadcast_i32x4(powers<3 * 512>()));
  state = fold(folded.second, state, _mm512_broadcast_i32x4(powers<2 * 512>()));
  state = fold(folded.third, state, by64);
  for (; length >= 64; bytes += 64, length -= 64) state = fold(state, load(bytes), by64);
  const __m512i lanePowers = _mm512_inserti32x4(
      _mm512_inserti32x4(_mm512_zextsi128_si512(powers<3 * 128>()), powers<2 * 128>(), 1), by16, 2);  // nothing for the last lane
  __m512i lanes = _mm512_xor_si512(_mm512_clmulepi64_epi128(state, lanePowers, 0x00), _mm512_clmulepi64_epi128(state, lanePowers, 0x11));
  __m128i lane = _mm_ternarylogic_epi64(_mm512_castsi512_si128(lanes), _mm512_extracti32x4_epi32(lanes, 1),
                                        _mm512_extracti32x4_epi32(lanes, 2), 0x96);
  lane = _mm_xor_si128(lane, _mm512_extracti32x4_epi32(state, 3));
  for (; length >= 16; bytes += 16, length -= 16) lane = fold(lane, _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)), by16);
  return lane;
}

}  // namespace

uint32_t cairn::crc32cVpclmul(uint32_t seed, const uint8_t* bytes, size_t length) {
  if (length < foldFromBytes) return crc32cSse42(seed, bytes, length);
  size_t head = -reinterpret_cast<uintptr_t>(bytes) % 64;
  if (head > 0 && length >= alignFromBytes) {
    seed = crc32cSse42(seed, bytes, head);
    bytes += head;
    length -= head;
  }
  const __m512i by256 = _mm512_broadcast_i32x4(powers<2048>());
  const __m512i begun = _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~seed)));
  Folded state{_mm512_xor_si512(load(bytes), begun), load(bytes + 64), load(bytes + 128), load(bytes + 192)};
  bytes += 256;
  length -= 256;
  if (length < foldOnlyFromBytes) {
    for (; length >= mixedBytes; bytes += mixedBytes, length -= mixedBytes) mixed(state, bytes, by256);
  }
  for (; length >= 256; bytes += 256, length -= 256) foldNext(state, bytes, by256);
  __m128i lane = lastLane(state, bytes, length);
  uint64_t crc = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_extract_epi64(lane, 0)));
  crc = _mm_crc32_u64(crc, static_cast<uint64_t>(_mm_extract_epi64(lane, 1)));
  return crc32cSse42(~static_cast<uint32_t>(crc), bytes, length);
}
#pragma GCC pop_options
#endif
