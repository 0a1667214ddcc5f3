#pragma once
// Real mounts for tests: file-backed EROFS and overlayfs through the new mount API, in a child process with a
// mount namespace of its own, so that nothing is left behind whatever happens.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/base/process.h"
#include "layers/base/unique_fd.h"

namespace surcoat::test {

/// Runs `body` in a forked child with a private mount namespace and returns the text that it returned, or
/// "error: …" if it threw. Catch2's macros must not be used inside.
inline std::string in_mount_namespace(const std::function<std::string()>& body) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("make a pipe");
    UniqueFd reader(ends[0]), writer(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) throw_errno("fork");
    if (child == 0) {
        std::string text;
        try {
            if (::unshare(CLONE_NEWNS) != 0 ||
                ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
                throw_errno("make a mount namespace");
            }
            text = body();
        } catch (const std::exception& e) { text = std::string("error: ") + e.what(); }
        try {
            write_full(writer.get(), as_bytes(text));
        } catch (...) { ::_exit(1); }
        ::_exit(0);
    }
    writer.reset();
    std::string text = read_file(reader.get());
    const ExitStatus status = wait_for(child);
    if (!status.ok()) text += "\nerror: the child ended with " + std::to_string(status.shell_code());
    return text;
}

/// A file system being configured; says what the kernel said about it when it fails.
class MountContext {
  public:
    explicit MountContext(const char* type) : fd_(::fsopen(type, FSOPEN_CLOEXEC)) {
        if (!fd_) throw_errno(std::string("open file system ") + type);
    }
    void set(const char* key, const std::string& value) {
        // No value at all, not an empty one, is what a flag such as userxattr wants.
        if (value.empty()) return check(::fsconfig(fd_.get(), FSCONFIG_SET_FLAG, key, nullptr, 0), key);
        check(::fsconfig(fd_.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0), key + ("=" + value));
    }
    void set_fd(const char* key, int value) {
        check(::fsconfig(fd_.get(), FSCONFIG_SET_FD, key, nullptr, value), key);
    }
    UniqueFd mount() {
        check(::fsconfig(fd_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), "create");
        UniqueFd mounted(::fsmount(fd_.get(), FSMOUNT_CLOEXEC, 0));
        if (!mounted) check(-1, "mount");
        return mounted;
    }

  private:
    void check(int result, const std::string& what) {
        if (result == 0) return;
        const int number = errno;
        char line[1024];
        std::string said;
        for (ssize_t n; (n = ::read(fd_.get(), line, sizeof line)) > 0;)
            said += " [" + std::string(line, static_cast<std::size_t>(n)) + "]";
        throw os_error("configure a mount (" + what + ")" + said, number);
    }
    UniqueFd fd_;
};

/// Detached: nobody sees it, and it goes with its descriptor.
inline UniqueFd mount_erofs(const std::filesystem::path& image) {
    MountContext context("erofs");
    context.set("source", image.string());
    return context.mount();
}

inline void attach(const UniqueFd& mounted, const std::filesystem::path& target) {
    if (::move_mount(mounted.get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
        throw_errno("attach a mount");
}

/// Mounts overlayfs at `target`: lowers top first, then `objects` for data only. No upper: read-only.
struct OverlayMount {
    std::vector<std::pair<std::string, std::string>> options{{"xino", "on"}};
    std::vector<int> lowers;
    std::filesystem::path objects, upper, work;
    void at(const std::filesystem::path& target) const {
        MountContext context("overlay");
        for (const int lower : lowers) context.set_fd("lowerdir+", lower);
        if (!objects.empty()) context.set("datadir+", objects.string());
        if (!upper.empty()) context.set("upperdir", upper.string());
        if (!upper.empty()) context.set("workdir", work.string());
        for (const auto& [key, value] : options) context.set(key.c_str(), value);
        attach(context.mount(), target);
    }
};

inline void unmount(const std::filesystem::path& target) {
    if (::umount2(target.c_str(), 0) != 0) throw_errno("unmount " + target.string());
}

}  // namespace surcoat::test
