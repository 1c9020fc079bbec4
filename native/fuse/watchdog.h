// The thread that ends a connection when the JavaScript thread cannot: it is stuck in the kernel on the mount that it
// serves, an unmount does not come to an end, or the process exits. Ending the connection makes the kernel answer every
// request with an error, which also frees a JavaScript thread that waits for one.
//
// It counts its own wake-ups, not time, so a stopped (SIGSTOP) process is not taken for a stuck one.
#pragma once
#include <uv.h>

#include <atomic>
#include <memory>
#include <string>

namespace cairn {

class Watchdog : public std::enable_shared_from_this<Watchdog> {
 public:
  /** stuckSeconds: seconds without beat() after which the connection is ended; 0: never. */
  Watchdog(std::string mountpoint, std::string abortFile, uint32_t stuckSeconds);
  ~Watchdog();
  int start();
  /** The event loop is alive. */
  void beat() { silentSeconds_ = 0; }
  /** Ends the connection unless disarm() or stop() comes within so many seconds; 0: now. */
  void arm(uint32_t seconds);
  void disarm();
  /** The mount is off the tree: its path may by now be another mount's, and is left alone from here on. */
  void forgetMountpoint();
  void stop();
  bool fired() const { return fired_; }
  /** Ends the connection and takes the mount off the tree; on the calling thread, for a process that exits. */
  void abandon();

 private:
  static void* run(void* self);
  void work();
  void abortConnection(const char* reason);

  std::string mountpoint_;
  std::string abortFile_;
  uint32_t stuckSeconds_;
  std::atomic<uint32_t> silentSeconds_{0};
  std::atomic<bool> fired_{false};
  uv_mutex_t mutex_;
  uv_cond_t changed_;
  int64_t armedSeconds_ = -1;
  bool stopping_ = false;
};

}  // namespace cairn
