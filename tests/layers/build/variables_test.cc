#include <catch2/catch.hpp>

#include "tests/layers/build/build_fixture.h"

using namespace surcoat;
using namespace surcoat::test;
using Catch::Contains;

TEST_CASE("what a step sees of ARG and ENV", "[build][variables]") {
    Builder builder;
    struct Case {
        std::string why, recipe;
        std::map<std::string, std::string> args;
        std::string seen;  ///< what $V is in the last RUN
    };
    const std::vector<Case> cases = {
        {"a default", "FROM base\nARG V=1\n", {}, "1"},
        {"the command line goes before the default", "FROM base\nARG V=1\n", {{"V", "2"}}, "2"},
        {"empty is a value", "FROM base\nARG V=1\n", {{"V", ""}}, ""},
        {"without ARG it is not there", "FROM base\n", {{"V", "2"}}, ""},
        {"without a value it stays unset", "FROM base\nARG V\n", {}, ""},
        {"only after its line", "FROM base\nENV W=$V\nARG V=1\nENV V=$W.\n", {}, "."},
        {"a global one is not seen in a stage", "ARG V=1\nFROM base\n", {}, ""},
        {"unless it is declared there", "ARG V=1\nFROM base\nARG V\n", {}, "1"},
        {"with the command line's value", "ARG V=1\nFROM base\nARG V\n", {{"V", "3"}}, "3"},
        {"a stage's default goes before the global one", "ARG V=1\nFROM base\nARG V=2\n", {}, "2"},
        {"ENV after ARG wins", "FROM base\nARG V=1\nENV V=e\n", {{"V", "2"}}, "e"},
        {"ARG after ENV wins for the steps", "FROM base\nENV V=e\nARG V=a\n", {}, "a"},
        {"ARG without a value leaves ENV alone", "FROM base\nENV V=e\nARG V\n", {}, "e"},
        {"a default may use an earlier one", "FROM base\nARG A=x\nARG V=$A-$A\n", {}, "x-x"},
        {"all of one instruction see the values from before",
         "FROM base\nENV V=old\nENV V=new W=$V\nENV V=$W\n",
         {},
         "old"},
        {"the base's environment", "FROM base\nENV V=$BASE\n", {}, "yes"},
        {"predefined ones are declared to be seen",
         "FROM base\nARG TARGETOS\nENV V=$TARGETOS\n",
         {},
         "linux"},
        {"predefined ones can be given",
         "FROM base\nARG TARGETARCH\nENV V=$TARGETARCH\n",
         {{"TARGETARCH", "odd"}},
         "odd"},
        {"predefined ones are not seen undeclared", "FROM base\nENV V=$TARGETOS\n", {}, ""},
    };
    for (const Case& c : cases) {
        INFO(c.why);
        const auto result = builder.build(c.recipe + "RUN echo $V > /seen\n", {.build_args = c.args});
        CHECK(builder.content(result, "seen") == c.seen + "\n");
        for (const std::string& item : result.image.config.env) CHECK(item != "V=a");
    }
}

TEST_CASE("FROM is expanded with global arguments only", "[build][variables]") {
    Builder builder;
    CHECK_NOTHROW(builder.build("ARG NAME=ba\nFROM ${NAME}se\nRUN true\n"));
    CHECK_NOTHROW(
        builder.build("ARG NAME=nothing\nFROM $NAME\nRUN true\n", {.build_args = {{"NAME", "base"}}}));
    CHECK_NOTHROW(builder.build("FROM base AS base2\nARG NAME=base2\nFROM base2\nRUN true\n"));
}

TEST_CASE("a build argument that nothing declares is worth a warning", "[build][variables]") {
    Builder builder;
    builder.build("FROM base\nARG VERSION=1\n", {.build_args = {{"VERSOIN", "2"}, {"VERSION", "3"}}});
    REQUIRE(builder.seen.warnings.size() == 1);
    CHECK(builder.seen.warnings[0] == "--build-arg VERSOIN is not used by any ARG (did you mean 'VERSION'?)");
    builder.build("FROM base\nRUN true\n", {.build_args = {{"http_proxy", "p"}, {"TARGETARCH", "x"}}});
    CHECK(builder.seen.warnings.empty());
}

TEST_CASE("proxies reach a command in both spellings and are no part of anything else",
          "[build][variables]") {
    Builder builder;
    const std::string recipe = "FROM base\nRUN echo $http_proxy$HTTP_PROXY > /o\n";
    const auto result = builder.build(recipe, {.build_args = {{"HTTP_PROXY", "p"}}});
    CHECK(builder.content(result, "o") == "pp\n");
    CHECK_THAT(result.image.history.back().created_by, !Contains("proxy=") && !Contains("PROXY="));
    CHECK(result.image.config.env == std::vector<std::string>{"PATH=/bin", "BASE=yes"});
    builder.build(recipe, {.build_args = {{"HTTP_PROXY", "q"}}});
    CHECK(builder.seen.hits() == "hit");
}

TEST_CASE("a command gets its shell, directory, user and network", "[build][variables]") {
    Builder builder;
    builder.build("FROM base\nWORKDIR /w\nUSER app\nSHELL [\"/bin/odd\", \"-x\"]\nRUN echo 1 > /a\n",
                  {.network = false});
    const build::Command& shell = builder.workspaces.ran.at(0);
    CHECK(shell.args == std::vector<std::string>{"/bin/odd", "-x", "echo 1 > /a"});
    CHECK(shell.working_dir == "/w");
    CHECK(shell.user == "app");
    CHECK_FALSE(shell.network);
    builder.build("FROM base\nRUN [\"/bin/echo\", \"$PATH\", \"true\"]\n");
    CHECK(builder.workspaces.ran.at(0).args == std::vector<std::string>{"/bin/echo", "$PATH", "true"});
    CHECK(builder.workspaces.ran.at(0).working_dir == "/");
    CHECK(builder.workspaces.ran.at(0).network);
}

TEST_CASE("a here-document is the shell's script, or a program of its own", "[build][variables]") {
    Builder builder;
    builder.on("echo 1\necho 2\n", [](FakeRoot&, const build::Command&) { return 0; });
    builder.build("FROM base\nRUN <<END\necho 1\necho 2\nEND\n");
    CHECK(builder.workspaces.ran.at(0).args == std::vector<std::string>{"/bin/sh", "-c", "echo 1\necho 2\n"});
    builder.on("/dev/pipes/END", [](FakeRoot&, const build::Command&) { return 0; });
    const std::string recipe = "FROM base\nRUN <<END\n#!/bin/odd\n1\nEND\n";
    builder.build(recipe);
    const build::Command& own = builder.workspaces.ran.at(0);
    CHECK(own.args == std::vector<std::string>{"/dev/pipes/END"});
    REQUIRE(own.files.size() == 1);
    CHECK(own.files[0].second == "#!/bin/odd\n1\n");
    builder.build(recipe);
    CHECK(builder.seen.hits() == "hit");
    builder.build("FROM base\nRUN <<END\n#!/bin/odd\n2\nEND\n");
    CHECK(builder.seen.hits() == "run");
}
