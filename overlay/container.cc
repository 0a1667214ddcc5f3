#include "overlay/container.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <set>

#include "layers/base/fault.h"
#include "layers/base/file.h"
#include "layers/base/file_lock.h"
#include "layers/base/suggest.h"
#include "overlay/container_log.h"
#include "overlay/container_names.h"
#include "overlay/container_run.h"
#include "overlay/sandbox_process.h"

namespace surcoat::overlay {
namespace {

constexpr std::chrono::seconds kDyingMonitor{10};

Error not_running(const ContainerRow& row) {
    return Error(Errc::conflict, fmt::format("container '{}' is not running: it is {}", row.name, row.state))
        .hint(fmt::format("start it: surcoat start {}", row.name));
}

// Only a descriptor that was opened while the identity held names the process for certain.
std::optional<UniqueFd> open_running(const std::optional<ProcessIdentity>& process) {
    if (!process) return std::nullopt;
    UniqueFd fd = open_process(process->pid);
    if (!fd || !process->alive()) return std::nullopt;
    return fd;
}

/// True if it ended in time; negative: waits for ever.
bool wait_for_end(const UniqueFd& process, std::chrono::milliseconds timeout) {
    const auto end = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        pollfd event{process.get(), POLLIN, 0};
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        const int milliseconds =
            timeout.count() < 0 ? -1 : static_cast<int>(std::max<std::int64_t>(0, left.count()));
        const int n = ::poll(&event, 1, milliseconds);
        if (n > 0) return true;
        if (n == 0) return false;
        if (errno != EINTR) throw_errno("wait for a process");
    }
}

void check_spec(const ContainerSpec& spec) {
    for (const auto& mount : spec.mounts) {
        if (mount.source.empty() || mount.source[0] != '/') {
            throw Error(Errc::invalid, fmt::format("mount source '{}' is not absolute", mount.source))
                .hint("give the host's full path, e.g. \"$PWD/data:/data\"");
        }
    }
    if (!spec.stop_signal.empty()) parse_signal(spec.stop_signal);
}

}  // namespace

std::vector<std::string> Containers::create(std::vector<NewContainer> containers) {
    std::set<std::string> names;
    for (const auto& row : store_.catalogue().containers()) names.insert(row.name);
    std::vector<ContainerRow> rows;
    rows.reserve(containers.size());
    const std::int64_t now = std::time(nullptr);
    for (NewContainer& wanted : containers) {
        check_spec(wanted.spec);
        ContainerRow row{.id = random_id(),
                         .name = std::move(wanted.name),
                         .image = wanted.image,
                         .image_name = std::move(wanted.image_name),
                         .layers = std::move(wanted.layers),
                         .spec = wanted.spec.to_json(),
                         .state = "created",
                         .monitor = {},
                         .init = {},
                         .created_at = now};
        if (row.name.empty()) {
            row.name = make_up_name([&](const std::string& name) { return names.contains(name); });
        } else {
            validate_container_name(row.name);
            if (names.contains(row.name)) {
                throw Error(Errc::conflict, fmt::format("there is a container named '{}' already", row.name))
                    .hint(fmt::format("choose another name, or remove it: surcoat rm {}", row.name));
            }
        }
        names.insert(row.name);
        rows.push_back(std::move(row));
    }
    // Directories first: one without a row is garbage, a row without one would be a broken container.
    std::vector<std::string> made;
    try {
        for (const auto& row : rows) {
            made.push_back(row.id);
            store_.create_container_directory(row.id);
        }
        fault_point("spawn.made_directories");
        store_.catalogue().write([&](Catalogue::Write& write) {
            for (const auto& row : rows) {
                write.add_container(row);
                write.event("container.create",
                            Json::object().set("id", row.id).set("name", row.name).dump());
            }
        });
    } catch (...) {
        for (const auto& id : made) store_.remove_container_directory(id);
        throw;
    }
    for (const auto& id : made) store_.container_directory_published(id);
    fault_point("spawn.created");
    return made;
}

ContainerRow Containers::get(const std::string& name_or_id) {
    Catalogue& catalogue = store_.catalogue();
    if (const auto row = catalogue.container_by_name(name_or_id)) return true_state(*row);
    const bool hex = !name_or_id.empty() && name_or_id.size() <= 64 &&
                     name_or_id.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (hex) {
        const auto rows = catalogue.containers_by_prefix(name_or_id);
        if (rows.size() == 1) return true_state(rows[0]);
        if (rows.size() > 1) {
            throw Error(Errc::conflict,
                        fmt::format("'{}' begins the ids of {} containers", name_or_id, rows.size()))
                .hint(fmt::format("give more digits, e.g. {}",
                                  rows[0].id.substr(0, std::max<std::size_t>(12, name_or_id.size() + 2))));
        }
    }
    std::vector<std::string> known;
    for (const auto& row : catalogue.containers()) known.push_back(row.name);
    throw Error(Errc::not_found,
                fmt::format("no container '{}'{}", name_or_id, did_you_mean(name_or_id, known)))
        .hint("`surcoat ps -a` lists them");
}

std::vector<ContainerRow> Containers::list() {
    auto rows = store_.catalogue().containers();
    for (auto& row : rows) row = true_state(std::move(row));
    return rows;
}

ExitStatus Containers::run_attached(const std::string& id) {
    const ContainerRow row = get(id);
    const ContainerSpec spec = ContainerSpec::from_json(row.spec);
    UniqueFd nothing;
    Streams streams;
    if (!spec.open_stdin) {
        nothing = open_file("/dev/null", O_RDWR);
        if (!spec.tty) streams.in = nothing.get();
    }
    return run_container(store_, row, streams, [&](UniqueFd master) {
        if (master) relay_terminal(std::move(master), spec.open_stdin ? 0 : -1, 1);
    });
}

ExitStatus Containers::exec(const std::string& id, const ExecSpec& spec) {
    const ContainerRow row = get(id);
    if (row.state != "running" || !row.init || !row.init->alive()) throw not_running(row);
    const ContainerSpec container = ContainerSpec::from_json(row.spec);
    ExecSpec complete = spec;
    complete.env = merge_environment(container.env, spec.env);
    complete.env = merge_environment(
        {"HOSTNAME=" + (container.hostname.empty() ? row.id.substr(0, 12) : container.hostname)},
        complete.env);
    UniqueFd nothing;
    Streams streams;
    if (!spec.open_stdin) {
        nothing = open_file("/dev/null", O_RDWR);
        if (!spec.tty) streams.in = nothing.get();
    }
    streams.on_terminal = [&](UniqueFd master) {
        relay_terminal(std::move(master), spec.open_stdin ? 0 : -1, 1);
    };
    return exec_in_sandbox(row.init->pid, container, complete, streams);
}

void Containers::kill(const std::string& id, int signal) {
    const ContainerRow row = get(id);
    const auto init = row.state == "running" ? open_running(row.init) : std::nullopt;
    if (!init) throw not_running(row);
    if (signal_process(init->get(), signal) != 0 && errno != ESRCH) {
        throw_errno(fmt::format("send signal {} to container '{}'", signal, row.name));
    }
}

void Containers::stop(const std::string& id, std::optional<std::chrono::seconds> timeout) {
    const ContainerRow row = get(id);
    const auto init = row.state == "running" ? open_running(row.init) : std::nullopt;
    if (!init) return;  // it is stopped: docker says so too by saying nothing
    const ContainerSpec spec = ContainerSpec::from_json(row.spec);
    const int signal = spec.stop_signal.empty() ? SIGTERM : parse_signal(spec.stop_signal);
    if (signal_process(init->get(), signal) != 0 && errno != ESRCH) {
        throw_errno(fmt::format("send signal {} to container '{}'", signal, row.name));
    }
    if (!wait_for_end(*init, timeout.value_or(std::chrono::seconds(spec.stop_timeout_seconds)))) {
        signal_process(init->get(), SIGKILL);
    }
    try {
        wait(row.id);
    } catch (const Error& e) {
        if (e.code() != Errc::not_found) throw;  // it removed itself
    }
}

int Containers::wait(const std::string& id) {
    const ContainerRow row = get(id);
    if (row.state != "running") return row.exit_code;
    // Opened before it can be removed with the rest.
    const auto exit_file = try_open_file(container_exit_file(store_, row.id), O_RDONLY);
    try {
        FileLock::acquire(container_lock(store_, row.id), FileLock::Mode::shared);
    } catch (const Error& e) {
        if (e.code() != Errc::not_found) throw;
    }
    if (const auto now = store_.catalogue().container_by_id(row.id)) {
        if (now->state != "running") return now->exit_code;
        // The lock is free, so the monitor was killed; until it is gone altogether others would still take
        // the row's word.
        if (const auto monitor = open_running(now->monitor)) wait_for_end(*monitor, kDyingMonitor);
        return 128 + SIGKILL;
    }
    const std::string code = exit_file ? read_file(exit_file->get(), 64) : "";
    return code.empty() ? 128 + SIGKILL : std::atoi(code.c_str());
}

void Containers::logs(const std::string& id, int out, int err, bool follow, std::optional<std::size_t> tail) {
    const ContainerRow row = get(id);
    const auto monitor = follow && row.state == "running" ? open_running(row.monitor) : std::nullopt;
    copy_log(store_.container_directory(row.id) / "log", out, err, tail, monitor ? &*monitor : nullptr);
}

void Containers::remove(const std::string& id, bool force) {
    remove(std::vector<std::string>{id}, force);
}

void Containers::remove(const std::vector<std::string>& ids, bool force) {
    std::vector<ContainerRow> rows;
    for (const auto& id : ids) rows.push_back(get(id));
    for (const auto& row : rows) {
        if (row.state != "running" || force) continue;
        throw Error(Errc::conflict, fmt::format("container '{}' is running", row.name))
            .hint(fmt::format("stop it first (surcoat stop {}), or use --force", row.name));
    }
    // Nobody may start one between our look at it and its end.
    std::vector<FileLock> locks;
    std::vector<ContainerRow> gone;
    // A lock is a descriptor: as many are held as this process may have.
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &files);
    }
    for (auto& row : rows) {
        if (row.state == "running") {
            if (const auto init = open_running(row.init)) signal_process(init->get(), SIGKILL);
            wait(row.id);
            if (!store_.catalogue().container_by_id(row.id)) continue;  // it removed itself
        }
        if (lstat_path(store_.container_directory(row.id))) {
            auto lock = FileLock::try_acquire(container_lock(store_, row.id), FileLock::Mode::exclusive);
            if (!lock)
                throw Error(Errc::conflict, fmt::format("container '{}' is being started", row.name))
                    .hint("try again");
            if (locks.size() + 256 < files.rlim_cur) locks.push_back(std::move(*lock));
        }
        unmount(row.id);
        gone.push_back(row);
    }
    store_.catalogue().write([&](Catalogue::Write& write) {
        for (const auto& row : gone) {
            write.remove_container(row.id);
            write.event("container.remove", Json::object().set("id", row.id).set("name", row.name).dump());
        }
    });
    fault_point("remove.row_removed");
    for (const auto& row : gone) store_.remove_container_directory(row.id);
}

void Containers::rename(const std::string& id, const std::string& name) {
    const ContainerRow row = get(id);
    validate_container_name(name);
    store_.catalogue().write([&](Catalogue::Write& write) { write.rename_container(row.id, name); });
}

}  // namespace surcoat::overlay
