#pragma once
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/unique_fd.h"

namespace surcoat {

/// Who a process is, so that a number that the kernel gave out again is not mistaken for it: pid, start time
/// in clock ticks after boot (/proc/PID/stat, field 22), and the boot's id.
struct ProcessIdentity {
    pid_t pid = 0;
    std::uint64_t start_ticks = 0;
    std::string boot_id;

    static ProcessIdentity self();
    /// Nothing if there is no such process.
    static std::optional<ProcessIdentity> of(pid_t pid);
    /// A zombie counts as dead.
    bool alive() const;
    bool operator==(const ProcessIdentity&) const = default;
};
const std::string& boot_id();

/// How a child ended.
struct ExitStatus {
    int code = 0;    ///< exit status when `signal` is 0
    int signal = 0;  ///< the signal that ended it, or 0
    /// As a shell says it: code, or 128 + signal.
    int shell_code() const noexcept { return signal != 0 ? 128 + signal : code; }
    bool ok() const noexcept { return code == 0 && signal == 0; }
};
ExitStatus wait_for(pid_t pid);

/// Runs a host program with arguments and no shell, feeds `input`, and collects what it prints. Throws
/// Errc::not_found if there is no such program. Output over 16 MiB is cut.
struct CommandResult {
    ExitStatus status;
    std::string output;
    std::string error_output;
};
CommandResult run_command(const std::vector<std::string>& argv, const std::string& input = {},
                          const std::vector<std::string>* environment = nullptr);

}  // namespace surcoat
