#include "overlay/container_spec.h"

#include <signal.h>

#include <catch2/catch.hpp>

#include "layers/base/error.h"

using namespace surcoat;
using namespace surcoat::overlay;

TEST_CASE("a specification survives its JSON form", "[overlay][container]") {
    ContainerSpec spec;
    spec.args = {"sh", "-c", "echo \"\xc3\xa4\"\n"};
    spec.env = {"A=b", "C="};
    spec.working_dir = "/srv";
    spec.user = "amy:games";
    spec.hostname = "box";
    spec.tty = spec.open_stdin = spec.read_only = spec.no_new_privileges = spec.auto_remove = spec.scratch =
        true;
    spec.network = Network::none;
    spec.mounts = {{"/a", "/b", true}, {"/c", "/d", false}};
    spec.tmpfs = {"/run:size=1m"};
    spec.cap_add = {"NET_ADMIN"};
    spec.cap_drop = {"ALL"};
    spec.stop_signal = "SIGINT";
    spec.stop_timeout_seconds = 3;
    spec.runtime = "crun";
    spec.labels = {{"k", "v"}};
    spec.files = {{"/f", "content"}};
    const std::string text = spec.to_json();
    const ContainerSpec again = ContainerSpec::from_json(text);
    CHECK(again.to_json() == text);
    CHECK(again.args == spec.args);
    CHECK(again.mounts.size() == 2);
    CHECK(again.mounts[0].read_only);
    CHECK(again.network == Network::none);
    CHECK(again.stop_timeout_seconds == 3);
    CHECK(again.labels == spec.labels);
    CHECK(again.files == spec.files);

    const ContainerSpec empty = ContainerSpec::from_json(ContainerSpec{}.to_json());
    CHECK(empty.to_json() == "{\"v\":1,\"args\":[]}");
    CHECK(empty.stop_timeout_seconds == 10);
}

TEST_CASE("a specification of another version is refused", "[overlay][container]") {
    try {
        ContainerSpec::from_json("{\"v\":2,\"args\":[]}");
        FAIL("accepted");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::unsupported);
        CHECK(std::string(e.what()).find("version 2") != std::string::npos);
    }
    CHECK_THROWS_AS(ContainerSpec::from_json("{\"v\":1,\"network\":\"bridge\"}"), Error);
}

TEST_CASE("the command is put together as docker does", "[overlay][container]") {
    using Words = std::vector<std::string>;
    ImageConfig image;
    image.entrypoint = Words{"/entry", "-v"};
    image.cmd = Words{"serve"};
    image.env = {"PATH=/bin", "A=1"};
    image.user = "amy";
    image.working_dir = "/app";
    image.stop_signal = "SIGQUIT";
    const auto args = [&](const std::optional<Words>& entrypoint, const Words& command) {
        return spec_from_image(image, entrypoint, command, {}).args;
    };
    CHECK(args({}, {}) == Words{"/entry", "-v", "serve"});
    CHECK(args({}, {"check"}) == Words{"/entry", "-v", "check"});
    CHECK(args(Words{"sh"}, {}) == Words{"sh"});
    CHECK(args(Words{"sh"}, {"-c", "x"}) == Words{"sh", "-c", "x"});
    CHECK(args(Words{""}, {"ls"}) == Words{"ls"});
    const ContainerSpec spec = spec_from_image(image, {}, {}, {"A=2", "B=3"});
    CHECK(spec.env == Words{"PATH=/bin", "A=2", "B=3"});
    CHECK(spec.user == "amy");
    CHECK(spec.working_dir == "/app");
    CHECK(spec.stop_signal == "SIGQUIT");
}

TEST_CASE("signals have names and numbers", "[overlay][container]") {
    CHECK(parse_signal("SIGTERM") == 15);
    CHECK(parse_signal("term") == 15);
    CHECK(parse_signal("9") == 9);
    CHECK(parse_signal("RTMIN+3") == SIGRTMIN + 3);
    CHECK_THROWS_WITH(parse_signal("SIGTREM"), Catch::Contains("did you mean 'TERM'?"));
    CHECK_THROWS_WITH(parse_signal("0"), Catch::Contains("does not exist"));
}
