// A random walk over one file through every way of reaching it (read, write, append, mmap, truncate, holes, copies, O_DIRECT, reopening,
// dropped pages), with a plain array of bytes as the model. After each step what was touched is compared; at times, all of it.
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "probe.h"

namespace {

constexpr size_t LARGEST = 3 << 20;
constexpr size_t PAGE = 4096;

struct Failure {
  std::string text;
};

class Exercise {
 public:
  Exercise(const std::string& path, uint64_t seed) : path_(path), random_(seed) { reopen(); }
  ~Exercise() { close(file_); }

  std::string run(int steps) {
    try {
      for (step_ = 0; step_ < steps; step_++) one();
      compare(0, model_.size());
      return "ok";
    } catch (const Failure& failure) {
      return "step-" + std::to_string(step_) + ":" + encoded(what_ + ": " + failure.text);
    }
  }

 private:
  size_t below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  /** Small, medium and large lengths alike. */
  size_t length() { return 1 + below(size_t(1) << (1 + below(19))); }
  void require(bool right, const std::string& text) {
    if (!right) throw Failure{text + (errno ? " (" + errnoName(errno) + ")" : "")};
  }

  void reopen() {
    if (file_ >= 0) close(file_);
    file_ = open(path_.c_str(), O_RDWR | O_CREAT, 0644);
    errno = file_ < 0 ? errno : 0;
    require(file_ >= 0, "open");
  }

  std::string bytes(size_t count) {
    std::string data(count, 0);
    char start = static_cast<char>(random_());
    for (size_t i = 0; i < count; i++) data[i] = static_cast<char>(start + i * 7 + (i >> 9));
    return data;
  }

  void put(size_t at, const std::string& data) {
    if (at + data.size() > model_.size()) model_.resize(at + data.size());
    model_.replace(at, data.size(), data);
  }

  void compare(size_t at, size_t count) {
    struct stat status;
    errno = 0;
    require(fstat(file_, &status) == 0, "fstat");
    require(size_t(status.st_size) == model_.size(), "the size is " + std::to_string(status.st_size) + ", not " + std::to_string(model_.size()));
    std::string got(count, 0);
    size_t done = 0;
    while (done < count) {
      ssize_t read = pread(file_, got.data() + done, count - done, at + done);
      require(read >= 0, "pread");
      if (read == 0) break;
      done += read;
    }
    size_t wanted = at >= model_.size() ? 0 : std::min(count, model_.size() - at);
    require(done == wanted, "read " + std::to_string(done) + " bytes at " + std::to_string(at) + ", not " + std::to_string(wanted));
    if (memcmp(got.data(), model_.data() + at, wanted) == 0) return;
    size_t differs = 0;
    while (got[differs] == model_[at + differs]) differs++;
    require(false, "byte " + std::to_string(at + differs) + " is " + std::to_string(int(uint8_t(got[differs]))) + ", not " + std::to_string(int(uint8_t(model_[at + differs]))));
  }

  void writeSome() {
    size_t at = below(std::min(LARGEST, model_.size() + 70000)), count = std::min(length(), LARGEST - at);
    std::string data = bytes(count);
    what_ = "write " + std::to_string(count) + " at " + std::to_string(at);
    require(pwrite(file_, data.data(), count, at) == ssize_t(count), "pwrite");
    put(at, data);
    compare(at > 100 ? at - 100 : 0, count + 200);
  }

  void writeDirect() {
    size_t at = below(LARGEST / PAGE - 64) * PAGE, count = PAGE * (1 + below(64));
    what_ = "direct write " + std::to_string(count) + " at " + std::to_string(at);
    int direct = open(path_.c_str(), O_RDWR | O_DIRECT);
    require(direct >= 0, "open with O_DIRECT");
    std::string data = bytes(count);
    void* buffer = aligned_alloc(PAGE, count);
    memcpy(buffer, data.data(), count);
    bool whole = pwrite(direct, buffer, count, at) == ssize_t(count);
    bool same = whole && pread(direct, buffer, count, at) == ssize_t(count) && memcmp(buffer, data.data(), count) == 0;
    free(buffer);
    close(direct);
    require(whole && same, "O_DIRECT");
    put(at, data);
    compare(at, count);
  }

  void append() {
    size_t count = std::min(length(), LARGEST - model_.size());
    what_ = "append " + std::to_string(count);
    int end = open(path_.c_str(), O_WRONLY | O_APPEND);
    std::string data = bytes(count);
    bool whole = write(end, data.data(), count) == ssize_t(count);
    close(end);
    require(whole, "append");
    put(model_.size(), data);
    compare(model_.size() - count, count);
  }

  void truncateTo() {
    size_t size = below(3) == 0 ? below(model_.size() + 1) : below(LARGEST);
    what_ = "truncate to " + std::to_string(size);
    require((below(2) ? ftruncate(file_, size) : truncate(path_.c_str(), size)) == 0, "truncate");
    model_.resize(size);
    compare(size > 5000 ? size - 5000 : 0, 6000);
  }

  void zero(int mode, const char* name) {
    size_t at = below(model_.size() + 1), count = length();
    what_ = std::string(name) + " " + std::to_string(count) + " at " + std::to_string(at);
    require(fallocate(file_, mode, at, count) == 0, "fallocate");
    size_t end = std::min(model_.size(), at + count);
    if (at < end && mode) model_.replace(at, end - at, end - at, '\0');
    if (!(mode & FALLOC_FL_KEEP_SIZE) && at + count > model_.size()) model_.resize(at + count);
    compare(at > 100 ? at - 100 : 0, count + 200);
  }

  void copyRange() {
    if (model_.size() < 2) return;
    size_t count = std::min(length(), model_.size() / 2), from = below(model_.size() - count), to = below(LARGEST - count);
    if (from < to + count && to < from + count) return;
    what_ = "copy " + std::to_string(count) + " from " + std::to_string(from) + " to " + std::to_string(to);
    off64_t source = from, target = to;
    for (size_t left = count; left > 0;) {
      ssize_t copied = copy_file_range(file_, &source, file_, &target, left, 0);
      require(copied > 0, "copy_file_range");
      left -= copied;
    }
    put(to, model_.substr(from, count));
    compare(to > 100 ? to - 100 : 0, count + 200);
  }

  void throughMapping() {
    if (model_.empty()) return;
    size_t page = below(model_.size()) / PAGE * PAGE, span = std::min(length() + PAGE, model_.size() - page);
    what_ = "map " + std::to_string(span) + " at " + std::to_string(page);
    char* map = static_cast<char*>(mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_SHARED, file_, page));
    require(map != MAP_FAILED, "mmap");
    bool same = memcmp(map, model_.data() + page, span) == 0;
    size_t at = below(span), count = std::min(length(), span - at);
    std::string data = bytes(count);
    if (same && below(3)) {
      memcpy(map + at, data.data(), count);
      put(page + at, data);
    }
    if (below(2)) msync(map, span, MS_SYNC);
    munmap(map, span);
    require(same, "the mapping differs");
    compare(page, span);
  }

  void holesAgree() {
    what_ = "SEEK_DATA";
    off_t at = 0, size = model_.size();
    while (at < size) {
      off_t data = lseek(file_, at, SEEK_DATA);
      if (data < 0) {
        require(errno == ENXIO, "SEEK_DATA");
        data = size;
      }
      bool empty = std::all_of(model_.begin() + at, model_.begin() + data, [](char byte) { return byte == 0; });
      errno = 0;
      require(empty, "a hole at " + std::to_string(at) + " has data");
      if (data >= size) return;
      at = lseek(file_, data, SEEK_HOLE);
      require(at > data, "SEEK_HOLE");
    }
  }

  void settle() {
    size_t kind = below(4);
    what_ = kind == 0 ? "fsync" : kind == 1 ? "reopen" : "drop pages";
    if (kind == 0) require(fsync(file_) == 0, "fsync");
    if (kind == 1) reopen();
    if (kind >= 2) require(fsync(file_) == 0 && posix_fadvise(file_, 0, 0, POSIX_FADV_DONTNEED) == 0, "drop");
    if (below(3) == 0) compare(0, model_.size());
    else compare(below(model_.size() + 1), length());
  }

  void one() {
    errno = 0;
    switch (below(14)) {
      case 0: case 1: case 2: return writeSome();
      case 3: return writeDirect();
      case 4: return append();
      case 5: return truncateTo();
      case 6: return zero(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch");
      case 7: return zero(below(2) ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "zero");
      case 8: return zero(0, "allocate");
      case 9: return copyRange();
      case 10: case 11: return throughMapping();
      case 12: return holesAgree();
      default: return settle();
    }
  }

  std::string path_;
  std::mt19937_64 random_;
  std::string model_;
  std::string what_;
  int file_ = -1;
  int step_ = 0;
};

}  // namespace

const CommandTable exerciseCommands = {
    {"exercise", [](const Arguments& a) { return Exercise(a.at(0), a.number(1)).run(a.number(2)); }},
};
