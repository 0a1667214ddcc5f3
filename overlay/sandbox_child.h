#pragma once
#include "overlay/sandbox_plan.h"

namespace surcoat::overlay {

/// The descriptors between us and a sandbox's processes.
struct SandboxPipes {
    int report = -1;    ///< SandboxReport; closed by a successful exec
    int outcome = -1;   ///< SandboxOutcome
    int lifeline = -1;  ///< reads end of file when we are gone: everything is then ended
};

/// The bodies of forked children. Async-signal-safe: they only make system calls on what the plan
/// holds, and never return.
[[noreturn]] void sandbox_init(const SandboxPlan& plan, const SandboxPipes& pipes) noexcept;

/// Process 1 of a pid and mount namespace in which a foreign runtime runs.
[[noreturn]] void runtime_init(const RuntimePlan& plan, const SandboxPipes& pipes) noexcept;

/// Joins the `namespaces` of the process behind `pidfd` and runs the command there.
[[noreturn]] void sandbox_join(const CommandPlan& command, const SandboxPipes& pipes, int pidfd,
                               int namespaces) noexcept;

/// clone(2) without a new stack, glibc's handlers, or memory of its own to prepare; the pid, 0 in the child,
/// -1 with errno. Signals are blocked around it by the caller.
pid_t clone_process(unsigned long flags, int* pidfd) noexcept;

}  // namespace surcoat::overlay
