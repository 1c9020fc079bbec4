// Executes a script of system calls: one command a line on standard input, one reply line each on standard output.
// Words are separated by one space, with %XX for bytes that are not plain. A reply is "ok", result words, or an
// errno's name. Used by test/posix/probe.ts; the commands' list is in test/posix/README.md.
#include "probe.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Script script;

static std::string decoded(const std::string& word) {
  std::string bytes;
  if (word == "%") return bytes;
  for (size_t i = 0; i < word.size(); i++) {
    if (word[i] != '%') {
      bytes += word[i];
      continue;
    }
    bytes += static_cast<char>(strtol(word.substr(i + 1, 2).c_str(), nullptr, 16));
    i += 2;
  }
  return bytes;
}

std::string encoded(const std::string& bytes) {
  std::string word;
  char hex[4];
  for (unsigned char byte : bytes) {
    if (byte > 32 && byte < 127 && byte != '%') {
      word += static_cast<char>(byte);
      continue;
    }
    snprintf(hex, sizeof hex, "%%%02x", byte);
    word += hex;
  }
  return word.empty() ? "%" : word;
}

std::string errnoName(int number) {
  const char* name = strerrorname_np(number);
  if (number == EOPNOTSUPP) return "EOPNOTSUPP";
  return name ? name : std::to_string(number);
}

std::string done(int64_t result) { return result < 0 ? errnoName(errno) : "ok"; }
std::string counted(int64_t result) { return result < 0 ? errnoName(errno) : std::to_string(result); }

int64_t Arguments::number(size_t index) const {
  const std::string& word = at(index);
  char* end = nullptr;
  int64_t value = strtoll(word.c_str(), &end, 10);
  if (*end == 'K') value <<= 10, end++;
  else if (*end == 'M') value <<= 20, end++;
  else if (*end == 'G') value <<= 30, end++;
  else if (*end == 'T') value <<= 40, end++;
  if (*end || word.empty()) throw ScriptError{"\"" + word + "\" is not a number"};
  return value;
}

mode_t Arguments::octal(size_t index, mode_t otherwise) const {
  return has(index) ? static_cast<mode_t>(strtoul(at(index).c_str(), nullptr, 8)) : otherwise;
}

int Arguments::descriptor(size_t index) const {
  const std::string& name = at(index);
  if (name == "none") return -1;
  if (name == "cwd") return AT_FDCWD;
  auto found = script.descriptors.find(name);
  if (found == script.descriptors.end()) throw ScriptError{"no descriptor is called \"" + name + "\""};
  return found->second;
}

int Arguments::flags(size_t index, const std::map<std::string, int>& names) const {
  int value = 0;
  const std::string& text = at(index);
  for (size_t start = 0; start <= text.size();) {
    size_t end = std::min(text.find('|', start), text.size());
    std::string name = text.substr(start, end - start);
    auto found = names.find(name);
    if (found != names.end()) value |= found->second;
    else if (name != "0") throw ScriptError{"unknown flag \"" + name + "\""};
    start = end + 1;
  }
  return value;
}

static std::string execute(const std::string& line) {
  Arguments arguments;
  for (size_t start = 0; start < line.size();) {
    size_t end = std::min(line.find(' ', start), line.size());
    arguments.words.push_back(decoded(line.substr(start, end - start)));
    start = end + 1;
  }
  if (arguments.words.empty()) throw ScriptError{"an empty line"};
  std::string name = arguments.words[0];
  arguments.words.erase(arguments.words.begin());
  for (const CommandTable* table : {&nameCommands, &attributeCommands, &dataCommands, &lockCommands, &processCommands, &exerciseCommands, &exerciseNameCommands, &patternCommands, &treeCommands}) {
    auto found = table->find(name);
    if (found != table->end()) return found->second(arguments);
  }
  throw ScriptError{"unknown command \"" + name + "\""};
}

static bool answer(const std::string& line) {
  std::string reply;
  try {
    reply = execute(line);
  } catch (const ScriptError& error) {
    reply = "script-error " + encoded(error.text);
  }
  reply += '\n';
  for (size_t sent = 0; sent < reply.size();) {
    ssize_t wrote = write(1, reply.data() + sent, reply.size() - sent);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    sent += wrote;
  }
  return true;
}

static void nothing(int) {}

int main(int count, char** words) {
  if (count > 1 && !strcmp(words[1], "whoami")) {
    printf("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
    return 0;
  }
  struct sigaction interrupt = {};
  interrupt.sa_handler = nothing;  // without SA_RESTART, so that a blocking call returns EINTR
  sigaction(SIGUSR1, &interrupt, nullptr);
  signal(SIGXFSZ, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  umask(022);
  std::string pending;
  char piece[65536];
  for (;;) {
    ssize_t got = read(0, piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 0;
    pending.append(piece, got);
    for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      if (!answer(pending.substr(0, end))) return 1;
    }
  }
}
