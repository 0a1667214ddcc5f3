#include "layers/base/root_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "layers/base/file.h"

namespace surcoat {
namespace {

// EAGAIN: a rename or mount raced with the walk and the kernel could not prove that ".." stayed inside.
int openat2_beneath(int root, const std::string& path, int flags, mode_t mode,
                    std::uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
    if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) how.mode = mode & 07777;
    how.resolve = resolve;
    for (int attempt = 0;; ++attempt) {
        const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
        if (fd >= 0) return static_cast<int>(fd);
        if (errno == EINTR || (errno == EAGAIN && attempt < 100)) continue;
        return -1;
    }
}

std::string relative(std::string_view path) {
    while (!path.empty() && path.front() == '/') path.remove_prefix(1);
    return path.empty() ? std::string(".") : std::string(path);
}

}  // namespace

RootDir::RootDir(const std::string& host_path) : fd_(open_file(host_path, O_PATH | O_DIRECTORY)) {}

UniqueFd RootDir::open(std::string_view path, int flags, mode_t mode) const {
    const int fd = openat2_beneath(fd_.get(), relative(path), flags, mode);
    if (fd < 0) throw_errno(fmt::format("open '{}' in the root", path));
    return UniqueFd(fd);
}

std::optional<UniqueFd> RootDir::try_open(std::string_view path, int flags) const {
    const int fd = openat2_beneath(fd_.get(), relative(path), flags, 0);
    if (fd >= 0) return UniqueFd(fd);
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    throw_errno(fmt::format("open '{}' in the root", path));
}

std::optional<UniqueFd> RootDir::try_open_without_symlinks(std::string_view path, int flags) const {
    const int fd = openat2_beneath(fd_.get(), relative(path), flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (fd >= 0) return UniqueFd(fd);
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    if (errno == ELOOP) throw Error(Errc::invalid, fmt::format("'{}' is, or lies behind, a symbolic link", path));
    if (errno == EXDEV) throw Error(Errc::invalid, fmt::format("'{}' leads out of its directory", path));
    throw_errno(fmt::format("open '{}' in the root", path));
}

std::optional<RootDir::Parent> RootDir::try_parent(std::string_view path) const {
    while (!path.empty() && path.back() == '/') path.remove_suffix(1);
    const std::size_t slash = path.rfind('/');
    const std::string_view above = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
    const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
    if (name == "..") throw Error(Errc::invalid, fmt::format("path '{}' must not end in '..'", path));
    auto directory = try_open(above, O_RDONLY | O_DIRECTORY);
    if (!directory) return std::nullopt;
    return Parent{std::move(*directory), std::string(name == "." ? std::string_view() : name)};
}

RootDir::Parent RootDir::parent(std::string_view path) const {
    auto found = try_parent(path);
    if (!found) throw os_error(fmt::format("open the directory of '{}' in the root", path), ENOENT);
    return std::move(*found);
}

std::optional<struct stat> RootDir::lstat(std::string_view path) const {
    const auto fd = try_open(path, O_PATH | O_NOFOLLOW);
    if (!fd) return std::nullopt;
    return stat_fd(fd->get());
}

std::optional<std::string> RootDir::read_file(std::string_view path, std::size_t limit) const {
    // O_NONBLOCK: a fifo that an image planted at a well-known name must not hang us.
    const auto fd = try_open(path, O_RDONLY | O_NONBLOCK);
    if (!fd || !S_ISREG(stat_fd(fd->get()).st_mode)) return std::nullopt;
    return surcoat::read_file(fd->get(), limit);
}

namespace {

std::string proc_path(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

template <typename List, typename Get>
std::vector<std::pair<std::string, std::string>> collect_xattrs(List list, Get get) {
    std::string names(1024, '\0');
    for (;;) {
        const ssize_t n = list(names.data(), names.size());
        if (n >= 0) {
            names.resize(static_cast<std::size_t>(n));
            break;
        }
        if (errno == ENOTSUP || errno == EACCES) return {};
        if (errno != ERANGE) throw_errno("list extended attributes");
        names.resize(names.size() * 4);
    }
    std::vector<std::pair<std::string, std::string>> all;
    for (std::size_t at = 0; at < names.size();) {
        const std::string name = names.c_str() + at;
        at += name.size() + 1;
        std::string value(4096, '\0');
        for (;;) {
            const ssize_t n = get(name.c_str(), value.data(), value.size());
            if (n >= 0) {
                value.resize(static_cast<std::size_t>(n));
                all.emplace_back(name, value);
                break;
            }
            if (errno == ENODATA) break;
            if (errno != ERANGE) throw_errno(fmt::format("read extended attribute '{}'", name));
            value.resize(65536);
        }
    }
    std::sort(all.begin(), all.end());
    return all;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> read_xattrs(int fd) {
    const std::string path = proc_path(fd);
    return collect_xattrs([&](char* p, std::size_t n) { return ::listxattr(path.c_str(), p, n); },
                          [&](const char* name, char* p, std::size_t n) { return ::getxattr(path.c_str(), name, p, n); });
}

std::vector<std::pair<std::string, std::string>> read_xattrs_at(int dirfd, const std::string& name) {
    const std::string path = proc_path(dirfd) + "/" + name;
    return collect_xattrs([&](char* p, std::size_t n) { return ::llistxattr(path.c_str(), p, n); },
                          [&](const char* key, char* p, std::size_t n) { return ::lgetxattr(path.c_str(), key, p, n); });
}

std::optional<std::string> read_xattr_at(int dirfd, const std::string& name, const char* attribute) {
    const std::string path = proc_path(dirfd) + "/" + name;
    std::string value(4096, '\0');
    for (;;) {
        const ssize_t n = ::lgetxattr(path.c_str(), attribute, value.data(), value.size());
        if (n >= 0) {
            value.resize(static_cast<std::size_t>(n));
            return value;
        }
        if (errno == ENODATA || errno == ENOTSUP) return std::nullopt;
        if (errno != ERANGE) throw_errno(fmt::format("read extended attribute '{}' of '{}'", attribute, name));
        value.resize(65536);
    }
}

void write_xattr_at(int dirfd, const std::string& name, const std::string& attribute, std::string_view value) {
    const std::string path = proc_path(dirfd) + "/" + name;
    if (::lsetxattr(path.c_str(), attribute.c_str(), value.data(), value.size(), 0) != 0) {
        throw_errno(fmt::format("set extended attribute '{}' of '{}'", attribute, name));
    }
}

std::vector<std::string> list_directory(int dirfd) {
    // A descriptor of our own: O_PATH ones cannot be read, and the caller's offset stays where it was.
    const int fd = ::openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) throw_errno("list a directory");
    std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd), ::closedir);
    if (!dir) throw_errno("list a directory");
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(dir.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
        errno = 0;
    }
    if (errno != 0) throw_errno("list a directory");
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace surcoat
