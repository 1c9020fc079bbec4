// cairn-look MOUNTPOINT MINOR NAME...: looks a directory up by its path below a mount (names in hexadecimal, from the mountpoint
// downwards), so that the kernel takes the name for the directory that it knows under another one.
//
// The kernel does that in any system call but one: rename(2) holds the lock that it would need (__d_unalias in fs/dcache.c),
// and gets ESTALE. The process that serves the mount must not look itself: it would wait for its own answer.
//
// The kernel only tries to take its locks, so another program's rename or change at the old place makes it give up: then
// it is tried again.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <string>

namespace {

/** Together half a second. */
constexpr int kLooksMax = 250;
constexpr long kPauseNs = 2'000'000;

bool fromHexadecimal(const char* text, std::string& bytes) {
  size_t length = strlen(text);
  if (length == 0 || length % 2) return false;
  for (size_t at = 0; at < length; at += 2) {
    char digits[3] = {text[at], text[at + 1], 0}, *end;
    bytes.push_back(static_cast<char>(strtol(digits, &end, 16)));
    if (end != digits + 2 || !bytes.back() || bytes.back() == '/') return false;
  }
  return bytes != "." && bytes != "..";
}

/** Does it until the kernel gets its locks. Returns what it does, -1 with errno where that is an error. */
template <typename Look>
int untilNotStale(Look look) {
  for (int tries = 1;; tries++) {
    int result = look();
    if (result >= 0 || errno != ESTALE || tries == kLooksMax) return result;
    timespec pause{0, kPauseNs};
    nanosleep(&pause, nullptr);
  }
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) {
    fprintf(stderr, "cairn-look MOUNTPOINT MINOR NAME...: started by a mount, not by people\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int directory = open(words[1], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct statx found;
  // Another filesystem may be mounted there meanwhile.
  if (directory < 0 || statx(directory, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &found) != 0) return 1;
  if (found.stx_dev_major != 0 || found.stx_dev_minor != static_cast<unsigned>(atoi(words[2]))) return 1;
  for (int index = 3; index < count; index++) {
    std::string name;
    if (!fromHexadecimal(words[index], name)) return 2;
    int below = untilNotStale([&] { return openat(directory, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); });
    if (below < 0) return 1;
    close(directory);
    directory = below;
  }
  return 0;
}
