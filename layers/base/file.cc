#include "layers/base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <vector>

namespace surcoat {

UniqueFd UniqueFd::duplicate() const {
    const int fd = ::fcntl(fd_, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) throw_errno("duplicate a descriptor");
    return UniqueFd(fd);
}

static int open_retrying(int dirfd, const char* path, int flags, mode_t mode) {
    for (;;) {
        const int fd = ::openat(dirfd, path, flags | O_CLOEXEC, mode);
        if (fd >= 0 || errno != EINTR) return fd;
    }
}

UniqueFd open_file(const std::filesystem::path& path, int flags, mode_t mode) {
    const int fd = open_retrying(AT_FDCWD, path.c_str(), flags, mode);
    if (fd < 0) throw_errno(fmt::format("open '{}'", path.string()));
    return UniqueFd(fd);
}

UniqueFd open_file_at(int dirfd, const std::string& name, int flags, mode_t mode) {
    const int fd = open_retrying(dirfd, name.c_str(), flags, mode);
    if (fd < 0) throw_errno(fmt::format("open '{}'", name));
    return UniqueFd(fd);
}

std::optional<UniqueFd> try_open_file(const std::filesystem::path& path, int flags) {
    const int fd = open_retrying(AT_FDCWD, path.c_str(), flags, 0644);
    if (fd >= 0) return UniqueFd(fd);
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    throw_errno(fmt::format("open '{}'", path.string()));
}

std::string read_file(int fd, std::size_t limit) {
    FdSource source(fd);
    return read_all(source, limit);
}

std::string read_file(const std::filesystem::path& path, std::size_t limit) {
    const UniqueFd fd = open_file(path, O_RDONLY);
    return doing(fmt::format("cannot read '{}'", path.string()), [&] { return read_file(fd.get(), limit); });
}

void write_full(int fd, ByteSpan bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0) {
            if (errno == EINTR) continue;
            throw_errno("write");
        }
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
}

void pwrite_full(int fd, ByteSpan bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
        const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0) {
            if (errno == EINTR) continue;
            throw_errno("write");
        }
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
}

std::size_t pread_full(int fd, MutableByteSpan buffer, std::uint64_t offset) {
    std::size_t done = 0;
    while (done < buffer.size()) {
        const ssize_t n = ::pread(fd, buffer.data() + done, buffer.size() - done, static_cast<off_t>(offset + done));
        if (n < 0) {
            if (errno == EINTR) continue;
            throw_errno("read");
        }
        if (n == 0) break;
        done += static_cast<std::size_t>(n);
    }
    return done;
}

void write_file_durably(const std::filesystem::path& path, std::string_view text, mode_t mode) {
    static std::atomic<unsigned> counter{0};
    const std::filesystem::path temporary =
        path.string() + fmt::format(".{}.{}.new", ::getpid(), counter.fetch_add(1));
    try {
        UniqueFd fd = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode);
        write_full(fd.get(), as_bytes(text));
        fsync_fd(fd.get());
        fd.close();
        rename_file(temporary, path);
    } catch (...) {
        ::unlink(temporary.c_str());
        throw;
    }
    fsync_directory(path.has_parent_path() ? path.parent_path() : ".");
}

void fsync_fd(int fd) {
    if (::fsync(fd) != 0) throw_errno("make a file durable");
}

void fsync_directory(const std::filesystem::path& path) { fsync_fd(open_file(path, O_RDONLY | O_DIRECTORY).get()); }

void rename_file(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (::rename(from.c_str(), to.c_str()) != 0) {
        throw_errno(fmt::format("rename '{}' to '{}'", from.string(), to.string()));
    }
}

bool remove_file(const std::filesystem::path& path) {
    if (::unlink(path.c_str()) == 0) return true;
    if (errno == ENOENT) return false;
    throw_errno(fmt::format("remove '{}'", path.string()));
}

void make_directories(const std::filesystem::path& path, mode_t mode) {
    if (::mkdir(path.c_str(), mode) == 0) return;
    if (errno == ENOENT && path.has_parent_path() && path.parent_path() != path) {
        make_directories(path.parent_path(), mode);
        if (::mkdir(path.c_str(), mode) == 0) return;
    }
    if (errno == EEXIST) {
        struct stat st {};
        if (::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) return;
        errno = ENOTDIR;
    }
    throw_errno(fmt::format("create directory '{}'", path.string()));
}

// Depth is bounded by descriptors only through the recursion below, which holds one per level; hostile trees
// are cut by the layer depth limit long before.
static void remove_children(int dirfd, dev_t device) {
    std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(::dup(dirfd)), ::closedir);
    if (!dir) throw_errno("list a directory");
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(dir.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    dir.reset();
    for (const std::string& name : names) {
        if (::unlinkat(dirfd, name.c_str(), 0) == 0) continue;
        const int unlink_error = errno;
        if (unlink_error != EISDIR && unlink_error != EPERM) {
            if (unlink_error == ENOENT) continue;
            errno = unlink_error;
            throw_errno(fmt::format("remove '{}'", name));
        }
        struct stat st {};
        if (::fstatat(dirfd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISDIR(st.st_mode)) {
            errno = unlink_error;
            throw_errno(fmt::format("remove '{}'", name));
        }
        if (st.st_dev != device) {
            throw Error(Errc::conflict, fmt::format("cannot remove '{}': something is mounted there", name))
                .hint("unmount it first");
        }
        int raw = open_retrying(dirfd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (raw < 0 && errno == EACCES && ::fchmodat(dirfd, name.c_str(), 0700, 0) == 0) {
            raw = open_retrying(dirfd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        }
        if (raw < 0) throw_errno(fmt::format("open '{}' to remove it", name));
        const UniqueFd child(raw);
        if ((st.st_mode & 0700) != 0700) ::fchmod(child.get(), 0700);
        remove_children(child.get(), device);
        if (::unlinkat(dirfd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
            throw_errno(fmt::format("remove directory '{}'", name));
        }
    }
}

void remove_tree(const std::filesystem::path& path) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) {
        if (errno == ENOENT) return;
        throw_errno(fmt::format("remove '{}'", path.string()));
    }
    if (!S_ISDIR(st.st_mode)) {
        remove_file(path);
        return;
    }
    doing(fmt::format("cannot remove '{}'", path.string()), [&] {
        if ((st.st_mode & 0700) != 0700) ::chmod(path.c_str(), 0700);
        const UniqueFd fd = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        remove_children(fd.get(), st.st_dev);
    });
    if (::rmdir(path.c_str()) != 0 && errno != ENOENT) throw_errno(fmt::format("remove directory '{}'", path.string()));
}

struct stat stat_fd(int fd) {
    struct stat st {};
    if (::fstat(fd, &st) != 0) throw_errno("look at an open file");
    return st;
}

std::optional<struct stat> lstat_path(const std::filesystem::path& path) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) == 0) return st;
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    throw_errno(fmt::format("look at '{}'", path.string()));
}

static void copy_range(int from, int to, off_t begin, off_t end) {
    while (begin < end) {
        off_t in = begin;
        off_t out = begin;
        const ssize_t n = ::copy_file_range(from, &in, to, &out, static_cast<std::size_t>(end - begin), 0);
        if (n > 0) {
            begin += n;
            continue;
        }
        if (n == 0) return;  // the source shrank while we read it
        if (errno == EINTR) continue;
        if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS) throw_errno("copy");
        std::vector<std::byte> buffer(1 << 18);
        const auto want = std::min<std::uint64_t>(buffer.size(), static_cast<std::uint64_t>(end - begin));
        const std::size_t got =
            pread_full(from, MutableByteSpan(buffer).first(want), static_cast<std::uint64_t>(begin));
        if (got == 0) return;
        pwrite_full(to, ByteSpan(buffer).first(got), static_cast<std::uint64_t>(begin));
        begin += static_cast<off_t>(got);
    }
}

bool copy_contents(int from, int to, std::uint64_t size) {
    if (size == 0) return false;
    if (::ioctl(to, FICLONE, from) == 0) return true;
    if (::ftruncate(to, static_cast<off_t>(size)) != 0) throw_errno("set a file's size");
    const off_t end = static_cast<off_t>(size);
    off_t at = 0;
    while (at < end) {
        const off_t data = ::lseek(from, at, SEEK_DATA);
        if (data < 0) {
            if (errno == ENXIO) break;  // only a hole is left
            copy_range(from, to, at, end);
            break;
        }
        off_t hole = ::lseek(from, data, SEEK_HOLE);
        if (hole < 0 || hole > end) hole = end;
        copy_range(from, to, data, hole);
        at = hole;
    }
    return false;
}

}  // namespace surcoat
