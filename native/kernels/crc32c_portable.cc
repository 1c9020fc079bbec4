// CRC32C by tables, eight bytes at a time, and the combination of checksums.
#include "crc32c.h"
#include "kernels.h"

namespace {
constexpr auto tables = cairn::makeCrcTables();
}

uint32_t cairn::crc32cPortable(uint32_t seed, const uint8_t* bytes, size_t length) {
  uint32_t state = ~seed;
  for (; length >= 8; bytes += 8, length -= 8) {
    state = tables[7][(state ^ bytes[0]) & 0xff] ^ tables[6][((state >> 8) ^ bytes[1]) & 0xff] ^
            tables[5][((state >> 16) ^ bytes[2]) & 0xff] ^ tables[4][(state >> 24) ^ bytes[3]] ^ tables[3][bytes[4]] ^
            tables[2][bytes[5]] ^ tables[1][bytes[6]] ^ tables[0][bytes[7]];
  }
  for (; length > 0; bytes++, length--) state = (state >> 8) ^ tables[0][(state ^ *bytes) & 0xff];
  return ~state;
}

/** The checksum of A followed by lengthB zero bits is a's times a power of x; the inversions before and after cancel out. */
uint32_t cairn::crc32cCombine(uint32_t a, uint32_t b, uint64_t lengthB) { return crcMultiply(a, crcPower(lengthB * 8)) ^ b; }
