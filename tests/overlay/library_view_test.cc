#include "overlay/library_view.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "layers/base/root_dir.h"
#include "tests/suites/union_suite.h"
#include "tests/support/requirements.h"

namespace surcoat::overlay {
namespace {

using namespace surcoat::test;

std::unique_ptr<UnionView> open_library(UnionFixture& fixture, const UpperLayer& upper) {
    return open_library_view(*fixture.store, fixture.lowers, upper, false);
}

std::optional<std::string> mark(const std::filesystem::path& file, const char* name) {
    const UniqueFd directory = open_file(file.parent_path(), O_RDONLY | O_DIRECTORY);
    return read_xattr_at(directory.get(), file.filename(), (std::string("trusted.overlay.") + name).c_str());
}
bool is_whiteout(const std::filesystem::path& file) {
    const auto st = lstat_path(file);
    return st && is_overlay_whiteout(*st);
}

}  // namespace

TEST_CASE("the library writes what overlayfs would write", "[overlay][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    const auto view = open_library(fixture, upper);

    view->remove("etc/motd", false);
    CHECK(is_whiteout(upper.upper / "etc/motd"));
    view->remove("opaque", true);
    CHECK(is_whiteout(upper.upper / "opaque"));
    view->make_directory("opaque", 0755);
    CHECK(mark(upper.upper / "opaque", "opaque") == "y");
    view->rename("dir", "etc/renamed");
    CHECK(mark(upper.upper / "etc/renamed", "redirect") == "/dir");
    CHECK(is_whiteout(upper.upper / "dir"));

    // What has nothing below it leaves nothing behind.
    put_content(*view, "fresh", "x");
    view->remove("fresh", false);
    CHECK_FALSE(lstat_path(upper.upper / "fresh"));
    view->make_directory("new", 0755);
    put_content(*view, "new/file", "x");
    view->rename("new", "newer");
    view->remove("newer/file", false);
    CHECK_FALSE(lstat_path(upper.upper / "newer/file"));
    CHECK_FALSE(mark(upper.upper / "newer", "opaque"));

    // Nothing is left in the work directory, and reading copies nothing up.
    const UniqueFd work = open_file(upper.work / "library", O_RDONLY | O_DIRECTORY);
    CHECK(list_directory(work.get()).empty());
    content_at(*view, "hole");
    view->list("links");
    CHECK_FALSE(lstat_path(upper.upper / "hole"));
    CHECK_FALSE(lstat_path(upper.upper / "links"));
}

TEST_CASE("copying up changes no time, neither the file's nor its directories'", "[overlay][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    const auto view = open_library(fixture, upper);
    view->set_mode("dir/one", 0600);
    CHECK(view->stat("dir", false)->mtime == Timestamp{1'500'000'000, 7});
    CHECK(view->stat("/", false)->mtime == Timestamp{1'500'000'000, 7});
    CHECK(view->stat("dir/one", false)->mtime == Timestamp{1'600'000'000, 5});
}

TEST_CASE("a file opened for truncation is not copied first", "[overlay][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    const auto view = open_library(fixture, upper);
    const UniqueFd fd = view->open_write("etc/motd", 0777, true);
    CHECK(stat_fd(fd.get()).st_size == 0);
    CHECK(view->stat("etc/motd", false)->mode == 0640);
    CHECK(view->stat("etc/motd", false)->uid == 1000);
}

TEST_CASE("whiteouts are understood in both forms", "[overlay][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    make_directories(upper.upper / "etc");
    const UniqueFd etc = open_file(upper.upper / "etc", O_RDONLY | O_DIRECTORY);
    write_xattr_at(etc.get(), ".", "trusted.overlay.opaque", "x");
    open_file(upper.upper / "etc/motd", O_WRONLY | O_CREAT);
    write_xattr_at(etc.get(), "motd", "trusted.overlay.whiteout", "");
    REQUIRE(::mknod((upper.upper / "empty").c_str(), S_IFCHR, makedev(0, 0)) == 0);
    const auto view = open_library(fixture, upper);
    CHECK_FALSE(view->stat("etc/motd", false));
    CHECK_FALSE(view->stat("empty", false));
    CHECK(view->list("etc").empty());
    put_content(*view, "etc/motd", "back\n");
    CHECK(names_in(*view, "etc") == "motd ");
    CHECK(content_at(*view, "etc/motd") == "back\n");
}

TEST_CASE("a socket hides what is below it and is itself no part of the view", "[overlay][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    REQUIRE(::mknod((upper.upper / "empty").c_str(), S_IFSOCK | 0600, 0) == 0);
    const auto view = open_library(fixture, upper);
    CHECK_FALSE(view->stat("empty", false));
    CHECK_THAT(names_in(*view, "/"), !Catch::Contains("empty"));
    CHECK_THROWS_WITH(view->open_read("empty"), "'empty' is a socket, not a regular file");
    view->remove("empty", false);
    CHECK(is_whiteout(upper.upper / "empty"));
}

TEST_CASE("an upper whose content should lie below, but does not, is corrupt", "[overlay][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    open_file(upper.upper / "lost", O_WRONLY | O_CREAT);
    const UniqueFd root = open_file(upper.upper, O_RDONLY | O_DIRECTORY);
    write_xattr_at(root.get(), "lost", "trusted.overlay.metacopy", "");
    write_xattr_at(root.get(), "lost", "trusted.overlay.redirect", "/not/there");
    const auto view = open_library(fixture, upper);
    try {
        view->open_read("lost");
        FAIL("read");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::corrupt);
        CHECK_THAT(std::string(e.what()), Catch::Contains("'lost'") && Catch::Contains("'/not/there'"));
        CHECK_THAT(e.hint(), Catch::Contains("fsck"));
    }
}

TEST_CASE("deep trees need neither long paths nor many descriptors", "[overlay][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    const auto view = open_library(fixture, upper);
    std::string path;
    const std::string name(200, 'n');
    for (int depth = 0; depth < 60; ++depth) {  // 12,000 bytes: three times PATH_MAX
        path += (path.empty() ? "" : "/") + name;
        view->make_directory(path, 0755);
    }
    put_content(*view, path + "/file", "deep down\n");
    CHECK(content_at(*view, path + "/file") == "deep down\n");
    CHECK(errno_of([&] { view->stat(std::string(256, 'x'), false); }) == ENAMETOOLONG);
    view->remove(name, true);
    CHECK_FALSE(view->stat(name, false));
}

}  // namespace surcoat::overlay
