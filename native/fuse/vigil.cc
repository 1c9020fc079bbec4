#include "vigil.h"

#include <sched.h>

namespace cairn {

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
  if (keeping_) patience_.paid();
  keep();
}

void Vigil::replied() {
  if (keeping_) keep();
}

void Vigil::keep() {
  if (lengthNs_ == 0) return;
  if (!keeping_) {
    if (!patience_.begins()) return;
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
  vigil->patience_.inVain();
  vigil->stop();
}

void Vigil::stop() {
  uv_idle_stop(&idle_);
  keeping_ = false;
}

}  // namespace cairn
