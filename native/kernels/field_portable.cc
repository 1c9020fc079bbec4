// Plain C++, for every processor: a table of products for each byte of a word.
#include <cstring>

#include "kernels.h"
#include "tables.h"

namespace {

using namespace cairn;

/** products[i][byte]: coefficient * (byte << 8i). */
template <int Bits, typename Word>
struct ProductTables {
  Word products[Bits / 8][256];

  explicit ProductTables(uint32_t coefficient) {
    uint32_t power = coefficient;
    for (auto& table : products) {
      table[0] = 0;
      for (int bit = 0; bit < 8; bit++, power = timesX(power, Bits)) {
        for (int value = 0; value < 1 << bit; value++) table[value | 1 << bit] = table[value] ^ static_cast<Word>(power);
      }
    }
  }
};

void addBytes(uint8_t* target, const uint8_t* source, size_t length) {
  size_t at = 0;
  for (; length - at >= 8; at += 8) {
    uint64_t sum, bytes;
    memcpy(&sum, target + at, 8);
    memcpy(&bytes, source + at, 8);
    sum ^= bytes;
    memcpy(target + at, &sum, 8);
  }
  for (; at < length; at++) target[at] ^= source[at];
}

/** target = coefficient * source, or where Add, target += coefficient * source. In place is right, too. */
template <bool Add>
void multiply8(uint8_t* target, const uint8_t* source, size_t length, uint32_t coefficient) {
  const ProductTables<8, uint8_t> tables(coefficient);
  for (size_t at = 0; at < length; at++) target[at] = (Add ? target[at] : 0) ^ tables.products[0][source[at]];
}

template <bool Add>
void multiply16(uint8_t* target, const uint8_t* source, size_t length, uint32_t coefficient) {
  const ProductTables<16, uint16_t> tables(coefficient);
  for (size_t at = 0; at < length; at += 2) {
    uint16_t product = tables.products[0][source[at]] ^ tables.products[1][source[at + 1]];
    target[at] = (Add ? target[at] : 0) ^ static_cast<uint8_t>(product);
    target[at + 1] = (Add ? target[at + 1] : 0) ^ static_cast<uint8_t>(product >> 8);
  }
}

void multiplyAdd(int bits, uint8_t* target, const uint8_t* source, size_t length, uint32_t coefficient, bool add) {
  if (coefficient == 0) {
    if (!add) memset(target, 0, length);
  } else if (coefficient == 1) {
    if (add) {
      addBytes(target, source, length);
    } else {
      memmove(target, source, length);
    }
  } else if (bits == 8) {
    (add ? multiply8<true> : multiply8<false>)(target, source, length, coefficient);
  } else {
    (add ? multiply16<true> : multiply16<false>)(target, source, length, coefficient);
  }
}

}  // namespace

void cairn::runPortable(const FieldJob& job) {
  for (size_t row = 0; row < job.rows; row++) {
    if (job.columns == 0 && !job.accumulate) memset(job.targets[row], 0, job.length);
    for (size_t column = 0; column < job.columns; column++) {
      multiplyAdd(job.bits, job.targets[row], job.sources[column], job.length, job.coefficients[row * job.columns + column],
                  job.accumulate || column > 0);
    }
  }
}
