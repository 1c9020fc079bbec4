// Commands about names: directories, links, renames, special files.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "probe.h"

static const std::map<std::string, int> renameFlags = {{"NOREPLACE", 1}, {"EXCHANGE", 2}, {"WHITEOUT", 4}, {"UNKNOWN", 64}};

static std::string renameWithFlags(const Arguments& a) {
  return done(syscall(SYS_renameat2, AT_FDCWD, a.path(0), AT_FDCWD, a.path(1), a.flags(2, renameFlags)));
}

static std::string linkDescriptor(const Arguments& a) {
  std::string from = "/proc/self/fd/" + std::to_string(a.descriptor(0));
  return done(linkat(AT_FDCWD, from.c_str(), AT_FDCWD, a.path(1), AT_SYMLINK_FOLLOW));
}

static std::string readLink(const Arguments& a) {
  char target[8192];
  ssize_t length = readlink(a.path(0), target, a.has(1) ? a.number(1) : sizeof target);
  return length < 0 ? errnoName(errno) : encoded(std::string(target, length));
}

static std::string makeNode(const Arguments& a) {
  static const std::map<std::string, int> types = {{"fifo", S_IFIFO}, {"socket", S_IFSOCK}, {"char", S_IFCHR}, {"block", S_IFBLK}, {"file", S_IFREG}, {"directory", S_IFDIR}};
  dev_t device = a.has(4) ? makedev(a.number(3), a.number(4)) : 0;
  return done(mknod(a.path(0), a.flags(1, types) | a.octal(2, 0644), device));
}

static std::string createFile(const Arguments& a) {
  int descriptor = open(a.path(0), O_CREAT | O_EXCL | O_WRONLY, a.octal(2, 0644));
  if (descriptor < 0) return errnoName(errno);
  if (a.has(1) && !a.at(1).empty() && write(descriptor, a.at(1).data(), a.at(1).size()) < 0) return errnoName(errno);
  return done(close(descriptor));
}

static const char* typeName(unsigned char type) {
  switch (type) {
    case DT_REG: return "file";
    case DT_DIR: return "directory";
    case DT_LNK: return "symlink";
    case DT_FIFO: return "fifo";
    case DT_SOCK: return "socket";
    case DT_CHR: return "char";
    case DT_BLK: return "block";
    default: return "unknown";
  }
}

template <typename Take>
static std::string eachEntry(const char* path, Take take) {
  DIR* directory = opendir(path);
  if (!directory) return errnoName(errno);
  errno = 0;
  while (dirent* entry = readdir(directory)) {
    take(entry);
    errno = 0;
  }
  int failed = errno;
  closedir(directory);
  return failed ? errnoName(failed) : "";
}

static std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text.empty() ? "nothing" : text;
}

static std::string listNames(const Arguments& a) {
  std::vector<std::string> names;
  std::string failed = eachEntry(a.path(0), [&](dirent* entry) {
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) names.push_back(encoded(entry->d_name));
  });
  if (!failed.empty()) return failed;
  std::sort(names.begin(), names.end());
  return joined(names);
}

static std::string listTypes(const Arguments& a) {
  std::vector<std::string> names;
  std::string failed = eachEntry(a.path(0), [&](dirent* entry) { names.push_back(encoded(entry->d_name) + ":" + typeName(entry->d_type)); });
  if (!failed.empty()) return failed;
  std::sort(names.begin(), names.end());
  return joined(names);
}

/** "COUNT unique COUNT", without the dots. */
static std::string countEntries(const Arguments& a) {
  size_t count = 0;
  std::set<std::string> names;
  std::string failed = eachEntry(a.path(0), [&](dirent* entry) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) return;
    count++;
    names.insert(entry->d_name);
  });
  return failed.empty() ? std::to_string(count) + " unique " + std::to_string(names.size()) : failed;
}

/** The inode numbers that readdir gives are stat's. */
static std::string entryInodesAgree(const Arguments& a) {
  bool agree = true;
  std::string failed = eachEntry(a.path(0), [&](dirent* entry) {
    struct stat status;
    std::string path = a.at(0) + "/" + entry->d_name;
    if (!strcmp(entry->d_name, "..")) return;
    if (lstat(path.c_str(), &status) || status.st_ino != entry->d_ino) agree = false;
  });
  return !failed.empty() ? failed : agree ? "yes" : "no";
}

static std::string makeMany(const Arguments& a) {
  for (int64_t i = 0; i < a.number(1); i++) {
    std::string path = a.at(0) + "/entry-" + std::to_string(i);
    int descriptor = open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (descriptor < 0) return errnoName(errno);
    close(descriptor);
  }
  return "ok";
}

/** Removes each entry when the listing gives it, in one pass, as rm -r does. Replies the number removed. */
static std::string removeWhileListing(const Arguments& a) {
  int64_t removed = 0;
  std::string failed = eachEntry(a.path(0), [&](dirent* entry) {
    std::string path = a.at(0) + "/" + entry->d_name;
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") && !unlink(path.c_str())) removed++;
  });
  return failed.empty() ? std::to_string(removed) : failed;
}

/** Makes a new name beside each old one while listing; replies how often an old name was missing or given twice. */
static std::string addWhileListing(const Arguments& a) {
  std::map<std::string, int> seen;
  int64_t before = a.number(1), created = 0;
  std::string failed = eachEntry(a.path(0), [&](dirent* entry) {
    seen[entry->d_name]++;
    if (created >= before) return;
    std::string path = a.at(0) + "/added-" + std::to_string(created++);
    close(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644));
  });
  if (!failed.empty()) return failed;
  int64_t wrong = 0;
  for (int64_t i = 0; i < before; i++) wrong += seen["entry-" + std::to_string(i)] != 1;
  return std::to_string(wrong);
}

/**
 * Changes names while listing them: each entry given is renamed to and fro; or a name that may not have been given yet is
 * replaced by a new file, or exchanged with another. Replies how often an old name was missing or given twice, "endless" if
 * four times as many come as there are.
 */
static std::string changeWhileListing(const Arguments& a) {
  std::map<std::string, int> seen;
  int64_t before = a.number(1), given = 0;
  auto entryAt = [&](int64_t index) { return a.at(0) + "/entry-" + std::to_string(index); };
  auto change = [&](const std::string& name, int64_t index) {
    std::string path = a.at(0) + "/" + name, spare = a.at(0) + "-spare";
    if (a.at(2) == "rename") {
      rename(path.c_str(), (a.at(0) + "/T").c_str());
      rename((a.at(0) + "/T").c_str(), path.c_str());
    } else if (a.at(2) == "replace") {
      close(open(spare.c_str(), O_CREAT | O_WRONLY, 0644));
      rename(spare.c_str(), entryAt(before - 1 - index).c_str());
    } else {
      syscall(SYS_renameat2, AT_FDCWD, entryAt(index).c_str(), AT_FDCWD, entryAt(before - 1 - index).c_str(), 2);
    }
  };
  DIR* directory = opendir(a.path(0));
  if (!directory) return errnoName(errno);
  while (dirent* entry = readdir(directory)) {
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (given >= 4 * before) return closedir(directory), "endless";
    seen[name]++;
    change(name, given++ % before);
  }
  closedir(directory);
  int64_t wrong = 0;
  for (int64_t i = 0; i < before; i++) wrong += seen["entry-" + std::to_string(i)] != 1;
  return std::to_string(wrong);
}

static DIR* directoryOf(const Arguments& a) {
  auto found = script.directories.find(a.at(0));
  if (found == script.directories.end()) throw ScriptError{"no directory stream is called \"" + a.at(0) + "\""};
  return found->second;
}

static std::string openDirectory(const Arguments& a) {
  DIR* directory = opendir(a.path(1));
  if (!directory) return errnoName(errno);
  script.directories[a.at(0)] = directory;
  return "ok";
}

static std::string nextEntry(const Arguments& a) {
  errno = 0;
  dirent* entry = readdir(directoryOf(a));
  return entry ? encoded(entry->d_name) : errno ? errnoName(errno) : "end";
}

/** Lists the rest of a stream, sorted, without the dots. */
static std::string restOfEntries(const Arguments& a) {
  std::vector<std::string> names;
  errno = 0;
  while (dirent* entry = readdir(directoryOf(a))) {
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) names.push_back(encoded(entry->d_name));
  }
  std::sort(names.begin(), names.end());
  return errno ? errnoName(errno) : joined(names);
}

static std::string bindSocket(const Arguments& a) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, a.path(1), sizeof address.sun_path - 1);
  int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) || listen(descriptor, 1)) {
    int failed = errno;
    close(descriptor);
    return errnoName(failed);
  }
  script.descriptors[a.at(0)] = descriptor;
  return "ok";
}

static std::string connectSocket(const Arguments& a) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, a.path(1), sizeof address.sun_path - 1);
  int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address)) return errnoName(errno);
  script.descriptors[a.at(0)] = descriptor;
  return "ok";
}

const CommandTable nameCommands = {
    {"create", createFile},
    {"mkdir", [](const Arguments& a) { return done(mkdir(a.path(0), a.octal(1, 0755))); }},
    {"rmdir", [](const Arguments& a) { return done(rmdir(a.path(0))); }},
    {"unlink", [](const Arguments& a) { return done(unlink(a.path(0))); }},
    {"remove-at", [](const Arguments& a) { return done(unlinkat(a.descriptor(0), a.path(1), a.has(2) ? AT_REMOVEDIR : 0)); }},
    {"rename", [](const Arguments& a) { return done(rename(a.path(0), a.path(1))); }},
    {"rename2", renameWithFlags},
    {"link", [](const Arguments& a) { return done(link(a.path(0), a.path(1))); }},
    {"link-follow", [](const Arguments& a) { return done(linkat(AT_FDCWD, a.path(0), AT_FDCWD, a.path(1), AT_SYMLINK_FOLLOW)); }},
    {"link-descriptor", linkDescriptor},
    {"symlink", [](const Arguments& a) { return done(symlink(a.path(0), a.path(1))); }},
    {"readlink", readLink},
    {"mknod", makeNode},
    {"mkdir-at", [](const Arguments& a) { return done(mkdirat(a.descriptor(0), a.path(1), a.octal(2, 0755))); }},
    {"names", listNames},
    {"types", listTypes},
    {"count", countEntries},
    {"inodes-agree", entryInodesAgree},
    {"make-many", makeMany},
    {"remove-while-listing", removeWhileListing},
    {"add-while-listing", addWhileListing},
    {"change-while-listing", changeWhileListing},
    {"opendir", openDirectory},
    {"next", nextEntry},
    {"rest", restOfEntries},
    {"rewind", [](const Arguments& a) { return rewinddir(directoryOf(a)), std::string("ok"); }},
    {"tell", [](const Arguments& a) { return counted(telldir(directoryOf(a))); }},
    {"seekdir", [](const Arguments& a) { return seekdir(directoryOf(a), a.number(1)), std::string("ok"); }},
    {"closedir", [](const Arguments& a) { return done(closedir(directoryOf(a))); }},
    {"bind", bindSocket},
    {"connect", connectSocket},
};
