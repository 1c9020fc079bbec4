// Random changes of names in a small tree, by several processes at once: no model, but only errors that such changes may
// give, and at the end link counts that agree with the names.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <map>
#include <random>
#include <set>

#include "probe.h"

static const std::set<int> expected = {0, ENOENT, EEXIST, ENOTEMPTY, ENOTDIR, EISDIR, EINVAL, EPERM, ELOOP, EBUSY};

class NameExercise {
 public:
  NameExercise(const std::string& directory, uint64_t seed) : base_(directory), random_(seed) {}

  std::string run(int steps) {
    for (int i = 0; i < steps; i++) {
      std::string what;
      errno = 0;
      int result = one(what);
      if (result < 0 && !expected.count(errno)) return "step-" + std::to_string(i) + ":" + what + ":" + errnoName(errno);
    }
    return "ok";
  }

 private:
  size_t below(size_t limit) { return random_() % limit; }
  std::string name() {
    std::string path = base_;
    for (size_t depth = below(3); depth > 0; depth--) path += "/d" + std::to_string(below(3));
    return path + "/" + (below(4) ? "f" : "d") + std::to_string(below(3));
  }

  int makeFile(const std::string& path) {
    int file = open(path.c_str(), O_CREAT | O_RDWR | O_NOFOLLOW, 0644);
    if (file < 0) return -1;
    ssize_t wrote = write(file, "text", 4);
    int failed = errno;
    close(file);
    errno = failed;
    return wrote == 4 ? 0 : -1;
  }

  int one(std::string& what) {
    std::string a = name(), b = name();
    struct stat status;
    switch (below(11)) {
      case 0: case 1: return what = "create", makeFile(a);
      case 2: return what = "mkdir", mkdir(a.c_str(), 0755);
      case 3: return what = "unlink", unlink(a.c_str());
      case 4: return what = "rmdir", rmdir(a.c_str());
      case 5: case 6: return what = "rename", rename(a.c_str(), b.c_str());
      case 7: return what = "exchange", syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), 2);
      case 8: return what = "link", link(a.c_str(), b.c_str());
      case 9: return what = "symlink", symlink("f0", a.c_str());
      default: return what = "stat", lstat(a.c_str(), &status);
    }
  }

  std::string base_;
  std::mt19937_64 random_;
};

struct Counted {
  nlink_t links;
  nlink_t names;
};

static std::string countNames(const std::string& directory, std::map<ino_t, Counted>& found) {
  DIR* stream = opendir(directory.c_str());
  if (!stream) return directory + ":" + errnoName(errno);
  struct stat status;
  nlink_t subdirectories = 0;
  std::string problem;
  while (dirent* entry = readdir(stream)) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    std::string path = directory + "/" + entry->d_name;
    if (lstat(path.c_str(), &status)) problem = path + ":" + errnoName(errno);
    else if (status.st_ino != entry->d_ino) problem = path + ":inode-differs";
    else if (S_ISDIR(status.st_mode)) {
      subdirectories++;
      std::string below = countNames(path, found);
      if (!below.empty()) problem = below;
    } else {
      found[status.st_ino].links = status.st_nlink;
      found[status.st_ino].names++;
    }
  }
  closedir(stream);
  if (problem.empty() && !stat(directory.c_str(), &status) && status.st_nlink != subdirectories + 2)
    problem = directory + ":links-" + std::to_string(status.st_nlink) + "-subdirectories-" + std::to_string(subdirectories);
  return problem;
}

/** "ok" where every listed name is there and every link count is the number of names (all of them below the directory). */
static std::string linksAgree(const Arguments& a) {
  std::map<ino_t, Counted> found;
  std::string problem = countNames(a.at(0), found);
  if (!problem.empty()) return encoded(problem);
  for (auto& [inode, counted] : found) {
    if (counted.links != counted.names) return "inode-" + std::to_string(inode) + "-has-" + std::to_string(counted.links) + "-links-" + std::to_string(counted.names) + "-names";
  }
  return "ok";
}

/** Gives a file COUNT more names; the last number that worked and the errno that ended it, or "ok". */
static std::string linkMany(const Arguments& a) {
  for (int64_t i = 0; i < a.number(2); i++) {
    std::string path = a.at(1) + "/link-" + std::to_string(i);
    if (link(a.path(0), path.c_str())) return std::to_string(i) + " " + errnoName(errno);
  }
  return "ok";
}

const CommandTable exerciseNameCommands = {
    {"exercise-names", [](const Arguments& a) { return NameExercise(a.at(0), a.number(1)).run(a.number(2)); }},
    {"links-agree", linksAgree},
    {"link-many", linkMany},
};
