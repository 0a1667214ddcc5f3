#include <sys/stat.h>
#include <catch2/catch.hpp>

#include "tests/layers/build/build_fixture.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

const char* const kRecipe =
    "FROM base AS make\nCOPY . /src\nRUN cat /src/b/two > /made\nRUN mkdir /out && echo 3 > /out/three\n"
    "FROM base\nWORKDIR /w/x\nCOPY --chown=app b .\nCOPY --from=make /out /made /o/\nRUN echo $BASE > "
    "/etc/new\nRUN rm /srv/old.txt\n";

std::vector<std::string> layers_of(const build::BuildResult& result) {
    std::vector<std::string> text;
    for (const DiffId& layer : result.image.layers) text.push_back(layer.str());
    return text;
}

}  // namespace

TEST_CASE("the same recipe, context and base give the same layers in every store", "[build][determinism]") {
    std::vector<std::string> first;
    for (int run = 0; run < 3; ++run) {
        const mode_t old_mask = ::umask(run == 1 ? 0077 : 0022);
        Builder builder;
        // Made in another order, with other times of directories: neither is the recipe's business.
        std::vector<std::pair<std::string, std::string>> files = {
            {"a", "1"}, {"b/two", "2"}, {"b/c/three", "3"}, {"b/z", "4"}};
        if (run == 2) std::reverse(files.begin(), files.end());
        for (const auto& [name, text] : files) builder.context.file(name, text);
        for (const char* name : {"b", "b/c"}) {
            builder.context.dir(name, 0755);
            builder.context.touch(name, 1'000'000'000 + run);
        }
        builder.context.touch(".", 2'000'000'000 + run);
        const auto result = builder.build(kRecipe);
        ::umask(old_mask);
        if (run == 0) first = layers_of(result);
        CHECK(layers_of(result) == first);
        CHECK(layers_of(builder.build(kRecipe, {.no_cache = true})) == first);
    }
}

TEST_CASE("nothing in a layer tells when it was built", "[build][determinism]") {
    Builder builder;
    builder.context.file("old", "1", 0644, 1'111'111'111);
    const auto result = builder.build(
        "FROM base\nCOPY old /d/\nRUN echo 1 > /etc/new\nRUN mkdir /e\nRUN echo 2 > /srv/old.txt\n");
    const auto tree = builder.tree(result);
    const Timestamp made{*parse_rfc3339("2020-01-02T03:04:05Z"), 0};
    for (const char* path : {"d", "etc/new", "e", "srv/old.txt"}) {
        INFO(path);
        CHECK(tree->find(path)->inode->mtime == made);
    }
    CHECK(tree->find("d/old")->inode->mtime == Timestamp{1'111'111'111, 0});
    CHECK(tree->find("bin/sh")->inode->mtime == Timestamp{1'600'000'000, 0});
}

TEST_CASE("SOURCE_DATE_EPOCH is the time of everything that would be younger", "[build][determinism]") {
    Builder builder;
    builder.context.file("old", "1", 0644, 500'000'000);
    builder.context.file("young", "1", 0644, 1'900'000'000);
    const auto result =
        builder.build("FROM base\nCOPY old young /d/\nRUN echo 1 > /new\n", {.source_date = 1'000'000'000});
    const auto tree = builder.tree(result);
    const auto seconds = [&](const char* path) { return tree->find(path)->inode->mtime.seconds; };
    CHECK(seconds("d/old") == 500'000'000);
    CHECK(seconds("d/young") == 1'000'000'000);
    CHECK(seconds("d") == 1'000'000'000);
    CHECK(seconds("new") == 1'000'000'000);
    CHECK(result.image.created == rfc3339(1'000'000'000));
    CHECK(result.image.history.back().created == rfc3339(1'000'000'000));
    builder.build("FROM base\nCOPY old young /d/\nRUN echo 1 > /new\n", {.source_date = 1'000'000'000});
    CHECK(builder.seen.hits() == "hit hit");
}

TEST_CASE("a command that changes nothing but a directory's time makes an empty layer",
          "[build][determinism]") {
    Builder builder;
    builder.on("touch /etc", [](FakeRoot& root, const build::Command&) {
        Inode inode = *root.tree.find("etc")->inode;
        inode.mtime = {std::time(nullptr), 1};
        root.tree.put("etc", std::make_shared<const Inode>(inode));
        return 0;
    });
    const auto result = builder.build("FROM base\nRUN touch /etc\n");
    REQUIRE(result.image.layers.size() == 2);
    CHECK(builder.store.catalogue().layer(result.image.layers[1])->entries == 0);
}
