#include "overlay/namespaces.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "layers/base/file.h"
#include "layers/base/process.h"

namespace surcoat::overlay {
namespace {

// include/linux/proc_ns.h, PROC_USER_INIT_INO: the initial user namespace has had this inode number since 3.8.
constexpr ino_t kInitialUserNamespace = 0xEFFFFFFDU;

std::string proc_file(pid_t pid, const char* name) {
    return fmt::format("/proc/{}/{}", pid == 0 ? std::string("self") : std::to_string(pid), name);
}

bool in_initial_namespace(pid_t pid = 0) {
    struct stat st {};
    return ::stat(proc_file(pid, "ns/user").c_str(), &st) == 0 && st.st_ino == kInitialUserNamespace;
}

bool has_sys_admin() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0) return false;
    return (data[0].effective & (1U << CAP_SYS_ADMIN)) != 0;
}

// How many ids an id map covers.
std::uint64_t mapped_ids(const std::string& file) {
    std::istringstream lines(read_file(file, 1 << 20));
    std::uint64_t sum = 0;
    for (std::uint64_t inside = 0, outside = 0, count = 0; lines >> inside >> outside >> count;) sum += count;
    return sum;
}

struct IdRange {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};

// subuid(5): "name-or-uid:first:count"; the first line that is ours counts.
std::optional<IdRange> subordinate_range(const char* file, const std::string& user, uid_t uid) {
    const auto fd = try_open_file(file, O_RDONLY);
    if (!fd) return std::nullopt;
    std::istringstream lines(read_file(fd->get(), 1 << 20));
    for (std::string line; std::getline(lines, line);) {
        const std::size_t a = line.find(':');
        const std::size_t b = a == std::string::npos ? a : line.find(':', a + 1);
        if (b == std::string::npos) continue;
        const std::string who = line.substr(0, a);
        if (who != user && who != std::to_string(uid)) continue;
        IdRange range;
        range.first = std::strtoull(line.c_str() + a + 1, nullptr, 10);
        range.count = std::strtoull(line.c_str() + b + 1, nullptr, 10);
        if (range.first > 0 && range.count > 0) return range;
    }
    return std::nullopt;
}

std::string user_name(uid_t uid) {
    passwd entry{};
    passwd* found = nullptr;
    std::array<char, 16384> buffer;
    if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) return {};
    return entry.pw_name;
}

std::optional<std::string> setting(const char* file) {
    const auto fd = try_open_file(file, O_RDONLY);
    if (!fd) return std::nullopt;
    std::string text = read_file(fd->get(), 256);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
}

// Which switch forbids user namespaces, and how to turn it.
Error forbidden(const std::string& doing, int error) {
    std::string hint = "run it as root, or on a machine that allows unprivileged user namespaces";
    std::string which;
    if (setting("/proc/sys/user/max_user_namespaces") == "0") {
        which = "user.max_user_namespaces is 0";
        hint = "as root: `sysctl user.max_user_namespaces=15000`";
    } else if (setting("/proc/sys/kernel/unprivileged_userns_clone") == "0") {
        which = "kernel.unprivileged_userns_clone is 0";
        hint = "as root: `sysctl kernel.unprivileged_userns_clone=1`";
    } else if (setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1") {
        which = "AppArmor forbids them to programs without a profile (kernel.apparmor_restrict_unprivileged_userns is 1)";
        hint = "as root: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or give surcoat a profile with `userns`";
    } else {
        which = "the kernel, a container or a seccomp filter around us forbids them";
    }
    return Error(Errc::denied, fmt::format("{} ({})", os_error(doing, error).message(), which))
        .hint(hint)
        .errno_was(error);
}

void write_map(const char* file, const std::string& text) {
    const UniqueFd fd = open_file(file, O_WRONLY);
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
        throw forbidden(fmt::format("write '{}' to {}", text, file), errno);
    }
}

// newuidmap(1) must run outside of the new namespace, so a child that stays behind runs it for us, once we are
// inside. False: nothing was mapped; the caller maps its one user.
class RangeMapper {
  public:
    RangeMapper(uid_t uid, gid_t gid, const std::string& user) {
        const auto uids = subordinate_range("/etc/subuid", user, uid);
        const auto gids = subordinate_range("/etc/subgid", user, uid);
        if (!uids || !gids) return;
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
        UniqueFd read_end(ends[0]);
        start_ = UniqueFd(ends[1]);
        const std::string parent = std::to_string(::getpid());
        child_ = ::fork();
        if (child_ < 0) throw_errno("fork");
        if (child_ == 0) {
            start_.reset();
            char go = 0;
            if (::read(read_end.get(), &go, 1) != 1) ::_exit(1);
            ::_exit(run("newuidmap", parent, uid, *uids) && run("newgidmap", parent, gid, *gids) ? 0 : 1);
        }
    }
    ~RangeMapper() {
        start_.reset();
        if (child_ > 0) ::waitpid(child_, nullptr, 0);
    }
    RangeMapper(const RangeMapper&) = delete;
    RangeMapper& operator=(const RangeMapper&) = delete;

    bool map() {
        if (child_ <= 0) return false;
        const char go = 'g';
        if (::write(start_.get(), &go, 1) != 1) return false;
        const ExitStatus status = wait_for(std::exchange(child_, 0));
        return status.ok();
    }

  private:
    static bool run(const char* program, const std::string& pid, unsigned own, const IdRange& range) {
        try {
            return run_command({program, pid, "0", std::to_string(own), "1", "1", std::to_string(range.first),
                                std::to_string(range.count)})
                .status.ok();
        } catch (const std::exception&) {
            return false;  // not installed
        }
    }
    UniqueFd start_;
    pid_t child_ = 0;
};

}  // namespace

Privilege current_privilege() {
    if (!has_sys_admin()) return Privilege::none;
    return in_initial_namespace() ? Privilege::root : Privilege::user_namespace;
}

void become_namespace_root() {
    if (current_privilege() != Privilege::none) return;
    const uid_t uid = ::geteuid();
    const gid_t gid = ::getegid();
    RangeMapper ranges(uid, gid, user_name(uid));
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        if (errno == EINVAL) {
            throw Error(Errc::denied, "cannot enter a user namespace: this process has several threads").errno_was(EINVAL);
        }
        throw forbidden("enter a user namespace", errno);
    }
    // The maps can be written once. newuidmap may have written the first and newgidmap failed: then the
    // second is ours to write.
    if (!ranges.map()) {
        if (setting("/proc/self/uid_map").value_or("").empty()) write_map("/proc/self/uid_map", fmt::format("0 {} 1", uid));
        if (setting("/proc/self/gid_map").value_or("").empty()) {
            write_map("/proc/self/setgroups", "deny");
            write_map("/proc/self/gid_map", fmt::format("0 {} 1", gid));
        }
    }
    if (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0) throw_errno("become root of the user namespace");
    // What is mounted here is nobody else's business, and the host's later mounts none of ours.
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) throw forbidden("make mounts private", errno);
}

bool has_id_range(pid_t pid) {
    return in_initial_namespace(pid) || (mapped_ids(proc_file(pid, "uid_map")) > 1 && mapped_ids(proc_file(pid, "gid_map")) > 1);
}

}  // namespace surcoat::overlay
