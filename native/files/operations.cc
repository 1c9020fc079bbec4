// One function per system call, each going on after EINTR and after short reads and writes.
#include "operations.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace files {
namespace {

template <typename Call>
int64_t retry(Call call) {
  int64_t result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

}  // namespace

int64_t open_file(const char* path, int flags, int mode) {
  return retry([&] { return static_cast<int64_t>(open(path, flags | O_CLOEXEC, mode)); });
}

// Not repeated after EINTR: Linux has released the descriptor by then (close(2)), and another thread may own its number.
int64_t close_file(int fd) { return close(fd) < 0 && errno != EINTR ? -errno : 0; }

int64_t read_at(int fd, void* bytes, size_t length, int64_t position) {
  size_t done = 0;
  while (done < length) {
    int64_t got = retry([&] { return pread(fd, static_cast<char*>(bytes) + done, length - done, position + done); });
    if (got < 0) return got;
    if (got == 0) break;
    done += got;
  }
  return static_cast<int64_t>(done);
}

int64_t read_now(int fd, void* bytes, size_t length, int64_t position) {
  size_t done = 0;
  while (done < length) {
    iovec vector{static_cast<char*>(bytes) + done, length - done};
    int64_t got = retry([&] { return preadv2(fd, &vector, 1, position + done, RWF_NOWAIT); });
    if (got == -EOPNOTSUPP) return -EAGAIN;
    if (got < 0) return got;
    if (got == 0) break;
    done += got;
  }
  return static_cast<int64_t>(done);
}

int64_t write_at(int fd, iovec* vectors, size_t count, int64_t position, bool sync) {
  int64_t done = 0;
  while (count > 0) {
    if (vectors->iov_len == 0) {
      vectors++;
      count--;
      continue;
    }
    int batch = static_cast<int>(std::min<size_t>(count, IOV_MAX));
    int64_t wrote = retry([&] { return pwritev(fd, vectors, batch, position + done); });
    if (wrote < 0) return wrote;
    if (wrote == 0) return -EIO;
    done += wrote;
    size_t left = wrote;
    while (count > 0 && left >= vectors->iov_len) {
      left -= vectors->iov_len;
      vectors++;
      count--;
    }
    if (left > 0) {
      vectors->iov_base = static_cast<char*>(vectors->iov_base) + left;
      vectors->iov_len -= left;
    }
  }
  if (!sync) return done;
  int64_t synced = sync_data(fd);
  return synced < 0 ? synced : done;
}

// Not repeated after a failure: the kernel reports a lost write once and marks the pages clean (fsync(2), errors).
int64_t sync_data(int fd) { return fdatasync(fd) < 0 ? -errno : 0; }

int64_t allocate(int fd, int mode, int64_t position, int64_t length) {
  return retry([&] { return static_cast<int64_t>(fallocate(fd, mode, position, length)); });
}

int64_t truncate_file(int fd, int64_t length) {
  return retry([&] { return static_cast<int64_t>(ftruncate(fd, length)); });
}

int64_t file_size(int fd) {
  struct stat status;
  return fstat(fd, &status) < 0 ? -errno : static_cast<int64_t>(status.st_size);
}

int64_t lock_exclusive(int fd) {
  return retry([&] { return static_cast<int64_t>(flock(fd, LOCK_EX | LOCK_NB)); });
}

int64_t peer_user(int fd) {
  ucred peer;
  socklen_t length = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 ? -errno : static_cast<int64_t>(peer.uid);
}

// glibc's; with another allocator there is nothing to limit.
int64_t limit_arenas(int count) {
#ifdef M_ARENA_MAX
  return mallopt(M_ARENA_MAX, count) == 1 ? 0 : -EINVAL;
#else
  return count < 0 ? -EINVAL : 0;
#endif
}

int64_t raise_open_files() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit raised{limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<int64_t>(limit.rlim_cur);
}

}  // namespace files
