#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "layers/base/progress.h"
#include "layers/store/transaction.h"

namespace surcoat {

/// What was taken from files of the host.
struct ImportedFiles {
    DiffId diff_id;
    std::uint64_t entries = 0;
    std::uint64_t content_bytes = 0;  ///< sum of its files' sizes
    std::optional<Timestamp> newest;  ///< newest mtime of any entry
    std::uint64_t skipped = 0;        ///< sockets, and what lies on other filesystems: a warning named each
};

struct DirectoryOptions {
    /// A directory on another filesystem becomes an empty one (as rsync -x and tar --one-file-system do).
    bool cross_filesystems = false;
    /// Later mtimes become this (SOURCE_DATE_EPOCH).
    std::optional<Timestamp> latest;
    Progress* progress = nullptr;
};

/// Stages one layer with all that lies in a host directory, the directory itself as the root: owners, modes,
/// nanosecond mtimes, hardlinks (by device and inode), devices, fifos, symlinks as they are; of the extended
/// attributes security.capability, user.* and POSIX ACLs. Walks with descriptors, so that no symlink is ever
/// followed and depth does not matter. Throws Errc::not_found, denied, or conflict if something changes while
/// it is read; Errc::unsupported for names that begin with ".wh.", which OCI cannot express.
ImportedFiles import_directory(Transaction& transaction, const std::filesystem::path& directory,
                               const DirectoryOptions& options = {});

/// An inode as stat and the attributes say it; `xattrs` unfiltered. No size and no object.
Inode inode_from(const struct stat& st, std::vector<std::pair<std::string, std::string>> xattrs);
/// True for the attributes that make sense in another place: see import_directory.
bool is_portable_xattr(std::string_view name);

}  // namespace surcoat
