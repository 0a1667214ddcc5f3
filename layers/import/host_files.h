#pragma once
#include <sys/stat.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/root_dir.h"
#include "layers/import/host_slice.h"

namespace surcoat {

/// The names that a host slice is going to have: a part of the host's tree that is closed under "what lies on
/// the way", symlinks included. From one thread at a time.
class HostFiles {
  public:
    /// `root` must outlive this.
    explicit HostFiles(const RootDir& root) : root_(root) {}

    /// Takes a path of the host with all directories and symlinks on the way to it. Returns where it really
    /// lies (absolute, no symlink in it); nothing if it does not exist or a symlink on the way dangles (what
    /// was found before that is taken). Throws Errc::invalid over 40 symlinks.
    std::optional<std::string> take(const std::string& path);
    /// lstat of a path without symlinks before its last component; nothing if absent. Remembered.
    const std::optional<struct stat>& look(const std::string& resolved);

    // What the host does not have; nothing is replaced that was taken.
    void make_directory(const std::string& path, unsigned mode);
    void make_file(const std::string& path, std::string content);
    bool has(const std::string& path) const { return files_.count(path.substr(1)) != 0; }

    /// All of it, in byte order of paths.
    std::vector<HostFile> release();

  private:
    std::string read_symlink(const std::string& resolved) const;
    void take_one(const std::string& resolved, const struct stat& st);

    const RootDir& root_;
    std::map<std::string, std::optional<struct stat>> looked_;
    std::map<std::string, HostFile> files_;  ///< by normalised path
};

}  // namespace surcoat
