#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "layers/base/process.h"
#include "overlay/container_spec.h"

namespace surcoat::overlay {

/// Where a sandbox's standard streams go: descriptors of the caller, or a terminal that the sandbox makes
/// (spec.tty), whose master end is then given back through `on_terminal`.
struct Streams {
    int in = 0;
    int out = 1;
    int err = 2;
    std::function<void(UniqueFd master)> on_terminal;
};

/// A process tree in namespaces of its own (mount, pid, ipc, uts; network if none is wanted; user if we are
/// not root), on a root that is a detached mount, with a minimal /dev, private /proc, read-only /sys, docker's
/// default capabilities, masked paths and seccomp filter, and an init as pid 1 that forwards signals and reaps.
/// overlay/README.md, "Sandbox", lists it all and why.
class Sandbox {
  public:
    /// Starts it; returns once the command was exec'ed. Throws Errc::not_found (exit 127) or denied (126) if it
    /// could not be, Errc::invalid for an unknown user, naming it. `root` is consumed. `id` becomes part of
    /// the host name when the spec has none.
    static Sandbox start(UniqueFd root, const ContainerSpec& spec, const std::string& id, const Streams& streams);
    Sandbox(Sandbox&&) noexcept;
    /// Kills what still runs.
    ~Sandbox();

    /// Process 1 of the container, in our pid namespace.
    pid_t init_pid() const;
    /// Waits for the end of the command.
    ExitStatus wait();
    void signal(int number);

  private:
    struct State;
    explicit Sandbox(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/// Runs another command inside the namespaces of a running container (by its init's pid), with its spec's
/// limits, and waits for it. Errors as Sandbox::start.
struct ExecSpec {
    std::vector<std::string> args;
    std::vector<std::string> env;
    std::string working_dir;
    std::string user;
    bool tty = false;
    bool open_stdin = true;  ///< false: reads nothing (for Containers::exec, which chooses the streams)
};
ExitStatus exec_in_sandbox(pid_t init_pid, const ContainerSpec& container, const ExecSpec& spec, const Streams& streams);

/// Paths that Sandbox::start makes in the root when they are missing there, to mount something: whoever keeps
/// the root afterwards may take away those that are still empty.
std::vector<std::string> sandbox_mount_points(const ContainerSpec& spec);

/// Relays between our terminal (or pipes) and a sandbox terminal until it closes: raw mode, window size.
void relay_terminal(UniqueFd master, int in, int out);

}  // namespace surcoat::overlay
