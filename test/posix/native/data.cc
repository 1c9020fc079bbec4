// Commands about open files: data, sizes, holes, copies, mappings.
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <memory>

#include "probe.h"

static const std::map<std::string, int> openFlags = {
    {"RDONLY", O_RDONLY}, {"WRONLY", O_WRONLY}, {"RDWR", O_RDWR}, {"CREAT", O_CREAT}, {"EXCL", O_EXCL}, {"TRUNC", O_TRUNC},
    {"APPEND", O_APPEND}, {"NONBLOCK", O_NONBLOCK}, {"DIRECTORY", O_DIRECTORY}, {"NOFOLLOW", O_NOFOLLOW}, {"DIRECT", O_DIRECT},
    {"SYNC", O_SYNC}, {"DSYNC", O_DSYNC}, {"TMPFILE", O_TMPFILE}, {"NOATIME", O_NOATIME}, {"PATH", O_PATH}, {"CLOEXEC", O_CLOEXEC}};

// Buffers are page aligned so that O_DIRECT works with the same commands.
static std::unique_ptr<char, void (*)(void*)> aligned(size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 4096, bytes ? bytes : 1)) abort();
  return {static_cast<char*>(memory), free};
}

static std::string opened(const std::string& name, int descriptor) {
  if (descriptor < 0) return errnoName(errno);
  script.descriptors[name] = descriptor;
  return "ok";
}

static std::string readBytes(const Arguments& a, bool at) {
  int64_t length = a.number(1);
  auto buffer = aligned(length);
  ssize_t got = at ? pread(a.descriptor(0), buffer.get(), length, a.number(2)) : read(a.descriptor(0), buffer.get(), length);
  return got < 0 ? errnoName(errno) : encoded(std::string(buffer.get(), got));
}

static std::string writeBytes(const Arguments& a, bool at) {
  const std::string& data = a.at(1);
  auto buffer = aligned(data.size());
  memcpy(buffer.get(), data.data(), data.size());
  return counted(at ? pwrite(a.descriptor(0), buffer.get(), data.size(), a.number(2)) : write(a.descriptor(0), buffer.get(), data.size()));
}

/** Writes words 1.. with one writev. */
static std::string writeVector(const Arguments& a) {
  std::vector<iovec> pieces;
  for (size_t i = 1; i < a.count(); i++) pieces.push_back({const_cast<char*>(a.at(i).data()), a.at(i).size()});
  return counted(writev(a.descriptor(0), pieces.data(), pieces.size()));
}

/** Reads a whole file by path. */
static std::string content(const Arguments& a) {
  int descriptor = open(a.path(0), O_RDONLY);
  if (descriptor < 0) return errnoName(errno);
  std::string bytes;
  auto buffer = aligned(1 << 17);
  ssize_t got;
  while ((got = read(descriptor, buffer.get(), 1 << 17)) > 0) bytes.append(buffer.get(), got);
  int failed = errno;
  close(descriptor);
  return got < 0 ? errnoName(failed) : encoded(bytes);
}

/** Opens for writing without O_CREAT, writes, closes. */
static std::string overwrite(const Arguments& a) {
  int descriptor = open(a.path(0), O_WRONLY);
  if (descriptor < 0) return errnoName(errno);
  int64_t wrote = pwrite(descriptor, a.at(1).data(), a.at(1).size(), a.has(2) ? a.number(2) : 0);
  int failed = errno;
  close(descriptor);
  errno = failed;
  return counted(wrote);
}

static std::string seekTo(const Arguments& a) {
  static const std::map<std::string, int> whence = {{"SET", SEEK_SET}, {"CUR", SEEK_CUR}, {"END", SEEK_END}, {"DATA", SEEK_DATA}, {"HOLE", SEEK_HOLE}, {"UNKNOWN", 77}};
  return counted(lseek(a.descriptor(0), a.number(1), a.flags(2, whence)));
}

static std::string allocate(const Arguments& a) {
  static const std::map<std::string, int> modes = {{"KEEP_SIZE", FALLOC_FL_KEEP_SIZE}, {"PUNCH_HOLE", FALLOC_FL_PUNCH_HOLE}, {"ZERO_RANGE", FALLOC_FL_ZERO_RANGE},
                                                   {"COLLAPSE_RANGE", FALLOC_FL_COLLAPSE_RANGE}, {"INSERT_RANGE", FALLOC_FL_INSERT_RANGE}, {"UNKNOWN", 0x4000}};
  return done(fallocate(a.descriptor(0), a.flags(1, modes), a.number(2), a.number(3)));
}

static std::string copyRange(const Arguments& a) {
  off64_t from = 0, to = 0;
  bool fromPosition = a.at(1) == "-", toPosition = a.at(3) == "-";
  if (!fromPosition) from = a.number(1);
  if (!toPosition) to = a.number(3);
  return counted(copy_file_range(a.descriptor(0), fromPosition ? nullptr : &from, a.descriptor(2), toPosition ? nullptr : &to, a.number(4), a.has(5) ? a.number(5) : 0));
}

static std::string sendBytes(const Arguments& a) { return counted(sendfile(a.descriptor(0), a.descriptor(1), nullptr, a.number(2))); }

static const Mapping& mappingOf(const Arguments& a) {
  auto found = script.mappings.find(a.at(0));
  if (found == script.mappings.end()) throw ScriptError{"no mapping is called \"" + a.at(0) + "\""};
  return found->second;
}

static std::string mapFile(const Arguments& a) {
  static const std::map<std::string, int> protections = {{"READ", PROT_READ}, {"WRITE", PROT_WRITE}, {"EXEC", PROT_EXEC}};
  static const std::map<std::string, int> kinds = {{"SHARED", MAP_SHARED}, {"PRIVATE", MAP_PRIVATE}};
  size_t length = a.number(2);
  void* address = mmap(nullptr, length, a.flags(3, protections), a.flags(4, kinds), a.descriptor(1), a.has(5) ? a.number(5) : 0);
  if (address == MAP_FAILED) return errnoName(errno);
  script.mappings[a.at(0)] = {static_cast<char*>(address), length};
  return "ok";
}

static sigjmp_buf faulted;
static void onFault(int signal) { siglongjmp(faulted, signal); }

std::string touchMemory(char* to, const char* from, size_t length) {
  struct sigaction action = {}, bus, segmentation;
  action.sa_handler = onFault;
  sigaction(SIGBUS, &action, &bus);
  sigaction(SIGSEGV, &action, &segmentation);
  int signal = sigsetjmp(faulted, 1);
  if (!signal) memcpy(to, from, length);
  sigaction(SIGBUS, &bus, nullptr);
  sigaction(SIGSEGV, &segmentation, nullptr);
  return signal == SIGBUS ? "SIGBUS" : signal ? "SIGSEGV" : "";
}

static std::string readMapping(const Arguments& a) {
  std::string bytes(a.number(2), '\0');
  std::string fault = touchMemory(bytes.data(), mappingOf(a).address + a.number(1), bytes.size());
  return fault.empty() ? encoded(bytes) : fault;
}

static std::string writeMapping(const Arguments& a) {
  std::string fault = touchMemory(mappingOf(a).address + a.number(1), a.at(2).data(), a.at(2).size());
  return fault.empty() ? "ok" : fault;
}

static std::string unmap(const Arguments& a) {
  Mapping mapping = mappingOf(a);
  script.mappings.erase(a.at(0));
  return done(munmap(mapping.address, mapping.length));
}

static std::string closeDescriptor(const Arguments& a) {
  int descriptor = a.descriptor(0);
  script.descriptors.erase(a.at(0));
  return done(close(descriptor));
}

static std::string flagNames(const Arguments& a) {
  int flags = fcntl(a.descriptor(0), F_GETFL);
  if (flags < 0) return errnoName(errno);
  std::string text = (flags & O_ACCMODE) == O_RDONLY ? "RDONLY" : (flags & O_ACCMODE) == O_WRONLY ? "WRONLY" : "RDWR";
  if (flags & O_APPEND) text += "|APPEND";
  if (flags & O_NONBLOCK) text += "|NONBLOCK";
  return text;
}

const CommandTable dataCommands = {
    {"open", [](const Arguments& a) { return opened(a.at(0), open(a.path(1), a.flags(2, openFlags), a.octal(3, 0644))); }},
    {"openat", [](const Arguments& a) { return opened(a.at(0), openat(a.descriptor(1), a.path(2), a.flags(3, openFlags), a.octal(4, 0644))); }},
    {"dup", [](const Arguments& a) { return opened(a.at(0), dup(a.descriptor(1))); }},
    {"close", closeDescriptor},
    {"read", [](const Arguments& a) { return readBytes(a, false); }},
    {"pread", [](const Arguments& a) { return readBytes(a, true); }},
    {"write", [](const Arguments& a) { return writeBytes(a, false); }},
    {"pwrite", [](const Arguments& a) { return writeBytes(a, true); }},
    {"writev", writeVector},
    {"content", content},
    {"overwrite", overwrite},
    {"seek", seekTo},
    {"truncate", [](const Arguments& a) { return done(truncate(a.path(0), a.number(1))); }},
    {"ftruncate", [](const Arguments& a) { return done(ftruncate(a.descriptor(0), a.number(1))); }},
    {"fsync", [](const Arguments& a) { return done(fsync(a.descriptor(0))); }},
    {"fdatasync", [](const Arguments& a) { return done(fdatasync(a.descriptor(0))); }},
    {"syncfs", [](const Arguments& a) { return done(syncfs(a.descriptor(0))); }},
    {"fallocate", allocate},
    {"copy-range", copyRange},
    {"clone", [](const Arguments& a) { return done(ioctl(a.descriptor(1), FICLONE, a.descriptor(0))); }},
    {"sendfile", sendBytes},
    {"mmap", mapFile},
    {"mread", readMapping},
    {"mwrite", writeMapping},
    {"msync", [](const Arguments& a) { return done(msync(mappingOf(a).address, mappingOf(a).length, MS_SYNC)); }},
    {"munmap", unmap},
    {"getflags", flagNames},
    {"setflags", [](const Arguments& a) { return done(fcntl(a.descriptor(0), F_SETFL, a.flags(1, openFlags))); }},
    {"ioctl", [](const Arguments& a) { int value = 0; return done(ioctl(a.descriptor(0), a.number(1), &value)); }},
};
