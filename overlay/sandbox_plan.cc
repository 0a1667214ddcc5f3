#include "overlay/sandbox_plan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "layers/base/file.h"
#include "overlay/mount.h"
#include "overlay/namespaces.h"
#include "overlay/seccomp.h"

namespace surcoat::overlay {
namespace {

constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

constexpr std::uint64_t kPlain = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

std::optional<std::string_view> variable(const std::vector<std::string>& env, std::string_view name) {
    for (const auto& item : env) {
        if (item.size() > name.size() && item[name.size()] == '=' &&
            item.compare(0, name.size(), name) == 0) {
            return std::string_view(item).substr(name.size() + 1);
        }
    }
    return std::nullopt;
}

// As docker fills them: what the image or the user says comes later in the list only if it is there.
std::vector<std::string> complete_environment(const std::vector<std::string>& given,
                                              const std::string& hostname, bool tty,
                                              const std::string& home) {
    std::vector<std::string> env;
    if (!variable(given, "PATH")) env.push_back(fmt::format("PATH={}", kPath));
    if (!variable(given, "HOSTNAME")) env.push_back("HOSTNAME=" + hostname);
    if (tty && !variable(given, "TERM")) env.push_back("TERM=xterm");
    env.insert(env.end(), given.begin(), given.end());
    if (!variable(given, "HOME")) env.push_back("HOME=" + home);
    return env;
}

std::vector<std::string> program_candidates(const std::string& name, std::string_view path) {
    if (name.find('/') != std::string::npos) return {name};
    std::vector<std::string> all;
    for (;;) {
        const std::size_t colon = path.find(':');
        const std::string_view folder = path.substr(0, colon);
        all.push_back(folder.empty() ? name : fmt::format("{}/{}", folder, name));
        if (colon == std::string_view::npos) return all;
        path.remove_prefix(colon + 1);
    }
}

bool may_set_groups(pid_t pid) {
    const auto fd = try_open_file(fmt::format("/proc/{}/setgroups", pid == 0 ? std::string("self") : std::to_string(pid)), O_RDONLY);
    return !fd || read_file(fd->get()).rfind("deny", 0) != 0;
}

UniqueFd make_stage(const std::vector<std::pair<std::string, std::string>>& files,
                    const std::vector<std::pair<std::string, std::string>>& scripts) {
    std::uint64_t size = 1 << 20;
    for (const auto& file : files) size += file.second.size() + 4096;
    for (const auto& file : scripts) size += file.second.size() + 4096;
    FsContext context("tmpfs");
    context.set_string("size", std::to_string(size));
    context.set_string("mode", "0755");
    UniqueFd stage = context.mount(kPlain & ~std::uint64_t{MOUNT_ATTR_NOEXEC});
    for (const char* name : {"root", "empty"}) {
        if (::mkdirat(stage.get(), name, 0755) != 0) throw_errno("prepare the sandbox's files");
    }
    const auto write = [&](const std::string& name, const std::string& content, mode_t mode) {
        const UniqueFd file = open_file_at(stage.get(), name, O_WRONLY | O_CREAT | O_EXCL, mode);
        if (::fchmod(file.get(), mode) != 0) throw_errno("prepare the sandbox's files");
        write_full(file.get(), as_bytes(content));
    };
    for (std::size_t i = 0; i < files.size(); ++i) write(fmt::format("etc{}", i), files[i].second, 0644);
    // Scripts of a recipe's heredocs are also run by their name.
    for (std::size_t i = 0; i < scripts.size(); ++i) write(fmt::format("file{}", i), scripts[i].second, 0755);
    return stage;
}

class StepList {
  public:
    explicit StepList(SandboxPlan& plan) : plan_(plan) {}

    MountStep& add(MountStep::Kind kind, std::string source, std::string target) {
        plan_.steps.push_back({kind, std::move(source), std::move(target)});
        return plan_.steps.back();
    }
    void filesystem(const char* type, const char* target,
                    std::vector<std::pair<std::string, std::string>> options, std::uint64_t attributes) {
        MountStep& step = add(MountStep::Kind::filesystem, type, target);
        step.options = std::move(options);
        step.attributes = attributes;
    }
    void attach(UniqueFd mount, const std::string& what, const std::string& target, bool is_directory) {
        MountStep& step = add(MountStep::Kind::attach, what, target);
        step.fd = mount.get();
        step.is_directory = is_directory;
        plan_.mounts.push_back(std::move(mount));
    }

  private:
    SandboxPlan& plan_;
};

struct Device {
    const char* name;
    unsigned major;
    unsigned minor;
};
constexpr Device kDevices[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                               {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
constexpr std::pair<const char*, const char*> kDeviceLinks[] = {
    {"/dev/fd", "/proc/self/fd"},       {"/dev/stdin", "/proc/self/fd/0"}, {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"}, {"/dev/ptmx", "pts/ptmx"},         {"/dev/core", "/proc/kcore"}};

// The terminal group is 5 on every distribution; where it is not mapped devpts would refuse it.
void add_devices(StepList& list, SandboxPlan& plan, const ContainerSpec& spec, Privilege privilege,
                 int window) {
    list.filesystem("tmpfs", "/dev", {{"mode", "0755"}, {"size", "65536k"}},
                    MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME);
    for (const Device& device : kDevices) {
        const std::string path = fmt::format("/dev/{}", device.name);
        if (privilege == Privilege::root) {
            MountStep& step = list.add(MountStep::Kind::node, "", path);
            step.major = device.major;
            step.minor = device.minor;
        } else {
            // Device nodes cannot be made in a user namespace: the host's are shown.
            list.add(MountStep::Kind::bind_host, path, path).is_directory = false;
        }
    }
    for (const auto& [name, target] : kDeviceLinks) list.add(MountStep::Kind::symlink, target, name);

    FsContext devpts("devpts");
    devpts.set_flag("newinstance");
    devpts.set_string("ptmxmode", "0666");
    devpts.set_string("mode", "0620");
    if (has_id_range()) devpts.set_string("gid", "5");
    UniqueFd terminals = devpts.mount(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    if (spec.tty) {
        plan.master = open_file_at(terminals.get(), "ptmx", O_RDWR | O_NOCTTY);
        int unlocked = 0;
        if (::ioctl(plan.master.get(), TIOCSPTLCK, &unlocked) != 0) throw_errno("unlock a new terminal");
        plan.terminal = UniqueFd(::ioctl(plan.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
        if (!plan.terminal) throw_errno("open a new terminal");
        copy_window_size(window, plan.master.get());
    }
    list.attach(std::move(terminals), "devpts", "/dev/pts", true);
    if (spec.tty) list.add(MountStep::Kind::bind_inside, "/dev/pts/0", "/dev/console").is_directory = false;
    list.filesystem("tmpfs", "/dev/shm", {{"mode", "1777"}, {"size", "65536k"}}, kPlain);
    list.filesystem("mqueue", "/dev/mqueue", {}, kPlain);
    plan.steps.back().optional = true;
}

void add_user_mounts(StepList& list, const ContainerSpec& spec) {
    for (const auto& text : spec.tmpfs) {
        TmpfsMount tmpfs = parse_tmpfs(text);
        MountStep& step = list.add(MountStep::Kind::filesystem, "tmpfs", tmpfs.target);
        step.options = std::move(tmpfs.options);
        step.attributes = tmpfs.attributes;
    }
    for (const auto& bind : spec.mounts) {
        if (bind.target.empty() || bind.target[0] != '/') {
            throw Error(Errc::invalid, fmt::format("mount target '{}' is not absolute", bind.target));
        }
        struct stat found {};
        if (::stat(bind.source.c_str(), &found) != 0) {
            throw os_error(fmt::format("mount '{}' at '{}'", bind.source, bind.target), errno)
                .hint("the source of a bind mount must exist on the host");
        }
        UniqueFd mount = clone_mount(bind.source, true);
        // Nothing that is mounted in the container may show on the host, nor the other way round.
        mount_attr change{};
        change.propagation = MS_PRIVATE;
        if (bind.read_only) change.attr_set = MOUNT_ATTR_RDONLY;
        if (::mount_setattr(mount.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &change, sizeof change) != 0) {
            throw_errno(fmt::format("mount '{}' at '{}'", bind.source, bind.target));
        }
        list.attach(std::move(mount), bind.source, bind.target, S_ISDIR(found.st_mode));
    }
}

}  // namespace

void copy_window_size(int from, int to) {
    winsize size{};
    if (::ioctl(from, TIOCGWINSZ, &size) == 0) ::ioctl(to, TIOCSWINSZ, &size);
}

void CommandPlan::seal() {
    argv.clear();
    envp.clear();
    for (auto& arg : args) argv.push_back(arg.data());
    for (auto& item : env) envp.push_back(item.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
}

const std::vector<std::string>& masked_paths() {
    static const std::vector<std::string> paths = {"/proc/asound",
                                                   "/proc/acpi",
                                                   "/proc/interrupts",
                                                   "/proc/kcore",
                                                   "/proc/keys",
                                                   "/proc/latency_stats",
                                                   "/proc/timer_list",
                                                   "/proc/timer_stats",
                                                   "/proc/sched_debug",
                                                   "/proc/scsi",
                                                   "/sys/firmware",
                                                   "/sys/fs/selinux",
                                                   "/sys/devices/virtual/powercap"};
    return paths;
}

const std::vector<std::string>& protected_paths() {
    static const std::vector<std::string> paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                   "/proc/sysrq-trigger"};
    return paths;
}

std::string sandbox_hostname(const ContainerSpec& spec, const std::string& id) {
    if (!spec.hostname.empty()) return spec.hostname.substr(0, 64);
    return id.empty() ? "container" : id.substr(0, 12);
}

std::vector<std::pair<std::string, std::string>> network_files(const ContainerSpec& spec,
                                                               const std::string& hostname) {
    std::string resolver;
    if (const auto fd = try_open_file("/etc/resolv.conf", O_RDONLY)) resolver = read_file(fd->get(), 1 << 20);
    std::string hosts =
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
        "ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
    if (spec.network == Network::host) {
        // One network with the host: its names are ours too.
        if (const auto fd = try_open_file("/etc/hosts", O_RDONLY)) hosts = read_file(fd->get(), 1 << 20);
        if (!hosts.empty() && hosts.back() != '\n') hosts += '\n';
    }
    hosts += fmt::format("127.0.1.1\t{}\n", hostname);
    return {{"/etc/resolv.conf", resolver}, {"/etc/hosts", hosts}, {"/etc/hostname", hostname + "\n"}};
}

std::vector<std::string> sandbox_mount_points(const ContainerSpec& spec) {
    std::vector<std::string> paths = {"/proc",      "/sys",         "/dev", "/etc/resolv.conf",
                                      "/etc/hosts", "/etc/hostname"};
    for (const auto& file : spec.files) paths.push_back(file.first);
    for (const auto& tmpfs : spec.tmpfs) paths.push_back(parse_tmpfs(tmpfs).target);
    for (const auto& mount : spec.mounts) paths.push_back(mount.target);
    return paths;
}

TmpfsMount parse_tmpfs(const std::string& text) {
    const std::size_t colon = text.find(':');
    TmpfsMount tmpfs;
    tmpfs.target = text.substr(0, colon);
    if (tmpfs.target.empty() || tmpfs.target[0] != '/') {
        throw Error(Errc::invalid, fmt::format("tmpfs '{}' must begin with an absolute path", text));
    }
    std::uint64_t attributes = kPlain;
    struct Flag {
        const char* on;
        const char* off;
        std::uint64_t bit;
    };
    static constexpr Flag kFlags[] = {{"nosuid", "suid", MOUNT_ATTR_NOSUID},
                                      {"nodev", "dev", MOUNT_ATTR_NODEV},
                                      {"noexec", "exec", MOUNT_ATTR_NOEXEC},
                                      {"ro", "rw", MOUNT_ATTR_RDONLY}};
    bool mode_given = false;
    std::string_view rest =
        colon == std::string::npos ? std::string_view() : std::string_view(text).substr(colon + 1);
    while (!rest.empty()) {
        const std::size_t comma = rest.find(',');
        const std::string_view option = rest.substr(0, comma);
        rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
        if (option.empty()) continue;
        const Flag* flag = std::find_if(std::begin(kFlags), std::end(kFlags),
                                        [&](const Flag& f) { return option == f.on || option == f.off; });
        if (flag != std::end(kFlags)) {
            attributes = option == flag->on ? attributes | flag->bit : attributes & ~flag->bit;
            continue;
        }
        const std::size_t equals = option.find('=');
        const std::string key(option.substr(0, equals));
        static constexpr std::string_view kKeys[] = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"};
        if (equals == std::string_view::npos ||
            std::find(std::begin(kKeys), std::end(kKeys), key) == std::end(kKeys)) {
            throw Error(Errc::invalid, fmt::format("unknown option '{}' of tmpfs '{}'", option, tmpfs.target))
                .hint("options: size= mode= uid= gid= nr_inodes= nr_blocks= [no]suid [no]dev [no]exec ro rw");
        }
        mode_given = mode_given || key == "mode";
        tmpfs.options.emplace_back(key, std::string(option.substr(equals + 1)));
    }
    if (!mode_given) tmpfs.options.emplace_back("mode", "1777");
    tmpfs.attributes = attributes;
    for (const Flag& flag : kFlags)
        tmpfs.flags.emplace_back((attributes & flag.bit) != 0 ? flag.on : flag.off);
    return tmpfs;
}

CommandPlan plan_command(const RootDir& root, const ContainerSpec& container, const ExecSpec& spec,
                         const std::string& hostname, pid_t namespace_of) {
    if (spec.args.empty() || spec.args[0].empty()) {
        throw Error(Errc::invalid, "no command to run")
            .hint("the image has neither CMD nor ENTRYPOINT: give a command");
    }
    for (const auto* list : {&spec.args, &spec.env}) {
        for (const auto& text : *list) {
            if (text.find('\0') != std::string::npos)
                throw Error(Errc::invalid, "an argument or variable holds a NUL byte");
        }
    }
    CommandPlan plan;
    plan.args = spec.args;
    plan.user = find_user(root, spec.user);
    if (!has_id_range(namespace_of)) {
        if (plan.user.uid != 0 || plan.user.gid != 0) {
            throw Error(Errc::unsupported,
                        fmt::format("user '{}' is {}:{}, but only 0:0 exists in this user namespace",
                                    spec.user, plan.user.uid, plan.user.gid))
                .hint(
                    "give your user a range of ids in /etc/subuid and /etc/subgid (and install uidmap), or "
                    "run as root");
        }
        plan.user.groups.clear();
    }
    plan.set_groups = may_set_groups(namespace_of);
    plan.env = complete_environment(spec.env, hostname, spec.tty, plan.user.home);
    plan.programs = program_candidates(plan.args[0], variable(plan.env, "PATH").value_or(kPath));
    plan.working_dir = spec.working_dir.empty() ? "/" : spec.working_dir;
    if (plan.working_dir[0] != '/') {
        throw Error(Errc::invalid, fmt::format("working directory '{}' is not absolute", plan.working_dir));
    }
    plan.bounding = container_capabilities(container.cap_add, container.cap_drop);
    plan.permitted = plan.user.uid == 0 ? plan.bounding : 0;
    plan.filter = seccomp_filter(plan.bounding);
    plan.no_new_privileges = container.no_new_privileges;
    plan.tty = spec.tty;
    plan.seal();
    return plan;
}

SandboxPlan plan_sandbox(UniqueFd root, const ContainerSpec& spec, const std::string& id,
                         const Streams& streams) {
    const Privilege privilege = current_privilege();
    if (privilege == Privilege::none) {
        throw Error(Errc::denied, "running a container needs root or a user namespace")
            .hint("see `surcoat version` for what this user can do");
    }
    SandboxPlan plan;
    plan.hide_init = privilege == Privilege::root;
    plan.hostname = sandbox_hostname(spec, id);
    plan.loopback = spec.network == Network::none;
    plan.root = std::move(root);
    const RootDir view(plan.root.duplicate());
    plan.command =
        plan_command(view, spec, {spec.args, spec.env, spec.working_dir, spec.user, spec.tty}, plan.hostname);

    const auto etc = network_files(spec, plan.hostname);
    plan.stage = make_stage(etc, spec.files);
    StepList list(plan);
    list.filesystem("proc", "/proc", {}, kPlain);
    list.filesystem("sysfs", "/sys", {}, kPlain | MOUNT_ATTR_RDONLY);
    plan.steps.back().else_host = true;
    add_devices(list, plan, spec, privilege, streams.in);
    for (std::size_t i = 0; i < etc.size(); ++i) {
        list.add(MountStep::Kind::bind_staged, fmt::format("etc{}", i), etc[i].first);
    }
    add_user_mounts(list, spec);
    for (std::size_t i = 0; i < spec.files.size(); ++i) {
        MountStep& step =
            list.add(MountStep::Kind::bind_staged, fmt::format("file{}", i), spec.files[i].first);
        step.attributes = MOUNT_ATTR_RDONLY;
    }
    for (const auto& path : protected_paths()) list.add(MountStep::Kind::protect, "", path);
    for (const auto& path : masked_paths()) list.add(MountStep::Kind::mask, "", path);
    // docker makes a missing working directory; where it cannot be made, entering it fails and says so.
    list.add(MountStep::Kind::directory, "", plan.command.working_dir).optional = true;
    if (spec.read_only) list.add(MountStep::Kind::read_only_root, "", "/");

    if (spec.tty) {
        plan.command.in = plan.command.out = plan.command.err = plan.terminal.get();
    } else {
        plan.command.in = streams.in;
        plan.command.out = streams.out;
        plan.command.err = streams.err;
    }
    return plan;
}

namespace {

std::string step_text(const MountStep& step) {
    switch (step.kind) {
        case MountStep::Kind::filesystem:
            return fmt::format("mount {} at '{}'", step.source, step.target);
        case MountStep::Kind::attach:
        case MountStep::Kind::bind_host:
        case MountStep::Kind::bind_inside:
            return fmt::format("mount '{}' at '{}'", step.source, step.target);
        case MountStep::Kind::bind_staged:
            return fmt::format("mount a file at '{}'", step.target);
        case MountStep::Kind::node:
        case MountStep::Kind::symlink:
        case MountStep::Kind::directory:
            return fmt::format("make '{}'", step.target);
        case MountStep::Kind::mask:
            return fmt::format("mask '{}'", step.target);
        case MountStep::Kind::protect:
        case MountStep::Kind::read_only_root:
            return fmt::format("make '{}' read-only", step.target);
    }
    return "mount";
}

}  // namespace

Error report_error(const SandboxReport& report, const CommandPlan& command,
                   const std::vector<MountStep>* steps) {
    using Stage = SandboxReport::Stage;
    const std::string& name = command.args[0];
    const auto index = static_cast<std::size_t>(report.index);
    switch (report.stage) {
        case Stage::isolate:
            return os_error(fmt::format("put the root into a mount namespace (step {})", report.index),
                            report.error);
        case Stage::mount: {
            const bool known = steps != nullptr && index < steps->size();
            Error error =
                os_error((known ? step_text((*steps)[index]) : std::string("mount")) + " in the container",
                         report.error);
            if (report.error == EROFS)
                error.hint("the mount point is missing in a root that is read-only: make it in the image");
            return error;
        }
        case Stage::network:
            return os_error("bring up the loopback interface", report.error);
        case Stage::hostname:
            return os_error("set the host name", report.error);
        case Stage::enter_root:
            return os_error(fmt::format("enter the container's root (step {})", report.index), report.error);
        case Stage::join:
            return os_error("join the container's namespaces", report.error);
        case Stage::fork:
            return os_error("start the container's command", report.error);
        case Stage::session:
            return os_error("connect the command's streams", report.error);
        case Stage::working_dir:
            return os_error(fmt::format("enter the working directory '{}'", command.working_dir),
                            report.error);
        case Stage::limits:
            return os_error(fmt::format("limit the command's rights (step {})", report.index), report.error);
        case Stage::user:
            return os_error(fmt::format("become user {}:{}", command.user.uid, command.user.gid),
                            report.error);
        case Stage::interpreter:
            return Error(Errc::not_found,
                         fmt::format(
                             "cannot run '{}': its interpreter or dynamic loader is missing in the image",
                             command.programs.at(index)))
                .errno_was(report.error)
                .hint("check its #! line, or that the image has the libraries for this program");
        case Stage::forged_program:
            return Error(
                       Errc::denied,
                       fmt::format("cannot run '{}': it leads through a magic link of /proc, or in a circle",
                                   command.programs.at(index)))
                .errno_was(report.error)
                .hint("name the program itself");
        case Stage::program:
            break;
    }
    if (report.error == ENOENT || report.error == ENOTDIR) {
        const bool searched = name.find('/') == std::string::npos;
        Error error(Errc::not_found, searched ? fmt::format("no program '{}' in the container's PATH ({})",
                                                            name, variable(command.env, "PATH").value_or(""))
                                              : fmt::format("no program '{}' in the container", name));
        return std::move(error)
            .errno_was(report.error)
            .hint("check its spelling, or give its path in the image");
    }
    if (report.error == ENOEXEC) {
        return Error(Errc::denied, fmt::format("cannot run '{}': exec format error", name))
            .errno_was(report.error)
            .hint("it is for another architecture, or a script without a #! line");
    }
    Error error(Errc::denied, fmt::format("cannot run '{}': {}", name, os_error("", report.error).message()));
    if (report.error == EACCES) {
        error = Error(Errc::denied,
                      fmt::format("cannot run '{}': permission denied for user {}", name, command.user.uid))
                    .hint(
                        "it is a directory, lies on a noexec mount, or lacks the x bit: chmod +x it in the "
                        "image");
    }
    return std::move(error).errno_was(report.error);
}

}  // namespace surcoat::overlay
