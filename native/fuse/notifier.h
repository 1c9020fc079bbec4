// The threads that write notifications (invalidations) to /dev/fuse. They must not be written from the JavaScript
// thread: the kernel takes the folio or directory lock while it handles one, and a request that holds this lock may be
// waiting for the JavaScript thread. There are several, started as they are needed, because one that sits behind such a
// lock must not hold up notifications on which the lock's release depends. So notifications have no order.
//
// Threads: `push` and `takeCompletions` are called on the JavaScript thread, `work` runs on the notifier's own.
// The descriptor is shared (see Descriptor) so that it is closed only when no thread may still write to it.
#pragma once
#include <uv.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

namespace cairn {

/** /dev/fuse's descriptor; closed when the last owner lets go. Closing it ends the connection. */
struct Descriptor {
  int fd;
  explicit Descriptor(int number) : fd(number) {}
  Descriptor(const Descriptor&) = delete;
  ~Descriptor();
};

struct Completion {
  uint32_t id;
  int error;
};

class Notifier : public std::enable_shared_from_this<Notifier> {
 public:
  Notifier(std::shared_ptr<Descriptor> descriptor, uv_async_t* wake, size_t limit);
  ~Notifier();
  /** Starts a thread. 0, or the errno of pthread_create. */
  int start();
  /** False when `limit` notifications are waiting. */
  bool push(uint32_t id, std::vector<uint8_t> message);
  std::vector<Completion> takeCompletions();
  /** Each thread ends after the notification that it is writing; those waiting are dropped. `wake` is not used afterwards. */
  void stop();

 private:
  struct Message {
    uint32_t id;
    std::vector<uint8_t> bytes;
  };
  static void* run(void* self);
  void work();

  std::shared_ptr<Descriptor> descriptor_;
  uv_async_t* wake_;
  size_t limit_;
  uv_mutex_t mutex_;
  uv_cond_t changed_;
  std::deque<Message> waiting_;
  std::vector<Completion> done_;
  int threads_ = 0;
  int idle_ = 0;
  bool stopping_ = false;
};

}  // namespace cairn
