#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "layers/build/source_tree.h"
#include "layers/recipe/mode.h"

namespace surcoat::build {

/// COPY, as a function from trees to a tree: no mount, no privilege, no file is touched. The rules are the
/// reference's, measured (notes recipe-and-build.md 1.7); README.md of this folder lists them.

/// One thing that a COPY takes.
struct Selected {
    std::string path;        ///< in the source, symlinks resolved
    std::string name;        ///< base name of the source as written or matched
    const Tree::Node* node;  ///< in the source's tree
};

/// What the source words name. A word without wildcard must exist: else Errc::not_found, `"/x": not found`
/// with the nearest name. A wildcard may match nothing. A last symlink is followed inside the source.
std::vector<Selected> select_sources(const SourceTree& source, const std::vector<std::string>& words);

/// A digest over what is selected: names, types, modes, targets, capabilities, contents (and owners where
/// they are kept); never times. Part of a COPY's cache key.
Digest fingerprint(const SourceTree& source, const std::vector<Selected>& selected);

struct CopyRequest {
    std::string destination;  ///< as expanded; relative to working_dir; a trailing '/' means a directory
    std::string working_dir;
    std::optional<std::pair<std::uint32_t, std::uint32_t>> chown;
    std::optional<recipe::ModeChange> chmod;
    Timestamp made_at;  ///< mtime of directories that COPY makes
};

/// Where a regular file's content comes from: its object, staged by the caller.
using StageContent =
    std::function<std::optional<ObjectId>(const std::string& source_path, const Inode& inode)>;

/// Copies into `target`. Throws Errc::invalid for a directory over a file and the like, naming both.
void copy_into(Tree& target, const SourceTree& source, const std::vector<Selected>& selected,
               const CopyRequest& request, const StageContent& stage);

/// Makes `path` and its missing parents as directories; symlinks on the way are followed inside the root.
/// Returns the resolved path.
std::string make_directories(Tree& tree, const std::string& path, std::uint16_t mode, std::uint32_t uid,
                             std::uint32_t gid, Timestamp mtime);

}  // namespace surcoat::build
