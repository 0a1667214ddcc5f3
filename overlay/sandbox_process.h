#pragma once
#include <functional>
#include <memory>
#include <optional>

#include "layers/base/process.h"
#include "layers/base/unique_fd.h"
#include "overlay/sandbox_child.h"

namespace surcoat::overlay {

/// Our side of a forked sandbox process (Sandbox's init, or exec_in_sandbox's joiner): its pid, the lifeline
/// that ends it when we go, and the pipe on which it says how the command ended.
class SandboxProcess {
  public:
    /// Forks with clone(2) `flags`; `body` must not return and must be async-signal-safe. Returns when the
    /// command was exec'ed; nothing then. Else the report of what went wrong (the process is reaped).
    static SandboxProcess fork(unsigned long flags, const std::function<void(const SandboxPipes&)>& body,
                               std::optional<SandboxReport>& failure);
    SandboxProcess(SandboxProcess&&) noexcept = default;
    SandboxProcess& operator=(SandboxProcess&&) = delete;
    /// Kills and reaps it, if that was not awaited.
    ~SandboxProcess();

    pid_t pid() const noexcept { return pid_; }
    int pidfd() const noexcept { return pidfd_.get(); }
    ExitStatus wait();
    void signal(int number);

  private:
    SandboxProcess() = default;
    void reap() noexcept;

    pid_t pid_ = 0;
    UniqueFd pidfd_;
    UniqueFd outcome_;
    UniqueFd lifeline_;
    std::optional<ExitStatus> status_;
};

/// pidfd_open(2) and pidfd_send_signal(2): glibc 2.36 declares them without C linkage.
/// Nothing if there is no such process.
UniqueFd open_process(pid_t pid);
/// 0, or -1 with errno. Async-signal-safe.
int signal_process(int pidfd, int number) noexcept;

/// Signals that arrive at this process go to the process behind `pidfd` while this lives, whichever thread
/// they meet: SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT. One at a time per process.
class SignalForwarder {
  public:
    explicit SignalForwarder(int pidfd);
    SignalForwarder(const SignalForwarder&) = delete;
    SignalForwarder& operator=(const SignalForwarder&) = delete;
    ~SignalForwarder();

  private:
    struct Saved;
    std::unique_ptr<Saved> saved_;
};

}  // namespace surcoat::overlay
