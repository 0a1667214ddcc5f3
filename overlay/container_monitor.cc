// A detached container is watched by a process of its own, forked from ours: there is no daemon. SQLite does
// not survive a fork, so the catalogue is closed around it and the monitor opens the store anew. It tells us
// through a pipe that the command runs, or what prevented it.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "layers/base/file.h"
#include "layers/base/json.h"
#include "layers/base/pipe.h"
#include "overlay/container_log.h"
#include "overlay/container_run.h"

namespace surcoat::overlay {
namespace {

std::string describe(const Error& e) {
    Json causes = Json::array();
    for (const auto& cause : e.causes()) causes.push_back(cause);
    return Json::object()
        .set("code", static_cast<int>(e.code()))
        .set("causes", std::move(causes))
        .set("hint", e.hint())
        .set("errno", e.os_error())
        .dump();
}

Error understand(const Json& json) {
    const auto& causes = json["causes"].as_array();
    Error error = Error(static_cast<Errc>(json["code"].as_int()), causes.back().as_string())
                      .errno_was(static_cast<int>(json.int_or("errno", 0)));
    for (std::size_t i = causes.size() - 1; i > 0; --i) error.within(causes[i - 1].as_string());
    if (const std::string hint = json.string_or("hint"); !hint.empty()) error.hint(hint);
    return error;
}

/// Nothing of our caller's stays: its terminal, pipes, working directory, signal settings.
void become_daemon(int answer) {
    ::setsid();
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
    ::dup2(answer, 3);
    ::close_range(4, ~0U, 0);
    ::fcntl(3, F_SETFD, FD_CLOEXEC);
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number) ::sigaction(number, &standard, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (::chdir("/") != 0) ::_exit(1);
    ::umask(022);
    ::prctl(PR_SET_NAME, "surcoat-monitor", 0, 0, 0);
}

void watch(const StoreOptions& options, const std::string& id, UniqueFd& answer) {
    Store store(options);
    Containers containers(store);
    const ContainerRow row = containers.get(id);
    const ContainerSpec spec = ContainerSpec::from_json(row.spec);
    const UniqueFd log =
        open_file(store.container_directory(row.id) / "log", O_WRONLY | O_CREAT | O_APPEND, 0640);
    const UniqueFd null = open_file("/dev/null", O_RDWR);
    Pipe out;
    Pipe err;
    run_container(store, row, {null.get(), out.write.get(), err.write.get(), {}}, [&](UniqueFd master) {
        // From here on the container alone holds the other ends.
        out.write.reset();
        err.write.reset();
        write_full(answer.get(), as_bytes(std::string_view("{\"ok\":true}")));
        answer.reset();
        if (master) {
            pump_to_log(log.get(), std::move(master), {});
        } else {
            pump_to_log(log.get(), std::move(out.read), std::move(err.read));
        }
    });
}

[[noreturn]] void monitor(const StoreOptions& options, const std::string& id, int answer_fd) {
    become_daemon(answer_fd);
    UniqueFd answer(3);
    try {
        watch(options, id, answer);
    } catch (const Error& e) {
        if (answer) write_full(answer.get(), as_bytes(describe(e)));
    } catch (const std::exception& e) {
        if (answer) write_full(answer.get(), as_bytes(describe(Error(Errc::failed, e.what()))));
    }
    // Destructors of what our parent had would touch what is still its own.
    ::_exit(0);
}

}  // namespace

void Containers::start_detached(const std::string& id) {
    const ContainerRow row = get(id);
    if (row.state == "running") {
        throw Error(Errc::conflict, fmt::format("container '{}' is running", row.name))
            .hint("`surcoat exec` runs another command in it; `surcoat stop` ends it");
    }
    StoreOptions options = store_.options();
    options.root = std::filesystem::absolute(options.root);
    Pipe answer;
    store_.catalogue().while_closed([&] {
        const pid_t child = ::fork();
        if (child < 0) throw_errno("start a monitor process");
        if (child == 0) {
            // Twice, so that nobody has to reap it.
            const pid_t grandchild = ::fork();
            if (grandchild == 0) monitor(options, row.id, answer.write.get());
            ::_exit(grandchild > 0 ? 0 : 1);
        }
        if (!wait_for(child).ok())
            throw Error(Errc::failed, "cannot start a monitor process")
                .hint("is there a limit on processes?");
    });
    answer.write.reset();
    const std::string text = read_file(answer.read.get(), 1 << 20);
    if (text.empty()) {
        throw Error(Errc::failed,
                    fmt::format("the monitor of container '{}' died before it could start it", row.name))
            .hint("try `surcoat start --attach` to see more");
    }
    const Json json = Json::parse(text, "the monitor's answer");
    if (!json.bool_or("ok", false)) throw understand(json);
}

}  // namespace surcoat::overlay
