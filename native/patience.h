// Whether it pays to wait awake: a count of how often it did lately. Where waits end in vain they are given up, and tried
// again ever more rarely.
#pragma once
#include <cstdint>

namespace cairn {

class Patience {
 public:
  /** Whether to wait awake now. */
  bool begins() {
    if (credit_ == 0 && ++skipped_ < pause_) return false;
    skipped_ = 0;
    return true;
  }

  /** What was waited for came. */
  void paid() {
    pause_ = kPauseMin;
    if (credit_ < kCreditMax) credit_++;
  }

  void inVain() {
    if (credit_ == 0 && pause_ < kPauseMax) pause_ *= 2;
    credit_ = credit_ > kVainCost ? credit_ - kVainCost : 0;
  }

 private:
  static constexpr int kCreditMax = 16;
  /** What a wait in vain costs of the credit; one that paid earns 1. */
  static constexpr int kVainCost = 4;
  /** Without credit, one of 64 occasions begins a wait all the same; each that is in vain doubles the number, up to kPauseMax. */
  static constexpr uint32_t kPauseMin = 64;
  static constexpr uint32_t kPauseMax = 4096;

  int credit_ = kCreditMax;
  uint32_t pause_ = kPauseMin;
  uint32_t skipped_ = 0;
};

}  // namespace cairn
