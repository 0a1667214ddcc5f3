#include "overlay/library_view.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <deque>

#include "layers/base/file.h"
#include "overlay/library_layers.h"
#include "overlay/library_upper.h"
#include "overlay/upper.h"
#include "overlay/view_paths.h"

namespace surcoat::overlay {
namespace {

constexpr int kMaxSymlinks = 40;  // as the kernel
constexpr std::size_t kNameMax = 255;

// Errors of a layer, told as errors of the container's path.
template <typename Body>
auto reported(std::string_view verb, const std::string& path, Body&& body) {
    return doing(fmt::format("cannot {} '{}' in the container", verb, path), std::forward<Body>(body));
}

class LibraryView final : public UnionView {
  public:
    LibraryView(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper, bool read_only)
        : layers_(store, lowers, upper) {
        if (read_only || !upper) return;
        Found root;
        root.directory = without_upper(layers_.root());
        prepare_upper(*upper, layers_.inode(root));
        writer_.emplace(layers_, *upper);
    }

    std::string backend() const override { return "library"; }

    std::optional<Inode> stat(const std::string& path, bool follow) override {
        Target target;
        try {
            target = locate(path, follow, "look at");
        } catch (const Error& e) {
            if (e.os_error() == ENOENT || e.os_error() == ENOTDIR) return std::nullopt;
            throw;
        }
        if (!target.found || layers_.is_socket(*target.found)) return std::nullopt;
        return layers_.inode(*target.found);
    }

    std::vector<ViewEntry> list(const std::string& directory) override {
        const Target target = existing(directory, true, "list");
        if (!target.found->is_directory()) fail("list", directory, ENOTDIR);
        return layers_.list(*target.found->directory);
    }

    UniqueFd open_read(const std::string& path) override {
        const Target target = existing(path, true, "open");
        require_regular(path, *target.found);
        return layers_.open_content(*target.found);
    }

    UniqueFd open_write(const std::string& path, std::uint16_t mode, bool truncate) override {
        UpperWriter& writer = writable("write", path);
        const Target target = locate(path, true, "create");
        if (target.found) require_regular(path, *target.found);
        return reported("write", path, [&] {
            const int flags = O_RDWR | O_NOFOLLOW | (truncate ? O_TRUNC : 0);
            if (target.found) {
                const auto place = writer.copy_up(target.directory, target.name, *target.found,
                                                  truncate ? CopyUp::without_content : CopyUp::complete);
                return open_file_at(place.directory->get(), place.name, flags);
            }
            UniqueFd made;
            writer.create(target.directory, target.name, [&](int directory, const std::string& name) {
                made = open_file_at(directory, name, flags | O_CREAT | O_EXCL, 0600);
                if (::fchmod(made.get(), mode) != 0) throw_errno("set a file's mode in the upper");
            });
            return made;
        });
    }

    void make_directory(const std::string& path, std::uint16_t mode) override {
        UpperWriter& writer = writable("make the directory", path);
        const Target target = absent(path, "make the directory");
        reported("make the directory", path, [&] { writer.create_directory(target.directory, target.name, mode); });
    }

    void make_symlink(const std::string& link_target, const std::string& path) override {
        UpperWriter& writer = writable("make the symlink", path);
        const Target target = absent(path, "make the symlink");
        reported("make the symlink", path, [&] {
            writer.create(target.directory, target.name, [&](int directory, const std::string& name) {
                if (::symlinkat(link_target.c_str(), directory, name.c_str()) != 0) throw_errno("make a symlink in the upper");
            });
        });
    }

    void make_node(const std::string& path, const Inode& inode) override {
        check_node(path, inode);
        UpperWriter& writer = writable("make the node", path);
        const Target target = absent(path, "make the node");
        const mode_t type = inode.type == FileType::fifo ? S_IFIFO : inode.type == FileType::char_device ? S_IFCHR : S_IFBLK;
        reported("make the node", path, [&] {
            writer.create(target.directory, target.name, [&](int directory, const std::string& name) {
                const dev_t device = makedev(inode.device_major, inode.device_minor);
                if (::mknodat(directory, name.c_str(), type | 0600, device) != 0 ||
                    ::fchownat(directory, name.c_str(), inode.uid, inode.gid, AT_SYMLINK_NOFOLLOW) != 0 ||
                    ::fchmodat(directory, name.c_str(), inode.mode, 0) != 0) {
                    throw_errno("make a node in the upper");
                }
            });
        });
    }

    void hardlink(const std::string& existing_path, const std::string& path) override {
        const std::string verb = fmt::format("link '{}' to", existing_path);
        UpperWriter& writer = writable(verb, path);
        const Target from = existing(existing_path, false, "link");
        if (from.name.empty()) fail("link", existing_path, EBUSY);
        const Target to = absent(path, verb);
        if (from.found->is_directory()) fail(verb, path, EPERM);
        reported(verb, path, [&] {
            const auto place = writer.copy_up(from.directory, from.name, *from.found, CopyUp::attributes);
            writer.pin_content(from.directory, from.name, place);
            writer.create(to.directory, to.name, [&](int directory, const std::string& name) {
                if (::linkat(place.directory->get(), place.name.c_str(), directory, name.c_str(), 0) != 0) {
                    throw_errno("link in the upper");
                }
            });
        });
    }

    void rename(const std::string& from, const std::string& to) override {
        const std::string verb = fmt::format("rename '{}' to", from);
        UpperWriter& writer = writable(verb, to);
        const Target a = existing(from, false, "rename");
        Target b = locate(to, false, verb);
        if (a.name.empty() || b.name.empty()) fail(verb, to, EBUSY);
        if (a.directory->path() == b.directory->path() && a.name == b.name) return;
        if (a.found->is_directory()) {
            if (is_inside(*b.directory, *a.found->directory)) fail(verb, to, EINVAL);
            if (b.found && !b.found->is_directory()) fail(verb, to, ENOTDIR);
            if (b.found && !is_empty(*b.found->directory)) fail(verb, to, ENOTEMPTY);
            reported(verb, to, [&] { writer.move_directory(*a.found, b.directory, b.name); });
            return;
        }
        if (b.found && b.found->is_directory()) fail(verb, to, is_inside(*a.directory, *b.found->directory) ? ENOTEMPTY : EISDIR);
        if (b.found && same_file(*a.found, *b.found)) return;  // two names of one file: POSIX says nothing happens
        reported(verb, to, [&] { writer.move_file(a.directory, a.name, b.directory, b.name, *a.found); });
    }

    void remove(const std::string& path, bool recursive) override {
        UpperWriter& writer = writable("remove", path);
        const Target target = existing(path, false, "remove");
        if (target.name.empty()) fail("remove", path, EBUSY);
        if (target.found->is_directory() && !recursive && !is_empty(*target.found->directory)) fail("remove", path, ENOTEMPTY);
        reported("remove", path, [&] { writer.remove(target.directory, target.name); });
    }

    void set_mode(const std::string& path, std::uint16_t mode) override {
        change("set the mode of", path, true, [&](int directory, const std::string& name) {
            return ::fchmodat(directory, name.c_str(), mode, 0);
        });
    }

    void set_owner(const std::string& path, std::uint32_t uid, std::uint32_t gid) override {
        change("set the owner of", path, false, [&](int directory, const std::string& name) {
            return ::fchownat(directory, name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW);
        });
    }

    void set_mtime(const std::string& path, Timestamp mtime) override {
        std::array<timespec, 2> times{};
        times[0].tv_nsec = UTIME_OMIT;
        times[1].tv_sec = static_cast<time_t>(mtime.seconds);
        times[1].tv_nsec = static_cast<long>(mtime.nanoseconds);
        change("set the time of", path, false, [&](int directory, const std::string& name) {
            return ::utimensat(directory, name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW);
        });
    }

    void set_xattr(const std::string& path, const std::string& attribute, std::string_view value) override {
        check_xattr(path, attribute);
        change(fmt::format("set the attribute {} of", attribute), path, false, [&](int directory, const std::string& name) {
            const std::string file = fmt::format("/proc/self/fd/{}/{}", directory, name);
            return ::lsetxattr(file.c_str(), attribute.c_str(), value.data(), value.size(), 0);
        });
    }

  private:
    /// Where a path leads: the merged directory that holds its last name, and what is there. The root has no name.
    struct Target {
        std::shared_ptr<MergedDirectory> directory;
        std::string name;
        std::optional<Found> found;
    };

    static std::shared_ptr<MergedDirectory> without_upper(const std::shared_ptr<MergedDirectory>& root) {
        auto lower = std::make_shared<MergedDirectory>(*root);
        if (lower->upper() != nullptr) lower->parts.erase(lower->parts.begin());
        return lower;
    }

    // Walks as the kernel would with this root: ".." stops at it, absolute links start again at it. A missing
    // last component is no error here; a missing or wrong one before it is (ENOENT, ENOTDIR).
    Target locate(const std::string& path, bool follow, std::string_view verb) {
        const auto first = path_components(path);
        std::deque<std::string> rest(first.begin(), first.end());
        std::shared_ptr<MergedDirectory> at = layers_.root();
        const auto standing = [&](const std::shared_ptr<MergedDirectory>& directory) {
            Found found;
            found.directory = directory;
            return directory->parent ? Target{directory->parent, directory->name, found} : Target{directory, {}, found};
        };
        int links = 0;
        while (!rest.empty()) {
            const std::string name = rest.front();
            rest.pop_front();
            if (name == "..") {
                if (at->parent) at = at->parent;
                continue;
            }
            if (name.size() > kNameMax) fail(verb, path, ENAMETOOLONG);
            auto found = reported(verb, path, [&] { return layers_.lookup(at, name); });
            if (!found) {
                if (rest.empty()) return Target{at, name, std::nullopt};
                fail(verb, path, ENOENT);
            }
            if (found->is_directory()) {
                at = found->directory;
                continue;
            }
            const Inode inode = layers_.is_socket(*found) ? Inode{} : layers_.inode(*found);
            if (inode.type == FileType::symlink && (follow || !rest.empty())) {
                if (++links > kMaxSymlinks) fail(verb, path, ELOOP);
                const auto target = path_components(inode.link_target);
                rest.insert(rest.begin(), target.begin(), target.end());
                if (inode.link_target.starts_with('/')) at = layers_.root();
                continue;
            }
            if (!rest.empty()) fail(verb, path, ENOTDIR);
            return Target{at, name, std::move(found)};
        }
        return standing(at);
    }

    Target existing(const std::string& path, bool follow, std::string_view verb) {
        Target target = locate(path, follow, verb);
        if (!target.found) fail(verb, path, ENOENT);
        return target;
    }
    Target absent(const std::string& path, std::string_view verb) {
        Target target = locate(path, false, verb);
        if (target.found) fail(verb, path, target.name.empty() ? EBUSY : EEXIST);
        return target;
    }

    UpperWriter& writable(std::string_view verb, const std::string& path) {
        if (!writer_) fail(verb, path, EROFS);
        return *writer_;
    }

    void require_regular(const std::string& path, const Found& found) {
        if (layers_.is_socket(found)) throw Error(Errc::invalid, fmt::format("'{}' is a socket, not a regular file", path));
        const FileType type = found.is_directory() ? FileType::directory : layers_.inode(found).type;
        if (type != FileType::regular) not_regular(path, type);
    }

    bool is_empty(const MergedDirectory& directory) const {
        return layers_.list(directory).empty();
    }
    static bool is_inside(const MergedDirectory& directory, const MergedDirectory& ancestor) {
        const std::string path = directory.path();
        const std::string above = ancestor.path();
        return above.empty() || path == above || path.starts_with(above + "/");
    }
    static bool same_file(const Found& a, const Found& b) {
        if (a.level != b.level) return false;
        if (a.node != nullptr) return b.node != nullptr && a.node->inode == b.node->inode;
        return b.node == nullptr && a.st.st_dev == b.st.st_dev && a.st.st_ino == b.st.st_ino;
    }

    // One change of attributes, on the entry's own place in the upper.
    template <typename Body>
    void change(std::string_view verb, const std::string& path, bool follow, Body&& body) {
        UpperWriter& writer = writable(verb, path);
        const Target target = existing(path, follow, verb);
        reported(verb, path, [&] {
            if (target.found->is_directory()) {
                if (body(writer.ensure_directory(target.found->directory), ".") != 0) fail(verb, path, errno);
                return;
            }
            const auto place = writer.copy_up(target.directory, target.name, *target.found, CopyUp::attributes);
            if (body(place.directory->get(), place.name) != 0) fail(verb, path, errno);
        });
    }

    LayerStack layers_;
    std::optional<UpperWriter> writer_;
};

}  // namespace

std::unique_ptr<UnionView> open_library_view(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper,
                                             bool read_only) {
    return std::make_unique<LibraryView>(store, lowers, upper, read_only);
}

}  // namespace surcoat::overlay
