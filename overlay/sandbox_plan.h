#pragma once
#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "layers/base/unique_fd.h"
#include "overlay/capabilities.h"
#include "overlay/sandbox.h"
#include "overlay/sandbox_users.h"

namespace surcoat::overlay {

/// Everything that a sandbox's processes need, worked out before they are forked: between fork and exec the
/// child of a process that may have threads must not allocate, lock or throw, so it only carries out lists
/// (sandbox_child.cc). It reads this struct in its copy of our memory.

/// The last part: becoming the command. Shared by Sandbox::start and exec_in_sandbox.
struct CommandPlan {
    std::vector<std::string> args;
    std::vector<std::string> env;
    std::vector<std::string> programs;  ///< what args[0] can be: one per folder of PATH, or itself
    std::string working_dir = "/";
    SandboxUser user;
    bool set_groups = true;  ///< false where the user namespace forbids setgroups(2)
    CapabilityMask bounding = 0;
    CapabilityMask permitted = 0;  ///< after exec of a plain program: 0 for others than uid 0
    std::vector<sock_filter> filter;
    bool no_new_privileges = false;
    int in = 0;
    int out = 1;
    int err = 2;
    bool tty = false;  ///< `in` is the terminal's slave side

    std::vector<char*> argv;  ///< into args and env, with the null at the end; see seal()
    std::vector<char*> envp;

    void seal();
};

/// One thing to do in the new mount namespace, before the root becomes "/". Paths are of the container and
/// are resolved beneath its root; missing mount points are made.
struct MountStep {
    enum class Kind {
        filesystem,   ///< a new instance of file system `source` at `target`, with `options`
        attach,       ///< the detached mount `fd` at `target`
        bind_staged,  ///< the file `source` of the staging file system at `target`
        bind_host,    ///< the host's `source` at `target`
        bind_inside,  ///< what lies at `source` in the root also at `target`
        node,         ///< a character device
        symlink,      ///< `target` → `source`
        directory,    ///< `target`, with its parents
        mask,         ///< nothing readable at `target`, if it exists
        protect,      ///< `target` read-only, if it exists
        read_only_root,
    };
    Kind kind;
    std::string source;
    std::string target;
    std::vector<std::pair<std::string, std::string>> options = {};
    std::uint64_t attributes = 0;  ///< MOUNT_ATTR_*
    int fd = -1;
    bool is_directory = true;
    bool recursive = false;
    unsigned major = 0;
    unsigned minor = 0;
    bool optional = false;  ///< a kernel without it is fine
    /// Bound read-only from the host where the kernel does not let us mount a new one (sysfs in a user
    /// namespace that does not own the network namespace).
    bool else_host = false;
};

/// What a child says when it could not go on, over a pipe; nothing when exec worked.
struct SandboxReport {
    enum class Stage : std::int32_t {
        isolate,  ///< making the mount namespace private, attaching the root
        mount,    ///< `index` is the step
        network,
        hostname,
        enter_root,
        join,  ///< the namespaces of a running container
        fork,
        session,
        working_dir,
        limits,
        user,
        program,         ///< exec; `error` says why
        interpreter,     ///< the program is there, its interpreter is not
        forged_program,  ///< it leads through a magic link of /proc
    };
    Stage stage = Stage::isolate;
    std::int32_t index = 0;
    std::int32_t error = 0;
};

/// How the command ended, over another pipe.
struct SandboxOutcome {
    std::int32_t code = 0;
    std::int32_t signal = 0;
};

struct SandboxPlan {
    CommandPlan command;
    UniqueFd root;
    UniqueFd stage;  ///< a small tmpfs: mount points, /etc/hosts and the like
    std::vector<MountStep> steps;
    std::vector<UniqueFd> mounts;  ///< owns MountStep::fd
    std::string hostname;
    bool loopback = false;  ///< a network namespace of its own
    /// Processes of the container must not read ours (/proc/1/mem is a copy of our memory), which being not
    /// dumpable prevents. In a user namespace it is left off: its owner could not join it any more, and
    /// init, which keeps more capabilities than the command, is out of the command's reach anyway.
    bool hide_init = false;
    UniqueFd terminal;  ///< slave side, if one was made
    UniqueFd master;
};

/// A foreign runtime as the command, in a pid and mount namespace of its own.
struct RuntimePlan {
    CommandPlan command;
    UniqueFd root;
    std::string root_path;      ///< where the bundle wants it
    bool hide_cgroups = false;  ///< an empty /sys/fs/cgroup
};

/// Environment, user, limits and program of a command in this root.
CommandPlan plan_command(const RootDir& root, const ContainerSpec& container, const ExecSpec& spec,
                         const std::string& hostname, pid_t namespace_of = 0);

SandboxPlan plan_sandbox(UniqueFd root, const ContainerSpec& spec, const std::string& id,
                         const Streams& streams);

/// What runtimes and sandbox share: /etc/hosts, /etc/hostname, /etc/resolv.conf for a container.
std::vector<std::pair<std::string, std::string>> network_files(const ContainerSpec& spec,
                                                               const std::string& hostname);
std::string sandbox_hostname(const ContainerSpec& spec, const std::string& id);

/// docker's lists.
const std::vector<std::string>& masked_paths();
const std::vector<std::string>& protected_paths();

/// "/run:size=64m,mode=1755,exec" as docker's --tmpfs has it. Throws Errc::invalid on an unknown option.
struct TmpfsMount {
    std::string target;
    std::vector<std::pair<std::string, std::string>> options;  ///< size, mode, uid, gid, nr_inodes, nr_blocks
    std::uint64_t attributes = 0;
    std::vector<std::string> flags;  ///< the same as words: "nosuid", …
};
TmpfsMount parse_tmpfs(const std::string& text);

/// Gives a new terminal the size of ours from the start; nothing if `from` is none.
void copy_window_size(int from, int to);

/// A report as the error that the caller throws.
Error report_error(const SandboxReport& report, const CommandPlan& command,
                   const std::vector<MountStep>* steps);

}  // namespace surcoat::overlay
