// Commands about locks, and about the process itself: identity, umask, working directory, limits, running a program.
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "probe.h"

static struct flock range(const Arguments& a) {
  static const std::map<std::string, int> types = {{"R", F_RDLCK}, {"W", F_WRLCK}, {"U", F_UNLCK}};
  struct flock lock = {};
  lock.l_type = a.flags(1, types);
  lock.l_whence = SEEK_SET;
  lock.l_start = a.number(2);
  lock.l_len = a.number(3);
  return lock;
}

static std::string setLock(const Arguments& a, int command) {
  struct flock lock = range(a);
  return done(fcntl(a.descriptor(0), command, &lock));
}

/** "free", or the conflicting lock's type, start and length. */
static std::string getLock(const Arguments& a, int command) {
  struct flock lock = range(a);
  if (fcntl(a.descriptor(0), command, &lock)) return errnoName(errno);
  if (lock.l_type == F_UNLCK) return "free";
  return std::string(lock.l_type == F_RDLCK ? "R" : "W") + " " + std::to_string(lock.l_start) + " " + std::to_string(lock.l_len);
}

static std::string lockHolder(const Arguments& a) {
  struct flock lock = range(a);
  if (fcntl(a.descriptor(0), F_GETLK, &lock)) return errnoName(errno);
  return lock.l_type == F_UNLCK ? "free" : std::to_string(lock.l_pid);
}

static std::string lockFile(const Arguments& a) {
  static const std::map<std::string, int> operations = {{"SH", LOCK_SH}, {"EX", LOCK_EX}, {"UN", LOCK_UN}, {"NB", LOCK_NB}};
  return done(flock(a.descriptor(0), a.flags(1, operations)));
}

const CommandTable lockCommands = {
    {"lock", [](const Arguments& a) { return setLock(a, F_SETLK); }},
    {"lock-wait", [](const Arguments& a) { return setLock(a, F_SETLKW); }},
    {"lock-test", [](const Arguments& a) { return getLock(a, F_GETLK); }},
    {"lock-holder", lockHolder},
    {"ofd-lock", [](const Arguments& a) { return setLock(a, F_OFD_SETLK); }},
    {"ofd-lock-wait", [](const Arguments& a) { return setLock(a, F_OFD_SETLKW); }},
    {"ofd-lock-test", [](const Arguments& a) { return getLock(a, F_OFD_GETLK); }},
    {"flock", lockFile},
};

/** identity UID GID [GROUP...]: for good; capabilities go with uid 0. */
static std::string become(const Arguments& a) {
  std::vector<gid_t> groups;
  for (size_t i = 2; i < a.count(); i++) groups.push_back(a.number(i));
  if (setgroups(groups.size(), groups.data())) return errnoName(errno);
  if (setresgid(a.number(1), a.number(1), a.number(1))) return errnoName(errno);
  return done(setresuid(a.number(0), a.number(0), a.number(0)));
}

static std::string clockText(const Arguments&) {
  timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  char text[64];
  snprintf(text, sizeof text, "%lld.%09ld", static_cast<long long>(time.tv_sec), time.tv_nsec);
  return text;
}

static std::string limitFileSize(const Arguments& a) {
  rlimit limit = {static_cast<rlim_t>(a.number(0)), RLIM_INFINITY};
  return done(setrlimit(RLIMIT_FSIZE, &limit));
}

static std::string firstLine(int descriptor) {
  std::string text;
  char byte;
  while (read(descriptor, &byte, 1) == 1 && byte != '\n') text += byte;
  return text;
}

/** Runs a program and gives its first line of output, exec's errno, or "exit N". */
static std::string runProgram(const Arguments& a) {
  int output[2], failure[2];
  if (pipe2(output, O_CLOEXEC) || pipe2(failure, O_CLOEXEC)) return errnoName(errno);
  pid_t child = fork();
  if (child == 0) {
    std::vector<char*> words;
    for (const std::string& word : a.words) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    dup2(output[1], 1);
    execv(words[0], words.data());
    int failed = errno;
    if (write(failure[1], &failed, sizeof failed) < 0) _exit(126);
    _exit(127);
  }
  close(output[1]);
  close(failure[1]);
  int failed = 0, status = 0;
  if (read(failure[0], &failed, sizeof failed) < 0) failed = errno;
  std::string text = firstLine(output[0]);
  close(output[0]);
  close(failure[0]);
  waitpid(child, &status, 0);
  if (failed) return errnoName(failed);
  return text.empty() ? "exit " + std::to_string(WEXITSTATUS(status)) : text;
}

/** Copies the probe's own program to a path. */
static std::string copySelf(const Arguments& a) {
  int from = open("/proc/self/exe", O_RDONLY), to = open(a.path(0), O_CREAT | O_EXCL | O_WRONLY, 0755);
  if (from < 0 || to < 0) return errnoName(errno);
  char piece[65536];
  for (ssize_t got; (got = read(from, piece, sizeof piece)) > 0;) {
    if (write(to, piece, got) != got) return errnoName(errno);
  }
  close(from);
  return done(close(to));
}

/** The working directory's last `count` names, joined by "/", or errno's name. */
static std::string workingDirectory(const Arguments& a) {
  char path[8192];
  if (!getcwd(path, sizeof path)) return errnoName(errno);
  std::string text = path;
  size_t start = text.size();
  for (int64_t i = 0; i < a.number(0); i++) start = text.rfind('/', start - 1);
  return encoded(text.substr(start + 1));
}

/** Makes COUNT directories called NAME, each in the one before, going down with chdir. */
static std::string descend(const Arguments& a) {
  for (int64_t i = 0; i < a.number(1); i++) {
    if (mkdir(a.path(0), 0755) || chdir(a.path(0))) return errnoName(errno);
  }
  return "ok";
}

/** Goes up COUNT times with chdir, removing the directory NAME that it came from. */
static std::string ascend(const Arguments& a) {
  for (int64_t i = 0; i < a.number(1); i++) {
    if (chdir("..") || rmdir(a.path(0))) return errnoName(errno);
  }
  return "ok";
}

static std::string sleepFor(const Arguments& a) {
  timespec time = {a.number(0) / 1000, a.number(0) % 1000 * 1000000};
  nanosleep(&time, nullptr);
  return "ok";
}

const CommandTable processCommands = {
    {"identity", become},
    {"umask", [](const Arguments& a) { return umask(a.octal(0, 022)), std::string("ok"); }},
    {"chdir", [](const Arguments& a) { return done(chdir(a.path(0))); }},
    {"fchdir", [](const Arguments& a) { return done(fchdir(a.descriptor(0))); }},
    {"cwd", workingDirectory},
    {"descend", descend},
    {"ascend", ascend},
    {"now", clockText},
    {"sleep", sleepFor},
    {"pid", [](const Arguments&) { return std::to_string(getpid()); }},
    {"limit-file-size", limitFileSize},
    {"run", runProgram},
    {"copy-self", copySelf},
};
