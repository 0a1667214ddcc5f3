#pragma once
#include <sys/stat.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/base/unique_fd.h"

namespace surcoat {

/// A directory that is somebody else's root ("/" of an image, a build context). Paths given to it are
/// resolved by the kernel beneath it (openat2(2), RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS): an absolute
/// symlink starts again at this root, ".." stops at it. It is the only way to open a path that came out of
/// an image or an archive; such paths are never joined to host paths as strings.
/// Safe for many threads.
class RootDir {
  public:
    /// Opens a host directory as a root.
    explicit RootDir(const std::string& host_path);
    explicit RootDir(UniqueFd directory) : fd_(std::move(directory)) {}

    int fd() const noexcept { return fd_.get(); }

    /// openat2 beneath the root; throws with the image path in the message. O_CLOEXEC is added; the last
    /// component is followed unless O_NOFOLLOW is given.
    UniqueFd open(std::string_view path, int flags, mode_t mode = 0644) const;
    /// The same; nothing on ENOENT or ENOTDIR.
    std::optional<UniqueFd> try_open(std::string_view path, int flags) const;
    /// As try_open, but no component of `path` may be a symlink (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS): for
    /// directories whose format has none. Throws Errc::invalid where one is met.
    std::optional<UniqueFd> try_open_without_symlinks(std::string_view path, int flags) const;
    /// The directory that holds `path`'s last component, and that component ("" for the root itself).
    /// Symlinks before the last component are followed inside the root.
    struct Parent {
        UniqueFd directory;
        std::string name;
    };
    Parent parent(std::string_view path) const;
    std::optional<Parent> try_parent(std::string_view path) const;
    /// lstat in the root; nothing if absent.
    std::optional<struct stat> lstat(std::string_view path) const;
    /// Content of a regular file, at most `limit` bytes; nothing if absent or not a regular file.
    std::optional<std::string> read_file(std::string_view path, std::size_t limit = 64 << 20) const;

  private:
    UniqueFd fd_;
};

/// Extended attributes of an open file or (through O_PATH) of /proc/self/fd/N; names in byte order.
std::vector<std::pair<std::string, std::string>> read_xattrs(int fd);
/// The same for an entry of a directory, without following a symlink.
std::vector<std::pair<std::string, std::string>> read_xattrs_at(int dirfd, const std::string& name);
/// One attribute; nothing if absent or unsupported.
std::optional<std::string> read_xattr_at(int dirfd, const std::string& name, const char* attribute);
void write_xattr_at(int dirfd, const std::string& name, const std::string& attribute, std::string_view value);

/// Names in a directory but "." and "..", in byte order.
std::vector<std::string> list_directory(int dirfd);

}  // namespace surcoat
