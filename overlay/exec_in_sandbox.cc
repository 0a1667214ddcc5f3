#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include <cerrno>

#include "layers/base/file.h"
#include "overlay/sandbox.h"
#include "overlay/sandbox_plan.h"
#include "overlay/sandbox_process.h"

namespace surcoat::overlay {
namespace {

struct Terminal {
    UniqueFd master;
    UniqueFd slave;
};

// A new terminal of the container's own devpts, so that its processes can see and name it. What the container
// shows as /dev/pts/ptmx is believed only if it is one.
Terminal open_terminal(const RootDir& root) {
    Terminal terminal;
    terminal.master = root.open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
    struct statfs where {};
    const struct stat found = stat_fd(terminal.master.get());
    if (::fstatfs(terminal.master.get(), &where) != 0 || where.f_type != DEVPTS_SUPER_MAGIC ||
        !S_ISCHR(found.st_mode) || found.st_rdev != ::makedev(5, 2)) {
        throw Error(Errc::unsupported, "the container has no terminals: its /dev/pts/ptmx is something else")
            .hint("run the command without a terminal");
    }
    ::fcntl(terminal.master.get(), F_SETFL, O_RDWR);
    int unlocked = 0;
    if (::ioctl(terminal.master.get(), TIOCSPTLCK, &unlocked) != 0) throw_errno("unlock a new terminal");
    terminal.slave = UniqueFd(::ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!terminal.slave) throw_errno("open a new terminal");
    return terminal;
}

// A namespace that we are in already cannot always be joined again (the user namespace never).
int namespaces_to_join(pid_t pid) {
    struct Kind {
        const char* name;
        int flag;
    };
    static constexpr Kind kKinds[] = {{"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS},  {"pid", CLONE_NEWPID},
                                      {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS}, {"net", CLONE_NEWNET}};
    int flags = 0;
    for (const Kind& kind : kKinds) {
        struct stat ours {};
        struct stat theirs {};
        if (::stat(fmt::format("/proc/self/ns/{}", kind.name).c_str(), &ours) != 0) continue;
        if (::stat(fmt::format("/proc/{}/ns/{}", pid, kind.name).c_str(), &theirs) != 0) {
            throw os_error("look at the container's namespaces", errno);
        }
        if (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev) flags |= kind.flag;
    }
    return flags;
}

std::string hostname_of(const std::vector<std::string>& env) {
    for (const auto& item : env) {
        if (item.rfind("HOSTNAME=", 0) == 0) return item.substr(9);
    }
    return "container";
}

}  // namespace

ExitStatus exec_in_sandbox(pid_t init_pid, const ContainerSpec& container, const ExecSpec& spec,
                           const Streams& streams) {
    const UniqueFd pidfd = open_process(init_pid);
    if (!pidfd) throw os_error("find the container's process", errno).hint("is it still running?");
    const RootDir root(fmt::format("/proc/{}/root", init_pid));
    ExecSpec complete = spec;
    if (complete.user.empty()) complete.user = container.user;
    if (complete.working_dir.empty()) complete.working_dir = container.working_dir;
    CommandPlan plan = plan_command(root, container, complete, hostname_of(container.env), init_pid);
    Terminal terminal;
    if (spec.tty) {
        terminal = open_terminal(root);
        copy_window_size(streams.in, terminal.master.get());
        plan.in = plan.out = plan.err = terminal.slave.get();
    } else {
        plan.in = streams.in;
        plan.out = streams.out;
        plan.err = streams.err;
    }
    const int namespaces = namespaces_to_join(init_pid);
    std::optional<SandboxReport> failure;
    auto process = SandboxProcess::fork(
        0, [&](const SandboxPipes& pipes) { sandbox_join(plan, pipes, pidfd.get(), namespaces); }, failure);
    if (failure) throw report_error(*failure, plan, nullptr);
    terminal.slave.reset();
    const SignalForwarder forwarder(process.pidfd());
    if (spec.tty && streams.on_terminal) streams.on_terminal(std::move(terminal.master));
    return process.wait();
}

}  // namespace surcoat::overlay
