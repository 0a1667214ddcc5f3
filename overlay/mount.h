#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "layers/base/unique_fd.h"

namespace surcoat::overlay {

/// The mount API of Linux 5.2 and later (fsopen(2), fsconfig(2), fsmount(2), move_mount(2), open_tree(2),
/// mount_setattr(2)), and loop devices. The only callers of these system calls besides the sandbox's child.
/// Every function throws surcoat::Error with what the kernel said; EPERM is Errc::denied, a file system or
/// option that this kernel does not know is Errc::unsupported.

/// A file system being configured. What the kernel writes into the context's log is part of the errors.
class FsContext {
  public:
    /// fsopen(2). Errc::unsupported if the kernel has no such file system.
    explicit FsContext(std::string type);

    void set_flag(const char* key);
    void set_string(const char* key, const std::string& value);
    void set_fd(const char* key, int fd);
    /// set_fd, or, on kernels whose `key` takes only names, the descriptor's name beneath /proc/self/fd.
    void set_fd_or_path(const char* key, int fd);

    /// Makes the superblock, and one mount of it that is attached nowhere: it goes with the descriptor.
    /// `attributes`: MOUNT_ATTR_*.
    UniqueFd mount(std::uint64_t attributes = 0);

  private:
    [[noreturn]] void fail(const std::string& doing, int error);
    std::string type_;
    UniqueFd fd_;
};

/// Attaches a detached mount at an existing directory or file of this mount namespace.
void attach_at(int mount, const std::filesystem::path& where);
/// A detached copy of what is mounted at `where`, or of the directory there; `recursive` with the mounts
/// beneath.
UniqueFd clone_mount(const std::filesystem::path& where, bool recursive = false);
/// Sets and clears MOUNT_ATTR_* of a mount.
void change_mount(int mount, std::uint64_t set, std::uint64_t clear = 0);
/// Lazily; false if nothing is mounted there.
bool unmount(const std::filesystem::path& where);

/// A mount in this mount namespace, taken away (lazily) when this goes. For tests and short jobs.
class ScopedMount {
  public:
    ScopedMount(UniqueFd mount, std::filesystem::path where);
    ScopedMount(ScopedMount&& other) noexcept;
    ScopedMount& operator=(ScopedMount&&) = delete;
    ~ScopedMount();
    const std::filesystem::path& path() const noexcept { return where_; }

  private:
    std::filesystem::path where_;
};

/// A loop device over an open file, read-only, that detaches itself when its last user has gone. For kernels
/// before 6.12, which cannot mount EROFS from a file.
struct LoopDevice {
    UniqueFd fd;
    std::string path;  ///< "/dev/loop7"
};
LoopDevice attach_loop(int file);

}  // namespace surcoat::overlay
