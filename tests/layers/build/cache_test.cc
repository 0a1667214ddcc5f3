#include <catch2/catch.hpp>

#include "layers/base/json.h"
#include "tests/layers/build/build_fixture.h"

using namespace surcoat;
using namespace surcoat::test;
using Catch::Contains;

TEST_CASE("nothing runs in the second build, and the image is the same", "[build][cache]") {
    Builder builder;
    builder.context.file("src/a.c", "int a;");
    const std::string recipe =
        "FROM base AS make\nWORKDIR /w\nCOPY src .\nRUN cat a.c > /made\n"
        "FROM base\nENV X=1\nCOPY --from=make /made /made\nCOPY src /src\nRUN echo $X > /x\nCMD [\"x\"]\n";
    const auto first = builder.build(recipe);
    CHECK(builder.seen.hits() == "run run run run run run");
    CHECK(first.cached_steps == 2);  // ENV and CMD
    const auto second = builder.build(recipe);
    CHECK(builder.seen.hits() == "hit hit hit hit hit hit");
    CHECK(builder.workspaces.ran.empty());
    CHECK(second.cached_steps == second.steps);
    CHECK(second.new_layer_bytes == 0);
    CHECK(second.image == first.image);
    const auto third = builder.build(recipe, {.no_cache = true});
    CHECK(builder.seen.hits() == "run run run run run run");
    CHECK(third.image == first.image);
    CHECK(builder.problems() == "");
}

TEST_CASE("what of the context lets a COPY run again", "[build][cache]") {
    struct Case {
        std::string why;
        std::function<void(ContextDirectory&)> change;
        std::string hits;  ///< of COPY src, COPY a file of it, RUN
    };
    const std::vector<Case> cases = {
        {"nothing", [](ContextDirectory&) {}, "hit hit hit"},
        {"times",
         [](ContextDirectory& c) {
             c.touch("src/one", 1);
             c.touch("src", 5);
         },
         "hit hit hit"},
        {"another content of the same size and time", [](ContextDirectory& c) { c.file("src/one", "2"); },
         "run run run"},
        {"the same content written again", [](ContextDirectory& c) { c.file("src/one", "1"); },
         "hit hit hit"},
        {"a mode", [](ContextDirectory& c) { c.file("src/one", "1", 0755); }, "run run run"},
        {"a directory's mode", [](ContextDirectory& c) { c.dir("src/sub", 0700); }, "run run run"},
        {"a symlink's target",
         [](ContextDirectory& c) {
             c.remove("src/link");
             c.link("src/link", "two");
         },
         "run run run"},
        {"a file more", [](ContextDirectory& c) { c.file("src/three", ""); }, "run run run"},
        {"an empty directory more", [](ContextDirectory& c) { c.dir("src/more"); }, "run run run"},
        {"a file less", [](ContextDirectory& c) { c.remove("src/two"); }, "run run run"},
        {"a file that is not selected", [](ContextDirectory& c) { c.file("other", "x"); }, "hit hit hit"},
        {"a file that is ignored", [](ContextDirectory& c) { c.file("src/x.tmp", "x"); }, "hit hit hit"},
        {"a file becomes a directory",
         [](ContextDirectory& c) {
             c.remove("src/two");
             c.dir("src/two");
         },
         "run run run"},
        {"hardlinks become two files",
         [](ContextDirectory& c) {
             c.remove("src/two");
             c.file("src/two", "T");
         },
         "run run run"},
    };
    for (const Case& one : cases) {
        INFO(one.why);
        Builder builder;
        ContextDirectory& context = builder.context;
        context.file(".dockerignore", "**/*.tmp\n");
        context.file("src/one", "1");
        context.file("src/two", "T");
        context.hardlink("src/also-two", "src/two");
        context.dir("src/sub");
        context.link("src/link", "one");
        const std::string recipe = "FROM base\nCOPY src /src\nCOPY src/one /one\nRUN echo x > /y\n";
        builder.build(recipe);
        one.change(context);
        const auto cached = builder.build(recipe);
        CHECK(builder.seen.hits() == one.hits);
        // What the cache gives is what a build without it gives, times aside.
        const std::string with = builder.added(cached);
        CHECK(with == builder.added(builder.build(recipe, {.no_cache = true})));
    }
}

TEST_CASE("what of a recipe lets its steps run again", "[build][cache]") {
    struct Case {
        std::string why, before, after, hits;
    };
    const std::vector<Case> cases = {
        {"a comment", "RUN echo 1 > /a\n", "# new\nRUN \\\n # inside\n echo 1 > /a\n", "hit"},
        {"a comment inside", "RUN echo 1 \\\n > /a\n", "RUN echo 1 \\\n# inside\n > /a\n", "hit"},
        {"letter case", "RUN echo 1 > /a\nCOPY f /\n", "run echo 1 > /a\ncopy f /\n", "hit hit"},
        {"blanks of a command", "RUN echo 1 > /a\n", "RUN echo  1 > /a\n", "run"},
        {"the same command in the other form", "RUN echo 1 > /a\n",
         "RUN [\"/bin/sh\", \"-c\", \"echo 1 > /a\"]\n", "hit"},
        {"configuration before it", "RUN echo 1 > /a\n",
         "LABEL a=b\nEXPOSE 80\nCMD x\nVOLUME /v\nRUN echo 1 > /a\n", "hit"},
        {"an environment variable", "ENV A=1\nCOPY f /\nRUN echo 1 > /a\n",
         "ENV A=2\nCOPY f /\nRUN echo 1 > /a\n", "hit run"},
        {"an argument", "ARG A=1\nCOPY f /\nRUN echo 1 > /a\n", "ARG A=2\nCOPY f /\nRUN echo 1 > /a\n",
         "hit run"},
        {"an argument that ENV hides", "ARG A=1\nENV A=x\nRUN echo 1 > /a\n",
         "ARG A=2\nENV A=x\nRUN echo 1 > /a\n", "hit"},
        {"an argument that comes later", "RUN echo 1 > /a\nARG A=1\n", "RUN echo 1 > /a\nARG A=2\n", "hit"},
        {"the user", "RUN echo 1 > /a\n", "USER app\nRUN echo 1 > /a\n", "run"},
        {"the shell", "RUN echo 1 > /a\n", "SHELL [\"/bin/bash\", \"-c\"]\nRUN echo 1 > /a\n", "run"},
        {"the directory", "WORKDIR /srv\nRUN echo 1 > /a\n", "WORKDIR /\nRUN echo 1 > /a\n", "run"},
        {"the destination", "COPY f /x\n", "COPY f /y\n", "run"},
        {"the same destination in other words", "COPY f /x/\n", "WORKDIR /\nCOPY f /x/\n", "hit"},
        {"--chown in other words", "COPY --chown=app f /x\n", "COPY --chown=1000:1000 f /x\n", "hit"},
        {"--chown", "COPY --chown=app f /x\n", "COPY --chown=1000:0 f /x\n", "run"},
        {"--chmod", "COPY --chmod=755 f /x\n", "COPY --chmod=700 f /x\n", "run"},
        {"a stage's name", "COPY f /x\n",
         "COPY f /x\nFROM base AS unused\nRUN exit 1\nFROM base AS last\nCOPY f /x\n", "hit"},
    };
    for (const Case& c : cases) {
        INFO(c.why);
        Builder builder;
        builder.context.file("f", "F");
        builder.build("FROM base\n" + c.before);
        builder.build("FROM base\n" + c.after);
        CHECK(builder.seen.hits() == c.hits);
    }
}

TEST_CASE("a step that ran again and made the same layer lets what follows be taken from the cache",
          "[build][cache]") {
    Builder builder;
    builder.context.file("version", "1");
    const std::string recipe = "FROM base\nCOPY version /tmp-version\nRUN rm /tmp-version\nRUN echo 1 > /a\n";
    builder.build(recipe);
    builder.context.file("version", "2");
    builder.build(recipe);
    CHECK(builder.seen.hits() == "run run run");  // the layers below differ

    const std::string staged =
        "FROM base AS make\nCOPY version /v\nRUN echo constant > /out\nFROM base\nCOPY --from=make /out "
        "/\nRUN echo 2 > /b\n";
    builder.build(staged);
    builder.context.file("version", "3");
    builder.build(staged);
    CHECK(builder.seen.hits() == "run run hit hit");

    const std::string environment = "FROM base\nARG V\nRUN echo 1 > /a\nARG V=\nENV V=\nRUN echo 2 > /b\n";
    const auto first = builder.build(environment, {.build_args = {{"V", "1"}}});
    const auto second = builder.build(environment, {.build_args = {{"V", "2"}}});
    CHECK(builder.seen.hits() == "run hit");
    CHECK(second.image.layers == first.image.layers);
}

TEST_CASE("a build that fails keeps the steps that were done", "[build][cache]") {
    Builder builder;
    builder.context.file("f", "F");
    const std::string begin = "FROM base\nRUN echo 1 > /a\nCOPY f /f\nWORKDIR /w\n";
    CHECK(builder.error(begin + "RUN exit 1\n").code() == Errc::failed);
    builder.build(begin + "RUN echo 2 > /b\n");
    CHECK(builder.seen.hits() == "hit hit hit run");
    // Also when the failing step is one that had published nothing before it.
    CHECK(builder.error("FROM base\nCOPY f /g\nCOPY gone /h\n").code() == Errc::not_found);
    builder.build("FROM base\nCOPY f /g\n");
    CHECK(builder.seen.hits() == "hit");
    CHECK(builder.problems() == "");
}

TEST_CASE("a step whose layer was collected runs again", "[build][cache]") {
    Builder builder;
    builder.build("FROM base\nRUN echo 1 > /a\n");
    builder.let_go();
    collect_garbage(builder.store, {});
    builder.build("FROM base\nRUN echo 1 > /a\n");
    CHECK(builder.seen.hits() == "run");
    builder.let_go();
    collect_garbage(builder.store, {.keep_cache = true});
    builder.build("FROM base\nRUN echo 1 > /a\n");
    CHECK(builder.seen.hits() == "hit");
    CHECK(builder.problems() == "");
}

TEST_CASE("a gc in the middle of a build takes nothing that the build needs", "[build][cache]") {
    Builder builder;
    builder.context.file("f", "F");
    const std::string recipe =
        "FROM base AS one\nCOPY f /f\nRUN echo 1 > /a\nFROM base\nCOPY --from=one /a /a\nRUN collect\nRUN "
        "cat /a > /b\n";
    builder.on("collect", [&](FakeRoot& root, const build::Command&) {
        Store second(StoreOptions{.root = builder.store.root()});
        collect_garbage(second, {});
        root.write("collected", "yes");
        return 0;
    });
    for (int i = 0; i < 2; ++i) {
        const auto result = builder.build(recipe);
        CHECK(builder.content(result, "b") == "1\n");
    }
    CHECK(builder.problems() == "");
}

TEST_CASE("the parts of a key are kept, so that a miss can be explained", "[build][cache]") {
    Builder builder;
    builder.build("FROM base\nENV A=1\nRUN echo 1 > /a\n");
    const auto rows = builder.store.catalogue().cache_rows();
    REQUIRE(rows.size() == 1);
    const Json parts = Json::parse(rows[0].parts_json, "parts");
    CHECK(parts.string_or("instruction") == "RUN");
    CHECK(parts.strings("args") == std::vector<std::string>{"/bin/sh", "-c", "echo 1 > /a"});
    CHECK(parts.strings("env") == std::vector<std::string>{"PATH=/bin", "BASE=yes", "A=1"});
    CHECK(rows[0].layer.has_value());
}
