#include "notifier.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace cairn {

/** Notifications that may sit behind a lock at the same time without holding up others. */
static constexpr int THREADS_MAX = 128;
static constexpr size_t STACK_BYTES = 256 * 1024;

Descriptor::~Descriptor() { close(fd); }

Notifier::Notifier(std::shared_ptr<Descriptor> descriptor, uv_async_t* wake, size_t limit)
    : descriptor_(std::move(descriptor)), wake_(wake), limit_(limit) {
  uv_mutex_init(&mutex_);
  uv_cond_init(&changed_);
}

Notifier::~Notifier() {
  uv_cond_destroy(&changed_);
  uv_mutex_destroy(&mutex_);
}

int Notifier::start() {
  auto* self = new std::shared_ptr<Notifier>(shared_from_this());
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  pthread_t thread;
  int error = pthread_create(&thread, &attributes, run, self);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error) {
    delete self;
    return error;
  }
  // Detached: it may sit in the kernel behind a lock for a while, and nobody on the JavaScript thread may wait for it.
  pthread_detach(thread);
  uv_mutex_lock(&mutex_);
  threads_++;
  uv_mutex_unlock(&mutex_);
  return 0;
}

void* Notifier::run(void* data) {
  auto* self = static_cast<std::shared_ptr<Notifier>*>(data);
  (*self)->work();
  delete self;
  return nullptr;
}

void Notifier::work() {
  uv_mutex_lock(&mutex_);
  while (!stopping_) {
    if (waiting_.empty()) {
      idle_++;
      uv_cond_wait(&changed_, &mutex_);
      idle_--;
      continue;
    }
    Message message = std::move(waiting_.front());
    waiting_.pop_front();
    uv_mutex_unlock(&mutex_);
    ssize_t written;
    do written = write(descriptor_->fd, message.bytes.data(), message.bytes.size());
    while (written < 0 && errno == EINTR);
    int error = written < 0 ? errno : 0;
    uv_mutex_lock(&mutex_);
    done_.push_back({message.id, error});
    if (!stopping_) uv_async_send(wake_);
  }
  uv_mutex_unlock(&mutex_);
}

bool Notifier::push(uint32_t id, std::vector<uint8_t> message) {
  uv_mutex_lock(&mutex_);
  bool room = waiting_.size() < limit_ && !stopping_;
  if (room) waiting_.push_back({id, std::move(message)});
  // One that is idle may not have got up yet for an earlier notification.
  bool more = room && waiting_.size() > static_cast<size_t>(idle_) && threads_ < THREADS_MAX;
  uv_cond_signal(&changed_);
  uv_mutex_unlock(&mutex_);
  // Without another thread it waits for one of those that there are.
  if (more) start();
  return room;
}

std::vector<Completion> Notifier::takeCompletions() {
  std::vector<Completion> taken;
  uv_mutex_lock(&mutex_);
  taken.swap(done_);
  uv_mutex_unlock(&mutex_);
  return taken;
}

void Notifier::stop() {
  uv_mutex_lock(&mutex_);
  stopping_ = true;
  waiting_.clear();
  uv_cond_broadcast(&changed_);
  uv_mutex_unlock(&mutex_);
}

}  // namespace cairn
