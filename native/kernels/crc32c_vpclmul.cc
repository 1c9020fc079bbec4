// CRC32C by VPCLMULQDQ on AVX-512: 256 bytes at a time are folded onto the next 256 by carry-less multiplication, four
// vectors in flight; what is left is 16 bytes, whose checksum the CRC32 instruction takes.
// Source: Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009).
#if defined(__x86_64__)
// GCC 12 warns of its own headers here (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "crc32c.h"
#include "kernels.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,vpclmulqdq,pclmul,sse4.2")
namespace {

using namespace cairn;

/** Below this the folding's beginning and end cost more than they save (measured: bench coding). */
constexpr size_t foldFromBytes = 512;

/** From here on it pays to begin at a cache line. */
constexpr size_t alignFromBytes = 32 * 1024;

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
  const __m512i by64 = _mm512_broadcast_i32x4(powers<512>());
  const __m128i by16 = powers<128>();
  __m512i state0 = _mm512_xor_si512(load(bytes), _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~seed))));
  __m512i state1 = load(bytes + 64), state2 = load(bytes + 128), state3 = load(bytes + 192);
  bytes += 256;
  length -= 256;
  for (; length >= 256; bytes += 256, length -= 256) {
    state0 = fold(state0, load(bytes), by256);
    state1 = fold(state1, load(bytes + 64), by256);
    state2 = fold(state2, load(bytes + 128), by256);
    state3 = fold(state3, load(bytes + 192), by256);
  }
  // All at once, each over its own distance: one after the other, they would wait for each other.
  __m512i state = fold(state0, state3, _mm512_broadcast_i32x4(powers<3 * 512>()));
  state = fold(state1, state, _mm512_broadcast_i32x4(powers<2 * 512>()));
  state = fold(state2, state, by64);
  for (; length >= 64; bytes += 64, length -= 64) state = fold(state, load(bytes), by64);
  const __m512i lanePowers = _mm512_inserti32x4(
      _mm512_inserti32x4(_mm512_zextsi128_si512(powers<3 * 128>()), powers<2 * 128>(), 1), by16, 2);  // nothing for the last lane
  __m512i folded = _mm512_xor_si512(_mm512_clmulepi64_epi128(state, lanePowers, 0x00), _mm512_clmulepi64_epi128(state, lanePowers, 0x11));
  __m128i lane = _mm_ternarylogic_epi64(_mm512_castsi512_si128(folded), _mm512_extracti32x4_epi32(folded, 1),
                                        _mm512_extracti32x4_epi32(folded, 2), 0x96);
  lane = _mm_xor_si128(lane, _mm512_extracti32x4_epi32(state, 3));
  for (; length >= 16; bytes += 16, length -= 16) lane = fold(lane, _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)), by16);
  uint64_t crc = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_extract_epi64(lane, 0)));
  crc = _mm_crc32_u64(crc, static_cast<uint64_t>(_mm_extract_epi64(lane, 1)));
  return crc32cSse42(~static_cast<uint32_t>(crc), bytes, length);
}
#pragma GCC pop_options
#endif
