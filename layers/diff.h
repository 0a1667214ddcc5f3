#pragma once
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "layers/base/root_dir.h"
#include "layers/tree.h"
#include "layers/whiteout.h"

namespace surcoat {

/// Stores a file's content as an object; used for regular files of an upper. `size` is what fstat said.
using StoreContent = std::function<ObjectId(int fd, std::uint64_t size)>;

/// How files of an upper are understood.
struct UpperFormat {
    OverlayNamespace space = OverlayNamespace::trusted;
    /// Maps an owner on disk to the owner in the image; identity if empty (user namespaces with one id).
    std::function<std::pair<std::uint32_t, std::uint32_t>(std::uint32_t uid, std::uint32_t gid)> owner;
    /// The mount's `work/index`, when it was mounted with index=on; not owned. A lower file with several
    /// names that was changed lives on here under its file handle, even when no name of it is left in the
    /// upper.
    const RootDir* index = nullptr;
    /// Which lower inode overlayfs' file handle (the value of "origin", the name of an index entry in hex)
    /// means; null if unknown. See erofs_origins. Where it does not know, a changed file with several lower
    /// names is taken for the one that the lower has at the same path.
    std::function<std::shared_ptr<const Inode>(std::string_view handle)> origin;
};

/// The `origin` of an upper whose lower is mounted from write_erofs(view, uuid).
std::function<std::shared_ptr<const Inode>(std::string_view)> erofs_origins(
    const Tree& view, const std::array<std::byte, 16>& uuid);

/// What lies in an overlayfs upper on top of `lower`, as the merged tree that a mount would show: whiteouts,
/// opaque directories, redirected directories (redirect_dir), files whose content is still below (metacopy),
/// hardlinks, and, with `index=on`, lower hardlinks whose other names were changed through one of them.
/// Reads by descriptors, so depth does not matter; the upper must not be renamed in meanwhile
/// (Errc::conflict). Sockets are left out: no layer can hold one. Throws Errc::corrupt for a redirect that
/// leads nowhere. Contents of regular files go through `store`. Throws Errc::unsupported for a name that OCI
/// cannot express (".wh.…").
Tree merge_upper(const RootDir& upper, const Tree& lower, const UpperFormat& format,
                 const StoreContent& store);

/// docker diff's view: 'A'dded, 'C'hanged, 'D'eleted. Without contents: a file that was copied up counts as
/// changed when its attributes or size differ or its content does.
struct Change {
    enum class Kind : char { added = 'A', changed = 'C', deleted = 'D' } kind;
    std::string path;  ///< with a leading '/'
};
/// In byte order; the parents of a change count as changed too, as docker says it.
std::vector<Change> list_changes(const Tree& before, const Tree& after);

}  // namespace surcoat
