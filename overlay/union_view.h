#pragma once
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/bytes.h"
#include "layers/store/store.h"

namespace surcoat::overlay {

/// The read-only side of a view, top first, as the kernel wants it: frozen uppers (nearest first), and below
/// them the image's layers as one flattened lower.
struct LowerStack {
    std::vector<std::filesystem::path> frozen_uppers;  ///< in overlayfs' form
    std::vector<DiffId> layers;                        ///< bottom first; flattened by the store
};

/// The writable side, in overlayfs' on-disk form. Both directories lie on one filesystem.
struct UpperLayer {
    std::filesystem::path upper;
    std::filesystem::path work;
};

struct ViewEntry {
    std::string name;
    FileType type = FileType::regular;
};

/// One merged file tree over a LowerStack and an UpperLayer. Backends must agree: tests/suites/union_suite.h
/// runs on each. Paths are of the container ("/etc/motd" or "etc/motd"); symlinks are resolved inside the
/// root; "last component followed" is said per call. Errors are surcoat::Error with the container path; a
/// missing file is Errc::not_found. Sockets are no part of a view: they are neither listed nor found.
/// From one thread at a time.
class UnionView {
  public:
    virtual ~UnionView() = default;
    virtual std::string backend() const = 0;  ///< "kernel overlay", "library"

    // ---- reading
    virtual std::optional<Inode> stat(const std::string& path, bool follow) = 0;  ///< object not set
    virtual std::vector<ViewEntry> list(const std::string& directory) = 0;        ///< byte order
    virtual UniqueFd open_read(const std::string& path) = 0;                      ///< regular file, followed

    // ---- changing. Owners and modes as given; parents must exist.
    virtual UniqueFd open_write(const std::string& path, std::uint16_t mode, bool truncate) = 0;  ///< created if absent
    virtual void make_directory(const std::string& path, std::uint16_t mode) = 0;
    virtual void make_symlink(const std::string& target, const std::string& path) = 0;
    virtual void make_node(const std::string& path, const Inode& inode) = 0;  ///< fifo, device
    virtual void hardlink(const std::string& existing, const std::string& path) = 0;
    virtual void rename(const std::string& from, const std::string& to) = 0;
    virtual void remove(const std::string& path, bool recursive) = 0;
    virtual void set_mode(const std::string& path, std::uint16_t mode) = 0;               ///< followed
    virtual void set_owner(const std::string& path, std::uint32_t uid, std::uint32_t gid) = 0;  ///< not followed
    virtual void set_mtime(const std::string& path, Timestamp mtime) = 0;                 ///< not followed
    /// Not followed. Errc::invalid for overlayfs' own names.
    virtual void set_xattr(const std::string& path, const std::string& name, std::string_view value) = 0;
};

enum class Backend { automatic, kernel, library };

struct ViewOptions {
    Backend backend = Backend::automatic;
    bool read_only = false;
    bool scratch = false;  ///< `volatile`: no syncing; the upper is worthless after a crash
};

/// Opens a view. `automatic` takes the first backend that works here: kernel overlayfs (tried by mounting in
/// the store's own filesystem), else the library view; `why` then receives one line that says what was
/// chosen, why, and what it costs (empty for the best one).
std::unique_ptr<UnionView> open_view(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper,
                                     const ViewOptions& options, std::string* why = nullptr);

/// The merged tree of a container's upper on its layers, contents staged through `store_content` (see
/// layers/diff.h); overlay knows the upper's attribute namespace and id map.
Tree container_tree(Store& store, const LowerStack& lowers, const UpperLayer& upper,
                    const std::function<ObjectId(int fd, std::uint64_t size)>& store_content);

}  // namespace surcoat::overlay
