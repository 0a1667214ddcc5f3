// The program is written out here, not by libseccomp's generator: "numbers above the newest known" and "none
// of these five values" cannot be said in its rules, and generating an allow list of 400 names for three
// calling conventions costs 50 ms a start (measured with crun and podman's profile), more than the rest of a
// container. libseccomp still knows the numbers. A linear list of some sixty comparisons is cheap: since
// Linux 5.11 the kernel remembers which numbers a filter always allows and does not run it for them.
#include "overlay/seccomp.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <map>

#include "layers/base/synchronized.h"

namespace surcoat::overlay {
namespace {

// mseal(2), Linux 6.10. From 424 on all architectures count alike.
constexpr std::uint32_t kNewestSyscall = 462;
constexpr std::uint32_t kX32Bit = 0x40000000;
constexpr std::uint32_t kNewestX32 = kX32Bit + 547;

constexpr std::uint32_t kNamespaceFlags =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

// The personae that docker lets through: PER_LINUX, PER_LINUX32, each with UNAME26, and the query.
constexpr std::uint32_t kPersonae[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

struct Refusal {
    const char* name;
    int allowed_by = -1;  ///< the capability that makes it harmless to refuse no longer; -1: none
};

constexpr Refusal kRefused[] = {
    // Keys are not in any namespace.
    {"add_key"},
    {"keyctl"},
    {"request_key"},
    // Whole-machine state.
    {"acct", CAP_SYS_PACCT},
    {"kexec_load"},
    {"kexec_file_load"},
    {"reboot", CAP_SYS_BOOT},
    {"swapon"},
    {"swapoff"},
    {"create_module", CAP_SYS_MODULE},
    {"delete_module", CAP_SYS_MODULE},
    {"finit_module", CAP_SYS_MODULE},
    {"init_module", CAP_SYS_MODULE},
    {"get_kernel_syms", CAP_SYS_MODULE},
    {"query_module", CAP_SYS_MODULE},
    {"ioperm", CAP_SYS_RAWIO},
    {"iopl", CAP_SYS_RAWIO},
    {"clock_adjtime", CAP_SYS_TIME},
    {"clock_adjtime64", CAP_SYS_TIME},
    {"clock_settime", CAP_SYS_TIME},
    {"clock_settime64", CAP_SYS_TIME},
    {"settimeofday", CAP_SYS_TIME},
    {"stime", CAP_SYS_TIME},
    {"syslog", CAP_SYSLOG},
    {"vhangup", CAP_SYS_TTY_CONFIG},
    // Mounts and namespaces.
    {"mount", CAP_SYS_ADMIN},
    {"umount", CAP_SYS_ADMIN},
    {"umount2", CAP_SYS_ADMIN},
    {"pivot_root"},
    {"fsopen", CAP_SYS_ADMIN},
    {"fsconfig", CAP_SYS_ADMIN},
    {"fsmount", CAP_SYS_ADMIN},
    {"fspick", CAP_SYS_ADMIN},
    {"move_mount", CAP_SYS_ADMIN},
    {"open_tree", CAP_SYS_ADMIN},
    {"mount_setattr", CAP_SYS_ADMIN},
    {"setns", CAP_SYS_ADMIN},
    {"unshare", CAP_SYS_ADMIN},
    {"setdomainname", CAP_SYS_ADMIN},
    {"sethostname", CAP_SYS_ADMIN},
    {"quotactl", CAP_SYS_ADMIN},
    {"quotactl_fd", CAP_SYS_ADMIN},
    {"lookup_dcookie", CAP_SYS_ADMIN},
    {"fanotify_init", CAP_SYS_ADMIN},
    {"nfsservctl"},
    {"open_by_handle_at", CAP_DAC_READ_SEARCH},
    // Other processes, tracing, and what exploits of the kernel begin with.
    {"bpf", CAP_BPF},
    {"perf_event_open", CAP_PERFMON},
    {"kcmp", CAP_SYS_PTRACE},
    {"pidfd_getfd", CAP_SYS_PTRACE},
    {"process_madvise", CAP_SYS_PTRACE},
    {"userfaultfd"},
    {"io_uring_setup"},
    {"io_uring_enter"},
    {"io_uring_register"},
    {"get_mempolicy", CAP_SYS_NICE},
    {"mbind", CAP_SYS_NICE},
    {"set_mempolicy", CAP_SYS_NICE},
    {"set_mempolicy_home_node", CAP_SYS_NICE},
    {"move_pages", CAP_SYS_NICE},
    // Old interfaces that nobody needs.
    {"_sysctl"},
    {"sysfs"},
    {"uselib"},
    {"ustat"},
    {"vm86"},
    {"vm86old"},
};

struct Convention {
    std::uint32_t audit;              ///< as struct seccomp_data names it
    std::vector<std::uint32_t> abis;  ///< libseccomp's names: several share one audit number
};

std::vector<Convention> conventions() {
    switch (::seccomp_arch_native()) {
        case SCMP_ARCH_X86_64:
            return {{AUDIT_ARCH_X86_64, {SCMP_ARCH_X86_64, SCMP_ARCH_X32}},
                    {AUDIT_ARCH_I386, {SCMP_ARCH_X86}}};
        case SCMP_ARCH_AARCH64:
            return {{AUDIT_ARCH_AARCH64, {SCMP_ARCH_AARCH64}}, {AUDIT_ARCH_ARM, {SCMP_ARCH_ARM}}};
        default:
            // libseccomp's numbers for architectures are the kernel's audit numbers.
            return {{::seccomp_arch_native(), {::seccomp_arch_native()}}};
    }
}

constexpr std::uint32_t refuse(int error) {
    return SECCOMP_RET_ERRNO | (static_cast<std::uint32_t>(error) & SECCOMP_RET_DATA);
}

class Assembler {
  public:
    std::vector<sock_filter> program;

    void load(std::size_t offset) { add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)); }
    void load_argument() {
        // The low half of argument 0.
        constexpr std::size_t kHigh = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;
        load(offsetof(seccomp_data, args) + kHigh);
    }
    void result(std::uint32_t value) { add(BPF_RET | BPF_K, value); }
    /// `skip` instructions are jumped over unless the comparison holds.
    void unless(std::uint16_t comparison, std::uint32_t value, std::uint8_t skip) {
        program.push_back({static_cast<std::uint16_t>(BPF_JMP | comparison | BPF_K), 0, skip, value});
    }

  private:
    void add(std::uint16_t code, std::uint32_t value) { program.push_back({code, 0, 0, value}); }
};

void add_rule(Assembler& out, const SyscallRule& rule, std::uint32_t number) {
    switch (rule.when) {
        case SyscallRule::When::always:
            out.unless(BPF_JEQ, number, 1);
            out.result(refuse(rule.error));
            return;
        case SyscallRule::When::new_namespace:
            out.unless(BPF_JEQ, number, 4);
            out.load_argument();
            out.unless(BPF_JSET, kNamespaceFlags, 1);
            out.result(refuse(rule.error));
            out.result(SECCOMP_RET_ALLOW);
            return;
        case SyscallRule::When::vsock:
            out.unless(BPF_JEQ, number, 4);
            out.load_argument();
            out.unless(BPF_JEQ, AF_VSOCK, 1);
            out.result(refuse(rule.error));
            out.result(SECCOMP_RET_ALLOW);
            return;
        case SyscallRule::When::personality:
            out.unless(BPF_JEQ, number, 2 + 2 * std::size(kPersonae));
            out.load_argument();
            for (const std::uint32_t persona : kPersonae) {
                out.unless(BPF_JEQ, persona, 1);
                out.result(SECCOMP_RET_ALLOW);
            }
            out.result(refuse(rule.error));
            return;
    }
}

std::vector<sock_filter> assemble(CapabilityMask capabilities) {
    const auto rules = refused_syscalls(capabilities);
    Assembler out;
    for (const Convention& convention : conventions()) {
        Assembler body;
        body.load(offsetof(seccomp_data, nr));
        const bool x86_64 = convention.audit == AUDIT_ARCH_X86_64;
        // Above the newest: "no such call", so that a libc from the future takes its older way.
        if (x86_64) {
            body.unless(BPF_JGT, kNewestX32, 1);
            body.result(refuse(ENOSYS));
            body.unless(BPF_JGE, kX32Bit, 1);
            body.program.push_back({BPF_JMP | BPF_JA, 0, 0, 2});
        }
        if (convention.audit != AUDIT_ARCH_ARM) {  // which has calls of its own from 0xf0000 on
            body.unless(BPF_JGT, kNewestSyscall, 1);
            body.result(refuse(ENOSYS));
        }
        for (const std::uint32_t abi : convention.abis) {
            for (const SyscallRule& rule : rules) {
                const int number = ::seccomp_syscall_resolve_name_arch(abi, rule.name.c_str());
                if (number >= 0) add_rule(body, rule, static_cast<std::uint32_t>(number));
            }
        }
        body.result(SECCOMP_RET_ALLOW);

        out.load(offsetof(seccomp_data, arch));
        // A conditional jump reaches 255 instructions only: the long way round is an unconditional one.
        out.program.push_back({BPF_JMP | BPF_JEQ | BPF_K, 1, 0, convention.audit});
        out.program.push_back({BPF_JMP | BPF_JA, 0, 0, static_cast<std::uint32_t>(body.program.size())});
        out.program.insert(out.program.end(), body.program.begin(), body.program.end());
    }
    out.result(SECCOMP_RET_KILL_PROCESS);
    return std::move(out.program);
}

}  // namespace

std::vector<SyscallRule> refused_syscalls(CapabilityMask capabilities) {
    const auto has = [&](int number) {
        return number >= 0 && (capabilities & capability_bit(static_cast<unsigned>(number))) != 0;
    };
    std::vector<SyscallRule> rules;
    for (const Refusal& refusal : kRefused) {
        // docker lets CAP_SYS_ADMIN stand for the newer, narrower two.
        const bool narrow = refusal.allowed_by == CAP_BPF || refusal.allowed_by == CAP_PERFMON;
        if (has(refusal.allowed_by) || (narrow && has(CAP_SYS_ADMIN))) continue;
        rules.push_back({refusal.name, EPERM, SyscallRule::When::always});
    }
    if (!has(CAP_SYS_ADMIN)) {
        rules.push_back({"clone", EPERM, SyscallRule::When::new_namespace});
        // Its flags lie in memory, where no filter can look; glibc goes back to clone on ENOSYS.
        rules.push_back({"clone3", ENOSYS, SyscallRule::When::always});
    }
    rules.push_back({"personality", EPERM, SyscallRule::When::personality});
    rules.push_back({"socket", EPERM, SyscallRule::When::vsock});
    return rules;
}

const std::vector<sock_filter>& seccomp_filter(CapabilityMask capabilities) {
    static Synchronized<std::map<CapabilityMask, std::vector<sock_filter>>> made;
    auto all = made.lock();
    auto found = all->find(capabilities);
    if (found == all->end()) found = all->emplace(capabilities, assemble(capabilities)).first;
    return found->second;  // a map's nodes stay where they are
}

}  // namespace surcoat::overlay
