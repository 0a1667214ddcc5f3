#include "overlay/sandbox_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>

#include "layers/base/pipe.h"

namespace surcoat::overlay {
namespace {

template <typename Record>
bool read_record(int fd, Record& record) {
    for (;;) {
        const ssize_t n = ::read(fd, &record, sizeof record);
        if (n < 0 && errno == EINTR) continue;
        return n == sizeof record;
    }
}

}  // namespace

UniqueFd open_process(pid_t pid) {
    return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

int signal_process(int pidfd, int number) noexcept {
    return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0));
}

SandboxProcess SandboxProcess::fork(unsigned long flags, const std::function<void(const SandboxPipes&)>& body,
                                    std::optional<SandboxReport>& failure) {
    Pipe report;
    Pipe outcome;
    Pipe lifeline;
    SandboxProcess process;
    // No handler of ours may run in the child, whose init then reads all signals from a descriptor.
    sigset_t all;
    sigset_t old;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &old);
    int pidfd = -1;
    const pid_t pid = clone_process(flags, &pidfd);
    if (pid == 0) {
        // Our ends of the pipes: a copy of the lifeline's would keep us alive for ever.
        ::close(lifeline.write.get());
        ::close(outcome.read.get());
        ::close(report.read.get());
        body({report.write.get(), outcome.write.get(), lifeline.read.get()});
        ::_exit(125);
    }
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
    if (pid < 0) {
        throw os_error("create the sandbox's namespaces", error)
            .hint("it needs root or a user namespace");
    }
    process.pid_ = pid;
    process.pidfd_ = UniqueFd(pidfd);
    process.outcome_ = std::move(outcome.read);
    process.lifeline_ = std::move(lifeline.write);
    report.write.reset();
    outcome.write.reset();
    lifeline.read.reset();
    SandboxReport said;
    if (read_record(report.read.get(), said)) {
        failure = said;
        process.reap();
    }
    return process;
}

SandboxProcess::~SandboxProcess() {
    if (pid_ == 0 || !pidfd_ || status_) return;
    signal_process(pidfd_.get(), SIGKILL);
    lifeline_.reset();
    reap();
}

// By the descriptor: the number may be somebody else's once it was reaped.
void SandboxProcess::reap() noexcept {
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0 && errno == EINTR) {}
    if (status_) return;
    if (info.si_code == CLD_EXITED) {
        status_ = ExitStatus{info.si_status, 0};
    } else {
        status_ = ExitStatus{0, info.si_status != 0 ? info.si_status : SIGKILL};
    }
}

ExitStatus SandboxProcess::wait() {
    if (!status_) {
        SandboxOutcome outcome;
        // End of file without a word: the process itself was killed, and says so when it is reaped.
        if (read_record(outcome_.get(), outcome)) status_ = ExitStatus{outcome.code, outcome.signal};
        reap();
    }
    return *status_;
}

void SandboxProcess::signal(int number) {
    if (status_) return;
    if (signal_process(pidfd_.get(), number) != 0 && errno != ESRCH) {
        throw_errno("send a signal to the container");
    }
}

namespace {

constexpr std::array kForwarded = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};
std::atomic<int> g_target{-1};
static_assert(std::atomic<int>::is_always_lock_free);

void forward(int number) {
    const int saved = errno;
    const int target = g_target.load();
    if (target >= 0) signal_process(target, number);
    errno = saved;
}

}  // namespace

struct SignalForwarder::Saved {
    std::array<struct sigaction, kForwarded.size()> actions;
};

SignalForwarder::SignalForwarder(int pidfd) : saved_(std::make_unique<Saved>()) {
    g_target.store(pidfd);
    struct sigaction action {};
    action.sa_handler = forward;
    ::sigfillset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    for (std::size_t i = 0; i < kForwarded.size(); ++i)
        ::sigaction(kForwarded[i], &action, &saved_->actions[i]);
}

SignalForwarder::~SignalForwarder() {
    for (std::size_t i = 0; i < kForwarded.size(); ++i)
        ::sigaction(kForwarded[i], &saved_->actions[i], nullptr);
    g_target.store(-1);
}

}  // namespace surcoat::overlay
