#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "layers/base/file.h"
#include "layers/base/file_lock.h"
#include "overlay/container_run.h"
#include "overlay/kernel_overlay.h"
#include "overlay/mount.h"
#include "overlay/namespaces.h"
#include "overlay/sandbox_child.h"
#include "overlay/sandbox_process.h"
#include "overlay/stubs.h"

namespace surcoat::overlay {
namespace {

// Blanks, commas and the like are written as \ooo in /proc/self/mountinfo.
std::string unescape(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            plain +=
                static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

std::string_view option(std::string_view options, std::string_view name) {
    while (!options.empty()) {
        const std::size_t comma = options.find(',');
        const std::string_view item = options.substr(0, comma);
        if (item.size() > name.size() && item.substr(0, name.size()) == name && item[name.size()] == '=') {
            return item.substr(name.size() + 1);
        }
        options = comma == std::string_view::npos ? std::string_view() : options.substr(comma + 1);
    }
    return {};
}

std::filesystem::path default_mount_point(const Store& store, const std::string& id) {
    const std::string key = Digest::of(std::filesystem::weakly_canonical(store.root()).string()).short_hex();
    return runtime_directory(store) / key / id;
}

}  // namespace

std::filesystem::path runtime_directory(const Store& store) {
    if (current_privilege() == Privilege::root) return "/run/surcoat";
    const char* user = std::getenv("XDG_RUNTIME_DIR");
    if (user != nullptr && *user == '/' && ::access(user, W_OK) == 0)
        return std::filesystem::path(user) / "surcoat";
    return store.root() / "run";
}

std::optional<std::filesystem::path> find_mount(const std::filesystem::path& upper) {
    const std::string wanted = upper.string();
    const std::string canonical = std::filesystem::weakly_canonical(upper).string();
    std::istringstream lines(read_file("/proc/self/mountinfo"));
    // "36 35 0:41 / /mnt rw,relatime - overlay surcoat rw,lowerdir=…,upperdir=…": the last one is on top.
    std::optional<std::filesystem::path> found;
    for (std::string line; std::getline(lines, line);) {
        const std::size_t dash = line.find(" - overlay ");
        if (dash == std::string::npos) continue;
        const std::string here =
            unescape(option(std::string_view(line).substr(line.rfind(' ') + 1), "upperdir"));
        if (here != wanted && here != canonical) continue;
        std::istringstream fields(line.substr(0, dash));
        std::string skip;
        std::string root;
        std::string where;
        fields >> skip >> skip >> skip >> root >> where;
        if (root == "/") found = unescape(where);
    }
    return found;
}

// The mounts of another namespace can only be cloned inside it. A child that shares our table of descriptors
// goes there for us, and the clone is then ours too.
UniqueFd clone_root_of(pid_t init) {
    const UniqueFd pidfd = open_process(init);
    if (!pidfd) throw os_error("find the container's process", errno);
    int pipe_fds[2];
    if (::pipe2(pipe_fds, O_CLOEXEC) != 0) throw_errno("create a pipe");
    const UniqueFd answers(pipe_fds[0]);
    const UniqueFd answer(pipe_fds[1]);
    sigset_t all;
    sigset_t old;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &old);
    const pid_t child = clone_process(CLONE_FILES, nullptr);
    if (child == 0) {
        int result = -1;
        if (::setns(pidfd.get(), CLONE_NEWNS) == 0) {
            result = ::open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        }
        if (result < 0) result = -errno;
        [[maybe_unused]] const ssize_t n = ::write(answer.get(), &result, sizeof result);
        ::_exit(0);
    }
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
    if (child < 0) throw os_error("start a process", error);
    wait_for(child);
    int result = -EIO;
    ::fcntl(answers.get(), F_SETFL, O_NONBLOCK);
    if (::read(answers.get(), &result, sizeof result) != sizeof result || result < 0) {
        throw os_error("reach the running container's root", -result);
    }
    return UniqueFd(result);
}

UniqueFd open_container_root(Store& store, const ContainerRow& row, const ContainerSpec& spec) {
    const std::filesystem::path directory = store.container_directory(row.id);
    const UpperLayer upper{directory / "upper", directory / "work"};
    if (const auto where = find_mount(upper.upper)) {
        return clone_mount(*where);
    }
    ViewOptions options;
    options.scratch = spec.scratch;
    return mount_overlay(store, LowerStack{{}, row.layers}, upper, options);
}

std::optional<std::filesystem::path> Containers::mounted_at(const std::string& id) {
    return find_mount(upper(get(id)).upper);
}

std::filesystem::path Containers::mount(const std::string& id, std::optional<std::filesystem::path> where) {
    const ContainerRow row = get(id);
    const auto already = find_mount(upper(row).upper);
    if (already && (!where || std::filesystem::weakly_canonical(*where) == *already)) return *already;
    const std::filesystem::path target =
        where ? std::filesystem::absolute(*where) : default_mount_point(store_, row.id);
    make_directories(target, 0755);
    UniqueFd mount;
    if (already) {
        mount = clone_mount(*already);
    } else if (row.state == "running" && row.init) {
        mount = clone_root_of(row.init->pid);
    } else {
        // Whoever starts it holds this lock: one upper is never mounted twice.
        const auto lock = FileLock::try_acquire(container_lock(store_, row.id), FileLock::Mode::exclusive);
        if (!lock) throw Error(Errc::conflict, fmt::format("container '{}' is being started or mounted", row.name)).hint("try again");
        attach_mount(mount_overlay(store_, lowers(row), upper(row), {}), target);
        if (::ftruncate(lock->fd(), 0) != 0) throw_errno("clear a lock's file");  // a block for each of a thousand views
        return target;
    }
    attach_mount(mount, target);
    return target;
}

bool Containers::unmount(const std::string& id) {
    const ContainerRow row = get(id);
    bool any = false;
    while (const auto where = find_mount(upper(row).upper)) {
        detach_mount(*where);
        any = true;
    }
    const std::filesystem::path ours = default_mount_point(store_, row.id);
    if (lstat_path(ours)) {
        ::rmdir(ours.c_str());
        ::rmdir(ours.parent_path().c_str());  // the store's folder, once it is empty
    }
    return any;
}

LowerStack Containers::lowers(const ContainerRow& row) const {
    return {{}, row.layers};
}

UpperLayer Containers::upper(const ContainerRow& row) const {
    const std::filesystem::path directory = store_.container_directory(row.id);
    return {directory / "upper", directory / "work"};
}

Tree Containers::tree(const ContainerRow& row, const std::function<ObjectId(int fd, std::uint64_t size)>& store_content) const {
    Tree merged = container_tree(store_, lowers(row), upper(row), store_content);
    remove_stubs(merged, *store_.tree(row.layers), sandbox_mount_points(ContainerSpec::from_json(row.spec)));
    return merged;
}

std::unique_ptr<UnionView> Containers::view(const ContainerRow& row, bool read_only) {
    const ContainerRow now = true_state(row);
    UniqueFd live;
    if (const auto where = find_mount(upper(row).upper)) {
        live = clone_mount(*where);
    } else if (now.state == "running" && now.init && current_privilege() != Privilege::none) {
        try {
            live = clone_root_of(now.init->pid);
        } catch (const Error& e) {
            // Another user namespace than ours: reading goes on through the library view beside it.
            if (!read_only || e.code() != Errc::denied) throw;
        }
    }
    if (live) {
        change_mount(live.get(), read_only ? MOUNT_ATTR_RDONLY : 0, read_only ? 0 : MOUNT_ATTR_RDONLY);
        return view_of_root(std::move(live), "kernel overlay");
    }
    ViewOptions options;
    options.read_only = read_only;
    return open_view(store_, lowers(row), upper(row), options);
}

}  // namespace surcoat::overlay
