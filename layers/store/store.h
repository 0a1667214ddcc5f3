#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "layers/base/progress.h"
#include "layers/base/unique_fd.h"
#include "layers/store/catalogue.h"
#include "layers/toc.h"
#include "layers/tree.h"
#include "layers/whiteout.h"

namespace surcoat {

/// Whether compressed layers stay as they came. `automatic`: those that came compressed from outside, since
/// they cannot be made again; `always`: every layer's blob, so that the root is a complete OCI image layout;
/// `never`: none (saving such an image says that its digests change).
enum class KeepBlobs { automatic, always, never };

/// `full`: nothing is named before it would survive power loss. `fast`: no syncing of contents; layers are
/// marked with the boot's id and verified before their first use after another boot.
enum class Durability { full, fast };

struct StoreOptions {
    std::filesystem::path root;
    KeepBlobs keep_blobs = KeepBlobs::automatic;
    Durability durability = Durability::full;
};

/// Where everything lies: DESIGN.md section 3; layers/store/README.md describes every file.
/// Opening creates what is missing. From one thread at a time; any number of processes.
class Store {
  public:
    /// Throws Errc::unsupported if the store's format has an incompatible feature bit that we do not know,
    /// naming it, and Errc::denied with the owner's name if it belongs to somebody else.
    explicit Store(StoreOptions options);
    ~Store();
    Store(Store&&) noexcept;

    const StoreOptions& options() const;
    const std::filesystem::path& root() const;
    Catalogue& catalogue();

    // ---- objects
    std::filesystem::path objects_directory() const;
    std::filesystem::path object_path(const ObjectId& id) const;
    /// Read-only. Throws Errc::corrupt with a hint to fsck if the row exists but the file does not.
    UniqueFd open_object(const ObjectId& id) const;

    // ---- layers
    Toc toc(const DiffId& id) const;
    /// The layer's archive, byte for byte as it was (its digest is the DiffId).
    void write_archive(const DiffId& id, ByteSink& sink) const;
    /// The merged tree of a chain, bottom first. Remembered within this object.
    std::shared_ptr<const Tree> tree(std::span<const DiffId> chain);

    // ---- views: caches, made when missing, safe against concurrent makers
    /// Path of the chain's EROFS metadata image.
    std::filesystem::path erofs_view(std::span<const DiffId> chain);
    /// Directory of the chain's metadata as sparse files with `user.overlay.metacopy` and `.redirect`, for
    /// user namespaces. Owners: as far as this process may chown (its namespace's map); others stay ours.
    std::filesystem::path directory_view(std::span<const DiffId> chain);
    /// Hex key of a chain's views.
    static std::string view_key(std::span<const DiffId> chain);

    // ---- blobs
    std::string read_blob(const Digest& digest, std::size_t limit = 64 << 20) const;  ///< verified
    UniqueFd open_blob(const Digest& digest) const;
    bool has_blob(const Digest& digest);

    // ---- containers
    /// containers/<id>: holds "upper" and "work" (made by create_container_directory), logs, state.
    std::filesystem::path container_directory(const std::string& id) const;
    void create_container_directory(const std::string& id);
    /// Its row is committed: other processes may remove it from now on, while this Store lives on.
    void container_directory_published(const std::string& id) noexcept;
    void remove_container_directory(const std::string& id);

    /// Paths of this folder's own parts.
    std::filesystem::path path(std::string_view part) const;

  private:
    friend class Transaction;
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace surcoat
