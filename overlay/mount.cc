#include "overlay/mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <array>
#include <cerrno>
#include <utility>

#include "layers/base/file.h"

namespace surcoat::overlay {
namespace {

std::string fd_path(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

// What the kernel told this context: lines such as "e overlay: …" (error), "w …" (warning), "i …".
std::string read_log(int context) {
    std::string all;
    std::array<char, 4096> line;
    for (;;) {
        const ssize_t n = ::read(context, line.data(), line.size());
        if (n <= 0) return all;  // ENODATA: no more lines
        std::string_view text(line.data(), static_cast<std::size_t>(n));
        while (!text.empty() && (text.back() == '\n' || text.back() == '\0')) text.remove_suffix(1);
        if (text.size() > 2 && text[1] == ' ') text.remove_prefix(2);
        if (text.empty()) continue;
        if (!all.empty()) all += "; ";
        all += text;
    }
}

}  // namespace

FsContext::FsContext(std::string type) : type_(std::move(type)) {
    fd_ = UniqueFd(::fsopen(type_.c_str(), FSOPEN_CLOEXEC));
    if (fd_) return;
    if (errno == ENODEV) {
        throw Error(Errc::unsupported, fmt::format("this kernel has no '{}' file system", type_))
            .hint(fmt::format("try `modprobe {}`", type_))
            .errno_was(ENODEV);
    }
    if (errno == ENOSYS) {
        throw Error(Errc::unsupported, "this kernel has no fsopen(2), which came with Linux 5.2").errno_was(ENOSYS);
    }
    throw_errno(fmt::format("open the file system '{}'", type_));
}

void FsContext::fail(const std::string& doing, int error) {
    const std::string log = read_log(fd_.get());
    Error failure = os_error(doing, error);
    // EINVAL is how overlayfs and EROFS say "I do not know this", and the log says which; keep both.
    const Errc code = error == EINVAL || error == EOPNOTSUPP ? Errc::unsupported : failure.code();
    std::string message = failure.message();
    if (!log.empty()) message += fmt::format(" (the kernel says: {})", log);
    throw Error(code, std::move(message)).hint(failure.hint()).errno_was(error);
}

void FsContext::set_flag(const char* key) {
    if (::fsconfig(fd_.get(), FSCONFIG_SET_FLAG, key, nullptr, 0) != 0) {
        fail(fmt::format("set '{}' of {}", key, type_), errno);
    }
}

void FsContext::set_string(const char* key, const std::string& value) {
    if (::fsconfig(fd_.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) != 0) {
        fail(fmt::format("set '{}={}' of {}", key, value, type_), errno);
    }
}

void FsContext::set_fd(const char* key, int fd) {
    if (::fsconfig(fd_.get(), FSCONFIG_SET_FD, key, nullptr, fd) != 0) {
        fail(fmt::format("set '{}' of {} to a descriptor", key, type_), errno);
    }
}

void FsContext::set_fd_or_path(const char* key, int fd) {
    // Linux 6.13 learned descriptors for overlayfs' layers; 6.7 to 6.12 know the key, with a name.
    if (::fsconfig(fd_.get(), FSCONFIG_SET_FD, key, nullptr, fd) == 0) return;
    read_log(fd_.get());
    set_string(key, fd_path(fd));
}

UniqueFd FsContext::mount(std::uint64_t attributes) {
    if (::fsconfig(fd_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
        fail(fmt::format("mount {}", type_), errno);
    }
    UniqueFd mount(::fsmount(fd_.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
    if (!mount) fail(fmt::format("mount {}", type_), errno);
    return mount;
}

void attach_at(int mount, const std::filesystem::path& where) {
    if (::move_mount(mount, "", AT_FDCWD, where.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
        throw_errno(fmt::format("attach a mount at '{}'", where.string()));
    }
}

UniqueFd clone_mount(const std::filesystem::path& where, bool recursive) {
    const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0U);
    UniqueFd fd(::open_tree(AT_FDCWD, where.c_str(), flags));
    if (!fd) throw_errno(fmt::format("clone the mount of '{}'", where.string()));
    return fd;
}

void change_mount(int mount, std::uint64_t set, std::uint64_t clear) {
    mount_attr attributes{};
    attributes.attr_set = set;
    attributes.attr_clr = clear;
    if (::mount_setattr(mount, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) {
        throw_errno("change a mount's attributes");
    }
}

bool unmount(const std::filesystem::path& where) {
    if (::umount2(where.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return true;
    if (errno == EINVAL || errno == ENOENT) return false;
    throw_errno(fmt::format("unmount '{}'", where.string()));
}

ScopedMount::ScopedMount(UniqueFd mount, std::filesystem::path where) {
    attach_at(mount.get(), where);
    where_ = std::move(where);
}

ScopedMount::ScopedMount(ScopedMount&& other) noexcept : where_(std::exchange(other.where_, {})) {}

ScopedMount::~ScopedMount() {
    if (!where_.empty()) ::umount2(where_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
}

LoopDevice attach_loop(int file) {
    const UniqueFd control = open_file("/dev/loop-control", O_RDWR);
    // Between LOOP_CTL_GET_FREE and LOOP_CONFIGURE another process may take the device: then the next one.
    for (int attempt = 0; attempt < 64; ++attempt) {
        const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0) throw_errno("find a free loop device");
        LoopDevice device;
        device.path = fmt::format("/dev/loop{}", number);
        device.fd = open_file(device.path, O_RDONLY);
        loop_config config{};
        config.fd = static_cast<__u32>(file);
        config.block_size = 4096;
        config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
        if (::ioctl(device.fd.get(), LOOP_CONFIGURE, &config) == 0) return device;
        if (errno != EBUSY) throw_errno(fmt::format("set up the loop device {}", device.path));
    }
    throw Error(Errc::conflict, "no loop device stayed free long enough to be set up");
}

}  // namespace surcoat::overlay
