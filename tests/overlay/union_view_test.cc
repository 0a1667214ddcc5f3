#include "overlay/union_view.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "layers/diff.h"
#include "overlay/kernel_overlay.h"
#include "overlay/library_view.h"
#include "tests/suites/union_suite.h"
#include "tests/support/requirements.h"

namespace surcoat::overlay {
namespace {

using namespace surcoat::test;

std::unique_ptr<UnionView> open_kernel(UnionFixture& fixture, const UpperLayer& upper) {
    return open_view(*fixture.store, fixture.lowers, upper, {.backend = Backend::kernel});
}
std::unique_ptr<UnionView> open_library(UnionFixture& fixture, const UpperLayer& upper) {
    return open_view(*fixture.store, fixture.lowers, upper, {.backend = Backend::library});
}

Tree tree_of_upper(UnionFixture& fixture, const UpperLayer& upper) {
    Transaction transaction(*fixture.store, "test");
    return container_tree(*fixture.store, fixture.lowers, upper, [&](int fd, std::uint64_t size) {
        return transaction.add_object_from(fd, size);
    });
}

}  // namespace

TEST_CASE("the kernel backend shows the merge of an image's layers", "[overlay][union][kernel]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    check_union_reading(open_kernel);
}

TEST_CASE("the library backend shows the merge of an image's layers", "[overlay][union][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    check_union_reading(open_library);
}

TEST_CASE("the kernel backend changes nothing but the upper", "[overlay][union][kernel]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    check_union_changes(open_kernel);
}

TEST_CASE("the library backend changes nothing but the upper", "[overlay][union][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    check_union_changes(open_library);
}

TEST_CASE("an upper written by one backend is read and changed by the other", "[overlay][union]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const bool kernel_first = GENERATE(true, false);
    const auto first = kernel_first ? open_kernel : open_library;
    const auto second = kernel_first ? open_library : open_kernel;
    const auto upper = fixture.new_upper();
    std::string before;
    {
        const auto view = first(fixture, upper);
        view->set_mode("bin/tool", 0711);  // a lower file with two names: with the kernel, through the index
        view->remove("bin/tool", false);
        view->set_owner("hole", 3, 3);     // metadata only, with the kernel
        view->rename("hole", "dir/hole");
        view->rename("dir", "etc/dir");
        view->remove("opaque", true);
        view->make_directory("opaque", 0755);
        before = dump(*view);
    }
    CHECK(difference(before, dump(tree_of_upper(fixture, upper))).empty());
    std::string after;
    {
        const auto view = second(fixture, upper);
        CHECK(difference(before, dump(*view)).empty());
        put_content(*view, "etc/dir/hole", "start", false);
        CHECK(content_at(*view, "etc/dir/hole") == "start" + std::string(39'995, '\0') + "end");
        put_content(*view, "bin/alias", "again");
        view->rename("etc/dir/sub", "sub");
        view->remove("etc/dir", true);
        put_content(*view, "opaque/file", "x");
        after = dump(*view);
    }
    CHECK(difference(after, dump(*first(fixture, upper))).empty());
    CHECK(difference(after, dump(tree_of_upper(fixture, upper))).empty());
}

TEST_CASE("random changes have the same results and errors on both backends", "[overlay][union][property]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    const std::uint64_t seed = test_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    std::mt19937_64 random(seed);
    UnionFixture fixture;
    for (int round = 0; round < 12; ++round) {
        UpperLayer kernel_upper = fixture.new_upper();
        UpperLayer library_upper = fixture.new_upper();
        std::string log;
        // After each quarter the two uppers change places: what one backend wrote, the other goes on with.
        for (int quarter = 0; quarter < 4; ++quarter) {
            auto kernel = open_kernel(fixture, kernel_upper);
            auto library = open_library(fixture, library_upper);
            for (int step = 0; step < 12; ++step) {
                std::vector<std::string> paths;
                const std::function<void(const std::string&)> walk = [&](const std::string& at) {
                    for (const auto& entry : library->list(at)) {
                        const std::string path = at.empty() ? entry.name : at + "/" + entry.name;
                        paths.push_back(path);
                        if (entry.type == FileType::directory) walk(path);
                    }
                };
                walk("");
                if (paths.empty()) paths.emplace_back("a");
                const RandomChange change(random, paths);
                const int by_kernel = change.play(*kernel);
                const int by_library = change.play(*library);
                log += change.str() + " -> " + std::to_string(by_kernel) + " " + std::to_string(by_library) + "\n";
                INFO(log);
                REQUIRE(by_kernel == by_library);
                const std::string shown = dump(*kernel);
                const std::string differs = difference(shown, dump(*library));
                REQUIRE(differs.empty());
            }
            const std::string shown = dump(*kernel);
            kernel.reset();
            library.reset();
            INFO(log);
            REQUIRE(difference(shown, dump(tree_of_upper(fixture, kernel_upper))) == "");
            REQUIRE(difference(shown, dump(tree_of_upper(fixture, library_upper))) == "");
            std::swap(kernel_upper, library_upper);
        }
    }
}

TEST_CASE("frozen uppers lie between the image and the upper", "[overlay][union]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto old = fixture.new_upper();
    {
        const auto view = open_kernel(fixture, old);
        view->rename("dir", "moved");
        view->remove("etc/motd", false);
        put_content(*view, "added", "by the first\n");
        view->set_mode("hole", 0600);
        view->set_mode("/", 0711);
    }
    const auto frozen = old.upper;
    const auto upper = fixture.new_upper();
    LowerStack lowers = fixture.lowers;
    lowers.frozen_uppers = {frozen};
    for (const Backend backend : {Backend::kernel, Backend::library}) {
        const auto view = open_view(*fixture.store, lowers, upper, {.backend = backend});
        INFO(view->backend());
        CHECK(names_in(*view, "moved") == (backend == Backend::kernel ? "one sub three two " : "k one three two "));
        CHECK_FALSE(view->stat("etc/motd", false));
        CHECK(content_at(*view, "added") == "by the first\n");
        CHECK(content_at(*view, "hole").size() == 40'003);
        CHECK(view->stat("hole", false)->mode == 0600);
        CHECK(view->stat("/", false)->mode == 0711);
        put_content(*view, backend == Backend::kernel ? "moved/k" : "moved/l", "x");
        if (backend == Backend::kernel) view->rename("moved/sub", "k");
        CHECK(content_at(*view, "k/deep") == "deep\n");
    }
    Transaction transaction(*fixture.store, "test");
    const Tree tree = container_tree(*fixture.store, lowers, upper, [&](int fd, std::uint64_t size) {
        return transaction.add_object_from(fd, size);
    });
    const auto view = open_view(*fixture.store, lowers, upper, {.backend = Backend::library, .read_only = true});
    CHECK(difference(dump(*view), dump(tree)).empty());
}

TEST_CASE("a read-only view refuses every change, and goes beside a mounted one", "[overlay][union]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    const auto writer = open_kernel(fixture, upper);
    put_content(*writer, "etc/new", "seen\n");
    std::string why;
    const auto reader = open_view(*fixture.store, fixture.lowers, upper, {.read_only = true}, &why);
    CHECK(reader->backend() == "library");
    CHECK_THAT(why, Catch::Contains("mounted already"));
    CHECK(content_at(*reader, "etc/new") == "seen\n");
    CHECK(errno_of([&] { reader->remove("etc/new", false); }) == EROFS);
    CHECK(errno_of([&] { reader->open_write("etc/new", 0644, true); }) == EROFS);
    try {
        open_view(*fixture.store, fixture.lowers, upper, {});
        FAIL("one upper was mounted twice");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::conflict);
        CHECK_THAT(e.hint(), Catch::Contains("umount"));
    }
    const auto image = open_view(*fixture.store, fixture.lowers, std::nullopt, {.backend = Backend::kernel});
    CHECK(errno_of([&] { image->make_directory("x", 0755); }) == EROFS);
}

TEST_CASE("an empty chain is an empty root that can be written", "[overlay][union]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    for (const Backend backend : {Backend::kernel, Backend::library}) {
        const auto upper = fixture.new_upper();
        const auto view = open_view(*fixture.store, {}, upper, {.backend = backend});
        CHECK(view->list("/").empty());
        CHECK(view->stat("/", false)->mode == 0755);
        put_content(*view, "file", "x");
        CHECK(names_in(*view, "") == "file ");
    }
}

}  // namespace surcoat::overlay
