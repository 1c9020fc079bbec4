// Commands about whole trees: one word for each entry with all that two filesystems must agree in.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "pattern.h"

namespace {

constexpr size_t PIECE = 1 << 20;
/** Times further from now than this were set by somebody. */
constexpr int64_t SET_BEFORE_SECONDS = 30 * 24 * 3600;

std::string refused(const std::string& what) { return what + ":" + errnoName(errno); }

/** What a file's data is, of which SEEK_DATA names the places. */
std::string contentOf(const std::string& path, int64_t size) {
  int file = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK);
  if (file < 0 && errno == EPERM) file = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return refused("open");
  std::string bytes(PIECE, '\0');
  Digest sum(0);
  std::string failed;
  for (int64_t at = 0; at < size && failed.empty();) {
    off_t data = lseek(file, at, SEEK_DATA);
    if (data < 0 && errno != ENXIO) failed = refused("data");
    if (data < 0) break;
    off_t hole = lseek(file, data, SEEK_HOLE);
    if (hole <= data) failed = hole < 0 ? refused("hole") : "hole:" + std::to_string(hole) + "-at-data:" + std::to_string(data);
    sum.moveTo(data);
    for (at = data; at < hole && failed.empty();) {
      ssize_t got = pread(file, bytes.data(), std::min<int64_t>(PIECE, hole - at), at);
      if (got < 0) failed = refused("read");
      else if (got == 0) failed = "ends-at-" + std::to_string(at);
      else sum.add(bytes.data(), got), at += got;
    }
  }
  close(file);
  return failed.empty() ? sum.text() : failed;
}

/** The names and values of what setxattr has put there, without the ACLs that show in other ways. */
std::string attributesOf(const std::string& path) {
  std::string list(65536, '\0'), value(65536, '\0');
  ssize_t length = llistxattr(path.c_str(), list.data(), list.size());
  if (length < 0) return refused("listxattr");
  std::set<std::string> names;
  for (ssize_t at = 0; at < length; at += strlen(list.data() + at) + 1) names.insert(list.data() + at);
  if (names.empty()) return "-";
  Digest sum(0);
  for (const std::string& name : names) {
    ssize_t bytes = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (bytes < 0) return refused("getxattr-" + name);
    sum.add(name.data(), name.size());
    sum.add(value.data(), bytes);
    sum.add("=", 1);
  }
  return std::to_string(names.size()) + "=" + sum.text();
}

std::string timeOf(const timespec& time) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (std::abs(now.tv_sec - time.tv_sec) < SET_BEFORE_SECONDS) return "now";
  char text[64];
  snprintf(text, sizeof text, "%lld.%09ld", static_cast<long long>(time.tv_sec), time.tv_nsec);
  return text;
}

const char* typeOf(mode_t mode) {
  return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "directory" : S_ISLNK(mode) ? "symlink" : S_ISFIFO(mode) ? "fifo" : S_ISSOCK(mode) ? "socket" : "device";
}

/** TYPE|MODE|LINKS|UID|GID|SIZE or target or -|CONTENT|XATTRS|MTIME. */
std::string describe(const std::string& path, const struct stat& s) {
  char numbers[96];
  snprintf(numbers, sizeof numbers, "|%04o|%lu|%u|%u|", s.st_mode & 07777, static_cast<unsigned long>(s.st_nlink), s.st_uid, s.st_gid);
  std::string text = typeOf(s.st_mode) + std::string(numbers);
  if (S_ISREG(s.st_mode)) text += std::to_string(s.st_size) + "|" + contentOf(path, s.st_size);
  else if (S_ISLNK(s.st_mode)) {
    char target[8192];
    ssize_t length = readlink(path.c_str(), target, sizeof target);
    text += length < 0 ? refused("readlink") : encoded(std::string(target, length));
    if (s.st_size != length) text += ":size-" + std::to_string(s.st_size);
  } else text += "-";
  return text + "|" + attributesOf(path) + "|" + timeOf(s.st_mtim);
}

std::string look(const Arguments& a) {
  struct stat status;
  if (lstat(a.path(0), &status)) return errnoName(errno);
  return describe(a.at(0), status);
}

using Found = std::map<std::pair<dev_t, ino_t>, std::string>;

void walk(const std::string& directory, Found& first, std::vector<std::string>& words) {
  DIR* stream = opendir(directory.c_str());
  if (!stream) return words.push_back(encoded(directory) + "|" + refused("opendir"));
  std::map<std::string, unsigned char> names;
  errno = 0;
  while (dirent* entry = readdir(stream)) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    if (!names.emplace(entry->d_name, entry->d_type).second) words.push_back(encoded(directory + "/" + entry->d_name) + "|listed-twice");
  }
  if (errno) words.push_back(encoded(directory) + "|" + refused("readdir"));
  closedir(stream);
  for (auto& [name, type] : names) {
    std::string path = directory + "/" + name;
    struct stat s;
    if (lstat(path.c_str(), &s)) {
      words.push_back(encoded(path) + "|" + refused("lstat"));
      continue;
    }
    std::string text = encoded(path) + "|" + describe(path, s);
    if (type != DT_UNKNOWN && type != IFTODT(s.st_mode)) text += "|listed-as-" + std::to_string(type);
    if (!S_ISDIR(s.st_mode)) text += "|" + encoded(first.emplace(std::make_pair(s.st_dev, s.st_ino), path).first->second);
    words.push_back(text);
    if (S_ISDIR(s.st_mode)) walk(path, first, words);
  }
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text.empty() ? "nothing" : text;
}

/** tree DIR: a word for each entry below: its path, what look says, and the first path of the same inode. */
std::string tree(const Arguments& a) {
  Found first;
  std::vector<std::string> words;
  walk(a.at(0), first, words);
  return joined(words);
}

std::string syncOne(const char* path, int flags) {
  int descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | flags);
  if (descriptor < 0) return errno == ELOOP || errno == ENXIO || errno == ENOENT ? "" : errnoName(errno);  // a symlink, a socket, gone
  struct stat s;
  bool failed = fstat(descriptor, &s) || ((S_ISREG(s.st_mode) || S_ISDIR(s.st_mode)) && fsync(descriptor));
  int number = errno;
  close(descriptor);
  return failed ? errnoName(number) : "";
}

void syncBelow(const std::string& directory, std::vector<std::string>& problems) {
  DIR* stream = opendir(directory.c_str());
  if (!stream && errno == ENOENT) return;
  if (!stream) return problems.push_back(encoded(directory) + "|" + refused("opendir"));
  std::vector<std::pair<std::string, unsigned char>> names;
  while (dirent* entry = readdir(stream))
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) names.push_back({entry->d_name, entry->d_type});
  closedir(stream);
  for (auto& [name, type] : names) {
    std::string path = directory + "/" + name;
    if (type == DT_DIR) syncBelow(path, problems);
    std::string problem = type == DT_REG ? syncOne(path.c_str(), 0) : "";
    if (!problem.empty()) problems.push_back(encoded(path) + "|fsync:" + problem);
  }
  std::string problem = syncOne(directory.c_str(), O_DIRECTORY);
  if (!problem.empty()) problems.push_back(encoded(directory) + "|fsync:" + problem);
}

/** sync-all DIR: fsync of everything below and of everything that this process has open or mapped. */
std::string syncAll(const Arguments& a) {
  std::vector<std::string> problems;
  for (auto& [name, mapping] : script.mappings)
    if (msync(mapping.address, mapping.length, MS_SYNC)) problems.push_back(encoded(name) + "|msync:" + errnoName(errno));
  for (auto& [name, descriptor] : script.descriptors)
    if (fsync(descriptor) && errno != EINVAL && errno != EBADF) problems.push_back(encoded(name) + "|fsync:" + errnoName(errno));
  syncBelow(a.at(0), problems);
  std::sort(problems.begin(), problems.end());
  return problems.empty() ? "ok" : joined(problems);
}

int removeBelow(const std::string& directory) {
  DIR* stream = opendir(directory.c_str());
  if (!stream) return -1;
  int result = 0;
  while (dirent* entry = readdir(stream)) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    std::string path = directory + "/" + entry->d_name;
    result = entry->d_type == DT_DIR ? removeBelow(path) : unlink(path.c_str());
    if (result) break;
  }
  int failed = errno;
  closedir(stream);
  errno = failed;
  return result ? result : rmdir(directory.c_str());
}

/** Of a name in the directory; the third word is put before it, so that several programs may work in one directory. */
std::string numbered(const Arguments& a, const char* kind, int64_t i) {
  return a.at(0) + "/" + (a.has(2) ? a.at(2) : "") + kind + std::to_string(i);
}

/** small-files DIR COUNT BYTES TAG: so many new files. */
std::string smallFiles(const Arguments& a) {
  std::vector<char> bytes(a.number(2));
  for (int64_t i = 0; i < a.number(1); i++) {
    int file = open((a.at(0) + "/s" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (file < 0) return std::to_string(i) + " " + errnoName(errno);
    makePattern(bytes.data(), bytes.size(), 0, a.number(3) + i);
    ssize_t wrote = write(file, bytes.data(), bytes.size());
    int failed = errno;
    close(file);
    if (wrote != static_cast<ssize_t>(bytes.size())) return std::to_string(i) + " write:" + errnoName(failed);
  }
  return "ok";
}

/** churn DIR COUNT [PREFIX]: makes, renames over each other, links and unlinks names, so that every third stays. */
std::string churn(const Arguments& a) {
  for (int64_t i = 0; i < a.number(1); i++) {
    std::string made = numbered(a, "c", i), moved = numbered(a, "m", i % 3 ? i - 1 : i);
    int file = open(made.c_str(), O_CREAT | O_WRONLY | O_EXCL, 0600 + i % 64);
    if (file < 0) return std::to_string(i) + " open:" + errnoName(errno);
    close(file);
    if (rename(made.c_str(), moved.c_str())) return std::to_string(i) + " rename:" + errnoName(errno);
    if (i % 5 == 0 && link(moved.c_str(), numbered(a, "l", i).c_str())) return std::to_string(i) + " link:" + errnoName(errno);
    if (i % 7 == 0 && unlink(moved.c_str())) return std::to_string(i) + " unlink:" + errnoName(errno);
  }
  return "ok";
}

/** watch-names DIR COUNT ROUNDS: lists it so often; what make-many made there must be listed once each time, whatever comes and goes beside it. */
std::string watchNames(const Arguments& a) {
  for (int64_t round = 0; round < a.number(2); round++) {
    DIR* stream = opendir(a.path(0));
    if (!stream) return errnoName(errno);
    std::map<std::string, int> seen;
    errno = 0;
    while (dirent* entry = readdir(stream)) seen[entry->d_name]++;
    int failed = errno;
    closedir(stream);
    if (failed) return errnoName(failed);
    for (int64_t i = 0; i < a.number(1); i++) {
      std::string name = "entry-" + std::to_string(i);
      if (seen[name] != 1) return name + " " + std::to_string(seen[name]) + "-times in-round-" + std::to_string(round);
    }
  }
  return "ok";
}

/** rename-while-listing DIR: renames each entry away and back when the listing gives it. The listing must end, with every name in it. */
std::string renameWhileListing(const Arguments& a) {
  std::set<std::string> before, seen;
  DIR* stream = opendir(a.path(0));
  if (!stream) return errnoName(errno);
  while (dirent* entry = readdir(stream))
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) before.insert(entry->d_name);
  rewinddir(stream);
  std::string away = a.at(0) + "/away", failed;
  size_t listed = 0;
  while (dirent* entry = readdir(stream)) {
    if (!before.count(entry->d_name)) continue;
    std::string path = a.at(0) + "/" + entry->d_name;
    seen.insert(entry->d_name);
    if (rename(path.c_str(), away.c_str()) || rename(away.c_str(), path.c_str())) failed = errnoName(errno);
    if (!failed.empty() || ++listed > 4 * before.size()) break;
  }
  closedir(stream);
  if (!failed.empty()) return failed;
  if (listed > 4 * before.size()) return "endless";
  return std::to_string(seen.size()) + " of " + std::to_string(before.size());
}

std::string setFilledAttribute(const Arguments& a) {
  std::string value(a.number(2), '\0');
  makePattern(value.data(), value.size(), 0, a.number(3));
  return done(setxattr(a.path(0), a.path(1), value.data(), value.size(), 0));
}

/** times PATH: inode, mtime and ctime. */
std::string times(const Arguments& a) {
  struct stat s;
  if (lstat(a.path(0), &s)) return errnoName(errno);
  char text[128];
  snprintf(text, sizeof text, "%lu %lld.%09ld %lld.%09ld", static_cast<unsigned long>(s.st_ino), static_cast<long long>(s.st_mtim.tv_sec), s.st_mtim.tv_nsec, static_cast<long long>(s.st_ctim.tv_sec), s.st_ctim.tv_nsec);
  return text;
}

}  // namespace

const CommandTable treeCommands = {
    {"look", look},
    {"tree", tree},
    {"sync-all", syncAll},
    {"remove-tree", [](const Arguments& a) { return done(removeBelow(a.at(0))); }},
    {"small-files", smallFiles},
    {"churn", churn},
    {"watch-names", watchNames},
    {"rename-while-listing", renameWhileListing},
    {"fill-xattr", setFilledAttribute},
    {"times", times},
};
