#include <catch2/catch.hpp>

#include "tests/layers/build/build_fixture.h"

using namespace surcoat;
using namespace surcoat::test;
using Catch::Contains;

TEST_CASE("only the stages that the target needs are built", "[build][stages]") {
    Builder builder;
    const std::string recipe =
        "FROM base AS one\nRUN echo 1 > /one\n"
        "FROM base AS unused\nRUN exit 1\n"
        "FROM base AS Two\nCOPY --from=one /one /from-one\nRUN echo 2 > /two\n"
        "FROM two\nRUN echo 3 > /three\n";
    struct Case {
        std::string target, ran;
    };
    const std::vector<Case> cases = {
        {"", "[echo 1 > /one][echo 2 > /two][echo 3 > /three]"},
        {"one", "[echo 1 > /one]"},
        {"ONE", "[echo 1 > /one]"},
        {"0", "[echo 1 > /one]"},
        {"two", "[echo 1 > /one][echo 2 > /two]"},
        {"3", "[echo 1 > /one][echo 2 > /two][echo 3 > /three]"},
    };
    for (const Case& c : cases) {
        INFO("target " << c.target);
        builder.build(recipe, {.target = c.target, .no_cache = true});
        CHECK(builder.workspaces.log() == c.ran);
        CHECK(builder.seen.steps.size() == builder.seen.steps.back().total);
    }
    CHECK_THAT(builder.error(recipe, {.target = "tow"}).what(),
               Contains("has no stage 'tow' (did you mean 'two'?)"));
    CHECK_THAT(builder.error(recipe, {.target = "4"}).what(), Contains("has no stage '4'"));
}

TEST_CASE("COPY --from takes from a stage by name or number, and from an image", "[build][stages]") {
    Builder builder;
    builder.images.images["other"] = builder.images.images["base"];
    const auto result = builder.build(
        "FROM base AS Make\nRUN echo made > /made && mkdir /d && echo in > /d/in\n"
        "FROM base\n"
        "COPY --from=make /made /by-name\n"
        "COPY --from=MAKE made /any-case\n"
        "COPY --from=0 /../made /by-number\n"
        "COPY --from=0 /d /d2\n"
        "COPY --from=other /srv/old.txt /image/\n");
    CHECK(builder.content(result, "by-name") == "made\n");
    CHECK(builder.content(result, "any-case") == "made\n");
    CHECK(builder.content(result, "by-number") == "made\n");
    CHECK(builder.content(result, "d2/in") == "in\n");
    CHECK(builder.content(result, "image/old.txt") == "old");
    CHECK(builder.content(result, "made") == "(absent)");
    CHECK(builder.problems() == "");
}

TEST_CASE("a stage that stands on another one inherits its files, configuration and arguments",
          "[build][stages]") {
    Builder builder;
    const auto result = builder.build(
        "FROM base AS first\nARG WORD=word\nENV SAID=$WORD\nWORKDIR /w\nUSER app\nLABEL a=1\nRUN echo 1 > "
        "file\n"
        "FROM first\nRUN echo $WORD > second\nLABEL b=$WORD\n");
    CHECK(builder.content(result, "w/file") == "1\n");
    CHECK(builder.content(result, "w/second") == "word\n");
    const ImageConfig& config = result.image.config;
    CHECK(config.working_dir == "/w");
    CHECK(config.user == "app");
    CHECK(config.labels == std::map<std::string, std::string>{{"a", "1"}, {"b", "word"}});
    CHECK(config.env == std::vector<std::string>{"PATH=/bin", "BASE=yes", "SAID=word"});
    CHECK(builder.workspaces.ran.back().user == "app");
}

TEST_CASE("an image is looked for before the first step runs, each once", "[build][stages]") {
    Builder builder;
    const Error error = builder.error("FROM base\nRUN echo 1 > /a\nFROM bsae\nCOPY --from=0 /a /a\n");
    CHECK(error.code() == Errc::not_found);
    CHECK_THAT(error.what(), Contains("Dockerfile:3:6: ") &&
                                 Contains("no image 'bsae' in the store (did you mean 'base'?)") &&
                                 Contains("^~~~"));
    CHECK_THAT(error.hint(), Contains("surcoat import"));
    CHECK(builder.workspaces.ran.empty());

    builder.images.asked.clear();
    builder.build(
        "FROM base AS a\nRUN true\nFROM base\nCOPY --from=a /srv /srv2\nCOPY --from=base /srv /srv3\n");
    CHECK(builder.images.asked == std::vector<std::string>{"base"});
}

TEST_CASE("what a recipe may not refer to is an error with its place", "[build][stages]") {
    Builder builder;
    builder.context.file("a", "a");
    struct Case {
        std::string recipe, message;
        Errc code;
    };
    const std::vector<Case> cases = {
        {"FROM base AS a\nCOPY --from=later /a /\nFROM base AS later\nFROM a\n",
         "Dockerfile:2:6: stage 'later' is not finished here: it begins at line 3", Errc::invalid},
        {"FROM base AS me\nCOPY --from=me /a /\n", "Dockerfile:2:6: stage 'me' is not finished here",
         Errc::invalid},
        {"FROM base\nCOPY --from=7 /a /\n",
         "Dockerfile:2:6: --from=7 names stage 7, but only stages before this one (0)", Errc::invalid},
        {"FROM base AS build\nRUN true\nFROM base\nCOPY --from=biuld /a /\n",
         "Dockerfile:4:6: there is no earlier stage, and no image 'biuld' in the store (did you mean "
         "'build'?)",
         Errc::not_found},
        {"ARG IMAGE\nFROM $IMAGE\n", "Dockerfile:2:6: the base name '$IMAGE' is empty after expansion",
         Errc::invalid},
        {"FROM base\nRUNN true\n", "Dockerfile:2:1: unknown instruction", Errc::invalid},
        {"FROM base\nCOPY --chwon=1 a /\n", "Dockerfile:2:6: ", Errc::invalid},
        {"FROM base\nADD a /\n", "Dockerfile:2:1: ADD is not supported by this version", Errc::unsupported},
        {"FROM base\nONBUILD RUN true\n", "Dockerfile:2:1: ONBUILD is not supported by this version",
         Errc::unsupported},
        {"FROM base\nRUN --mount=type=cache,target=/c true\n", "RUN --mount is not supported by this version",
         Errc::unsupported},
        {"FROM base\nCOPY --link a /\n", "COPY --link is not supported by this version", Errc::unsupported},
        {"FROM base\nCOPY --parents a /\n", "COPY --parents is not supported by this version",
         Errc::unsupported},
        {"FROM base\nCOPY --exclude=b a /\n", "COPY --exclude is not supported by this version",
         Errc::unsupported},
        {"FROM base\nCOPY <<x /\nx\n", "COPY of a here-document is not supported by this version",
         Errc::unsupported},
        {"FROM base\nRUN\n", "Dockerfile:2:1: RUN has no command", Errc::invalid},
        {"FROM base\nRUN []\n", "Dockerfile:2:1: RUN has no command", Errc::invalid},
        {"FROM base\nENV A=${B:?unset}\n", "Dockerfile:2:7: variable 'B' is required: unset", Errc::invalid},
        {"FROM base\nEXPOSE 80/xyz\n", "Dockerfile:2:8: ", Errc::invalid},
        {"FROM base\nSTOPSIGNAL SIGTREM\n",
         "Dockerfile:2:12: unknown signal 'SIGTREM' (did you mean 'TERM'?)", Errc::invalid},
    };
    for (const Case& c : cases) {
        INFO(c.recipe);
        const Error error = builder.error(c.recipe);
        CHECK_THAT(error.what(), Contains(c.message));
        CHECK(error.code() == c.code);
        CHECK(builder.workspaces.ran.empty());
    }
}

TEST_CASE("an image with ONBUILD triggers is refused, not built without them", "[build][stages]") {
    Builder builder;
    builder.images.images["base"].config.on_build = {"COPY . /app", "RUN make"};
    const Error error = builder.error("FROM base\nRUN true\n");
    CHECK(error.code() == Errc::unsupported);
    CHECK_THAT(error.what(), Contains("Dockerfile:1:6: ") && Contains("COPY . /app; RUN make"));
    CHECK_FALSE(error.hint().empty());
    // Copying from such an image runs nothing.
    builder.images.images["plain"] = builder.images.images["base"];
    builder.images.images["plain"].config.on_build.clear();
    CHECK_NOTHROW(builder.build("FROM plain\nCOPY --from=base /srv /s\n"));
}

TEST_CASE("scratch is an empty root with nothing but a PATH", "[build][stages]") {
    Builder builder;
    builder.context.file("a", "a");
    const auto result = builder.build("FROM scratch\nCOPY a /\n");
    CHECK(result.image.layers.size() == 1);
    CHECK(builder.tree(result)->node_count() == 1);
    CHECK(result.image.config.env ==
          std::vector<std::string>{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"});
    CHECK(result.image.created == "1970-01-01T00:00:00Z");
    CHECK(builder.images.asked.empty());
}
