// What the kernels offer to the module. Kernels include no Node header, allocate nothing, keep no state, and so run on
// any thread; all checking of lengths, coefficients and overlaps has happened before they are called.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cairn {

/** targets[row] = (accumulate ? targets[row] : 0) + sum over column of coefficients[row * columns + column] * sources[column]. */
struct FieldJob {
  /** 8: bytes over GF(2^8), polynomial 0x11D. 16: little-endian words over GF(2^16), polynomial 0x1100B; length is even. */
  int bits;
  size_t rows;
  size_t columns;
  const uint16_t* coefficients;
  const uint8_t* const* sources;
  uint8_t* const* targets;
  size_t length;
  bool accumulate;
};

/** CRC32C (RFC 3720, reflected polynomial 0x82F63B78) of the bytes, going on from the checksum `seed` of what came before; 0 to begin. */
using Crc32c = uint32_t (*)(uint32_t seed, const uint8_t* bytes, size_t length);

struct KernelVariant {
  const char* name;
  bool (*supported)();
  void (*run)(const FieldJob& job);
  Crc32c crc32c;
};

/** Fastest first. Those after `portable` do not exist: it is supported everywhere. */
extern const KernelVariant variants[];
extern const size_t variantCount;

void runPortable(const FieldJob& job);
uint32_t crc32cPortable(uint32_t seed, const uint8_t* bytes, size_t length);
uint32_t crc32cCombine(uint32_t a, uint32_t b, uint64_t lengthB);

#if defined(__x86_64__)
void runGfni(const FieldJob& job);
void runAvx2(const FieldJob& job);
void runSsse3(const FieldJob& job);
uint32_t crc32cSse42(uint32_t seed, const uint8_t* bytes, size_t length);
uint32_t crc32cVpclmul(uint32_t seed, const uint8_t* bytes, size_t length);
#endif

}  // namespace cairn
