#include "overlay/container_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include <ctime>

#include "layers/base/fault.h"
#include "layers/base/file.h"
#include "layers/base/file_lock.h"
#include "overlay/bundle.h"
#include "overlay/sandbox_process.h"

namespace surcoat::overlay {
namespace {

constexpr std::chrono::seconds kLockPatience{2};

/// The rows of one run.
class RunRecord {
  public:
    RunRecord(Store& store, ContainerRow row) : store_(store), row_(std::move(row)) {}

    void running(pid_t init) {
        row_.state = "running";
        row_.monitor = ProcessIdentity::self();
        row_.init = ProcessIdentity::of(init);
        row_.exit_code = 0;
        row_.started_at = std::time(nullptr);
        row_.finished_at = 0;
        store_.catalogue().write([&](Catalogue::Write& write) { write.set_container_state(row_); });
        written_ = true;
        fault_point("run.running");
    }
    bool was_running() const { return written_; }
    void ended(int code) {
        row_.state = "exited";
        row_.monitor.reset();
        row_.init.reset();
        row_.exit_code = code;
        row_.finished_at = std::time(nullptr);
        fault_point("run.ended");
        store_.catalogue().write([&](Catalogue::Write& write) { write.set_container_state(row_); });
    }
    void removed() {
        store_.catalogue().write([&](Catalogue::Write& write) {
            write.remove_container(row_.id);
            write.event("container.remove", Json::object().set("id", row_.id).set("name", row_.name).dump());
        });
        fault_point("run.row_removed");
        store_.remove_container_directory(row_.id);
    }

  private:
    Store& store_;
    ContainerRow row_;
    bool written_ = false;
};

ExitStatus run_in_own_sandbox(UniqueFd root, const ContainerSpec& spec, const std::string& id,
                              const Streams& streams, const std::function<void(pid_t)>& running,
                              const std::function<void(UniqueFd)>& started) {
    UniqueFd master;
    Streams ours = streams;
    ours.on_terminal = [&](UniqueFd fd) { master = std::move(fd); };
    Sandbox sandbox = Sandbox::start(std::move(root), spec, id, ours);
    const UniqueFd init = open_process(sandbox.init_pid());
    const SignalForwarder forwarder(init.get());
    running(sandbox.init_pid());
    if (started) started(std::move(master));
    return sandbox.wait();
}

ExitStatus run_in_runtime(UniqueFd root, const ContainerSpec& spec, const std::string& id,
                          const std::filesystem::path& directory, const Streams& streams,
                          const std::function<void(pid_t)>& running,
                          const std::function<void(UniqueFd)>& started) {
    UniqueFd master;
    Streams ours = streams;
    ours.on_terminal = [&](UniqueFd fd) { master = std::move(fd); };
    return run_with_runtime(spec.runtime, std::move(root), spec, id, directory, ours, [&](pid_t init) {
        running(init);
        if (started) started(std::move(master));
    });
}

}  // namespace

ContainerRow true_state(ContainerRow row) {
    if (row.state == "running" && !(row.monitor && row.monitor->alive())) {
        row.state = "exited";
        row.exit_code = 137;
        row.monitor.reset();
        row.init.reset();
    }
    return row;
}

std::filesystem::path container_lock(const Store& store, const std::string& id) {
    return store.container_directory(id) / "lock";
}
std::filesystem::path container_exit_file(const Store& store, const std::string& id) {
    return store.container_directory(id) / "exit";
}

ExitStatus run_container(Store& store, const ContainerRow& row, const Streams& streams,
                         const std::function<void(UniqueFd master)>& started) {
    const ContainerSpec spec = ContainerSpec::from_json(row.spec);
    std::optional<FileLock> lock;
    try {
        lock = FileLock::acquire(container_lock(store, row.id), FileLock::Mode::exclusive, kLockPatience);
    } catch (const Error& e) {
        if (e.code() != Errc::conflict) throw;
        throw Error(Errc::conflict, fmt::format("container '{}' is running", row.name))
            .hint("`surcoat exec` runs another command in it; `surcoat stop` ends it");
    }
    RunRecord record(store, row);
    const auto running = [&](pid_t init) { record.running(init); };
    const auto exit_file = container_exit_file(store, row.id);
    ExitStatus status;
    try {
        if (spec.auto_remove) open_file(exit_file, O_WRONLY | O_CREAT | O_TRUNC);
        UniqueFd root = open_container_root(store, row, spec);
        status =
            spec.runtime.empty()
                ? run_in_own_sandbox(std::move(root), spec, row.id, streams, running, started)
                : run_in_runtime(std::move(root), spec, row.id, store.container_directory(row.id) / "bundle",
                                 streams, running, started);
    } catch (...) {
        if (spec.auto_remove) {
            record.removed();
        } else if (record.was_running()) {
            record.ended(128 + SIGKILL);
        }
        throw;
    }
    if (spec.auto_remove) {
        const UniqueFd file = open_file(exit_file, O_WRONLY | O_CREAT | O_TRUNC);
        write_full(file.get(), as_bytes(std::to_string(status.shell_code())));
        record.removed();
    } else {
        record.ended(status.shell_code());
    }
    return status;
}

}  // namespace surcoat::overlay
