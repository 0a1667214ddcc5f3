#include "overlay/bundle.h"

#include <signal.h>

#include <algorithm>

#include "layers/base/json.h"
#include "tests/overlay/container_fixture.h"

using namespace surcoat;
using namespace surcoat::overlay;
using namespace surcoat::test;

TEST_CASE("a bundle's configuration says what our sandbox does", "[overlay][bundle]") {
    const TempDir directory;
    make_directories(directory.path() / "rootfs");
    const UniqueFd root = open_file(directory.path() / "rootfs", O_RDONLY | O_DIRECTORY);
    ::mkdirat(root.get(), "etc", 0755);
    put_file(root.get(), "etc/passwd", "amy:x:0:0::/home/amy:\n");
    ContainerSpec spec;
    spec.args = {"serve", "-x"};
    spec.env = {"A=b"};
    spec.user = "amy";
    spec.hostname = "box";
    spec.network = Network::none;
    spec.read_only = true;
    spec.tmpfs = {"/run:size=1m"};
    spec.mounts = {{"/srv", "/data", true}};
    spec.files = {{"/script", "x"}};
    spec.labels = {{"k", "v"}};
    const Json config =
        Json::parse(bundle_config(spec, "0123456789abcdef", directory.path() / "rootfs"), "bundle");
    CHECK(config.string_or("ociVersion") == "1.0.2");
    CHECK(config.string_or("hostname") == "box");
    CHECK(config["root"].bool_or("readonly", false));
    const Json& process = config["process"];
    CHECK(process.strings("args") == spec.args);
    CHECK(process["user"].int_or("uid", -1) == 0);
    const auto env = process.strings("env");
    CHECK(std::find(env.begin(), env.end(), "HOME=/home/amy") != env.end());
    CHECK(std::find(env.begin(), env.end(), "A=b") != env.end());
    CHECK(process["capabilities"].strings("bounding").size() <= 14);
    CHECK_FALSE(process.contains("rlimits"));
    std::vector<std::string> targets;
    for (const Json& mount : config["mounts"].as_array()) targets.push_back(mount.string_or("destination"));
    for (const char* target : {"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/etc/hosts",
                               "/etc/hostname", "/etc/resolv.conf", "/run", "/data", "/script"}) {
        CHECK(std::find(targets.begin(), targets.end(), target) != targets.end());
    }
    CHECK(config["linux"]["namespaces"].size() == 5);
    CHECK(config["linux"]["seccomp"].string_or("defaultAction") == "SCMP_ACT_ALLOW");
    CHECK(config["annotations"].string_or("k") == "v");
    spec.user = "eve";
    CHECK_THROWS_WITH(bundle_config(spec, "x", directory.path() / "rootfs"), Catch::Contains("'eve'"));
}

TEST_CASE("crun and runc run the same container", "[overlay][bundle]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    for (const char* runtime : {"crun", "runc"}) {
        SURCOAT_REQUIRE_OR_SKIP(cannot_find(runtime));
        INFO(runtime);
        ContainerStore test;
        Containers containers(test.store());
        const auto run = [&](ContainerSpec spec, std::string* output = nullptr) {
            spec.runtime = runtime;
            const std::string id = test.create(spec);
            ExitStatus status;
            const std::string text = captured([&] { status = containers.run_attached(id); });
            if (output != nullptr) *output = text;
            CHECK(containers.get(id).exit_code == status.shell_code());
            CHECK_FALSE(std::filesystem::exists(test.store().container_directory(id) / "bundle"));
            return status;
        };
        std::string output;
        CHECK(run(shell("true")).ok());
        CHECK(run(shell("exit 3")).code == 3);
        // Not process 1 itself, which a signal from inside cannot kill.
        CHECK(run(shell("sh -c 'kill -9 $$'; exit $?")).shell_code() == 137);
        ContainerSpec spec = shell(
            "cat /etc/motd; hostname; id -u; pwd; grep ^Seccomp: /proc/self/status | tr -d '\\t'; cat "
            "/given; ls /sys/class/net");
        spec.hostname = "box";
        spec.user = "amy";
        spec.working_dir = "/tmp";
        spec.network = Network::none;
        spec.files = {{"/given", "a file\n"}};
        CHECK(run(spec, &output).ok());
        CHECK(output == "welcome\nbox\n1000\n/tmp\nSeccomp:2\na file\nlo\n");
        spec = ContainerSpec{};
        spec.args = {"nosuch"};
        spec.runtime = runtime;
        try {
            containers.run_attached(test.create(spec));
            FAIL("it ran");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::not_found);
            CHECK(std::string(e.what()).find(runtime) != std::string::npos);
        }

        // Detached: entered, and ended with its monitor.
        spec = shell("echo up; sleep 1000; true");
        spec.runtime = runtime;
        test.create(spec, "d");
        containers.start_detached("d");
        const ContainerRow row = containers.get("d");
        CHECK(captured([&] {
                  containers.exec(
                      "d",
                      {{"sh", "-c", "cat /etc/motd; tr '\\0' ' ' < /proc/1/cmdline"}, {}, "", "", false});
              }) == "welcome\nsh -c echo up; sleep 1000; true ");
        ::kill(row.monitor->pid, SIGKILL);
        CHECK(containers.wait("d") == 137);
        while (row.init->alive()) ::usleep(1000);
        containers.start_detached("d");
        containers.stop("d", std::chrono::seconds(0));
        CHECK(containers.get("d").exit_code == 137);
    }
    ContainerStore test;
    ContainerSpec spec = shell("true");
    spec.runtime = "nosuchruntime";
    CHECK_THROWS_WITH(Containers(test.store()).run_attached(test.create(spec)),
                      Catch::Contains("no runtime 'nosuchruntime'"));
}
