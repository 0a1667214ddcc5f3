#include <catch2/catch.hpp>

#include "tests/layers/build/build_fixture.h"

using namespace surcoat;
using namespace surcoat::test;
using Catch::Contains;

namespace {
using Words = std::vector<std::string>;
}

TEST_CASE("instructions that run nothing end up in the configuration", "[build][configuration]") {
    Builder builder;
    const auto result = builder.build(
        "FROM base\n"
        "MAINTAINER Some One\n"
        "ENV A=1 B=\"two words\"\n"
        "ENV PATH=/opt/bin:$PATH\n"
        "LABEL x=1 y=$A x=2\n"
        "ARG PORTS=\"81 82\"\n"
        "EXPOSE 80 53/udp $PORTS 8000-8001\n"
        "VOLUME /data [\"x\"]\n"
        "VOLUME [\"/b\", \"/a\"]\n"
        "USER $A:2\n"
        "STOPSIGNAL SIGUSR1\n"
        "HEALTHCHECK --interval=2s --retries=4 CMD test -e /x\n"
        "ENTRYPOINT [\"/run\", \"$A\"]\n"
        "CMD echo $A\n",
        {.labels = {{"y", "cli"}}});
    const ImageConfig& config = result.image.config;
    CHECK(result.image.author == "Some One");
    CHECK(config.env == Words{"PATH=/opt/bin:/bin", "BASE=yes", "A=1", "B=two words"});
    CHECK(config.labels == std::map<std::string, std::string>{{"x", "2"}, {"y", "cli"}});
    CHECK(config.exposed_ports == Words{"53/udp", "80/tcp", "8000/tcp", "8001/tcp", "81/tcp", "82/tcp"});
    CHECK(config.volumes == Words{"/a", "/b", "/data", "[x]"});
    CHECK(config.user == "1:2");
    CHECK(config.stop_signal == "SIGUSR1");
    REQUIRE(config.healthcheck);
    CHECK(config.healthcheck->test == Words{"CMD-SHELL", "test -e /x"});
    CHECK(config.healthcheck->interval_ns == 2'000'000'000);
    CHECK(config.healthcheck->retries == 4);
    CHECK(config.entrypoint == Words{"/run", "$A"});
    CHECK(config.cmd == Words{"/bin/sh", "-c", "echo $A"});
    CHECK(result.image.layers.size() == 1);
}

TEST_CASE("ENTRYPOINT forgets the command that came with the base, but not the recipe's own",
          "[build][configuration]") {
    Builder builder;
    CHECK_FALSE(builder.build("FROM base\nENTRYPOINT [\"/e\"]\n").image.config.cmd);
    CHECK(builder.build("FROM base\nCMD [\"c\"]\nENTRYPOINT [\"/e\"]\n").image.config.cmd == Words{"c"});
    CHECK_FALSE(builder.build("FROM base AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"/e\"]\n").image.config.cmd);
    CHECK(builder.build("FROM base\n").image.config.cmd == Words{"sh"});
    CHECK(builder.build("FROM base\nCMD\n").image.config.cmd == Words{"/bin/sh", "-c", ""});
    CHECK(builder.build("FROM base\nSHELL [\"/x\"]\nCMD a b\n").image.config.cmd == Words{"/x", "a b"});
}

TEST_CASE("WORKDIR makes the directory, for the user of that moment", "[build][configuration]") {
    Builder builder;
    struct Case {
        std::string recipe, directory, added;
    };
    const std::vector<Case> cases = {
        {"WORKDIR /a/b\n", "/a/b", "a d 0755 0:0\na/b d 0755 0:0\n"},
        {"WORKDIR a\nWORKDIR b/../c\n", "/a/c", "a d 0755 0:0\na/c d 0755 0:0\n"},
        {"WORKDIR /srv\n", "/srv", ""},
        {"USER app\nWORKDIR /home/app\n", "/home/app", "home d 0755 1000:1000\nhome/app d 0755 1000:1000\n"},
        {"USER odd\nWORKDIR /o\n", "/o", "o d 0755 7:50\n"},
        {"WORKDIR /to-srv/x\n", "/to-srv/x", "srv/x d 0755 0:0\n"},
        {"WORKDIR /to-nowhere\n", "/to-nowhere", "not d 0755 0:0\nnot/there d 0755 0:0\n"},
        {"ENV D=/e\nWORKDIR $D/$UNSET/f\n", "/e/f", "e d 0755 0:0\ne/f d 0755 0:0\n"},
    };
    for (const Case& c : cases) {
        INFO(c.recipe);
        const auto result = builder.build("FROM base\n" + c.recipe);
        CHECK(result.image.config.working_dir == c.directory);
        CHECK(builder.added(result) == c.added);
    }
    CHECK(builder.build("FROM base\nWORKDIR /\n").image.layers.size() == 1);
    CHECK(builder.build("FROM base\nWORKDIR /srv\n").image.layers.size() == 2);
    CHECK_THAT(builder.error("FROM base\nWORKDIR /etc/passwd/x\n").what(),
               Contains("Dockerfile:2:1: ") && Contains("'/etc/passwd' is a regular file"));
}

TEST_CASE("the history has one line for each instruction", "[build][configuration]") {
    Builder builder;
    builder.context.file("a", "a");
    const auto result = builder.build(
        "FROM base\nARG V=1\nENV X=2\nRUN echo $V > /v\nCOPY a \\\n  /a\nWORKDIR /\nWORKDIR /w\nRUN "
        "[\"true\"]\n");
    std::string text;
    for (const History& line : result.image.history)
        text += (line.empty_layer ? "- " : "+ ") + line.created_by + "\n";
    CHECK(text ==
          "+ base\n"
          "- ARG V=1\n"
          "- ENV X=2\n"
          "+ RUN |1 V=1 /bin/sh -c echo $V > /v\n"
          "+ COPY a   /a\n"
          "- WORKDIR /\n"
          "+ WORKDIR /w\n"
          "+ RUN |1 V=1 true\n");
    CHECK(result.image.created == "2020-01-02T03:04:05Z");
    CHECK(result.image.history.back().created == "2020-01-02T03:04:05Z");
    CHECK(result.steps == 7);
    std::size_t layers = 0;
    for (const History& line : result.image.history) layers += line.empty_layer ? 0 : 1;
    CHECK(layers == result.image.layers.size());
}

TEST_CASE("a failing command says its status, its place, and where its root is", "[build][errors]") {
    Builder builder;
    const std::string recipe = "FROM base\nRUN echo 1 > /a\nRUN exit 7\n";
    const Error error = builder.error(recipe);
    CHECK(error.code() == Errc::failed);
    CHECK_THAT(error.what(), Contains("Dockerfile:3:1: step 2 of 2 (RUN exit 7) failed") &&
                                 Contains("ended with exit status 7"));
    CHECK_THAT(error.hint(), Contains("surcoat start -ai debug-1"));
    CHECK(builder.workspaces.kept == std::vector<std::string>{"exit 7"});
    CHECK(builder.error(recipe, {.keep_failed = false}).hint().empty());

    builder.workspaces.keep_fails = true;
    CHECK_THAT(builder.error(recipe).what(), Contains("ended with exit status 7"));
    REQUIRE(builder.seen.warnings.size() == 1);
    CHECK_THAT(builder.seen.warnings[0], Contains("could not be kept") && Contains("the disk is full"));
}

TEST_CASE("a program that is not there fails the step", "[build][errors]") {
    Builder builder;
    const Error error = builder.error("FROM base\nRUN [\"maek\"]\n");
    CHECK(error.code() == Errc::not_found);
    CHECK_THAT(error.what(), Contains("Dockerfile:2:1: step 1 of 1 (RUN [\"maek\"]) failed") &&
                                 Contains("no program 'maek'"));
}
