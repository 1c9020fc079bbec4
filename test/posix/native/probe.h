// What the probe's command files share: the words of one line, the names that scripts give to descriptors, directory
// streams and mappings, and how system calls' results become reply text. One probe is one process of a case.
#pragma once
#include <dirent.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

struct Mapping {
  char* address;
  size_t length;
};

/** A mistake in a script, not a refusal of the filesystem: the reply starts with "script-error". */
struct ScriptError {
  std::string text;
};

struct Arguments {
  std::vector<std::string> words;
  size_t count() const { return words.size(); }
  bool has(size_t index) const { return index < words.size(); }
  const std::string& at(size_t index) const {
    if (!has(index)) throw ScriptError{"argument " + std::to_string(index + 1) + " is missing"};
    return words[index];
  }
  const char* path(size_t index) const { return at(index).c_str(); }
  int64_t number(size_t index) const;
  mode_t octal(size_t index, mode_t otherwise) const;
  int descriptor(size_t index) const;
  /** Names separated by "|", from `names`; "0" is none. */
  int flags(size_t index, const std::map<std::string, int>& names) const;
};

struct Script {
  std::map<std::string, int> descriptors;
  std::map<std::string, DIR*> directories;
  std::map<std::string, Mapping> mappings;
};
extern Script script;

std::string errnoName(int number);
/** "ok", or errno's name where `result` is negative. */
std::string done(int64_t result);
/** The number itself, or errno's name where it is negative. */
std::string counted(int64_t result);
/** One word of a reply: spaces, control bytes and bytes above 126 become %XX. */
std::string encoded(const std::string& bytes);
/** Copies to or from mapped memory; "SIGBUS" or "SIGSEGV" where the access faults, else "". */
std::string touchMemory(char* to, const char* from, size_t length);

using Command = std::string (*)(const Arguments&);
using CommandTable = std::map<std::string, Command>;
extern const CommandTable nameCommands;
extern const CommandTable attributeCommands;
extern const CommandTable dataCommands;
extern const CommandTable lockCommands;
extern const CommandTable processCommands;
extern const CommandTable exerciseCommands;
extern const CommandTable exerciseNameCommands;
extern const CommandTable patternCommands;
extern const CommandTable treeCommands;
