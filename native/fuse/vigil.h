// Keeps the event loop turning for a moment after each request and each reply, instead of letting it go to sleep: a program
// that works through a tree asks again within microseconds, a disk answers within 100, and to wake a processor that sleeps
// takes longer than most answers (30 us and more on a virtual machine).
//
// In each turn the processor is offered to others (sched_yield), so it costs what would be idle. Vigils in vain (programs
// that think longer, a machine whose processors all have work) are given up: patience.h.
//
// Everything runs on the JavaScript thread.
#pragma once
#include <uv.h>

#include <cstdint>

#include "../patience.h"

namespace cairn {

class Vigil {
 public:
  /** Off until setLength. `owner` becomes the handle's data. */
  void init(uv_loop_t* loop, void* owner);
  /** 0: no vigils. */
  void setLength(uint64_t microseconds);
  void received();
  void replied();
  void stop();
  uv_handle_t* handle() { return reinterpret_cast<uv_handle_t*>(&idle_); }

 private:
  static void turn(uv_idle_t* idle);
  void keep();

  /** First, so that its address is the vigil's. */
  uv_idle_t idle_;
  uint64_t lengthNs_ = 0;
  uint64_t endNs_ = 0;
  bool keeping_ = false;
  Patience patience_;
};

}  // namespace cairn
