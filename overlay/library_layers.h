#pragma once
#include <sys/stat.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "layers/base/root_dir.h"
#include "layers/store/store.h"
#include "layers/whiteout.h"
#include "overlay/union_view.h"

namespace surcoat::overlay {

/// The merge itself, read in-process: an upper, frozen uppers below it, and the image's tree at the bottom, by
/// overlayfs' rules (overlay/README.md, "Merge rules"). Directories on disk are held by descriptors, so depth
/// and renames above them do not matter. From one thread at a time.

/// What one layer contributes to a merged directory. Level 0 is the upper, then the frozen uppers, then the tree.
struct DirectoryPart {
    std::size_t level = 0;
    std::shared_ptr<const UniqueFd> fd;   ///< on disk
    const Tree::Node* node = nullptr;     ///< in the tree
};

struct MergedDirectory {
    std::shared_ptr<MergedDirectory> parent;  ///< null for the root
    std::string name;
    /// Under which path the layers below the upper know it: another than its own after a rename.
    std::string lower_path;
    std::vector<DirectoryPart> parts;  ///< topmost first, never empty

    /// Its directory in the upper; null if it has none.
    const UniqueFd* upper() const { return parts.front().level == 0 && parts.front().fd ? parts.front().fd.get() : nullptr; }
    /// True if a layer below the upper contributes.
    bool has_lower() const { return parts.back().level > 0; }
    std::string path() const;
};

/// What a name leads to: a merged directory, or one layer's entry.
struct Found {
    std::shared_ptr<MergedDirectory> directory;  ///< set for directories only

    std::size_t level = 0;
    const Tree::Node* node = nullptr;           ///< an entry of the tree
    std::shared_ptr<const UniqueFd> holder;     ///< an entry on disk: its directory …
    std::string name;                           ///< … and its name there
    struct stat st {};
    bool indexed = false;  ///< changed through another of its names: lies in the index, not yet at this name

    /// Its content is not here but in this entry further down (metacopy).
    std::shared_ptr<const Found> content;

    bool is_directory() const { return directory != nullptr; }
    bool in_upper() const { return !is_directory() && node == nullptr && level == 0; }
};

class LayerStack {
  public:
    /// `upper`: absent for a view of the lowers alone.
    LayerStack(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper);

    const std::shared_ptr<MergedDirectory>& root() const { return root_; }
    OverlayNamespace space() const { return space_; }
    std::string mark(std::string_view what) const { return std::string(overlay_prefix(space_)) + std::string(what); }

    /// The entry `name` of a merged directory, as seen by layers from `first_level` down.
    std::optional<Found> lookup(const std::shared_ptr<MergedDirectory>& directory, const std::string& name,
                                std::size_t first_level = 0) const;
    /// Byte order, whiteouts applied, sockets left out.
    std::vector<ViewEntry> list(const MergedDirectory& directory) const;

    Inode inode(const Found& found) const;  ///< object not set; Errc::not_found for a socket
    bool is_socket(const Found& found) const;
    /// Content of a regular file, for reading.
    UniqueFd open_content(const Found& found) const;

    /// True if the file has other names below the upper, which must follow it when it is copied up.
    bool has_other_names(const Found& found) const;
    /// Calls `visit(directory, name)` for every merged name of the same lower file.
    void each_name_of(const Found& found, const std::function<void(const std::shared_ptr<MergedDirectory>&,
                                                                   const std::string&)>& visit) const;

  private:
    Found from_tree(const Tree::Node& node, std::size_t level) const;
    Found from_disk(const std::shared_ptr<MergedDirectory>& directory, const DirectoryPart& part, const std::string& name,
                    const struct stat& st) const;
    std::shared_ptr<const Found> content_below(const std::shared_ptr<MergedDirectory>& directory, const std::string& name,
                                               const std::optional<std::string>& redirect, std::size_t level) const;
    std::optional<Found> lookup_path(const std::string& path, std::size_t first_level) const;
    bool same_lower_file(const Found& a, const Found& b) const;
    bool is_whiteout(int directory, const std::string& name, const struct stat& st) const;
    void visit_names(const std::shared_ptr<MergedDirectory>& directory, const Found& wanted,
                     const std::function<void(const std::shared_ptr<MergedDirectory>&, const std::string&)>& visit) const;
    void read_index(const std::filesystem::path& index, const LowerStack& lowers);

    Store& store_;
    OverlayNamespace space_;
    std::shared_ptr<const Tree> tree_;
    std::size_t tree_level_ = 0;
    std::shared_ptr<MergedDirectory> root_;
    std::shared_ptr<const UniqueFd> index_;
    /// Lower files with several names that were changed through one of them → their entry in the index.
    std::unordered_map<const Inode*, std::string> indexed_;
    /// How many names each inode of the tree has, those with one left out; counted when first asked.
    mutable std::optional<std::unordered_map<const Inode*, std::size_t>> name_counts_;
};

/// The on-disk owner `id` as the container's: for a plain user outside of any namespace, its own files are
/// root's in there, as they are in a namespace of one id.
std::uint32_t owner_in_view(std::uint32_t id, std::uint32_t own);

}  // namespace surcoat::overlay
