#include "overlay/container.h"

#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <chrono>
#include <ctime>
#include <set>
#include <thread>

#include "layers/base/fault.h"
#include "layers/store/fsck.h"
#include "layers/store/gc.h"
#include "layers/store/usage.h"
#include "overlay/kernel_overlay.h"
#include "overlay/namespaces.h"
#include "tests/overlay/container_fixture.h"

using namespace surcoat;
using namespace surcoat::overlay;
using namespace surcoat::test;

namespace {

std::string text_of(UnionView& view, const std::string& path) {
    return read_file(view.open_read(path).get());
}

}  // namespace

TEST_CASE("a container keeps what its command wrote", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    const std::string id =
        test.create(shell("cat /etc/motd; echo changed > /etc/motd; hostname; exit 3"), "web-1");
    CHECK(containers.get("web-1").state == "created");
    ExitStatus status;
    CHECK(captured([&] { status = containers.run_attached("web-1"); }) ==
          "welcome\n" + id.substr(0, 12) + "\n");
    CHECK(status.code == 3);
    const ContainerRow row = containers.get(id.substr(0, 10));
    CHECK(row.state == "exited");
    CHECK(row.exit_code == 3);
    CHECK(row.started_at > 0);
    CHECK(row.finished_at >= row.started_at);
    CHECK(text_of(*containers.view(row, true), "/etc/motd") == "changed\n");
    // It goes on with what it has.
    CHECK(captured([&] { containers.run_attached(id); }).rfind("changed\n", 0) == 0);
    CHECK(containers.wait(id) == 3);
    containers.remove("web-1", false);
    CHECK_THROWS_AS(containers.get(id), Error);
    CHECK_FALSE(std::filesystem::exists(test.store().container_directory(id)));
}

TEST_CASE("containers are found by name, id and prefix, and misses name the nearest",
          "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    const std::string id = test.create(shell("true"), "database");
    CHECK(containers.get(id).name == "database");
    CHECK(containers.get(id.substr(0, 4)).name == "database");
    try {
        containers.get("databse");
        FAIL("found");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::not_found);
        CHECK(std::string(e.what()).find("did you mean 'database'?") != std::string::npos);
    }
    try {
        test.create(shell("true"), "database");
        FAIL("made twice");
    } catch (const Error& e) { CHECK(e.code() == Errc::conflict); }
    CHECK_THROWS_WITH(test.create(shell("true"), "-x"), Catch::Contains("cannot be a container's name"));
    containers.rename("database", "store");
    CHECK(containers.get("store").id == id);
    const std::string made_up = containers.get(test.create(shell("true"))).name;
    CHECK(made_up.find('_') != std::string::npos);
    ContainerSpec relative = shell("true");
    relative.mounts = {{"data", "/data", false}};
    CHECK_THROWS_WITH(test.create(relative), Catch::Contains("not absolute"));
}

TEST_CASE("a container that cannot start stays as it was, or goes if it removes itself",
          "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    ContainerSpec spec;
    spec.args = {"nosuch"};
    const std::string id = test.create(spec);
    for (const bool detached : {false, true}) {
        try {
            if (detached) {
                containers.start_detached(id);
            } else {
                containers.run_attached(id);
            }
            FAIL("it ran");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::not_found);
            CHECK(std::string(e.what()).find("nosuch") != std::string::npos);
            CHECK_FALSE(e.hint().empty());
        }
        CHECK(containers.get(id).state == "created");
    }
    spec.auto_remove = true;
    const std::string fleeting = test.create(spec);
    CHECK_THROWS_AS(containers.run_attached(fleeting), Error);
    CHECK_THROWS_AS(containers.get(fleeting), Error);
    CHECK_FALSE(std::filesystem::exists(test.store().container_directory(fleeting)));
}

TEST_CASE("a detached container logs, is entered, signalled and waited for", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    const std::string id = test.create(shell("echo out; echo err >&2; trap 'echo bye; exit 5' TERM; echo "
                                             "ready > /tmp/ready; while :; do sleep 0.05; done"),
                                       "d");
    containers.start_detached("d");
    ContainerRow row = containers.get("d");
    CHECK(row.state == "running");
    REQUIRE(row.monitor);
    REQUIRE(row.init);
    CHECK(row.monitor->pid != ::getpid());
    CHECK_THROWS_WITH(containers.start_detached("d"), Catch::Contains("is running"));
    CHECK_THROWS_WITH(containers.remove("d", false), Catch::Contains("is running"));
    ExitStatus status;
    // The command below ends once the container's own has come so far.
    const ExecSpec exec{
        {"sh", "-c", "while ! test -s /tmp/ready; do usleep 1000; done; cat /tmp/ready; echo $X; exit 6"},
        {"X=y"},
        "",
        "",
        false};
    CHECK(captured([&] { status = containers.exec("d", exec); }) == "ready\ny\n");
    CHECK(status.code == 6);
    // Its files, while it runs: the live root, without what is mounted in it.
    CHECK(text_of(*containers.view(row, true), "/tmp/ready") == "ready\n");
    CHECK(containers.view(row, false)->list("/proc").empty());
    containers.stop("d", std::chrono::seconds(100));
    row = containers.get("d");
    CHECK(row.state == "exited");
    CHECK(row.exit_code == 5);
    CHECK(containers.wait("d") == 5);
    const UniqueFd out = memory_file();
    const UniqueFd err = memory_file();
    containers.logs("d", out.get(), err.get(), false, {});
    CHECK(content_of(out) == "out\nbye\n");
    CHECK(content_of(err) == "err\n");
    const UniqueFd last = memory_file();
    containers.logs("d", last.get(), last.get(), true, 1);
    CHECK(content_of(last) == "bye\n");
    const std::string log = read_file(test.store().container_directory(id) / "log");
    CHECK(log.find("{\"log\":\"out\\n\",\"stream\":\"stdout\",\"time\":\"20") == 0);
    CHECK_THROWS_WITH(containers.kill("d", SIGTERM), Catch::Contains("is not running"));
    CHECK_THROWS_WITH(containers.exec("d", exec), Catch::Contains("is not running"));
    containers.stop("d");
}

TEST_CASE("a log is followed to its end, with long lines and bytes that are not text",
          "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    test.create(shell("for i in 1 2 3; do echo $i; sleep 0.1; done; head -c 40000 /dev/zero | tr '\\0' x; "
                      "printf '\\377end'"),
                "d");
    containers.start_detached("d");
    const UniqueFd out = memory_file();
    containers.logs("d", out.get(), out.get(), true, {});
    CHECK(content_of(out) == "1\n2\n3\n" + std::string(40000, 'x') + "\xef\xbf\xbd" + "end");
    CHECK(containers.wait("d") == 0);
    test.create(shell("true"), "quiet");
    CHECK_THROWS_WITH(containers.logs("quiet", 1, 2, false, {}), Catch::Contains("has no log"));
}

TEST_CASE("kill -9 of the monitor ends the container, which then reads as exited with 137",
          "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    test.create(shell("sleep 1000"), "d");
    containers.start_detached("d");
    const ContainerRow row = containers.get("d");
    REQUIRE(row.init->alive());
    ::kill(row.monitor->pid, SIGKILL);
    CHECK(containers.wait("d") == 137);
    while (row.init->alive()) std::this_thread::yield();
    CHECK(containers.get("d").state == "exited");
    CHECK(containers.get("d").exit_code == 137);
    CHECK(test.store().catalogue().container_by_name("d")->state == "running");
    // It can be started again, which corrects the row.
    containers.start_detached("d");
    CHECK(containers.get("d").state == "running");
    containers.remove("d", true);
    CHECK(containers.list().empty());
}

TEST_CASE("a container that ignores the stop signal is killed after its time", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    ContainerSpec spec = shell("trap '' TERM; touch /tmp/up; sleep 1000 & wait; wait; sleep 1000");
    test.create(spec, "d");
    containers.start_detached("d");
    captured([&] {
        containers.exec("d",
                        {{"sh", "-c", "while ! test -e /tmp/up; do usleep 1000; done"}, {}, "", "", false});
    });
    containers.stop("d", std::chrono::seconds(0));
    CHECK(containers.get("d").exit_code == 137);
}

TEST_CASE("with auto-remove nothing is left, and who waits learns the exit code", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    ContainerSpec spec = shell("exit 4");
    spec.auto_remove = spec.scratch = true;
    const std::string id = test.create(spec);
    CHECK(containers.run_attached(id).code == 4);
    CHECK_THROWS_AS(containers.get(id), Error);
    spec.args = {"sh", "-c", "while ! test -e /tmp/go; do usleep 1000; done; exit 8"};
    const std::string waited = test.create(spec);
    containers.start_detached(waited);
    std::thread letting([&, init = containers.get(waited).init->pid] {
        // Through its root as the host sees it.
        open_file("/proc/" + std::to_string(init) + "/root/tmp/go", O_WRONLY | O_CREAT);
    });
    CHECK(containers.wait(waited) == 8);
    letting.join();
    CHECK_FALSE(std::filesystem::exists(test.store().container_directory(waited)));
    CHECK(std::filesystem::is_empty(test.store().path("containers")));
}

TEST_CASE("a view is mounted once, whoever uses it", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    const std::string id = test.create(shell("cat /tmp/from-host; echo inside > /tmp/from-inside"), "m");
    CHECK_FALSE(containers.mounted_at("m"));
    const auto where = containers.mount("m");
    CHECK(is_mount_point(where));
    CHECK(containers.mount("m") == where);
    CHECK(containers.mounted_at("m") == where);
    write_file_durably(where / "tmp/from-host", "host\n");
    CHECK(captured([&] { containers.run_attached("m"); }) == "host\n");
    CHECK(read_file(where / "tmp/from-inside") == "inside\n");
    CHECK(containers.unmount("m"));
    CHECK_FALSE(containers.unmount("m"));
    CHECK_FALSE(std::filesystem::exists(where));

    // The other way round: a running one is mounted.
    const TempDir place;
    test.create(shell("echo live > /tmp/live; sleep 1000"), "r");
    containers.start_detached("r");
    captured([&] {
        containers.exec("r",
                        {{"sh", "-c", "while ! test -s /tmp/live; do usleep 1000; done"}, {}, "", "", false});
    });
    CHECK(containers.mount("r", place.path()) == place.path());
    CHECK(read_file(place.path() / "tmp/live") == "live\n");
    write_file_durably(place.path() / "tmp/back", "back\n");
    CHECK(captured([&] { containers.exec("r", {{"cat", "/tmp/back"}, {}, "", "", false}); }) == "back\n");
    containers.remove("r", true);
    CHECK_FALSE(is_mount_point(place.path()));
}

TEST_CASE("a thousand containers are made in one transaction, and cheaply", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    const auto before = directory_usage(test.store().root()).bytes;
    std::vector<NewContainer> wanted;
    for (int i = 0; i < 1000; ++i)
        wanted.push_back(test.wanted(shell("echo $HOSTNAME"), i % 2 == 0 ? "web-" + std::to_string(i) : ""));
    const auto generation = test.store().catalogue().generation();
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t processor = std::clock();
    const auto ids = containers.create(std::move(wanted));
    const auto used = (std::clock() - processor) * 1000 / CLOCKS_PER_SEC;
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    CHECK(test.store().catalogue().generation() == generation + 1);
    CHECK(ids.size() == 1000);
    CHECK(std::set<std::string>(ids.begin(), ids.end()).size() == 1000);
    const auto each = (directory_usage(test.store().root()).bytes - before) / 1000;
    CHECK(each < 25 * 1024);
    CHECK(containers.list().size() == 1000);
    std::printf("1000 containers: %lld ms, %ld ms of processor, %llu bytes each\n",
                static_cast<long long>(took.count()), static_cast<long>(used),
                static_cast<unsigned long long>(each));
    std::fflush(stdout);
    containers.remove(ids, false);
    CHECK(containers.list().empty());
    CHECK(std::filesystem::is_empty(test.store().path("containers")));
}

TEST_CASE("twenty containers run at once", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    std::vector<NewContainer> wanted;
    for (int i = 0; i < 20; ++i)
        wanted.push_back(test.wanted(shell("echo " + std::to_string(i) +
                                           " > /mine; sleep 0.2; cat /mine; exit " + std::to_string(i))));
    const auto ids = containers.create(std::move(wanted));
    for (const auto& id : ids) containers.start_detached(id);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        CHECK(containers.wait(ids[i]) == static_cast<int>(i));
        const UniqueFd out = memory_file();
        containers.logs(ids[i], out.get(), out.get(), false, {});
        CHECK(content_of(out) == std::to_string(i) + "\n");
    }
}

TEST_CASE("a detached terminal is logged", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerStore test;
    Containers containers(test.store());
    ContainerSpec spec = shell("tty; test -t 1 && echo terminal");
    spec.tty = true;
    test.create(spec, "t");
    containers.start_detached("t");
    CHECK(containers.wait("t") == 0);
    const UniqueFd out = memory_file();
    containers.logs("t", out.get(), out.get(), false, {});
    CHECK(content_of(out) == "/dev/pts/0\r\nterminal\r\n");
}

TEST_CASE("a plain user runs containers in a user namespace", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    const TempDir place;
    REQUIRE(::chown(place.path().c_str(), 65534, 65534) == 0);
    const UniqueFd answer = memory_file();
    const pid_t child = ::fork();
    if (child == 0) {
        std::string text;
        try {
            if (::setgroups(0, nullptr) != 0 || ::setresgid(65534, 65534, 65534) != 0 ||
                ::setresuid(65534, 65534, 65534) != 0) {
                throw Error(Errc::failed, "cannot become nobody");
            }
            // Changing the user made /proc/self root's; exec would undo it.
            ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
            become_namespace_root();
            ContainerStore test(place.path());
            Containers containers(test.store());
            ContainerSpec spec = shell(
                "id -u; cat /etc/motd; echo own > /etc/motd; cat /etc/motd; ls /dev | wc -l; echo x > "
                "/dev/null && "
                "test -d /sys/class && touch /sys/x 2>/dev/null || echo sys; grep -c . "
                "/proc/sys/kernel/ostype; "
                "grep CapEff /proc/self/status | cut -f2; ls /proc | grep -c '^[0-9]*$'; exit 7");
            ExitStatus status;
            test.create(spec, "u");
            text += captured([&] { status = containers.run_attached("u"); });
            text += "exit " + std::to_string(status.code) + "\n";
            spec = shell("ls /sys/class/net; sleep 1000");
            spec.network = Network::none;
            test.create(spec, "d");
            containers.start_detached("d");
            text += captured([&] {
                containers.exec("d",
                                {{"sh", "-c", "hostname | wc -c; ls /sys/class/net"}, {}, "", "", false});
            });
            containers.stop("d");
            text += "stopped " + std::to_string(containers.get("d").exit_code) + "\n";
            spec = shell("true");
            spec.user = "amy";
            try {
                containers.run_attached(test.create(spec));
            } catch (const Error& e) { text += std::string(to_string(e.code())) + " " + e.hint(); }
            containers.remove(std::vector<std::string>{"u", "d"}, false);
        } catch (const std::exception& e) { text += std::string("failed: ") + e.what(); }
        ::lseek(answer.get(), 0, SEEK_SET);
        [[maybe_unused]] const ssize_t n = ::write(answer.get(), text.data(), text.size());
        ::_exit(0);
    }
    wait_for(child);
    const std::string text = content_of(answer);
    INFO(text);
    CHECK(text.rfind("0\nwelcome\nown\n15\nsys\n1\n", 0) == 0);
    CHECK(text.find("00000000a00425fb\n") != std::string::npos);
    CHECK(text.find("exit 7\n13\nlo\nstopped 143\n") != std::string::npos);
    CHECK(text.find("unsupported") != std::string::npos);
    CHECK(text.find("/etc/subuid") != std::string::npos);
}

TEST_CASE("a kill while containers are made, run or removed leaves a whole store", "[overlay][container]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    for (const std::string& point : fault_point_names()) {
        if (point.rfind("run.", 0) != 0 && point.rfind("spawn.", 0) != 0 && point.rfind("remove.", 0) != 0 &&
            point.rfind("container.", 0) != 0) {
            continue;
        }
        INFO(point);
        const TempDir place;
        std::filesystem::path root;
        {
            const ContainerStore test(place.path());
            root = place.path() / "kept";
            std::filesystem::rename(test.path() / "store", root);
        }
        const pid_t child = ::fork();
        if (child == 0) {
            ::setenv("SURCOAT_FAULT", (point + "=kill").c_str(), 1);
            reread_fault_plan();
            try {
                Store store(StoreOptions{root});
                Containers containers(store);
                ContainerSpec fleeting = shell("true");
                fleeting.auto_remove = true;
                const auto image = store.catalogue().images().at(0);
                std::vector<NewContainer> wanted;
                for (const auto& spec : {shell("echo x > /x"), fleeting, shell("true")}) {
                    wanted.push_back({"", image.id, "busybox", image.layers, spec});
                }
                const auto ids = containers.create(std::move(wanted));
                containers.run_attached(ids[0]);
                containers.run_attached(ids[1]);
                containers.remove(ids[2], false);
            } catch (...) {}
            ::_exit(0);
        }
        CHECK(wait_for(child).signal == SIGKILL);
        Store store(StoreOptions{root});
        Containers containers(store);
        const auto whole = [&] {
            std::string problems;
            for (const auto& finding : check_store(store, {})) {
                if (finding.severity == Finding::Severity::error)
                    problems += finding.what + ": " + finding.problem + "\n";
            }
            return problems;
        };
        CHECK(whole() == "");
        for (const auto& row : containers.list()) {
            CHECK(row.state != "running");
            containers.remove(row.id, false);
        }
        collect_garbage(store, {});
        CHECK(whole() == "");
        CHECK(std::filesystem::is_empty(store.path("containers")));
    }
}
