#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/root_dir.h"

namespace surcoat {

/// Which Debian package put which file where: dpkg's own lists (/var/lib/dpkg/info/*.list), read as they are.
/// On a system without dpkg every question is answered with nothing. From one thread at a time.
class HostPackages {
  public:
    /// `root` must outlive this.
    explicit HostPackages(const RootDir& root);

    bool has(const std::string& package) const { return lists_.count(package) != 0; }
    std::vector<std::string> names() const;
    /// Paths of an installed package as dpkg wrote them, in its order, directories included; empty if
    /// unknown.
    const std::vector<std::string>& files(const std::string& package);
    /// The package that a file came with, under this name or (merged /usr) with or without its "/usr". All
    /// lists are read at the first call.
    std::optional<std::string> owner(const std::string& path);

  private:
    void load(const std::string& package);

    const RootDir& root_;
    std::map<std::string, std::string> lists_;  ///< package without ":arch" → name of its list
    std::map<std::string, std::vector<std::string>> files_;
    std::map<std::string, std::string> owners_;
    bool owners_known_ = false;
};

}  // namespace surcoat
