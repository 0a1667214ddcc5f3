#include "overlay/kernel_overlay.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "overlay/mount.h"
#include "overlay/probe.h"
#include "tests/suites/union_suite.h"
#include "tests/support/mount.h"
#include "tests/support/requirements.h"

namespace surcoat::overlay {
namespace {

using namespace surcoat::test;

bool present(const std::filesystem::path& path) { return lstat_path(path).has_value(); }

}  // namespace

TEST_CASE("a mount is attached nowhere until it is asked to be", "[overlay][kernel]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto where = fixture.directory.path() / "mnt";
    make_directories(where);
    const std::string said = in_mount_namespace([&]() -> std::string {
        const UniqueFd root = mount_overlay(*fixture.store, fixture.lowers, fixture.new_upper(), {});
        if (is_mount_point(where)) return "attached by itself";
        attach_mount(root, where);
        if (!is_mount_point(where)) return "not attached";
        if (read_file(where / "etc/motd") != "hello\n") return "wrong content";
        if (::open((where / "null").c_str(), O_RDONLY) >= 0) return "a device node of the image works on the host";
        detach_mount(where);
        detach_mount(where);
        return is_mount_point(where) ? "still attached" : "ok";
    });
    CHECK(said == "ok");
}

TEST_CASE("a scratch upper can be mounted again and again, another one keeps what volatile means", "[overlay][kernel]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    for (int round = 0; round < 3; ++round) {
        const auto view = view_of_root(mount_overlay(*fixture.store, fixture.lowers, upper, {.scratch = true}), "kernel");
        CHECK(present(upper.work / "work/incompat/volatile"));
        CHECK(view->stat("file", false).has_value() == (round > 0));
        put_content(*view, "file", "x");
    }
    // Written without syncing: whoever wants it durable must say so first (Workspace::keep does).
    CHECK_THROWS_AS(mount_overlay(*fixture.store, fixture.lowers, upper, {}), Error);
}

TEST_CASE("a new upper takes the root's attributes once, and keeps its own later", "[overlay][kernel]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    {
        const auto view = view_of_root(mount_overlay(*fixture.store, fixture.lowers, upper, {}), "kernel");
        const auto root = view->stat("/", false);
        CHECK(root->mode == 0751);
        CHECK(root->mtime == Timestamp{1'500'000'000, 7});
        view->set_mode("/", 0700);
    }
    const auto view = view_of_root(mount_overlay(*fixture.store, fixture.lowers, upper, {}), "kernel");
    CHECK(view->stat("/", false)->mode == 0700);
}

TEST_CASE("an attribute-only change copies no content", "[overlay][kernel]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    const auto view = view_of_root(mount_overlay(*fixture.store, fixture.lowers, upper, {}), "kernel");
    view->set_mode("hole", 0600);
    const auto st = lstat_path(upper.upper / "hole");
    REQUIRE(st);
    CHECK(st->st_size == 40'003);
    CHECK(st->st_blocks * 512 < 8192);
}

TEST_CASE("a view of a running root follows nothing out of it", "[overlay][kernel]") {
    const TempDir directory;
    make_directories(directory.path() / "root/dir");
    std::filesystem::create_symlink("/etc/passwd", directory.path() / "root/absolute");
    std::filesystem::create_symlink("../../../../../../etc/passwd", directory.path() / "root/up");
    std::filesystem::create_symlink("/etc", directory.path() / "root/host");
    const auto view = view_of_root(open_file(directory.path() / "root", O_PATH | O_DIRECTORY), "directory");
    for (const char* path : {"absolute", "up", "host/passwd", "dir/../../../etc/passwd"}) {
        INFO(path);
        CHECK(errno_of([&] { view->open_read(path); }) == ENOENT);
        CHECK_FALSE(view->stat(path, true));
    }
    CHECK(errno_of([&] { view->open_write("host/new", 0644, true); }) == ENOENT);
    view->remove("host", true);  // the link, not what it names
    CHECK(present("/etc/passwd"));
    CHECK(view->backend() == "directory");
}

TEST_CASE("a view's metadata can be mounted through a loop device that frees itself", "[overlay][kernel]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    if (!present("/dev/loop-control")) {
        WARN("skipped: this machine has no loop devices");
        return;
    }
    UnionFixture fixture;
    const UniqueFd image = open_file(fixture.store->erofs_view(fixture.lowers.layers), O_RDONLY);
    std::string path;
    {
        const LoopDevice loop = attach_loop(image.get());
        path = loop.path;
        FsContext erofs("erofs");
        erofs.set_string("source", loop.path);
        erofs.set_flag("ro");
        const UniqueFd root = erofs.mount(MOUNT_ATTR_RDONLY);
        struct stat st {};
        CHECK(::fstatat(root.get(), "bin/su", &st, 0) == 0);
        CHECK((st.st_mode & 07777) == 04755);
        CHECK(present("/sys/block/" + path.substr(5) + "/loop"));
    }
}

TEST_CASE("what the kernel says about a bad option reaches the error", "[overlay][kernel]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    FsContext context("overlay");
    try {
        context.set_string("no_such_option", "1");
        FAIL("accepted");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::unsupported);
        CHECK_THAT(std::string(e.what()), Catch::Contains("no_such_option") && Catch::Contains("the kernel says"));
    }
    try {
        FsContext nothing("nosuchfs");
        FAIL("accepted");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::unsupported);
        CHECK_THAT(e.hint(), Catch::Contains("modprobe nosuchfs"));
    }
}

TEST_CASE("every rung of the ladder is tried for real", "[overlay][probe]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    UnionFixture fixture;
    CHECK_FALSE(kernel_overlay_fault(*fixture.store));
    for (const Probe& probe : probe_backends(*fixture.store)) {
        INFO(probe.what << ": " << probe.detail);
        CHECK(probe.works);
    }
    const UniqueFd tree = clone_mount(fixture.directory.path());
    change_mount(tree.get(), MOUNT_ATTR_RDONLY);
    CHECK(::mkdirat(tree.get(), "x", 0755) != 0);
    CHECK(errno == EROFS);
}

}  // namespace surcoat::overlay
