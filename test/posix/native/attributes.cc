// Commands about attributes: stat, modes, owners, times, extended attributes, ACLs, filesystem figures.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "probe.h"

static std::string timeText(const timespec& time) {
  char text[64];
  snprintf(text, sizeof text, "%lld.%09ld", static_cast<long long>(time.tv_sec), time.tv_nsec);
  return text;
}

static std::string typeText(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symlink";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFCHR: return "char";
    case S_IFBLK: return "block";
    default: return "unknown";
  }
}

static std::string field(const struct stat& s, const std::string& name) {
  char text[32];
  if (name == "type") return typeText(s.st_mode);
  if (name == "mode") return snprintf(text, sizeof text, "%04o", s.st_mode & 07777), text;
  if (name == "links") return std::to_string(s.st_nlink);
  if (name == "uid") return std::to_string(s.st_uid);
  if (name == "gid") return std::to_string(s.st_gid);
  if (name == "size") return std::to_string(s.st_size);
  if (name == "blocks") return std::to_string(s.st_blocks);
  if (name == "inode") return std::to_string(s.st_ino);
  if (name == "filesystem") return std::to_string(s.st_dev);
  if (name == "device") return std::to_string(major(s.st_rdev)) + ":" + std::to_string(minor(s.st_rdev));
  if (name == "blksize") return std::to_string(s.st_blksize);
  if (name == "atime") return timeText(s.st_atim);
  if (name == "mtime") return timeText(s.st_mtim);
  if (name == "ctime") return timeText(s.st_ctim);
  throw ScriptError{"unknown field \"" + name + "\""};
}

static std::string fields(int result, const struct stat& status, const Arguments& a) {
  if (result < 0) return errnoName(errno);
  std::string text;
  for (size_t i = 1; i < a.count(); i++) text += (i > 1 ? " " : "") + field(status, a.at(i));
  return text.empty() ? "ok" : text;
}

static timespec timeOf(const std::string& word) {
  if (word == "now") return {0, UTIME_NOW};
  if (word == "omit") return {0, UTIME_OMIT};
  size_t dot = word.find('.');
  return {strtoll(word.c_str(), nullptr, 10), dot == std::string::npos ? 0 : strtol(word.c_str() + dot + 1, nullptr, 10)};
}

static std::string setTimes(const Arguments& a, int flags) {
  timespec times[2] = {timeOf(a.at(1)), timeOf(a.at(2))};
  return done(utimensat(AT_FDCWD, a.path(0), times, flags));
}

static std::string setDescriptorTimes(const Arguments& a) {
  timespec times[2] = {timeOf(a.at(1)), timeOf(a.at(2))};
  return done(futimens(a.descriptor(0), times));
}

static const std::map<std::string, int> accessModes = {{"F", F_OK}, {"R", R_OK}, {"W", W_OK}, {"X", X_OK}};
static const std::map<std::string, int> xattrFlags = {{"CREATE", XATTR_CREATE}, {"REPLACE", XATTR_REPLACE}};

static std::string valueText(ssize_t length, const char* value) {
  return length < 0 ? errnoName(errno) : encoded(std::string(value, length));
}

static std::string getAttribute(const Arguments& a) {
  static char value[65536];
  return valueText(getxattr(a.path(0), a.path(1), value, a.has(2) ? a.number(2) : sizeof value), value);
}

static std::string listAttributes(ssize_t length, const char* list) {
  if (length < 0) return errnoName(errno);
  std::vector<std::string> names;
  for (ssize_t at = 0; at < length; at += strlen(list + at) + 1) names.push_back(encoded(list + at));
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text.empty() ? "nothing" : text;
}

// POSIX ACLs as the kernel stores them in system.posix_acl_*: a version word, then tag, permissions, id (acl(5)).
struct AclEntry {
  uint16_t tag, permissions;
  uint32_t id;
};
static const std::pair<const char*, uint16_t> aclTags[] = {{"u", 0x01}, {"u", 0x02}, {"g", 0x04}, {"g", 0x08}, {"m", 0x10}, {"o", 0x20}};

static std::string aclAttribute(const Arguments& a) {
  if (a.at(1) != "access" && a.at(1) != "default") throw ScriptError{"an ACL is \"access\" or \"default\""};
  return "system.posix_acl_" + a.at(1);
}

static AclEntry aclEntry(const std::string& text) {
  size_t first = text.find(':'), second = text.find(':', first + 1);
  if (second == std::string::npos) throw ScriptError{"an ACL entry is tag:id:rwx, not \"" + text + "\""};
  std::string tag = text.substr(0, first), id = text.substr(first + 1, second - first - 1), bits = text.substr(second + 1);
  AclEntry entry = {0, 0, id.empty() ? 0xffffffffu : static_cast<uint32_t>(strtoul(id.c_str(), nullptr, 10))};
  for (char bit : bits) entry.permissions |= bit == 'r' ? 4 : bit == 'w' ? 2 : bit == 'x' ? 1 : 0;
  if (tag == "u") entry.tag = id.empty() ? 0x01 : 0x02;
  if (tag == "g") entry.tag = id.empty() ? 0x04 : 0x08;
  if (tag == "m") entry.tag = 0x10;
  if (tag == "o") entry.tag = 0x20;
  return entry;
}

static std::string setAcl(const Arguments& a) {
  std::string value("\2\0\0\0", 4);
  const std::string& text = a.at(2);
  for (size_t start = 0; start < text.size();) {
    size_t end = std::min(text.find(',', start), text.size());
    AclEntry entry = aclEntry(text.substr(start, end - start));
    value.append(reinterpret_cast<char*>(&entry), sizeof entry);
    start = end + 1;
  }
  return done(setxattr(a.path(0), aclAttribute(a).c_str(), value.data(), value.size(), 0));
}

static std::string getAcl(const Arguments& a) {
  static char value[65536];
  ssize_t length = getxattr(a.path(0), aclAttribute(a).c_str(), value, sizeof value);
  if (length < 0) return errnoName(errno);
  std::string text;
  for (ssize_t at = 4; at + 8 <= length; at += 8) {
    AclEntry entry;
    memcpy(&entry, value + at, sizeof entry);
    if (!text.empty()) text += ",";
    for (auto& [name, tag] : aclTags) {
      if (tag == entry.tag) text += name;
    }
    text += ":";
    if (entry.tag == 0x02 || entry.tag == 0x08) text += std::to_string(entry.id);
    text += ":";
    for (int bit = 0; bit < 3; bit++) text += entry.permissions & (4 >> bit) ? "rwx"[bit] : '-';
  }
  return text;
}

static std::string figures(const Arguments& a) {
  struct statvfs s;
  if (statvfs(a.path(0), &s)) return errnoName(errno);
  std::string name = a.at(1);
  if (name == "namemax") return std::to_string(s.f_namemax);
  if (name == "blocks") return std::to_string(s.f_blocks);
  if (name == "free") return std::to_string(s.f_bfree);
  if (name == "available") return std::to_string(s.f_bavail);
  if (name == "block-bytes") return std::to_string(s.f_frsize);
  if (name == "inodes") return std::to_string(s.f_files);
  if (name == "free-inodes") return std::to_string(s.f_ffree);
  if (name == "sane") {
    bool sane = s.f_blocks > 0 && s.f_bfree <= s.f_blocks && s.f_bavail <= s.f_bfree && s.f_frsize > 0 && s.f_ffree <= s.f_files;
    return sane ? "yes" : "no";
  }
  throw ScriptError{"unknown figure \"" + name + "\""};
}

const CommandTable attributeCommands = {
    {"stat", [](const Arguments& a) { struct stat s = {}; return fields(stat(a.path(0), &s), s, a); }},
    {"lstat", [](const Arguments& a) { struct stat s = {}; return fields(lstat(a.path(0), &s), s, a); }},
    {"fstat", [](const Arguments& a) { struct stat s = {}; return fields(fstat(a.descriptor(0), &s), s, a); }},
    {"chmod", [](const Arguments& a) { return done(chmod(a.path(0), a.octal(1, 0))); }},
    {"fchmod", [](const Arguments& a) { return done(fchmod(a.descriptor(0), a.octal(1, 0))); }},
    {"chown", [](const Arguments& a) { return done(chown(a.path(0), a.number(1), a.number(2))); }},
    {"lchown", [](const Arguments& a) { return done(lchown(a.path(0), a.number(1), a.number(2))); }},
    {"fchown", [](const Arguments& a) { return done(fchown(a.descriptor(0), a.number(1), a.number(2))); }},
    {"utimens", [](const Arguments& a) { return setTimes(a, 0); }},
    {"lutimens", [](const Arguments& a) { return setTimes(a, AT_SYMLINK_NOFOLLOW); }},
    {"futimens", setDescriptorTimes},
    {"access", [](const Arguments& a) { return done(faccessat(AT_FDCWD, a.path(0), a.flags(1, accessModes), 0)); }},
    {"access-effective", [](const Arguments& a) { return done(faccessat(AT_FDCWD, a.path(0), a.flags(1, accessModes), AT_EACCESS)); }},
    {"setxattr", [](const Arguments& a) { return done(setxattr(a.path(0), a.path(1), a.at(2).data(), a.at(2).size(), a.has(3) ? a.flags(3, xattrFlags) : 0)); }},
    {"lsetxattr", [](const Arguments& a) { return done(lsetxattr(a.path(0), a.path(1), a.at(2).data(), a.at(2).size(), 0)); }},
    {"fsetxattr", [](const Arguments& a) { return done(fsetxattr(a.descriptor(0), a.path(1), a.at(2).data(), a.at(2).size(), 0)); }},
    {"getxattr", getAttribute},
    {"getxattr-size", [](const Arguments& a) { return counted(getxattr(a.path(0), a.path(1), nullptr, 0)); }},
    {"lgetxattr", [](const Arguments& a) { static char v[65536]; return valueText(lgetxattr(a.path(0), a.path(1), v, sizeof v), v); }},
    {"fgetxattr", [](const Arguments& a) { static char v[65536]; return valueText(fgetxattr(a.descriptor(0), a.path(1), v, sizeof v), v); }},
    {"listxattr", [](const Arguments& a) { static char l[65536]; return listAttributes(listxattr(a.path(0), l, a.has(1) ? a.number(1) : sizeof l), l); }},
    {"removexattr", [](const Arguments& a) { return done(removexattr(a.path(0), a.path(1))); }},
    {"setacl", setAcl},
    {"getacl", getAcl},
    {"statvfs", figures},
};
