#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

extern char** environ;

namespace cairn {
namespace {
constexpr uint64_t kSecond = 1'000'000'000;
}

Watchdog::Watchdog(std::string mountpoint, std::string abortFile, uint32_t stuckSeconds)
    : mountpoint_(std::move(mountpoint)), abortFile_(std::move(abortFile)), stuckSeconds_(stuckSeconds) {
  uv_mutex_init(&mutex_);
  uv_cond_init(&changed_);
}

Watchdog::~Watchdog() {
  uv_cond_destroy(&changed_);
  uv_mutex_destroy(&mutex_);
}

int Watchdog::start() {
  auto* self = new std::shared_ptr<Watchdog>(shared_from_this());
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  int error = pthread_create(&thread, nullptr, run, self);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error) {
    delete self;
    return error;
  }
  pthread_detach(thread);
  return 0;
}

void* Watchdog::run(void* data) {
  auto* self = static_cast<std::shared_ptr<Watchdog>*>(data);
  (*self)->work();
  delete self;
  return nullptr;
}

void Watchdog::work() {
  uv_mutex_lock(&mutex_);
  while (!stopping_) {
    if (armedSeconds_ == 0) {
      armedSeconds_ = -1;
      uv_mutex_unlock(&mutex_);
      abortConnection("the mount did not end in time");
      uv_mutex_lock(&mutex_);
      continue;
    }
    bool slept = uv_cond_timedwait(&changed_, &mutex_, kSecond) != 0;
    if (!slept) continue;
    if (armedSeconds_ > 0) armedSeconds_--;
    uint32_t silent = ++silentSeconds_;
    if (stuckSeconds_ == 0 || silent != stuckSeconds_) continue;
    uv_mutex_unlock(&mutex_);
    abortConnection("the event loop does not answer");
    uv_mutex_lock(&mutex_);
  }
  uv_mutex_unlock(&mutex_);
}

void Watchdog::forgetMountpoint() {
  uv_mutex_lock(&mutex_);
  mountpoint_.clear();
  uv_mutex_unlock(&mutex_);
}

// MNT_FORCE aborts the connection even where it then returns EBUSY; it needs CAP_SYS_ADMIN. The file of fusectl
// belongs to whoever mounted, but fusectl is not mounted everywhere. So both.
void Watchdog::abortConnection(const char* reason) {
  uv_mutex_lock(&mutex_);
  std::string mountpoint = mountpoint_;
  uv_mutex_unlock(&mutex_);
  fired_ = true;
  fprintf(stderr, "cairn: %s: %s; ending the connection to the kernel\n", mountpoint.c_str(), reason);
  int fd = open(abortFile_.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (write(fd, "1", 1) < 0) fprintf(stderr, "cairn: %s: errno %d\n", abortFile_.c_str(), errno);
    close(fd);
  }
  if (!mountpoint.empty()) umount2(mountpoint.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW);
}

void Watchdog::abandon() {
  int fd = open(abortFile_.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    (void)!write(fd, "1", 1);
    close(fd);
  }
  if (mountpoint_.empty()) return;
  umount2(mountpoint_.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW);
  if (umount2(mountpoint_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || errno != EPERM) return;
  const char* command[] = {"fusermount3", "-u", "-z", "-q", "--", mountpoint_.c_str(), nullptr};
  pid_t child;
  posix_spawnp(&child, command[0], nullptr, nullptr, const_cast<char**>(command), environ);
}

void Watchdog::arm(uint32_t seconds) {
  uv_mutex_lock(&mutex_);
  armedSeconds_ = seconds;
  uv_cond_signal(&changed_);
  uv_mutex_unlock(&mutex_);
}

void Watchdog::disarm() {
  uv_mutex_lock(&mutex_);
  armedSeconds_ = -1;
  uv_mutex_unlock(&mutex_);
}

void Watchdog::stop() {
  uv_mutex_lock(&mutex_);
  stopping_ = true;
  uv_cond_signal(&changed_);
  uv_mutex_unlock(&mutex_);
}

}  // namespace cairn
