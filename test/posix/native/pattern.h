// Bytes that follow from their place and a tag, and digests that follow from bytes and their places.
#pragma once
#include "probe.h"

/** Bytes for the places from `at` on. */
void makePattern(char* to, size_t length, uint64_t at, uint64_t tag);

/** A sum over bytes and their places. Zeros do not count, so holes may be left out and pieces may be of any length. */
class Digest {
 public:
  explicit Digest(uint64_t at) : at_(at) {}
  void add(const char* bytes, size_t length);
  /** What follows lies at another place. */
  void moveTo(uint64_t at) { at_ = at; }
  std::string text() const;

 private:
  uint64_t at_;
  uint64_t sum_ = 0;
};
