// Commands about bytes that nobody needs to send: patterns that are made here, and digests of what is read. A byte of a pattern
// follows from its place in the file and a tag, so bytes in a wrong place, or of another write, change the digest.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "pattern.h"

static uint64_t mixed(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

void makePattern(char* to, size_t length, uint64_t at, uint64_t tag) {
  uint64_t word = 0;
  for (size_t i = 0; i < length; i++) {
    uint64_t place = at + i;
    if (i == 0 || place % 8 == 0) word = mixed(tag * 0x9e3779b97f4a7c15u + place / 8 + 1);
    to[i] = static_cast<char>(word >> (8 * (place % 8)));
  }
}

constexpr size_t PAGE = 4096;

void Digest::add(const char* bytes, size_t length) {
  for (size_t done = 0; done < length;) {
    size_t piece = std::min(length - done, PAGE - at_ % PAGE);
    const char* from = bytes + done;
    bool zeros = from[0] == 0 && memcmp(from, from + 1, piece - 1) == 0;
    if (!zeros) {
      // Zeros at a page's begin are left out, so that it does not matter in which pieces a page comes.
      for (size_t i = 0; i < piece; i++)
        if (from[i]) sum_ += mixed((at_ + i) * 256 + static_cast<unsigned char>(from[i]));
    }
    at_ += piece;
    done += piece;
  }
}

std::string Digest::text() const {
  char text[32];
  snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(sum_));
  return text;
}

namespace {

struct Aligned {
  explicit Aligned(size_t bytes) {
    if (posix_memalign(reinterpret_cast<void**>(&bytes_), PAGE, bytes ? bytes : 1)) abort();
  }
  ~Aligned() { free(bytes_); }
  char* get() { return bytes_; }

 private:
  char* bytes_ = nullptr;
};

/** fill FD OFFSET LENGTH TAG: one pwrite; with "-" as the offset one write, whose pattern begins at 0. */
std::string fill(const Arguments& a) {
  size_t length = a.number(2);
  bool here = a.at(1) == "-";
  Aligned buffer(length);
  makePattern(buffer.get(), length, here ? 0 : a.number(1), a.number(3));
  return counted(here ? write(a.descriptor(0), buffer.get(), length) : pwrite(a.descriptor(0), buffer.get(), length, a.number(1)));
}

/** digest FD OFFSET LENGTH [PIECE]: how many bytes pread gives, in pieces of at most so many, and their digest. */
std::string digest(const Arguments& a) {
  int64_t at = a.number(1), end = at + a.number(2), piece = a.has(3) ? a.number(3) : 1 << 20;
  Aligned buffer(piece);
  Digest sum(at);
  int64_t total = 0;
  while (at < end) {
    ssize_t got = pread(a.descriptor(0), buffer.get(), std::min(piece, end - at), at);
    if (got < 0) return std::to_string(total) + " " + errnoName(errno);
    if (got == 0) break;
    sum.add(buffer.get(), got);
    at += got;
    total += got;
  }
  return std::to_string(total) + " " + sum.text();
}

/** appends COUNT BYTES TAG FD...: so many writes of so many bytes to each, in turn. */
std::string appends(const Arguments& a) {
  std::vector<char> bytes(a.number(1));
  for (int64_t i = 0; i < a.number(0); i++) {
    for (size_t file = 3; file < a.count(); file++) {
      makePattern(bytes.data(), bytes.size(), i * bytes.size(), a.number(2) + file);
      if (write(a.descriptor(file), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return std::to_string(i) + " " + errnoName(errno);
    }
  }
  return "ok";
}

/** strided START STEP BYTES COUNT TAG FD...: so many bytes at every STEP, in each file in turn. */
std::string strided(const Arguments& a) {
  std::vector<char> bytes(a.number(2));
  for (int64_t i = 0; i < a.number(3); i++) {
    int64_t at = a.number(0) + i * a.number(1);
    for (size_t file = 5; file < a.count(); file++) {
      makePattern(bytes.data(), bytes.size(), at, a.number(4) + file);
      if (pwrite(a.descriptor(file), bytes.data(), bytes.size(), at) != static_cast<ssize_t>(bytes.size())) return std::to_string(i) + " " + errnoName(errno);
    }
  }
  return "ok";
}

/** scattered COUNT BYTES SPAN SEED FD: writes of 1 to BYTES bytes anywhere below SPAN. */
std::string scattered(const Arguments& a) {
  std::mt19937_64 random(a.number(3));
  std::vector<char> bytes(a.number(1));
  for (int64_t i = 0; i < a.number(0); i++) {
    size_t length = 1 + random() % bytes.size();
    int64_t at = random() % a.number(2);
    makePattern(bytes.data(), length, at, a.number(3) + i);
    if (pwrite(a.descriptor(4), bytes.data(), length, at) != static_cast<ssize_t>(length)) return std::to_string(i) + " " + errnoName(errno);
  }
  return "ok";
}

const Mapping& mappingOf(const Arguments& a) {
  auto found = script.mappings.find(a.at(0));
  if (found == script.mappings.end()) throw ScriptError{"no mapping is called \"" + a.at(0) + "\""};
  return found->second;
}

/** The files of mappings that `map` made: the kernel hears of what others did to a file's size when it is asked for. */
std::map<std::string, int> mappedFiles;

std::string unmapFile(const Arguments& a) {
  Mapping mapping = mappingOf(a);
  script.mappings.erase(a.at(0));
  auto file = mappedFiles.find(a.at(0));
  if (file != mappedFiles.end()) {
    close(file->second);
    mappedFiles.erase(file);
  }
  return done(munmap(mapping.address, mapping.length));
}

/** map MAPPING FD LENGTH KIND: for reading and writing, from the file's begin on. */
std::string mapFile(const Arguments& a) {
  if (script.mappings.count(a.at(0))) unmapFile(a);
  struct stat status;
  if (fstat(a.descriptor(1), &status)) return errnoName(errno);
  size_t length = a.number(2);
  void* address = mmap(nullptr, length, PROT_READ | PROT_WRITE, a.at(3) == "PRIVATE" ? MAP_PRIVATE : MAP_SHARED, a.descriptor(1), 0);
  if (address == MAP_FAILED) return errnoName(errno);
  script.mappings[a.at(0)] = {static_cast<char*>(address), length};
  mappedFiles[a.at(0)] = fcntl(a.descriptor(1), F_DUPFD_CLOEXEC, 0);
  return "ok";
}

/** How much of the mapping lies before the file's end now. */
int64_t mappedEnd(const Arguments& a) {
  const Mapping& mapping = mappingOf(a);
  struct stat status;
  auto file = mappedFiles.find(a.at(0));
  if (file == mappedFiles.end() || fstat(file->second, &status)) return 0;
  return std::min<int64_t>(mapping.length, status.st_size);
}

/** mfill MAPPING OFFSET LENGTH TAG: stores as much of it as lies in the mapping and before the file's end, and msync. */
std::string fillMapping(const Arguments& a) {
  const Mapping& mapping = mappingOf(a);
  int64_t at = a.number(1), end = std::min(at + a.number(2), mappedEnd(a));
  if (at >= end) return "0";
  std::string bytes(end - at, '\0');
  makePattern(bytes.data(), bytes.size(), at, a.number(3));
  std::string fault = touchMemory(mapping.address + at, bytes.data(), bytes.size());
  if (!fault.empty()) return fault;
  return msync(mapping.address, mapping.length, MS_SYNC) ? errnoName(errno) : std::to_string(bytes.size());
}

/** mdigest MAPPING OFFSET LENGTH: of memory, or SIGBUS. */
std::string digestMapping(const Arguments& a) {
  const Mapping& mapping = mappingOf(a);
  mappedEnd(a);
  int64_t at = std::min(a.number(1), int64_t(mapping.length)), end = std::min(at + a.number(2), int64_t(mapping.length));
  std::string bytes(end - at, '\0');
  std::string fault = touchMemory(bytes.data(), mapping.address + at, bytes.size());
  if (!fault.empty()) return fault;
  Digest sum(at);
  sum.add(bytes.data(), bytes.size());
  return std::to_string(bytes.size()) + " " + sum.text();
}

/** copy FD OFFSET FD OFFSET LENGTH: one copy_file_range, with the sizes that the files have now. */
std::string copyNow(const Arguments& a) {
  struct stat status;
  if (fstat(a.descriptor(0), &status) || fstat(a.descriptor(2), &status)) return errnoName(errno);
  off64_t from = a.number(1), to = a.number(3);
  return counted(copy_file_range(a.descriptor(0), &from, a.descriptor(2), &to, a.number(4), 0));
}

/** Writes back and drops what the kernel keeps of a file's bytes. */
std::string dropPages(const Arguments& a) {
  if (fdatasync(a.descriptor(0))) return errnoName(errno);
  errno = posix_fadvise(a.descriptor(0), 0, 0, POSIX_FADV_DONTNEED);
  return errno ? errnoName(errno) : "ok";
}

}  // namespace

const CommandTable patternCommands = {
    {"fill", fill},
    {"digest", digest},
    {"appends", appends},
    {"strided", strided},
    {"scattered", scattered},
    {"map", mapFile},
    {"unmap", unmapFile},
    {"copy", copyNow},
    {"mfill", fillMapping},
    {"mdigest", digestMapping},
    {"drop-pages", dropPages},
};
