#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <set>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/store/usage.h"

namespace surcoat {
namespace {

/// Counts a tree. What goes while we look (a container is running) is not counted; what we may not open is
/// counted itself, but not what is in it. The tree may be deeper than there are descriptors, or than a path
/// may be long: the way back up is "..", checked against where we came from.
class Counter {
  public:
    void tree(UniqueFd start, const struct stat& st) {
        struct Level {
            std::set<std::string> directories;  // still to be entered
            dev_t device;
            ino_t inode;
        };
        UniqueFd here = std::move(start);
        std::vector<Level> levels;
        levels.push_back({list(here.get(), st.st_dev), st.st_dev, st.st_ino});
        while (!levels.empty()) {
            Level& level = levels.back();
            if (level.directories.empty()) {
                levels.pop_back();
                if (levels.empty()) return;
                UniqueFd up(::openat(here.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
                if (!up) return;
                const struct stat found = stat_fd(up.get());
                if (found.st_dev != levels.back().device || found.st_ino != levels.back().inode)
                    return;  // it was moved
                here = std::move(up);
                continue;
            }
            const std::string name = level.directories.extract(level.directories.begin()).value();
            UniqueFd down(
                ::openat(here.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
            if (!down) continue;
            const struct stat found = stat_fd(down.get());
            here = std::move(down);
            levels.push_back({list(here.get(), found.st_dev), found.st_dev, found.st_ino});
        }
    }

    void add(const struct stat& st) {
        if (st.st_nlink > 1 && !S_ISDIR(st.st_mode) && !seen_.emplace(st.st_dev, st.st_ino).second) return;
        usage.bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
        ++usage.inodes;
    }

    DiskUsage usage;

  private:
    std::set<std::string> list(int directory, dev_t device) {
        std::set<std::string> directories;
        const int again = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const std::unique_ptr<DIR, int (*)(DIR*)> dir(again >= 0 ? ::fdopendir(again) : nullptr, ::closedir);
        if (!dir) return directories;
        while (const dirent* entry = ::readdir(dir.get())) {
            const std::string name = entry->d_name;
            struct stat st {};
            if (name == "." || name == ".." ||
                ::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
                continue;
            if (st.st_dev != device) continue;  // something is mounted there: not this directory's
            add(st);
            if (S_ISDIR(st.st_mode)) directories.insert(name);
        }
        return directories;
    }

    std::set<std::pair<dev_t, ino_t>> seen_;
};

}  // namespace

DiskUsage directory_usage(const std::filesystem::path& path) {
    Counter counter;
    const auto st = lstat_path(path);
    if (!st) return {};
    counter.add(*st);
    if (S_ISDIR(st->st_mode)) {
        if (auto fd = try_open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
            counter.tree(std::move(*fd), *st);
    }
    return counter.usage;
}

}  // namespace surcoat
