// Handing a container to crun or runc. The runtime runs in a pid and mount namespace of its own, whose
// process 1 is ours: when we die, it and the container die with us, and what it has mounted (the root, and
// for crun an empty /sys/fs/cgroup) is seen by nobody else.
//
// crun 1.8 refuses to run where /sys/fs/cgroup is a tmpfs with version 1 controllers and a version 2 below it
// ("hybrid"), even with --cgroup-manager=disabled; a tmpfs over it makes it see no cgroups at all, which it
// accepts. runc takes hybrid ones as they are. Both refuse to raise limits, so none are set.
#include "overlay/bundle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <map>
#include <sstream>

#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "overlay/capabilities.h"
#include "overlay/namespaces.h"
#include "overlay/sandbox_child.h"
#include "overlay/sandbox_plan.h"
#include "overlay/sandbox_process.h"
#include "overlay/seccomp.h"

namespace surcoat::overlay {
namespace {

Json mount_entry(const std::string& target, const std::string& type, const std::string& source,
                 const std::vector<std::string>& options) {
    return Json::object()
        .set("destination", target)
        .set("type", type)
        .set("source", source)
        .set("options", Json(options));
}

Json mounts_of(const ContainerSpec& spec, const std::filesystem::path& bundle, const std::string& hostname) {
    Json mounts = Json::array();
    mounts.push_back(mount_entry("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}));
    mounts.push_back(
        mount_entry("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
    std::vector<std::string> pts = {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"};
    if (has_id_range()) pts.emplace_back("gid=5");
    mounts.push_back(mount_entry("/dev/pts", "devpts", "devpts", pts));
    mounts.push_back(
        mount_entry("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}));
    mounts.push_back(mount_entry("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
    if (current_privilege() == Privilege::root || spec.network == Network::none) {
        mounts.push_back(mount_entry("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}));
    } else {
        mounts.push_back(mount_entry("/sys", "none", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"}));
    }
    const auto etc = network_files(spec, hostname);
    for (std::size_t i = 0; i < etc.size(); ++i) {
        mounts.push_back(mount_entry(etc[i].first, "bind",
                                     (bundle / "files" / fmt::format("etc{}", i)).string(),
                                     {"bind", "rprivate"}));
    }
    for (const auto& text : spec.tmpfs) {
        const TmpfsMount tmpfs = parse_tmpfs(text);
        std::vector<std::string> options = tmpfs.flags;
        for (const auto& [key, value] : tmpfs.options) options.push_back(key + "=" + value);
        mounts.push_back(mount_entry(tmpfs.target, "tmpfs", "tmpfs", options));
    }
    for (const auto& bind : spec.mounts) {
        mounts.push_back(mount_entry(bind.target, "bind", bind.source,
                                     {"rbind", "rprivate", bind.read_only ? "ro" : "rw"}));
    }
    for (std::size_t i = 0; i < spec.files.size(); ++i) {
        mounts.push_back(mount_entry(spec.files[i].first, "bind",
                                     (bundle / "files" / fmt::format("file{}", i)).string(),
                                     {"bind", "rprivate", "ro"}));
    }
    return mounts;
}

// runtime-spec, config-linux.md, "Seccomp". What cannot be said in its rules ("newer than any we know", "none
// of these personae") is left to the closest that can.
Json seccomp_of(CapabilityMask capabilities) {
    constexpr std::uint64_t kNamespaceFlags[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                                 CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
    // READ_IMPLIES_EXEC and ADDR_NO_RANDOMIZE, but not the query 0xffffffff, whose top bit is set.
    constexpr std::uint64_t kTop = 0x80000000;
    constexpr std::uint64_t kPersonaFlags[] = {0x0400000, 0x0040000};
    Json rules = Json::array();
    Json plain = Json::array();
    const auto masked = [&](const std::string& name, int error, std::uint64_t mask, std::uint64_t value) {
        Json argument = Json::object()
                            .set("index", 0)
                            .set("value", mask)
                            .set("valueTwo", value)
                            .set("op", "SCMP_CMP_MASKED_EQ");
        rules.push_back(Json::object()
                            .set("names", Json::array({Json(name)}))
                            .set("action", "SCMP_ACT_ERRNO")
                            .set("errnoRet", error)
                            .set("args", Json::array({std::move(argument)})));
    };
    for (const SyscallRule& rule : refused_syscalls(capabilities)) {
        switch (rule.when) {
            case SyscallRule::When::always:
                if (rule.error == EPERM) {
                    plain.push_back(rule.name);
                } else {
                    rules.push_back(Json::object()
                                        .set("names", Json::array({Json(rule.name)}))
                                        .set("action", "SCMP_ACT_ERRNO")
                                        .set("errnoRet", rule.error));
                }
                break;
            case SyscallRule::When::new_namespace:
                for (const std::uint64_t flag : kNamespaceFlags) masked(rule.name, rule.error, flag, flag);
                break;
            case SyscallRule::When::personality:
                for (const std::uint64_t flag : kPersonaFlags)
                    masked(rule.name, rule.error, flag | kTop, flag);
                break;
            case SyscallRule::When::vsock: {
                Json argument = Json::object().set("index", 0).set("value", 40).set("op", "SCMP_CMP_EQ");
                rules.push_back(Json::object()
                                    .set("names", Json::array({Json(rule.name)}))
                                    .set("action", "SCMP_ACT_ERRNO")
                                    .set("errnoRet", rule.error)
                                    .set("args", Json::array({std::move(argument)})));
                break;
            }
        }
    }
    rules.push_back(
        Json::object().set("names", std::move(plain)).set("action", "SCMP_ACT_ERRNO").set("errnoRet", EPERM));
    Json architectures = Json::array();
#if defined(__x86_64__)
    for (const char* name : {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"})
        architectures.push_back(name);
#elif defined(__aarch64__)
    for (const char* name : {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"}) architectures.push_back(name);
#endif
    Json seccomp = Json::object().set("defaultAction", "SCMP_ACT_ALLOW");
    seccomp.set_if("architectures", std::move(architectures));
    seccomp.set("syscalls", std::move(rules));
    return seccomp;
}

Json process_of(const ContainerSpec& spec, const CommandPlan& command) {
    Json user = Json::object().set("uid", command.user.uid).set("gid", command.user.gid).set("umask", 18);
    Json groups = Json::array();
    for (const gid_t group : command.user.groups) groups.push_back(group);
    user.set_if("additionalGids", std::move(groups));
    const Json bounding(capability_names(command.bounding));
    const Json effective(capability_names(command.permitted));
    Json capabilities =
        Json::object().set("bounding", bounding).set("effective", effective).set("permitted", effective);
    return Json::object()
        .set("terminal", spec.tty)
        .set("user", std::move(user))
        .set("args", Json(command.args))
        .set("env", Json(command.env))
        .set("cwd", command.working_dir)
        .set("capabilities", std::move(capabilities))
        .set("noNewPrivileges", spec.no_new_privileges);
}

}  // namespace

std::string bundle_config(const ContainerSpec& spec, const std::string& id,
                          const std::filesystem::path& root) {
    const std::string hostname = sandbox_hostname(spec, id);
    const CommandPlan command = plan_command(
        RootDir(root.string()), spec, {spec.args, spec.env, spec.working_dir, spec.user, spec.tty}, hostname);
    Json config = Json::object().set("ociVersion", "1.0.2");
    config.set("process", process_of(spec, command));
    config.set("root", Json::object().set("path", root.string()).set("readonly", spec.read_only));
    config.set("hostname", hostname);
    config.set("mounts", mounts_of(spec, root.parent_path(), hostname));
    Json annotations = Json::object();
    for (const auto& [name, value] : spec.labels) annotations.set(name, value);
    if (!spec.stop_signal.empty() && !annotations.contains("org.opencontainers.image.stopSignal")) {
        annotations.set("org.opencontainers.image.stopSignal", spec.stop_signal);
    }
    config.set_if("annotations", std::move(annotations));
    Json namespaces = Json::array();
    std::vector<const char*> kinds = {"pid", "ipc", "uts", "mount"};
    if (spec.network == Network::none) kinds.push_back("network");
    for (const char* kind : kinds) namespaces.push_back(Json::object().set("type", kind));
    config.set("linux", Json::object()
                            .set("namespaces", std::move(namespaces))
                            .set("maskedPaths", Json(masked_paths()))
                            .set("readonlyPaths", Json(protected_paths()))
                            .set("seccomp", seccomp_of(command.bounding)));
    return config.dump(2) + "\n";
}

void write_bundle_files(const ContainerSpec& spec, const std::string& id,
                        const std::filesystem::path& directory) {
    make_directories(directory / "files", 0755);
    const auto write = [&](const std::string& name, const std::string& content, mode_t mode) {
        const UniqueFd file = open_file(directory / "files" / name, O_WRONLY | O_CREAT | O_TRUNC, mode);
        if (::fchmod(file.get(), mode) != 0) throw_errno("write the bundle's files");
        write_full(file.get(), as_bytes(content));
    };
    const auto etc = network_files(spec, sandbox_hostname(spec, id));
    for (std::size_t i = 0; i < etc.size(); ++i) write(fmt::format("etc{}", i), etc[i].second, 0644);
    for (std::size_t i = 0; i < spec.files.size(); ++i)
        write(fmt::format("file{}", i), spec.files[i].second, 0755);
}

namespace {

std::string find_runtime(const std::string& name) {
    if (name.find('/') != std::string::npos) {
        if (::access(name.c_str(), X_OK) == 0) return name;
    } else {
        const char* path = ::getenv("PATH");
        std::istringstream folders(std::string(path != nullptr ? path : "") + ":/usr/sbin:/sbin");
        for (std::string folder; std::getline(folders, folder, ':');) {
            const std::string candidate = folder + "/" + name;
            if (!folder.empty() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
        }
    }
    throw Error(Errc::not_found, fmt::format("no runtime '{}' on this machine", name))
        .hint(
            "install it (apt-get install crun, or runc), or leave out --runtime to use surcoat's own "
            "sandbox");
}

bool cgroups_are_unified() {
    struct statfs where {};
    return ::statfs("/sys/fs/cgroup", &where) == 0 && where.f_type == CGROUP2_SUPER_MAGIC;
}

struct HostTerminal {
    UniqueFd master;
    UniqueFd slave;
};

// The runtime's own: it makes the container's and relays between the two.
HostTerminal open_host_terminal(int window) {
    HostTerminal terminal;
    terminal.master = open_file("/dev/ptmx", O_RDWR | O_NOCTTY);
    int unlocked = 0;
    if (::ioctl(terminal.master.get(), TIOCSPTLCK, &unlocked) != 0) throw_errno("unlock a new terminal");
    terminal.slave = UniqueFd(::ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!terminal.slave) throw_errno("open a new terminal");
    copy_window_size(window, terminal.master.get());
    return terminal;
}

/// The first line of the runtime's log that says "error".
std::optional<std::string> logged_error(const std::filesystem::path& log) {
    const auto fd = try_open_file(log, O_RDONLY);
    if (!fd) return std::nullopt;
    std::istringstream lines(read_file(fd->get(), 1 << 20));
    for (std::string line; std::getline(lines, line);) {
        try {
            const Json json = Json::parse(line, "runtime log");
            if (json.string_or("level") == "error") return json.string_or("msg", line);
        } catch (const Error&) {
            if (!line.empty()) return line;
        }
    }
    return std::nullopt;
}

Error runtime_error(const std::string& runtime, const std::string& message) {
    std::string lower = message;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto says = [&](const char* text) { return lower.find(text) != std::string::npos; };
    Errc code = Errc::failed;
    if (says("executable file") || says("no such file")) code = Errc::not_found;
    if (says("permission denied") || says("exec format")) code = Errc::denied;
    return Error(code, fmt::format("{}: {}", runtime, message))
        .hint("without --runtime, surcoat's own sandbox runs it");
}

struct ProcessNumbers {
    pid_t parent = 0;
    std::vector<pid_t> numbers;  ///< in every pid namespace it is in, ours first
};

std::optional<ProcessNumbers> numbers_of(const std::string& pid) {
    const auto status = try_open_file("/proc/" + pid + "/status", O_RDONLY);
    if (!status) return std::nullopt;
    ProcessNumbers found;
    try {
        std::istringstream lines(read_file(status->get(), 1 << 16));
        for (std::string line; std::getline(lines, line);) {
            if (line.rfind("PPid:", 0) == 0) found.parent = static_cast<pid_t>(std::atoi(line.c_str() + 5));
            if (line.rfind("NSpid:", 0) != 0) continue;
            std::istringstream numbers(line.substr(6));
            for (pid_t number = 0; numbers >> number;) found.numbers.push_back(number);
        }
    } catch (const Error&) {
        return std::nullopt;  // ESRCH: it went while we read
    }
    return found;
}

// The runtime writes the pid as its own pid namespace counts; ours is that of the descendant of our process 1
// there which has this number one namespace further in. (/proc/PID/task/TID/children would be one thread's
// only, and runc has many.)
std::optional<pid_t> our_pid_of(pid_t ancestor, pid_t there) {
    std::map<pid_t, ProcessNumbers> all;
    const UniqueFd proc = open_file("/proc", O_RDONLY | O_DIRECTORY);
    for (const auto& name : list_directory(proc.get())) {
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        if (auto numbers = numbers_of(name))
            all[static_cast<pid_t>(std::atoi(name.c_str()))] = std::move(*numbers);
    }
    for (const auto& [pid, process] : all) {
        const auto& numbers = process.numbers;
        if (numbers.size() < 3 || numbers.back() != 1 || numbers[numbers.size() - 2] != there) continue;
        for (auto above = all.find(process.parent); above != all.end();
             above = all.find(above->second.parent)) {
            if (above->first == ancestor) return pid;
        }
    }
    return std::nullopt;
}

/// The container's process 1, once the runtime has written its pid; nothing if the runtime ends before.
std::optional<pid_t> await_init(const std::filesystem::path& pid_file, int watch,
                                const SandboxProcess& runtime) {
    for (;;) {
        if (const auto fd = try_open_file(pid_file, O_RDONLY)) {
            const std::string text = read_file(fd->get(), 64);
            if (!text.empty()) return our_pid_of(runtime.pid(), static_cast<pid_t>(std::atoi(text.c_str())));
        }
        pollfd events[2] = {{watch, POLLIN, 0}, {runtime.pidfd(), POLLIN, 0}};
        if (::poll(events, 2, -1) < 0 && errno != EINTR) throw_errno("wait for the runtime");
        char buffer[4096];
        while (::read(watch, buffer, sizeof buffer) > 0) {}
        if (events[1].revents != 0) return std::nullopt;
    }
}

}  // namespace

ExitStatus run_with_runtime(const std::string& runtime, UniqueFd root, const ContainerSpec& spec,
                            const std::string& id, const std::filesystem::path& bundle,
                            const Streams& streams, const std::function<void(pid_t)>& on_started) {
    const std::filesystem::path directory = std::filesystem::absolute(bundle);
    const std::string program = find_runtime(runtime);
    const bool is_crun = std::filesystem::path(program).filename().string().find("crun") != std::string::npos;
    remove_tree(directory);
    make_directories(directory / "rootfs", 0755);
    write_bundle_files(spec, id, directory);
    RuntimePlan plan;
    plan.root_path = (directory / "rootfs").string();
    plan.hide_cgroups = is_crun && !cgroups_are_unified();
    {
        // Users are looked up in the root, which is at its place only inside the runtime's mount namespace.
        Json config = Json::parse(bundle_config(spec, id, fmt::format("/proc/self/fd/{}", root.get())),
                                  "runtime configuration");
        Json place = Json::object().set("path", plan.root_path).set("readonly", spec.read_only);
        config.set("root", std::move(place));
        config.set("mounts", mounts_of(spec, directory, sandbox_hostname(spec, id)));
        const UniqueFd file = open_file(directory / "config.json", O_WRONLY | O_CREAT | O_TRUNC, 0644);
        write_full(file.get(), as_bytes(config.dump(2)));
    }
    plan.root = std::move(root);
    const std::filesystem::path log = directory / "log";
    const std::filesystem::path pid_file = directory / "pid";
    CommandPlan& command = plan.command;
    command.args = {program,        "--root", (directory / "state").string(), "--log", log.string(),
                    "--log-format", "json"};
    if (is_crun) command.args.emplace_back("--cgroup-manager=disabled");
    for (const std::string& argument : {std::string("run"), std::string("--bundle"), directory.string(),
                                        std::string("--pid-file"), pid_file.string(), id}) {
        command.args.push_back(argument);
    }
    command.programs = {program};
    for (char** item = environ; *item != nullptr; ++item) command.env.emplace_back(*item);
    command.working_dir = directory.string();
    command.set_groups = false;
    command.bounding = ~CapabilityMask{0};
    command.permitted = available_capabilities();
    HostTerminal terminal;
    if (spec.tty) {
        terminal = open_host_terminal(streams.in);
        command.tty = true;
        command.in = command.out = command.err = terminal.slave.get();
    } else {
        command.in = streams.in;
        command.out = streams.out;
        command.err = streams.err;
    }
    command.seal();

    const UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!watch || ::inotify_add_watch(watch.get(), directory.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO) < 0) {
        throw_errno("watch the bundle");
    }
    std::optional<SandboxReport> failure;
    auto process = SandboxProcess::fork(
        CLONE_NEWPID | CLONE_NEWNS, [&](const SandboxPipes& pipes) { runtime_init(plan, pipes); }, failure);
    if (failure) throw report_error(*failure, command, nullptr);
    terminal.slave.reset();

    const auto init = await_init(pid_file, watch.get(), process);
    if (!init && lstat_path(pid_file) == std::nullopt) {
        const ExitStatus status = process.wait();
        throw runtime_error(
            runtime, logged_error(log).value_or(
                         fmt::format("ended with status {} before the container ran", status.shell_code())));
    }
    if (spec.tty && streams.on_terminal) streams.on_terminal(std::move(terminal.master));
    // 0: over already. Never our own process there, whose root is the host's.
    if (on_started) on_started(init.value_or(0));
    const ExitStatus status = process.wait();
    if (const auto error = logged_error(log); error && !status.ok()) throw runtime_error(runtime, *error);
    remove_tree(directory);
    return status;
}

}  // namespace surcoat::overlay
