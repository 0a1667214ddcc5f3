#include <sys/xattr.h>
#include <catch2/catch.hpp>

#include <set>

#include "tests/layers/build/build_fixture.h"
#include "tests/layers/recipe/vectors.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

void edit(ContextDirectory& context, const Json& change) {
    const std::string path = change.string_or("path");
    const std::string type = change.string_or("type", "file");
    const auto mode = static_cast<mode_t>(
        std::stoul(change.string_or("mode", type == "dir" ? "0755" : "0644"), nullptr, 8));
    if (change.bool_or("delete", false) || type == "symlink") context.remove(path);
    if (change.bool_or("delete", false)) return;
    if (type == "dir") {
        context.dir(path, mode);
    } else if (type == "symlink") {
        context.link(path, change.string_or("target"));
    } else {
        REQUIRE(type == "file");
        context.file(path, change.string_or("content"), mode,
                     change.int_or("mtime", ContextDirectory::kTime));
    }
}

/// What a recipe needs that this engine refuses; "" if nothing.
std::string refused(const std::string& recipe) {
    for (const char* flag : {"--mount", "--link", "ADD "}) {
        if (recipe.find(flag) != std::string::npos) return flag;
    }
    return {};
}

}  // namespace

TEST_CASE("every step that the reference takes from its cache is taken from ours",
          "[build][cache][vectors]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("cache"));
    std::size_t sequences = 0, better = 0;
    for (const auto& file : std::filesystem::directory_iterator(*recorded("cache"))) {
        const Json sequence = Json::parse(read_file(file.path()), file.path().string());
        const std::string name = sequence.string_or("name");
        // A new SOURCE_DATE_EPOCH gives other times in our layers; the reference's do not heed it.
        if (name == "source-date-epoch-change-run") continue;
        Builder builder;
        builder.images.images["busybox"] = builder.images.images["base"];
        std::string recipe;
        build::BuildOptions options;
        std::size_t number = 0;
        for (const Json& one : sequence["builds"].as_array()) {
            INFO(name << ", build " << ++number);
            if (one.contains("dockerfile")) recipe = one.string_or("dockerfile");
            if (!refused(recipe).empty()) {
                CHECK(builder.error(recipe, options).code() == Errc::unsupported);
                break;
            }
            if (one.contains("args")) {
                options.build_args.clear();
                for (const auto& [key, value] : one["args"].as_object())
                    options.build_args[key] = value.as_string();
            }
            if (one.contains("context")) {
                for (const Json& change : one["context"].as_array()) edit(builder.context, change);
            }
            if (one.contains("xattr_ctx")) {
                const auto& x = one["xattr_ctx"].as_array();
                (void)::lsetxattr((builder.context.path() / x.at(0).as_string()).c_str(),
                                  x.at(1).as_string().c_str(), x.at(2).as_string().data(),
                                  x.at(2).as_string().size(), 0);
            }
            const auto result = builder.build(recipe, options);
            std::vector<std::string> found;
            for (const build::StepReport& step : builder.seen.steps) {
                if (step.layer) found.push_back(step.cached ? "hit" : "run");
            }
            const Json::Array& expected = one["expect"].as_array();
            REQUIRE(found.size() == expected.size());
            for (std::size_t i = 0; i < expected.size(); ++i) {
                INFO(expected[i].string_or("step"));
                if (expected[i].string_or("result") == "hit") CHECK(found[i] == "hit");
                if (expected[i].string_or("result") == "run" && found[i] == "hit") ++better;
            }
            // A hit where the reference runs is right only if running gives the same.
            const std::string cached = builder.added(result);
            options.no_cache = true;
            const std::string fresh = builder.added(builder.build(recipe, options));
            options.no_cache = false;
            CHECK(cached == fresh);
            ++sequences;
        }
    }
    CHECK(sequences > 60);
    CAPTURE(better);
}
