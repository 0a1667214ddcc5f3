#include "overlay/upper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "layers/whiteout.h"
#include "overlay/namespaces.h"

namespace surcoat::overlay {
namespace {

std::string read_link_at(int directory, const std::string& name) {
    std::string target(4096, '\0');
    const ssize_t n = ::readlinkat(directory, name.c_str(), target.data(), target.size());
    if (n < 0) throw_errno(fmt::format("read the symlink '{}'", name));
    target.resize(static_cast<std::size_t>(n));
    return target;
}

std::array<timespec, 2> only_mtime(const Timestamp& mtime) {
    timespec keep{};
    keep.tv_nsec = UTIME_OMIT;
    timespec set{};
    set.tv_sec = static_cast<time_t>(mtime.seconds);
    set.tv_nsec = static_cast<long>(mtime.nanoseconds);
    return {keep, set};
}

}  // namespace

std::optional<FileType> file_type(mode_t mode) {
    switch (mode & S_IFMT) {
        case S_IFREG: return FileType::regular;
        case S_IFDIR: return FileType::directory;
        case S_IFLNK: return FileType::symlink;
        case S_IFCHR: return FileType::char_device;
        case S_IFBLK: return FileType::block_device;
        case S_IFIFO: return FileType::fifo;
        default: return std::nullopt;
    }
}

std::optional<Inode> inode_from(const struct stat& st) {
    const auto type = file_type(st.st_mode);
    if (!type) return std::nullopt;
    Inode inode;
    inode.type = *type;
    inode.mode = static_cast<std::uint16_t>(st.st_mode & 07777);
    inode.uid = st.st_uid;
    inode.gid = st.st_gid;
    inode.mtime = {st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)};
    if (*type == FileType::regular) inode.size = static_cast<std::uint64_t>(st.st_size);
    if (*type == FileType::char_device || *type == FileType::block_device) {
        inode.device_major = major(st.st_rdev);
        inode.device_minor = minor(st.st_rdev);
    }
    return inode;
}

std::optional<Inode> inode_at(int directory, const std::string& name) {
    struct stat st {};
    if (::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return std::nullopt;
        throw_errno(fmt::format("look at '{}'", name));
    }
    auto inode = inode_from(st);
    if (!inode) return inode;
    if (inode->type == FileType::symlink) inode->link_target = read_link_at(directory, name);
    inode->xattrs = read_xattrs_at(directory, name);
    std::erase_if(inode->xattrs, [](const auto& attribute) { return is_overlay_xattr(attribute.first); });
    return inode;
}

void apply_attributes(int directory, const std::string& name, const Inode& inode) {
    const int flags = AT_SYMLINK_NOFOLLOW;
    if (::fchownat(directory, name.c_str(), inode.uid, inode.gid, flags) != 0) {
        // EINVAL: no such id in this namespace. EPERM: no right to give files away. The file then stays ours,
        // as everything in the metadata directory is; the layers remember the true owner.
        if ((errno != EINVAL && errno != EPERM) || current_privilege() == Privilege::root) {
            throw_errno(fmt::format("set the owner of '{}' to {}:{}", name, inode.uid, inode.gid));
        }
    }
    // After the owner, whose change clears setuid; attributes after it too, for it drops capabilities.
    if (inode.type != FileType::symlink && ::fchmodat(directory, name.c_str(), inode.mode, 0) != 0) {
        throw_errno(fmt::format("set the mode of '{}'", name));
    }
    for (const auto& attribute : inode.xattrs) {
        try {
            write_xattr_at(directory, name, attribute.first, attribute.second);
        } catch (const Error& e) {
            // trusted.* and some of security.* are root's only; the kernel's copy-up leaves them out as well.
            if (e.os_error() != EPERM || current_privilege() == Privilege::root) throw;
        }
    }
    const auto times = only_mtime(inode.mtime);
    if (::utimensat(directory, name.c_str(), times.data(), flags) != 0) {
        throw_errno(fmt::format("set the time of '{}'", name));
    }
}

void prepare_upper(const UpperLayer& upper, const Inode& root) {
    const UniqueFd work = open_file(upper.work, O_RDONLY | O_DIRECTORY);
    if (!list_directory(work.get()).empty()) return;
    const UniqueFd directory = open_file(upper.upper, O_RDONLY | O_DIRECTORY);
    apply_attributes(directory.get(), ".", root);
}

void prepare_upper(const UpperLayer& upper, const LowerStack& lowers, int image_root) {
    UniqueFd frozen;
    if (!lowers.frozen_uppers.empty()) frozen = open_file(lowers.frozen_uppers.front(), O_RDONLY | O_DIRECTORY);
    const auto root = inode_at(frozen ? frozen.get() : image_root, ".");
    if (root) prepare_upper(upper, *root);
}

}  // namespace surcoat::overlay
