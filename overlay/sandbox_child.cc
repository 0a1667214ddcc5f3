// Both functions run between fork and exec in the child of a process that may have other threads: some thread
// may have held malloc's lock when we were copied, so nothing here allocates, locks, throws or uses stdio.
// They carry out what sandbox_plan.cc wrote down.
//
// Order matters in three places. Mounts are attached while our old root is still there and the new one hangs
// beside it, so that every path of the container is resolved beneath a descriptor of its root (openat2,
// RESOLVE_IN_ROOT): once pivot_root(".", ".") has stacked the old root over the new one, "/.." would lead
// out. /proc is mounted before the old one goes, because in a user namespace the kernel only allows it while
// an unobstructed /proc can be seen. And the seccomp filter is loaded before capabilities are dropped, which
// needs no no_new_privs.
#include "overlay/sandbox_child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>

namespace surcoat::overlay {
namespace {

using Stage = SandboxReport::Stage;

constexpr int kSetupFailed = 125;

[[noreturn]] void give_up(const SandboxPipes& pipes, Stage stage, int index, int error) noexcept {
    const SandboxReport report{stage, index, error};
    [[maybe_unused]] const ssize_t n = ::write(pipes.report, &report, sizeof report);
    ::_exit(kSetupFailed);
}

int open_beneath(int root, const char* path, std::uint64_t flags) noexcept {
    while (*path == '/') ++path;
    open_how how{};
    how.flags = flags | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    for (int attempt = 0;; ++attempt) {
        const long fd = ::syscall(SYS_openat2, root, *path == '\0' ? "." : path, &how, sizeof how);
        if (fd >= 0 || (errno != EINTR && !(errno == EAGAIN && attempt < 100))) return static_cast<int>(fd);
    }
}

// A path being made, one component after the other. Image authors leave links that dangle
// (/etc/resolv.conf → ../run/systemd/resolve/stub-resolv.conf): what they point to is then made.
struct PathBuffer {
    char text[PATH_MAX];

    bool set(const char* path) noexcept {
        const std::size_t length = ::strlen(path);
        if (length >= sizeof text) return false;
        ::memcpy(text, path, length + 1);
        return true;
    }
    /// Puts `link`, resolved from the folder text[0, folder), in the place of text[folder, end).
    bool splice(std::size_t folder, std::size_t end, const char* link) noexcept {
        const std::size_t link_length = ::strlen(link);
        const std::size_t rest_length = ::strlen(text + end);
        const std::size_t start = link[0] == '/' ? 0 : folder;
        char rest[PATH_MAX];
        ::memcpy(rest, text + end, rest_length + 1);
        if (start + 1 + link_length + rest_length >= sizeof text) return false;
        text[start] = '/';
        ::memcpy(text + start + 1, link, link_length);
        ::memcpy(text + start + 1 + link_length, rest, rest_length + 1);
        return true;
    }
};

int make_component(int folder, const char* name, bool directory) noexcept {
    if (directory) return ::mkdirat(folder, name, 0755);
    return ::mknodat(folder, name, S_IFREG | 0644, 0);
}

/// O_PATH descriptor of `path` beneath the root, made (with its parents) when missing; -1 with errno.
int open_target(int root, const char* path, bool directory) noexcept {
    int found = open_beneath(root, path, O_PATH);
    if (found >= 0 || errno != ENOENT) return found;
    PathBuffer buffer;
    if (!buffer.set(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int links = 0;
    for (std::size_t begin = 0;;) {
        while (buffer.text[begin] == '/') ++begin;
        if (buffer.text[begin] == '\0') break;
        std::size_t end = begin;
        while (buffer.text[end] != '/' && buffer.text[end] != '\0') ++end;
        std::size_t after = end;
        while (buffer.text[after] == '/') ++after;
        const bool last = buffer.text[after] == '\0';
        const char saved = buffer.text[end];
        buffer.text[end] = '\0';
        found = open_beneath(root, buffer.text, O_PATH);
        if (found >= 0) {
            ::close(found);
        } else {
            if (errno != ENOENT) return -1;
            const char first = buffer.text[begin];
            buffer.text[begin] = '\0';
            const int folder = open_beneath(root, buffer.text, O_PATH | O_DIRECTORY);
            buffer.text[begin] = first;
            if (folder < 0) return -1;
            const char* name = buffer.text + begin;
            const int made = make_component(folder, name, !last || directory);
            const int error = errno;
            char link[PATH_MAX];
            const ssize_t length = made == 0 ? -1 : ::readlinkat(folder, name, link, sizeof link - 1);
            ::close(folder);
            if (made != 0) {
                if (error != EEXIST || length <= 0 || ++links > 40) {
                    errno = error;
                    return -1;
                }
                link[length] = '\0';
                buffer.text[end] = saved;
                if (!buffer.splice(begin, end, link)) {
                    errno = ENAMETOOLONG;
                    return -1;
                }
                begin = 0;
                continue;
            }
        }
        buffer.text[end] = saved;
        begin = end;
    }
    return open_beneath(root, buffer.text, O_PATH);
}

int attach(int mount, int root, const char* target, bool directory) noexcept {
    const int where = open_target(root, target, directory);
    if (where < 0) return -1;
    const int result = ::move_mount(mount, "", where, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    const int error = errno;
    ::close(where);
    errno = error;
    return result;
}

int set_attributes(int mount, std::uint64_t attributes, bool recursive) noexcept {
    if (attributes == 0) return 0;
    mount_attr change{};
    change.attr_set = attributes;
    return ::mount_setattr(mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &change, sizeof change);
}

int clone_at(int from, const char* path, bool recursive) noexcept {
    return ::open_tree(from, path,
                       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (*path == '\0' ? AT_EMPTY_PATH : 0) |
                           (recursive ? AT_RECURSIVE : 0));
}

/// Attaches a clone at the step's target and closes it; -1 with errno.
int place(int mount, const MountStep& step, int root, bool directory, bool recursive) noexcept {
    if (mount < 0) return -1;
    int result = set_attributes(mount, step.attributes, recursive);
    if (result == 0) result = attach(mount, root, step.target.c_str(), directory);
    const int error = errno;
    ::close(mount);
    errno = error;
    return result;
}

int mount_filesystem(const MountStep& step, int root) noexcept {
    const int context = ::fsopen(step.source.c_str(), FSOPEN_CLOEXEC);
    if (context < 0) return -1;
    int result = 0;
    for (std::size_t i = 0; result == 0 && i < step.options.size(); ++i) {
        const auto& option = step.options[i];
        result = ::fsconfig(context, FSCONFIG_SET_STRING, option.first.c_str(), option.second.c_str(), 0);
    }
    if (result == 0) result = ::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
    const int mount =
        result == 0 ? ::fsmount(context, FSMOUNT_CLOEXEC, static_cast<unsigned>(step.attributes)) : -1;
    const int error = errno;
    ::close(context);
    errno = error;
    if (mount < 0) return -1;
    result = attach(mount, root, step.target.c_str(), true);
    const int attach_error = errno;
    ::close(mount);
    errno = attach_error;
    return result;
}

int make_entry(const MountStep& step, int root) noexcept {
    const char* slash = ::strrchr(step.target.c_str(), '/');
    char folder_path[PATH_MAX];
    const auto length = static_cast<std::size_t>(slash - step.target.c_str());
    if (length >= sizeof folder_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    ::memcpy(folder_path, step.target.c_str(), length);
    folder_path[length] = '\0';
    const int folder = open_target(root, folder_path, true);
    if (folder < 0) return -1;
    const int result = step.kind == MountStep::Kind::symlink
                           ? ::symlinkat(step.source.c_str(), folder, slash + 1)
                           : ::mknodat(folder, slash + 1, S_IFCHR | 0666, ::makedev(step.major, step.minor));
    const int error = errno;
    ::close(folder);
    errno = error;
    return result;
}

int cover(const MountStep& step, int root, int stage) noexcept {
    const int target = open_beneath(root, step.target.c_str(), O_PATH);
    if (target < 0) return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -1;
    struct stat found {};
    int result = ::fstat(target, &found);
    if (result == 0) {
        int mount = -1;
        if (step.kind == MountStep::Kind::protect) {
            mount = clone_at(target, "", true);
            if (mount >= 0) result = set_attributes(mount, MOUNT_ATTR_RDONLY, true);
        } else if (S_ISDIR(found.st_mode)) {
            mount = clone_at(stage, "empty", false);
            if (mount >= 0) result = set_attributes(mount, MOUNT_ATTR_RDONLY, false);
        } else {
            const int null = open_beneath(root, "/dev/null", O_PATH);
            mount = null < 0 ? -1 : clone_at(null, "", false);
            if (null >= 0) ::close(null);
        }
        if (mount < 0) result = -1;
        if (result == 0) {
            result = ::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
        }
        const int error = errno;
        if (mount >= 0) ::close(mount);
        errno = error;
    }
    const int error = errno;
    ::close(target);
    errno = error;
    return result;
}

int carry_out(const MountStep& step, int root, int stage) noexcept {
    switch (step.kind) {
        case MountStep::Kind::filesystem:
            if (mount_filesystem(step, root) == 0) return 0;
            if (!step.else_host || (errno != EPERM && errno != EBUSY)) return -1;
            return place(clone_at(AT_FDCWD, step.target.c_str(), true), step, root, true, true);
        case MountStep::Kind::attach:
            return attach(step.fd, root, step.target.c_str(), step.is_directory);
        case MountStep::Kind::bind_staged:
            return place(clone_at(stage, step.source.c_str(), false), step, root, false, false);
        case MountStep::Kind::bind_host:
            return place(clone_at(AT_FDCWD, step.source.c_str(), step.recursive), step, root,
                         step.is_directory, step.recursive);
        case MountStep::Kind::bind_inside: {
            const int source = open_beneath(root, step.source.c_str(), O_PATH);
            if (source < 0) return -1;
            const int mount = clone_at(source, "", false);
            const int error = errno;
            ::close(source);
            errno = error;
            return place(mount, step, root, step.is_directory, false);
        }
        case MountStep::Kind::node:
        case MountStep::Kind::symlink:
            return make_entry(step, root);
        case MountStep::Kind::directory: {
            const int made = open_target(root, step.target.c_str(), true);
            if (made >= 0) ::close(made);
            return made < 0 ? -1 : 0;
        }
        case MountStep::Kind::mask:
        case MountStep::Kind::protect:
            return cover(step, root, stage);
        case MountStep::Kind::read_only_root:
            return set_attributes(root, MOUNT_ATTR_RDONLY, false);
    }
    return 0;
}

int raise_loopback() noexcept {
    const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) return -1;
    ifreq request{};
    ::memcpy(request.ifr_name, "lo", 3);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    const int result = ::ioctl(socket, SIOCSIFFLAGS, &request);
    const int error = errno;
    ::close(socket);
    errno = error;
    return result;
}

/// Closes all but these, in any order; -1 entries are none.
template <std::size_t N>
void close_others(int (&keep)[N]) noexcept {
    for (std::size_t i = 1; i < N; ++i) {
        for (std::size_t j = i; j > 0 && keep[j - 1] > keep[j]; --j) {
            const int other = keep[j];
            keep[j] = keep[j - 1];
            keep[j - 1] = other;
        }
    }
    unsigned next = 0;
    for (const int fd : keep) {
        if (fd < 0 || static_cast<unsigned>(fd) < next) continue;
        if (static_cast<unsigned>(fd) > next) ::close_range(next, static_cast<unsigned>(fd) - 1, 0);
        next = static_cast<unsigned>(fd) + 1;
    }
    ::close_range(next, ~0U, 0);
}

/// Whether a program's path, or a script's interpreter, leads through a magic link of /proc:
/// "#!/proc/self/exe" in an image would make us run ourselves inside, with the host's program file then
/// within reach of the container (CVE-2019-5736).
bool is_forged(const char* program) noexcept {
    char path[PATH_MAX];
    const std::size_t length = ::strlen(program);
    if (length >= sizeof path) return false;
    ::memcpy(path, program, length + 1);
    for (int depth = 0; depth < 6; ++depth) {
        open_how how{};
        how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
        how.resolve = RESOLVE_NO_MAGICLINKS;
        const long fd = ::syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
        if (fd < 0) return errno == ELOOP;
        char head[256];
        const ssize_t n = ::read(static_cast<int>(fd), head, sizeof head - 1);
        ::close(static_cast<int>(fd));
        if (n < 3 || head[0] != '#' || head[1] != '!') return false;
        head[n] = '\0';
        char* begin = head + 2;
        while (*begin == ' ' || *begin == '\t') ++begin;
        char* end = begin;
        while (*end != '\0' && *end != ' ' && *end != '\t' && *end != '\n') ++end;
        *end = '\0';
        ::memcpy(path, begin, static_cast<std::size_t>(end - begin) + 1);
    }
    return true;
}

int drop_bounding(CapabilityMask keep) noexcept {
    for (unsigned number = 0; number < 64; ++number) {
        if ((keep & capability_bit(number)) != 0) continue;
        // EINVAL: past the last one that this kernel knows.
        if (::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0) return errno == EINVAL ? 0 : -1;
    }
    return 0;
}

int set_capabilities(CapabilityMask mask) noexcept {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    for (int i = 0; i < 2; ++i) {
        data[i].effective = data[i].permitted = static_cast<std::uint32_t>(mask >> (32 * i));
    }
    return static_cast<int>(::syscall(SYS_capset, &header, data));
}

/// An unnamed pipe of ours is given to the user, so that `echo > /dev/stdout` can open it again.
void give_stream(int fd, uid_t uid) noexcept {
    struct statfs where {};
    constexpr long kPipes = 0x50495045;
    if (::fstatfs(fd, &where) == 0 && where.f_type == kPipes) {
        [[maybe_unused]] const int result = ::fchown(fd, uid, static_cast<gid_t>(-1));
    }
}

[[noreturn]] void become_command(const CommandPlan& command, const SandboxPipes& pipes) noexcept {
    if (::setsid() < 0) give_up(pipes, Stage::session, 0, errno);
    // Above all numbers that are about to be overwritten.
    int streams[3];
    const int wanted[3] = {command.in, command.out, command.err};
    for (int i = 0; i < 3; ++i) streams[i] = ::fcntl(wanted[i], F_DUPFD_CLOEXEC, 3);
    for (int i = 0; i < 3; ++i) {
        if (streams[i] < 0 || ::dup2(streams[i], i) < 0) give_up(pipes, Stage::session, i, errno);
    }
    if (command.tty && ::ioctl(0, TIOCSCTTY, 0) != 0) give_up(pipes, Stage::session, 3, errno);
    if (command.user.uid != 0) {
        for (int i = 0; i < 3; ++i) give_stream(i, command.user.uid);
        if (command.tty) {
            [[maybe_unused]] const int result = ::fchown(0, command.user.uid, static_cast<gid_t>(-1));
        }
    }
    ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);

    if (::chdir(command.working_dir.c_str()) != 0) give_up(pipes, Stage::working_dir, 0, errno);
    // A directory outside of the root has no name here (CVE-2024-21626).
    char here[PATH_MAX];
    if (::syscall(SYS_getcwd, here, sizeof here) < 0 || here[0] != '/')
        give_up(pipes, Stage::working_dir, 0, ENOENT);
    for (std::size_t i = 0; i < command.programs.size(); ++i) {
        if (is_forged(command.programs[i].c_str())) {
            give_up(pipes, Stage::forged_program, static_cast<int>(i), ELOOP);
        }
    }

    if (drop_bounding(command.bounding) != 0) give_up(pipes, Stage::limits, 0, errno);
    if (!command.filter.empty()) {
        const sock_fprog program{static_cast<unsigned short>(command.filter.size()),
                                 const_cast<sock_filter*>(command.filter.data())};
        if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
            give_up(pipes, Stage::limits, 1, errno);
    }
    // The system calls themselves: glibc's wrappers would ask other threads, which are not here, to follow.
    if (command.set_groups &&
        ::syscall(SYS_setgroups, command.user.groups.size(), command.user.groups.data()) != 0) {
        give_up(pipes, Stage::user, 0, errno);
    }
    const gid_t gid = command.user.gid;
    const uid_t uid = command.user.uid;
    if (::syscall(SYS_setresgid, gid, gid, gid) != 0) give_up(pipes, Stage::user, 1, errno);
    if (::syscall(SYS_setresuid, uid, uid, uid) != 0) give_up(pipes, Stage::user, 2, errno);
    if (set_capabilities(command.permitted) != 0) give_up(pipes, Stage::limits, 2, errno);
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (command.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        give_up(pipes, Stage::limits, 3, errno);
    }

    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number) ::sigaction(number, &standard, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::umask(022);

    int error = ENOENT;
    int denied = 0;
    for (std::size_t i = 0; i < command.programs.size(); ++i) {
        const char* program = command.programs[i].c_str();
        ::execve(program, command.argv.data(), command.envp.data());
        error = errno;
        if (error == ENOENT && ::access(program, F_OK) == 0) {
            give_up(pipes, Stage::interpreter, static_cast<int>(i), error);
        }
        if (error == EACCES) denied = error;
        if (error != ENOENT && error != ENOTDIR && error != EACCES) break;
    }
    if ((error == ENOENT || error == ENOTDIR) && denied != 0) error = denied;
    give_up(pipes, Stage::program, 0, error);
}

/// The rest of an init's life: forwards signals, reaps, and ends with the command, which ends everything else
/// in the pid namespace.
[[noreturn]] void supervise(pid_t command, const SandboxPipes& pipes) noexcept {
    sigset_t all;
    ::sigfillset(&all);
    const int signals = ::signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    for (;;) {
        pollfd events[2] = {{signals, POLLIN, 0}, {pipes.lifeline, POLLIN, 0}};
        if (::poll(events, 2, -1) < 0 && errno != EINTR) ::_exit(kSetupFailed);
        if (events[1].revents != 0) {
            ::kill(command, SIGKILL);
            ::_exit(128 + SIGKILL);
        }
        signalfd_siginfo info{};
        while (::read(signals, &info, sizeof info) == sizeof info) {
            // Those of the kernel to a parent, or about our own faults, are not for the command.
            if (info.ssi_signo != SIGCHLD) ::kill(command, static_cast<int>(info.ssi_signo));
        }
        for (;;) {
            int status = 0;
            const pid_t gone = ::waitpid(-1, &status, WNOHANG);
            if (gone <= 0) break;
            if (gone != command) continue;
            SandboxOutcome outcome;
            if (WIFSIGNALED(status)) {
                outcome.signal = WTERMSIG(status);
            } else {
                outcome.code = WEXITSTATUS(status);
            }
            [[maybe_unused]] const ssize_t n = ::write(pipes.outcome, &outcome, sizeof outcome);
            ::_exit(outcome.signal != 0 ? 128 + outcome.signal : outcome.code);
        }
    }
}

/// Forks the command and turns into its supervisor.
[[noreturn]] void run_command_process(const CommandPlan& command, const SandboxPipes& pipes) noexcept {
    const pid_t pid = clone_process(0, nullptr);
    if (pid < 0) give_up(pipes, Stage::fork, 0, errno);
    if (pid == 0) become_command(command, pipes);
    // The command alone holds the report pipe and the streams now.
    int keep[] = {pipes.outcome, pipes.lifeline};
    close_others(keep);
    supervise(pid, pipes);
}

}  // namespace

pid_t clone_process(unsigned long flags, int* pidfd) noexcept {
    if (pidfd != nullptr) flags |= CLONE_PIDFD;
    // x86-64 and arm64 differ in the order of the last two arguments only, both 0 here.
    return static_cast<pid_t>(::syscall(SYS_clone, flags | SIGCHLD, 0, pidfd, 0, 0));
}

void sandbox_init(const SandboxPlan& plan, const SandboxPipes& pipes) noexcept {
    // Not in the session of our caller: its terminal's signals are forwarded, and must not arrive twice.
    ::setsid();
    ::umask(0);
    if (plan.hide_init) ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    ::prctl(PR_SET_NAME, "init", 0, 0, 0);

    const auto isolate_failed = [&](int index) { give_up(pipes, Stage::isolate, index, errno); };
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) isolate_failed(0);
    const int old_root = ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old_root < 0) isolate_failed(1);
    // Any directory serves, since nobody else sees this mount namespace; /proc is there wherever we run.
    if (::move_mount(plan.stage.get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) != 0)
        isolate_failed(2);
    const int hook = ::openat(plan.stage.get(), "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (hook < 0) isolate_failed(3);
    const int root = plan.root.get();
    if (::move_mount(root, "", hook, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
        isolate_failed(4);
    ::close(hook);

    if (plan.loopback && raise_loopback() != 0) give_up(pipes, Stage::network, 0, errno);
    if (::sethostname(plan.hostname.c_str(), plan.hostname.size()) != 0)
        give_up(pipes, Stage::hostname, 0, errno);
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
        const MountStep& step = plan.steps[i];
        if (carry_out(step, root, plan.stage.get()) != 0 && !step.optional) {
            give_up(pipes, Stage::mount, static_cast<int>(i), errno);
        }
    }

    const auto enter_failed = [&](int index) { give_up(pipes, Stage::enter_root, index, errno); };
    if (::fchdir(root) != 0) enter_failed(0);
    if (::syscall(SYS_pivot_root, ".", ".") != 0) enter_failed(1);
    if (::fchdir(old_root) != 0) enter_failed(2);
    if (::umount2(".", MNT_DETACH) != 0) enter_failed(3);
    if (::chdir("/") != 0) enter_failed(4);

    int keep[] = {pipes.report,    pipes.outcome,    pipes.lifeline,
                  plan.command.in, plan.command.out, plan.command.err};
    close_others(keep);
    run_command_process(plan.command, pipes);
}

void runtime_init(const RuntimePlan& plan, const SandboxPipes& pipes) noexcept {
    ::setsid();
    const auto failed = [&](int index) { give_up(pipes, Stage::isolate, index, errno); };
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) failed(0);
    if (::move_mount(plan.root.get(), "", AT_FDCWD, plan.root_path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
        failed(1);
    // The numbers in it are those of the new pid namespace.
    if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) failed(2);
    if (plan.hide_cgroups &&
        ::mount("none", "/sys/fs/cgroup", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755") != 0) {
        failed(3);
    }
    int keep[] = {pipes.report,    pipes.outcome,    pipes.lifeline,
                  plan.command.in, plan.command.out, plan.command.err};
    close_others(keep);
    run_command_process(plan.command, pipes);
}

void sandbox_join(const CommandPlan& command, const SandboxPipes& pipes, int pidfd, int namespaces) noexcept {
    ::setsid();
    // Until exec, processes of the container could otherwise trace us and reach the host's program file.
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (::setns(pidfd, namespaces) != 0) give_up(pipes, Stage::join, 0, errno);
    int keep[] = {pipes.report, pipes.outcome, pipes.lifeline, command.in, command.out, command.err};
    close_others(keep);
    // Not we, our children are in the pid namespace.
    run_command_process(command, pipes);
}

}  // namespace surcoat::overlay
