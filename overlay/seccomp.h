#pragma once
#include <linux/filter.h>

#include <cstdint>
#include <string>
#include <vector>

#include "overlay/capabilities.h"

namespace surcoat::overlay {

/// One system call that containers may not make, or not with some arguments.
struct SyscallRule {
    std::string name;
    int error = 1;  ///< errno the caller gets: EPERM, or ENOSYS where libc then falls back to an older call
    enum class When {
        always,
        new_namespace,  ///< argument 0 has a CLONE_NEW* flag
        personality,    ///< argument 0 is a persona that weakens address-space randomisation, or an odd one
        vsock,          ///< argument 0 is AF_VSOCK: it reaches the hypervisor past every namespace
    } when = When::always;
};

/// What is refused to a container with these capabilities: the calls that docker documents as blocked
/// ("Significant syscalls blocked by the default profile"), less those that a capability of the container
/// allows again, as docker's profile has it.
std::vector<SyscallRule> refused_syscalls(CapabilityMask capabilities);

/// The filter for seccomp(2): the rules above for every calling convention of this machine (x86-64, x32 and
/// i386; arm64 and arm). A call newer than any we know gets ENOSYS; a foreign convention kills. Made once per
/// set of capabilities and process. Safe for many threads.
const std::vector<sock_filter>& seccomp_filter(CapabilityMask capabilities);

}  // namespace surcoat::overlay
