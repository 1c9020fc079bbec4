#include "vigil.h"

#include <sched.h>

namespace cairn {
namespace {

/** What a vigil in vain costs of the credit; a request that it meets earns 1. */
constexpr int kVainCost = 4;
/** Without credit, one of 64 requests begins a vigil all the same; each that is in vain doubles the number, up to this. */
constexpr uint32_t kPauseMax = 4096;

}  // namespace

void Vigil::init(uv_loop_t* loop, void* owner) {
  uv_idle_init(loop, &idle_);
  uv_unref(handle());
  idle_.data = owner;
}

void Vigil::setLength(uint64_t microseconds) {
  lengthNs_ = microseconds * 1000;
  stop();
}

void Vigil::received() {
  if (keeping_) {
    pause_ = kPauseMin;
    if (credit_ < kCreditMax) credit_++;
  }
  keep();
}

void Vigil::replied() {
  if (keeping_) keep();
}

void Vigil::keep() {
  if (lengthNs_ == 0) return;
  if (!keeping_) {
    if (credit_ == 0 && ++skipped_ < pause_) return;
    skipped_ = 0;
    keeping_ = true;
    uv_idle_start(&idle_, turn);
  }
  endNs_ = uv_hrtime() + lengthNs_;
}

void Vigil::turn(uv_idle_t* idle) {
  auto* vigil = reinterpret_cast<Vigil*>(idle);
  if (uv_hrtime() < vigil->endNs_) {
    sched_yield();
    return;
  }
  if (vigil->credit_ == 0 && vigil->pause_ < kPauseMax) vigil->pause_ *= 2;
  vigil->credit_ = vigil->credit_ > kVainCost ? vigil->credit_ - kVainCost : 0;
  vigil->stop();
}

void Vigil::stop() {
  uv_idle_stop(&idle_);
  keeping_ = false;
}

}  // namespace cairn
