#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/base/root_dir.h"
#include "layers/import/elf.h"

namespace surcoat {

/// Finds shared libraries as ld.so(8) would, in a root that is not necessarily our own: RPATH, RUNPATH,
/// /etc/ld.so.cache, the standard directories. Environment variables play no part. From one thread at a time.
class HostLibraries {
  public:
    /// Reads the cache, if there is a valid one. `root` must outlive this.
    explicit HostLibraries(const RootDir& root);

    struct Found {
        std::string path;            ///< as the linker would open it, with a leading '/'
        bool only_by_cache = false;  ///< in no directory that the linker searches without the cache
    };
    /// `name` is a DT_NEEDED of the file at `needing_path` (symlinks resolved) with `needing`; `inherited`
    /// are the RPATHs of what loaded that file. A file of another machine or width is passed over, as ld.so
    /// does.
    std::optional<Found> find(const std::string& name, const std::string& needing_path,
                              const ElfInfo& needing, const std::vector<std::string>& inherited) const;
    /// $ORIGIN, ${ORIGIN}, $LIB and $PLATFORM replaced.
    static std::string expand(std::string_view path, const std::string& origin, unsigned bits);

  private:
    bool fits(const std::string& path, const ElfInfo& needing) const;

    const RootDir& root_;
    std::multimap<std::string, std::string, std::less<>> cache_;  ///< soname → path
    std::vector<std::string> standard_;
};

/// The entries of an ld.so.cache in glibc's new format (2.2 and later) that need no special processor:
/// soname and path, in its order. Empty if it is something else or damaged.
std::vector<std::pair<std::string, std::string>> parse_linker_cache(std::string_view file);

}  // namespace surcoat
