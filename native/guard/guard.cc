// cairn-guard MOUNTPOINT MINOR PARENT ABORT_FILE: ends a FUSE connection when the process that served it is dead.
//
// The kernel ends a connection when the last descriptor of it is closed. But a killed process keeps its descriptors as
// long as one of its threads sits in the kernel, and a thread that drops a page waits for the page's lock, which a
// request holds that the dead process will never answer. Its programs, its lock on the store and it itself would wait for ever.
//
// This process holds nothing: no descriptor, no directory. It is told of its parent's death by a signal. It does nothing
// where another filesystem is mounted there meanwhile, and leaves the mount itself in place: programs are told "Transport
// endpoint is not connected", as after any other death, rather than shown an empty directory.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr int kDeathSignal = SIGUSR1;
/** The signal comes while the parent dies; it is seen to be dead at the latest so much later. */
constexpr int kDyingLooksMax = 500;
constexpr long kDyingLookNs = 10'000'000;

/** Whether the process is gone, or dead and not collected: its first thread is, whatever the others do. */
bool isDead(pid_t process) {
  char file[64], text[512];
  snprintf(file, sizeof file, "/proc/%d/stat", static_cast<int>(process));
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return true;
  text[length] = 0;
  // The name before the state may have spaces and parentheses.
  const char* state = nullptr;
  for (const char* at = text; *at; at++)
    if (*at == ')') state = at + 2;
  return state && (*state == 'Z' || *state == 'X');
}

bool diesNow(pid_t parent) {
  for (int look = 0; look < kDyingLooksMax; look++) {
    if (getppid() != parent || isDead(parent)) return true;
    timespec pause{0, kDyingLookNs};
    nanosleep(&pause, nullptr);
  }
  return false;
}

void waitForDeath(pid_t parent) {
  sigset_t death;
  sigemptyset(&death);
  sigaddset(&death, kDeathSignal);
  while (getppid() == parent && !isDead(parent)) {
    if (sigwaitinfo(&death, nullptr) == kDeathSignal && diesNow(parent)) return;
  }
}

bool abortByFile(const char* abortFile) {
  int fd = open(abortFile, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool done = write(fd, "1", 1) == 1;
  close(fd);
  return done;
}

void abortByUnmount(const char* mountpoint, unsigned minorNumber) {
  // Neither asks the dead process. The directory stays open, so that the unmounting itself is refused.
  int directory = open(mountpoint, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct statx found;
  if (directory < 0 || statx(directory, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &found) != 0) return;
  if (found.stx_dev_major == 0 && found.stx_dev_minor == minorNumber) umount2(mountpoint, MNT_FORCE | UMOUNT_NOFOLLOW);
}

}  // namespace

int main(int count, char** words) {
  if (count != 5) {
    fprintf(stderr, "cairn-guard MOUNTPOINT MINOR PARENT ABORT_FILE: started by a mount, not by people\n");
    return 2;
  }
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, nullptr);
  prctl(PR_SET_PDEATHSIG, kDeathSignal);
  waitForDeath(static_cast<pid_t>(atoi(words[3])));
  if (!abortByFile(words[4])) abortByUnmount(words[1], static_cast<unsigned>(atoi(words[2])));
  return 0;
}
