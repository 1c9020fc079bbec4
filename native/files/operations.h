// The file operations as plain functions over numbers and iovecs: no Node header here, so they run on any thread.
// All return a value >= 0 or a negative errno.
#pragma once
#include <cstddef>
#include <cstdint>
#include <sys/uio.h>

namespace files {

int64_t open_file(const char* path, int flags, int mode);
int64_t close_file(int fd);
/** Reads until length bytes or the end of the file. Returns the bytes read. */
int64_t read_at(int fd, void* bytes, size_t length, int64_t position);
/** As read_at, but without waiting for a device: -EAGAIN where that cannot be done. */
int64_t read_now(int fd, void* bytes, size_t length, int64_t position);
/** Writes all of the vectors (changes them), then fdatasyncs where asked. Returns the bytes written. */
int64_t write_at(int fd, iovec* vectors, size_t count, int64_t position, bool sync);
int64_t sync_data(int fd);
int64_t allocate(int fd, int mode, int64_t position, int64_t length);
int64_t truncate_file(int fd, int64_t length);
int64_t file_size(int fd);
int64_t lock_exclusive(int fd);
/** The user at the other end of a connected Unix socket: who connected, or who listens (SO_PEERCRED). */
int64_t peer_user(int fd);
/** Raises the soft limit of open files to the hard one. Returns the limit now in force. */
int64_t raise_open_files();
int64_t limit_arenas(int count);

}  // namespace files
