#include "layers/base/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "layers/base/bytes.h"
#include "layers/base/file.h"
#include "layers/base/pipe.h"

namespace surcoat {

const std::string& boot_id() {
    static const std::string id = [] {
        std::string text = read_file("/proc/sys/kernel/random/boot_id");
        while (!text.empty() && text.back() == '\n') text.pop_back();
        return text;
    }();
    return id;
}

namespace {

// "PID (name) S ppid …": the name may hold blanks and parentheses, so fields count from the last ')'.
std::optional<std::pair<char, std::uint64_t>> state_and_start(pid_t pid) {
    const auto fd = try_open_file(fmt::format("/proc/{}/stat", pid), O_RDONLY);
    if (!fd) return std::nullopt;
    std::string text;
    try {
        text = read_file(fd->get());
    } catch (const Error&) {
        return std::nullopt;  // ESRCH: it went while we read
    }
    const std::size_t end = text.rfind(')');
    if (end == std::string::npos || end + 2 >= text.size()) return std::nullopt;
    const char state = text[end + 2];
    std::size_t at = end + 2;
    for (int field = 3; field < 22; ++field) {
        at = text.find(' ', at);
        if (at == std::string::npos) return std::nullopt;
        ++at;
    }
    return std::pair(state, std::strtoull(text.c_str() + at, nullptr, 10));
}

}  // namespace

std::optional<ProcessIdentity> ProcessIdentity::of(pid_t pid) {
    const auto found = state_and_start(pid);
    if (!found) return std::nullopt;
    return ProcessIdentity{pid, found->second, surcoat::boot_id()};
}

ProcessIdentity ProcessIdentity::self() {
    auto identity = of(::getpid());
    if (!identity) throw Error(Errc::unsupported, "/proc is not mounted").hint("surcoat needs /proc");
    return *identity;
}

bool ProcessIdentity::alive() const {
    if (pid <= 0 || boot_id != surcoat::boot_id()) return false;
    const auto found = state_and_start(pid);
    return found && found->second == start_ticks && found->first != 'Z' && found->first != 'X';
}

ExitStatus wait_for(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) throw_errno("wait for a child process");
    }
    if (WIFSIGNALED(status)) return {0, WTERMSIG(status)};
    return {WEXITSTATUS(status), 0};
}

CommandResult run_command(const std::vector<std::string>& argv, const std::string& input,
                          const std::vector<std::string>* environment) {
    Pipe in;
    Pipe out;
    Pipe err;
    Pipe failure;
    std::vector<char*> args;
    for (const auto& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
    args.push_back(nullptr);
    std::vector<char*> env;
    if (environment != nullptr) {
        for (const auto& item : *environment) env.push_back(const_cast<char*>(item.c_str()));
        env.push_back(nullptr);
    }
    const pid_t pid = ::fork();
    if (pid < 0) throw_errno("start a process");
    if (pid == 0) {
        ::dup2(in.read.get(), 0);
        ::dup2(out.write.get(), 1);
        ::dup2(err.write.get(), 2);
        ::signal(SIGPIPE, SIG_DFL);
        sigset_t none;
        sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        if (environment != nullptr) {
            ::execvpe(args[0], args.data(), env.data());
        } else {
            ::execvp(args[0], args.data());
        }
        const int number = errno;
        [[maybe_unused]] const ssize_t n = ::write(failure.write.get(), &number, sizeof number);
        ::_exit(127);
    }
    in.read.reset();
    out.write.reset();
    err.write.reset();
    failure.write.reset();
    ::fcntl(in.write.get(), F_SETFL, O_NONBLOCK);

    CommandResult result;
    constexpr std::size_t kMost = 16 << 20;
    std::string_view rest = input;
    if (rest.empty()) in.write.reset();
    sigset_t pipe_set;
    sigset_t old_set;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_set, &old_set);
    while (out.read || err.read || in.write) {
        pollfd fds[3] = {{out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}, {in.write.get(), POLLOUT, 0}};
        if (::poll(fds, 3, -1) < 0 && errno != EINTR) break;
        const auto drain = [&](pollfd& poll, UniqueFd& fd, std::string& text) {
            if (!fd || poll.revents == 0) return;
            char buffer[65536];
            const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
            if (n > 0) {
                if (text.size() < kMost) text.append(buffer, static_cast<std::size_t>(n));
            } else if (n == 0 || errno != EINTR) {
                fd.reset();
            }
        };
        drain(fds[0], out.read, result.output);
        drain(fds[1], err.read, result.error_output);
        if (in.write && fds[2].revents != 0) {
            const ssize_t n = ::write(in.write.get(), rest.data(), rest.size());
            if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
            if (rest.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) in.write.reset();
        }
    }
    // Take back a SIGPIPE that a child which did not read its input left for us.
    const timespec now{};
    while (::sigtimedwait(&pipe_set, nullptr, &now) > 0) {
    }
    ::pthread_sigmask(SIG_SETMASK, &old_set, nullptr);
    int number = 0;
    const bool failed = ::read(failure.read.get(), &number, sizeof number) == sizeof number;
    result.status = wait_for(pid);
    if (failed) throw os_error(fmt::format("run '{}'", argv.at(0)), number);
    return result;
}

}  // namespace surcoat
