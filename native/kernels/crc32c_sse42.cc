// CRC32C by the CRC32 instruction. It has a latency of three and a throughput of one cycle, so three parts of the bytes
// are taken at once and their checksums joined by a carry-less multiplication with a power of x.
// Source: Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction" (Intel, 2011).
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "crc32c.h"
#include "kernels.h"

#pragma GCC push_options
#pragma GCC target("sse4.2,pclmul")
namespace {

using namespace cairn;

inline uint64_t word(const uint8_t* from) {
  uint64_t value;
  memcpy(&value, from, 8);
  return value;
}

/**
 * The state after `Bytes` more zero bytes. Of the carry-less product of two reflected 32-bit numbers, read as 64 bits,
 * the CRC32 instruction makes their product times x^33; hence the power.
 */
template <uint64_t Bytes>
inline uint64_t shift(uint64_t state) {
  constexpr uint32_t power = crcPower(8 * Bytes - 33);
  __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(state)), _mm_cvtsi32_si128(static_cast<int>(power)), 0);
  return _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(product)));
}

template <size_t PartBytes>
inline uint64_t threeParts(uint64_t state, const uint8_t*& bytes, size_t& length) {
  while (length >= 3 * PartBytes) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t at = 0; at < PartBytes; at += 8) {
      state = _mm_crc32_u64(state, word(bytes + at));
      second = _mm_crc32_u64(second, word(bytes + PartBytes + at));
      third = _mm_crc32_u64(third, word(bytes + 2 * PartBytes + at));
    }
    state = shift<2 * PartBytes>(state) ^ shift<PartBytes>(second) ^ third;
    bytes += 3 * PartBytes;
    length -= 3 * PartBytes;
  }
  return state;
}

}  // namespace

uint32_t cairn::crc32cSse42(uint32_t seed, const uint8_t* bytes, size_t length) {
  uint64_t state = ~seed;
  state = threeParts<1360>(state, bytes, length);  // three parts of a 4 KiB block, but for 16 bytes
  state = threeParts<160>(state, bytes, length);
  for (; length >= 8; bytes += 8, length -= 8) state = _mm_crc32_u64(state, word(bytes));
  uint32_t rest = static_cast<uint32_t>(state);
  for (; length > 0; bytes++, length--) rest = _mm_crc32_u8(rest, *bytes);
  return ~rest;
}
#pragma GCC pop_options
#endif
