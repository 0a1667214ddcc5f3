// A build that is killed or fails at any named moment leaves a whole store, and the next build goes on from
// there.
#include <catch2/catch.hpp>
#include <sstream>

#include "layers/base/fault.h"
#include "tests/layers/build/build_fixture.h"
#include "tests/layers/store/store_fixture.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

/// Six layers in four publications: two before a RUN each, one for COPY --from, one at the end.
build::BuildResult build_all(Builder& builder) {
    builder.context.file("f", "F");
    builder.context.file("d/g", "G");
    return builder.build(
        "FROM base AS one\nCOPY f /f\nRUN cat /f > /made\n"
        "FROM base\nWORKDIR /w\nCOPY d .\nRUN echo 1 > /a\nCOPY --from=one /made /made\n");
}

std::vector<std::string> visited_points() {
    const TempDir temp;
    const std::filesystem::path trace = temp.path() / "trace";
    const ExitStatus status = in_child([&] {
        ::setenv("TMPDIR", temp.path().c_str(), 1);  // what it leaves goes with the store
        Builder builder(temp.path() / "store", Durability::full);
        ::setenv("SURCOAT_FAULT_TRACE", trace.c_str(), 1);
        reread_fault_plan();
        build_all(builder);
    });
    REQUIRE(status.ok());
    std::vector<std::string> points;
    std::istringstream lines(read_file(trace));
    for (std::string line; std::getline(lines, line);) points.push_back(line);
    return points;
}

/// What is wrong after a build was stopped, and with the build that follows; "" if nothing.
std::string after(const std::filesystem::path& root, const std::vector<DiffId>& expected) {
    std::string report;
    Builder builder(root, Durability::full);
    report += builder.problems();
    const auto result = build_all(builder);
    if (result.image.layers != expected) report += "the layers are others\n";
    if (builder.content(result, "made") != "F")
        report += "/made holds " + builder.content(result, "made") + "\n";
    build_all(builder);
    if (!builder.workspaces.ran.empty()) report += "the second build runs " + builder.workspaces.log() + "\n";
    builder.let_go();
    collect_garbage(builder.store, {});
    report += fsck_all(builder.store);
    return report;
}

}  // namespace

TEST_CASE("a kill at any named moment of a build leaves a store in which the next one goes on",
          "[build][crash]") {
    Builder reference;
    const std::vector<DiffId> expected = build_all(reference).image.layers;
    const std::vector<std::string> points = visited_points();
    for (const std::string& name : fault_point_names()) {
        if (name.rfind("build.", 0) == 0) CHECK_THAT(points, Catch::VectorContains(name));
    }
    for (const std::string& point : points) {
        for (const unsigned nth : {1U, 2U, 3U}) {
            const TempDir temp;
            const ExitStatus status = in_child([&] {
                ::setenv("TMPDIR", temp.path().c_str(), 1);
                Builder builder(temp.path() / "store", Durability::full);
                ::setenv("SURCOAT_FAULT", fmt::format("{}:{}=kill", point, nth).c_str(), 1);
                reread_fault_plan();
                build_all(builder);
            });
            if (nth > 1 && status.ok()) break;  // not visited that often
            INFO(point << " visit " << nth);
            CHECK(status.signal == SIGKILL);
            CHECK(after(temp.path() / "store", expected) == "");
        }
    }
}

TEST_CASE("what was published before a kill is not run again", "[build][crash]") {
    const TempDir temp;
    const ExitStatus status = in_child([&] {
        ::setenv("TMPDIR", temp.path().c_str(), 1);  // what it leaves goes with the store
        Builder builder(temp.path() / "store", Durability::full);
        ::setenv("SURCOAT_FAULT", "build.after_publish:4=kill", 1);
        reread_fault_plan();
        build_all(builder);
    });
    CHECK(status.signal == SIGKILL);
    Builder builder(temp.path() / "store", Durability::full);
    build_all(builder);
    INFO(builder.seen.hits());
    CHECK(builder.seen.hits().rfind("hit hit hit hit", 0) == 0);
}

TEST_CASE("a full disk at any named moment of a build is its error, and nothing else is lost",
          "[build][crash]") {
    Builder reference;
    const std::vector<DiffId> expected = build_all(reference).image.layers;
    for (const std::string& point : visited_points()) {
        const TempDir temp;
        const ExitStatus status = in_child([&] {
            ::setenv("TMPDIR", temp.path().c_str(), 1);
            Builder builder(temp.path() / "store", Durability::full);
            ::setenv("SURCOAT_FAULT", (point + "=enospc").c_str(), 1);
            reread_fault_plan();
            try {
                build_all(builder);
            } catch (const Error& e) { ::_exit(e.code() == Errc::no_space ? 3 : 4); }
        });
        INFO(point);
        CHECK(status.code == 3);
        CHECK(after(temp.path() / "store", expected) == "");
    }
}
