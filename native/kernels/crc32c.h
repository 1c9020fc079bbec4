// Arithmetic of CRC32C: polynomials over GF(2) modulo Castagnoli's, bit-reflected (bit 31 of a number is x^0), so that
// the first byte of a buffer read little-endian holds the highest powers.
#pragma once

#include <array>
#include <cstdint>

namespace cairn {

constexpr uint32_t crcPolynomial = 0x82f63b78;

constexpr uint32_t crcTimesX(uint32_t value) { return value & 1 ? (value >> 1) ^ crcPolynomial : value >> 1; }

constexpr uint32_t crcMultiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int bit = 31; bit >= 0; bit--, b = crcTimesX(b)) {
    if ((a >> bit) & 1) product ^= b;
  }
  return product;
}

/** x^power modulo the polynomial. */
constexpr uint32_t crcPower(uint64_t power) {
  uint32_t result = 0x80000000;
  uint32_t square = 0x40000000;
  for (; power > 0; power >>= 1, square = crcMultiply(square, square)) {
    if (power & 1) result = crcMultiply(result, square);
  }
  return result;
}

/** tables[i][byte]: the checksum's change by a byte that i further bytes follow. */
constexpr std::array<std::array<uint32_t, 256>, 8> makeCrcTables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; bit++) value = crcTimesX(value);
    tables[0][byte] = value;
  }
  for (int i = 1; i < 8; i++) {
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint32_t value = tables[i - 1][byte];
      tables[i][byte] = (value >> 8) ^ tables[0][value & 0xff];
    }
  }
  return tables;
}

}  // namespace cairn
