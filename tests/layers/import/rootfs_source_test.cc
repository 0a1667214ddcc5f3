// import_directory: what lies in a directory is what the layer says.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "layers/base/process.h"
#include "layers/base/temp_dir.h"
#include "layers/import/rootfs_source.h"
#include "layers/store/fsck.h"
#include "tests/support/mount.h"
#include "tests/support/requirements.h"
#include "tests/support/tree.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

class Warnings final : public Progress {
  public:
    void warning(std::string_view text) override { all += std::string(text) + "\n"; }
    std::string all;
};

struct Scratch {
    TempDir directory;
    std::filesystem::path root = directory.path() / "root";
    Store store{StoreOptions{.root = directory.path() / "store"}};
    Scratch() { make_directories(root); }
    void write(const std::string& name, const std::string& content, mode_t mode = 0644) const {
        write_file_durably(root / name, content, mode);
    }
    ImportedFiles import(const DirectoryOptions& options = {}) {
        Transaction transaction(store, "test");
        ImportedFiles imported = import_directory(transaction, root, options);
        transaction.commit();
        return imported;
    }
    std::string dump(const DiffId& id) {
        const std::vector<DiffId> chain{id};
        return describe(*store.tree(chain));
    }
};

}  // namespace

TEST_CASE("a directory's layer shows what the directory shows", "[rootfs_source]") {
    Scratch scratch;
    make_directories(scratch.root / "d/e", 0750);
    scratch.write("d/file", "content");
    scratch.write("d/empty", "", 0600);
    scratch.write("d/\xff\xfe", "bytes for a name");
    REQUIRE(::link((scratch.root / "d/file").c_str(), (scratch.root / "d/e/same").c_str()) == 0);
    REQUIRE(::symlink("../d/file", (scratch.root / "d/link").c_str()) == 0);
    REQUIRE(::mkfifo((scratch.root / "fifo").c_str(), 0622) == 0);
    REQUIRE(::setxattr((scratch.root / "d/file").c_str(), "user.note", "x", 1, 0) == 0);
    const timespec times[2] = {{5, 0}, {1'600'000'000, 123456789}};
    REQUIRE(::utimensat(AT_FDCWD, (scratch.root / "d/file").c_str(), times, 0) == 0);
    if (::geteuid() == 0) {
        REQUIRE(::lchown((scratch.root / "d/link").c_str(), 3'000'000'000U, 7) == 0);
        REQUIRE(::chown((scratch.root / "d/empty").c_str(), 1000, 1000) == 0);
        REQUIRE(::chmod((scratch.root / "d/empty").c_str(), 06755) == 0);
        REQUIRE(::mknod((scratch.root / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0);
        REQUIRE(::mknod((scratch.root / "disk").c_str(), S_IFBLK | 0660, makedev(259, 70000)) == 0);
    }
    const ImportedFiles imported = scratch.import();
    const std::string expected = describe(DirectoryReader().read(scratch.root));
    const std::string found = scratch.dump(imported.diff_id);
    INFO(difference(expected, found));
    CHECK(found == expected);
    CHECK(imported.skipped == 0);
    CHECK(imported.content_bytes == 7 + 16);
    CHECK(scratch.import().diff_id == imported.diff_id);
    for (const Finding& finding : check_store(scratch.store, {.deep = true, .progress = nullptr})) {
        FAIL_CHECK(finding.what << ": " << finding.problem);
    }
}

TEST_CASE("attributes that mean something elsewhere stay, the machine's own go", "[rootfs_source]") {
    for (const char* name :
         {"user.x", "security.capability", "system.posix_acl_access", "system.posix_acl_default"}) {
        INFO(name);
        CHECK(is_portable_xattr(name));
    }
    for (const char* name : {"security.selinux", "security.ima", "trusted.overlay.opaque",
                             "user.overlay.redirect", "trusted.x", "system.nfs4_acl"}) {
        INFO(name);
        CHECK_FALSE(is_portable_xattr(name));
    }
}

TEST_CASE("sockets are left out with a warning, closed roots get one", "[rootfs_source]") {
    Scratch scratch;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = (scratch.root / "socket").string();
    REQUIRE(path.size() < sizeof address.sun_path);
    std::copy(path.begin(), path.end(), address.sun_path);
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::chmod(scratch.root.c_str(), 0700) == 0);
    Warnings warnings;
    const ImportedFiles imported = scratch.import({.progress = &warnings});
    CHECK(imported.skipped == 1);
    CHECK(imported.entries == 1);
    CHECK_THAT(warnings.all, Catch::Contains("socket' is a socket") && Catch::Contains("mode 0700"));
}

TEST_CASE("a tree deeper than descriptors and longer than PATH_MAX is taken", "[rootfs_source]") {
    Scratch scratch;
    UniqueFd at = open_file(scratch.root, O_RDONLY | O_DIRECTORY);
    constexpr int kDepth = 1500;
    for (int i = 0; i < kDepth; ++i) {
        REQUIRE(::mkdirat(at.get(), "level", 0755) == 0);
        // After the deep one in byte order: reached again on the way up.
        REQUIRE(UniqueFd(::openat(at.get(), "z", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)).get() >= 0);
        at = open_file_at(at.get(), "level", O_RDONLY | O_DIRECTORY);
    }
    CHECK(scratch.import().entries == 1 + 2 * kDepth);
}

TEST_CASE("a name that OCI cannot express is refused before anything is named", "[rootfs_source]") {
    for (const char* name : {".wh.file", ".wh..wh..opq", ".wh.", ".wh..wh.plnk"}) {
        INFO(name);
        Scratch scratch;
        scratch.write(name, "");
        try {
            scratch.import();
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::unsupported);
            CHECK_THAT(e.what(), Catch::Contains(name));
            CHECK_FALSE(e.hint().empty());
        }
        CHECK(scratch.store.catalogue().layers().empty());
    }
}

TEST_CASE("later times can be cut to one", "[rootfs_source]") {
    Scratch scratch;
    scratch.write("new", "x");
    const timespec times[2] = {{5, 0}, {100, 5}};
    scratch.write("old", "y");
    REQUIRE(::utimensat(AT_FDCWD, (scratch.root / "old").c_str(), times, 0) == 0);
    const ImportedFiles imported = scratch.import({.latest = Timestamp{1000, 0}});
    CHECK(imported.newest == Timestamp{1000, 0});
    const std::vector<DiffId> chain{imported.diff_id};
    const auto tree = scratch.store.tree(chain);
    CHECK(tree->find("new")->inode->mtime == Timestamp{1000, 0});
    CHECK(tree->find("old")->inode->mtime == Timestamp{100, 5});
}

TEST_CASE("another filesystem is an empty directory unless it is asked for", "[rootfs_source]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    Scratch scratch;
    make_directories(scratch.root / "other");
    const std::string text = in_mount_namespace([&] {
        if (::mount("tmpfs", (scratch.root / "other").c_str(), "tmpfs", 0, "mode=0755") != 0)
            throw_errno("mount");
        scratch.write("other/file", "x");
        Store store(StoreOptions{.root = scratch.directory.path() / "inner"});
        Transaction transaction(store, "test");
        Warnings warnings;
        const auto without = import_directory(transaction, scratch.root, {.progress = &warnings});
        const auto with = import_directory(transaction, scratch.root, {.cross_filesystems = true});
        return fmt::format("{} {} {} {}", without.entries, without.skipped, with.entries, warnings.all);
    });
    CHECK_THAT(text, Catch::StartsWith("2 1 3 ") && Catch::Contains("on another filesystem"));
}

TEST_CASE("a directory that is none is one clear error", "[rootfs_source]") {
    Scratch scratch;
    scratch.write("file", "x");
    Transaction transaction(scratch.store, "test");
    try {
        import_directory(transaction, scratch.root / "absent");
        FAIL("accepted");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::not_found);
        CHECK_THAT(e.what(), Catch::Contains("absent"));
    }
    CHECK_THROWS_AS(import_directory(transaction, scratch.root / "file"), Error);
}
