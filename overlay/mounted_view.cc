#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "layers/whiteout.h"
#include "overlay/kernel_overlay.h"
#include "overlay/upper.h"
#include "overlay/view_paths.h"

namespace surcoat::overlay {
namespace {

// RootDir's errors name the root; ours name the container and what was to be done.
template <typename Body>
auto wrapped(std::string_view verb, const std::string& path, Body&& body) {
    try {
        return body();
    } catch (const Error& e) {
        if (e.os_error() == 0) throw;
        fail(verb, path, e.os_error());
    }
}

/// UnionView over a root that the kernel shows us. Every path goes through openat2(2) beneath the root; what
/// is then done goes through descriptors (a file's own, or its directory's and a single name), so that a
/// process inside which swaps a directory for a symlink between two steps leads nowhere.
///
/// A file whose path is to be followed is first opened with O_PATH, looked at, and then opened again through
/// /proc/self/fd: a device or fifo at that path is never really opened.
class MountedView final : public UnionView {
  public:
    MountedView(UniqueFd root, std::string backend) : root_(std::move(root)), backend_(std::move(backend)) {}

    std::string backend() const override { return backend_; }

    std::optional<Inode> stat(const std::string& path, bool follow) override {
        const auto fd = try_find(path, follow);
        if (!fd) return std::nullopt;
        auto inode = inode_from(stat_fd(fd->get()));
        if (!inode) return std::nullopt;
        if (inode->type == FileType::symlink) {
            std::string target(4096, '\0');
            const ssize_t n = ::readlinkat(fd->get(), "", target.data(), target.size());
            if (n < 0) fail("read the symlink", path, errno);
            target.resize(static_cast<std::size_t>(n));
            inode->link_target = target;
            // /proc/self/fd of a symlink cannot be asked for attributes: through its directory then.
            const Place at = place(path, "look at");
            inode->xattrs = read_xattrs_at(at.directory.get(), at.name);
        } else {
            inode->xattrs = read_xattrs(fd->get());
        }
        std::erase_if(inode->xattrs, [](const auto& attribute) { return is_overlay_xattr(attribute.first); });
        return inode;
    }

    std::vector<ViewEntry> list(const std::string& directory) override {
        const UniqueFd fd = find(directory, true, "list");
        if (!S_ISDIR(stat_fd(fd.get()).st_mode)) fail("list", directory, ENOTDIR);
        std::vector<ViewEntry> entries;
        for (const std::string& name : list_directory(fd.get())) {
            struct stat st {};
            if (::fstatat(fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) {
                if (errno == ENOENT) continue;  // removed meanwhile
                fail("look at", directory + "/" + name, errno);
            }
            if (const auto type = file_type(st.st_mode)) entries.push_back({name, *type});
        }
        return entries;
    }

    UniqueFd open_read(const std::string& path) override {
        const UniqueFd fd = find_regular(path);
        return open_file(magic(fd), O_RDONLY);
    }

    UniqueFd open_write(const std::string& path, std::uint16_t mode, bool truncate) override {
        const int flags = O_RDWR | (truncate ? O_TRUNC : 0);
        if (const auto fd = try_find(path, true)) {
            require_regular(path, *fd);
            const int again = ::open(magic(*fd).c_str(), flags | O_CLOEXEC);
            if (again < 0) fail("write", path, errno);
            return UniqueFd(again);
        }
        return wrapped("create", path, [&] {
            // Without O_EXCL, as a dangling symlink is followed to what it names.
            UniqueFd made = root_.open(strip(path), flags | O_CREAT | O_NONBLOCK, mode);
            if (::fchmod(made.get(), mode) != 0) fail("create", path, errno);
            return made;
        });
    }

    void make_directory(const std::string& path, std::uint16_t mode) override {
        const Place at = entry_place(path, "make the directory");
        if (::mkdirat(at.directory.get(), at.name.c_str(), 0700) != 0) fail("make the directory", path, errno);
        if (::fchmodat(at.directory.get(), at.name.c_str(), mode, 0) != 0) fail("set the mode of", path, errno);
    }

    void make_symlink(const std::string& target, const std::string& path) override {
        const Place at = entry_place(path, "make the symlink");
        if (::symlinkat(target.c_str(), at.directory.get(), at.name.c_str()) != 0) fail("make the symlink", path, errno);
    }

    void make_node(const std::string& path, const Inode& inode) override {
        check_node(path, inode);
        const Place at = entry_place(path, "make the node");
        const mode_t type = inode.type == FileType::fifo ? S_IFIFO : inode.type == FileType::char_device ? S_IFCHR : S_IFBLK;
        const dev_t device = makedev(inode.device_major, inode.device_minor);
        if (::mknodat(at.directory.get(), at.name.c_str(), type | 0600, device) != 0) fail("make the node", path, errno);
        if (::fchownat(at.directory.get(), at.name.c_str(), inode.uid, inode.gid, AT_SYMLINK_NOFOLLOW) != 0) {
            fail("set the owner of", path, errno);
        }
        if (::fchmodat(at.directory.get(), at.name.c_str(), inode.mode, 0) != 0) fail("set the mode of", path, errno);
    }

    void hardlink(const std::string& existing, const std::string& path) override {
        const Place from = entry_place(existing, "link");
        const Place to = entry_place(path, "make the link");
        if (::linkat(from.directory.get(), from.name.c_str(), to.directory.get(), to.name.c_str(), 0) != 0) {
            fail(fmt::format("link '{}' to", existing), path, errno);
        }
    }

    void rename(const std::string& from, const std::string& to) override {
        const Place a = entry_place(from, "rename");
        const Place b = entry_place(to, "rename to");
        if (::renameat(a.directory.get(), a.name.c_str(), b.directory.get(), b.name.c_str()) != 0) {
            fail(fmt::format("rename '{}' to", from), to, errno);
        }
    }

    void remove(const std::string& path, bool recursive) override {
        const Place at = entry_place(path, "remove");
        if (::unlinkat(at.directory.get(), at.name.c_str(), 0) == 0) return;
        if (errno != EISDIR && errno != EPERM) fail("remove", path, errno);
        if (::unlinkat(at.directory.get(), at.name.c_str(), AT_REMOVEDIR) == 0) return;
        if (errno != ENOTEMPTY || !recursive) fail("remove", path, errno);
        wrapped("remove", path, [&] { remove_tree(fmt::format("{}/{}", magic(at.directory), at.name)); });
    }

    void set_mode(const std::string& path, std::uint16_t mode) override {
        const UniqueFd fd = find(path, true, "set the mode of");
        if (::chmod(magic(fd).c_str(), mode) != 0) fail("set the mode of", path, errno);
    }

    void set_owner(const std::string& path, std::uint32_t uid, std::uint32_t gid) override {
        const UniqueFd fd = find(path, false, "set the owner of");
        if (::fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH) != 0) fail("set the owner of", path, errno);
    }

    void set_mtime(const std::string& path, Timestamp mtime) override {
        const Place at = place(path, "set the time of");
        std::array<timespec, 2> times{};
        times[0].tv_nsec = UTIME_OMIT;
        times[1].tv_sec = static_cast<time_t>(mtime.seconds);
        times[1].tv_nsec = static_cast<long>(mtime.nanoseconds);
        if (::utimensat(at.directory.get(), at.name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) {
            fail("set the time of", path, errno);
        }
    }

    void set_xattr(const std::string& path, const std::string& name, std::string_view value) override {
        check_xattr(path, name);
        const Place at = place(path, "set an attribute of");
        const std::string file = fmt::format("{}/{}", magic(at.directory), at.name);
        if (::lsetxattr(file.c_str(), name.c_str(), value.data(), value.size(), 0) != 0) {
            fail(fmt::format("set the attribute {} of", name), path, errno);
        }
    }

  private:
    static std::string magic(const UniqueFd& fd) { return fmt::format("/proc/self/fd/{}", fd.get()); }

    // A trailing slash would make the kernel follow a symlink that the caller wants itself.
    static std::string strip(const std::string& path) {
        std::size_t end = path.size();
        while (end > 0 && path[end - 1] == '/') --end;
        return path.substr(0, end);
    }

    std::optional<UniqueFd> try_find(const std::string& path, bool follow) {
        try {
            return root_.try_open(strip(path), O_PATH | (follow ? 0 : O_NOFOLLOW));
        } catch (const Error& e) {
            fail("look at", path, e.os_error());
        }
    }
    UniqueFd find(const std::string& path, bool follow, std::string_view verb) {
        return wrapped(verb, path, [&] { return root_.open(strip(path), O_PATH | (follow ? 0 : O_NOFOLLOW)); });
    }
    UniqueFd find_regular(const std::string& path) {
        UniqueFd fd = find(path, true, "open");
        require_regular(path, fd);
        return fd;
    }
    static void require_regular(const std::string& path, const UniqueFd& fd) {
        const auto type = file_type(stat_fd(fd.get()).st_mode);
        if (!type) throw Error(Errc::invalid, fmt::format("'{}' is a socket, not a regular file", path));
        if (*type != FileType::regular) not_regular(path, *type);
    }

    struct Place {
        UniqueFd directory;
        std::string name;
    };
    // The directory and the name of something that exists: "." for the root itself.
    Place place(const std::string& path, std::string_view verb) {
        const std::string clean = strip(path);
        const std::size_t slash = clean.rfind('/');
        const std::string above = slash == std::string::npos ? std::string() : clean.substr(0, slash);
        std::string name = slash == std::string::npos ? clean : clean.substr(slash + 1);
        if (name.empty()) name = ".";
        return {wrapped(verb, path, [&] { return root_.open(above, O_RDONLY | O_DIRECTORY); }), std::move(name)};
    }
    // The same for something that is made, moved or removed: never the root, nor what has no name of its own.
    Place entry_place(const std::string& path, std::string_view verb) {
        Place at = place(path, verb);
        if (at.name == "." || at.name == "..") fail(verb, path, EBUSY);
        return at;
    }

    RootDir root_;
    std::string backend_;
};

}  // namespace

std::unique_ptr<UnionView> view_of_root(UniqueFd root, std::string backend_name) {
    return std::make_unique<MountedView>(std::move(root), std::move(backend_name));
}

}  // namespace surcoat::overlay
