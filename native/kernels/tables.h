// Coefficients in the forms that kernels want them: nibble tables for pshufb, bit matrices for GF2P8AFFINEQB. Those of
// GF(2^8) are all made by the compiler; those of GF(2^16) are made for each job (some 50 ns a coefficient).
#pragma once

#include <array>
#include <cstdint>

namespace cairn {

constexpr uint32_t polynomial8 = 0x11d;
constexpr uint32_t polynomial16 = 0x1100b;

constexpr uint32_t timesX(uint32_t value, int bits) {
  value <<= 1;
  return value >> bits ? value ^ (bits == 8 ? polynomial8 : polynomial16) : value;
}

/** Products of the coefficient with all 16 values of each nibble: [low or high nibble of the byte][nibble]. */
struct NibbleTables8 {
  alignas(32) uint8_t product[2][16];
};

constexpr NibbleTables8 makeNibbleTables8(uint32_t coefficient) {
  NibbleTables8 tables{};
  uint32_t power = coefficient;
  for (int bit = 0; bit < 8; bit++, power = timesX(power, 8)) {
    for (int nibble = 0; nibble < 16; nibble++) {
      if ((nibble >> (bit % 4)) & 1) tables.product[bit / 4][nibble] ^= static_cast<uint8_t>(power);
    }
  }
  return tables;
}

constexpr std::array<NibbleTables8, 256> makeAllNibbleTables8() {
  std::array<NibbleTables8, 256> all{};
  for (uint32_t coefficient = 0; coefficient < 256; coefficient++) all[coefficient] = makeNibbleTables8(coefficient);
  return all;
}

/**
 * Multiplication by the coefficient as an 8 x 8 bit matrix in GF2P8AFFINEQB's layout: bit i of the result is the parity
 * of (byte 7-i of the matrix AND the operand). Column t of the matrix is coefficient * x^t.
 */
constexpr uint64_t makeBitMatrix8(uint32_t coefficient) {
  uint64_t matrix = 0;
  uint32_t power = coefficient;
  for (int column = 0; column < 8; column++, power = timesX(power, 8)) {
    for (int row = 0; row < 8; row++) matrix |= static_cast<uint64_t>((power >> row) & 1) << ((7 - row) * 8 + column);
  }
  return matrix;
}

constexpr std::array<uint64_t, 256> makeAllBitMatrices8() {
  std::array<uint64_t, 256> all{};
  for (uint32_t coefficient = 0; coefficient < 256; coefficient++) all[coefficient] = makeBitMatrix8(coefficient);
  return all;
}

/** Products with the 16 values of each nibble of a word: [result byte][nibble of the operand, lowest first][value]. */
struct NibbleTables16 {
  alignas(32) uint8_t product[2][4][16];
};

inline NibbleTables16 makeNibbleTables16(uint32_t coefficient) {
  NibbleTables16 tables;
  uint32_t power = coefficient;
  for (int nibble = 0; nibble < 4; nibble++) {
    uint32_t products[16] = {0};
    for (int bit = 0; bit < 4; bit++, power = timesX(power, 16)) {
      for (int value = 0; value < 1 << bit; value++) products[value | 1 << bit] = products[value] ^ power;
    }
    for (int value = 0; value < 16; value++) {
      tables.product[0][nibble][value] = static_cast<uint8_t>(products[value]);
      tables.product[1][nibble][value] = static_cast<uint8_t>(products[value] >> 8);
    }
  }
  return tables;
}

/** Byte t of the result has bit i where byte i of the operand has bit t (Hacker's Delight, 7-3). */
constexpr uint64_t transposeBits(uint64_t x) {
  uint64_t swap = (x ^ (x >> 7)) & 0x00aa00aa00aa00aaULL;
  x ^= swap ^ (swap << 7);
  swap = (x ^ (x >> 14)) & 0x0000cccc0000ccccULL;
  x ^= swap ^ (swap << 14);
  swap = (x ^ (x >> 28)) & 0x00000000f0f0f0f0ULL;
  return x ^ swap ^ (swap << 28);
}

/**
 * Multiplication by a coefficient of GF(2^16) as four 8 x 8 bit matrices, for vectors whose 128-bit lanes hold eight low
 * bytes, then their eight high bytes: `same` maps low bytes to low and high to high, `crossed` (applied to the vector
 * with the halves of each lane exchanged) maps high bytes to low and low to high.
 */
struct BitMatrices16 {
  uint64_t same[2];
  uint64_t crossed[2];
};

inline BitMatrices16 makeBitMatrices16(uint32_t coefficient) {
  uint64_t columns[2][2] = {{0, 0}, {0, 0}};  // [operand byte][result byte], one byte for each bit of the operand
  uint32_t power = coefficient;
  for (int operand = 0; operand < 2; operand++) {
    for (int bit = 0; bit < 8; bit++, power = timesX(power, 16)) {
      columns[operand][0] |= static_cast<uint64_t>(power & 0xff) << (8 * bit);
      columns[operand][1] |= static_cast<uint64_t>(power >> 8) << (8 * bit);
    }
  }
  auto matrix = [](uint64_t bytes) { return __builtin_bswap64(transposeBits(bytes)); };
  return {{matrix(columns[0][0]), matrix(columns[1][1])}, {matrix(columns[1][0]), matrix(columns[0][1])}};
}

}  // namespace cairn
