#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <catch2/catch.hpp>
#include <chrono>

#include "layers/base/error.h"
#include "layers/erofs.h"
#include "tests/layers/store/store_fixture.h"
#include "tests/support/mount.h"
#include "tests/support/requirements.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

/// A layer with one of everything that a view must show.
DiffId commit_rich_layer(Store& store) {
    Transaction tx(store, "rich");
    tx.add_object(as_bytes("hello"));
    tx.add_object(as_bytes("setuid"));
    Inode capable = file("hello", 0750, 7, 8);
    capable.xattrs = {{"user.note", "kept"}};
    const DiffId id =
        tx.add_layer({add("dev", directory()), add("dev/null", device(FileType::char_device, 1, 3)),
                      add("dir", directory(0700)), add("dir/capable", capable), add("dir/empty", file("")),
                      add("dir/fifo", fifo()), add("dir/hello", file("hello", 0444, 4'000'000'000U, 5)),
                      hardlink("dir/other", "dir/hello"), add("dir/setuid", file("setuid", 04755)),
                      add("dir/to", symlink("../dir/hello"))});
    tx.commit();
    return id;
}

/// Every name with what a mounted view shows of it.
std::string listing(const std::filesystem::path& root) {
    std::string text;
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
        paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
        const struct stat st = *lstat_path(path);
        text += fmt::format("{} {:o} {}:{} {}.{}", path.lexically_relative(root).string(), st.st_mode,
                            st.st_uid, st.st_gid, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        if (S_ISREG(st.st_mode))
            text += fmt::format(" links {} {} bytes '{}'", st.st_nlink, st.st_size, read_file(path));
        if (S_ISCHR(st.st_mode)) text += fmt::format(" {}:{}", major(st.st_rdev), minor(st.st_rdev));
        if (S_ISLNK(st.st_mode)) text += " -> " + std::filesystem::read_symlink(path).string();
        char note[16] = "";
        if (S_ISREG(st.st_mode) && ::getxattr(path.c_str(), "user.note", note, sizeof note - 1) > 0)
            text += std::string(" ") + note;
        text += "\n";
    }
    return text;
}

}  // namespace

TEST_CASE("the EROFS view and the directory view of a chain show the same tree over the same objects",
          "[layers][views]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    TempStore temp;
    Store store = temp.open();
    const DiffId layer = commit_rich_layer(store);
    const auto erofs = store.erofs_view(std::vector{layer});
    const auto directory_view = store.directory_view(std::vector{layer});
    CHECK(store.erofs_view(std::vector{layer}) == erofs);
    CHECK(store.directory_view(std::vector{layer}) == directory_view);
    const std::filesystem::path target = temp.directory.path() / "target";
    std::filesystem::create_directory(target);
    const std::string from_erofs = in_mount_namespace([&] {
        const UniqueFd mounted = mount_erofs(erofs);
        OverlayMount{.lowers = {mounted.get()}, .objects = store.objects_directory(), .upper = {}, .work = {}}
            .at(target);
        return listing(target);
    });
    const std::string from_directory = in_mount_namespace([&] {
        const UniqueFd lower = open_file(directory_view, O_PATH | O_DIRECTORY);
        OverlayMount{.options = {{"userxattr", ""}, {"xino", "on"}},
                     .lowers = {lower.get()},
                     .objects = store.objects_directory(),
                     .upper = {},
                     .work = {}}
            .at(target);
        return listing(target);
    });
    CHECK_THAT(from_erofs,
               Catch::Contains("dir/hello 100444 4000000000:5 1600000000.5 links 2 5 bytes 'hello'"));
    CHECK_THAT(from_erofs, Catch::Contains("dir/setuid 104755 0:0"));
    CHECK_THAT(from_erofs, Catch::Contains("dev/null 20600 0:0 0.0 1:3"));
    CHECK_THAT(from_erofs, Catch::Contains("dir/capable 100750 7:8") && Catch::Contains("'hello' kept"));
    CHECK(from_directory == from_erofs);
    CHECK(fsck_all(store).empty());
}

TEST_CASE("a deep tree's directory view takes no descriptor a level", "[layers][views]") {
    TempStore temp;
    Store store = temp.open();
    std::vector<Entry> entries;
    std::string path;
    for (int level = 0; level < 1200; ++level) {
        path += path.empty() ? "d" : "/d";
        entries.push_back(add(path, directory()));
    }
    Transaction tx(store, "deep");
    const DiffId layer = tx.add_layer(entries);
    tx.commit();
    const auto view = store.directory_view(std::vector{layer});
    CHECK(directory_usage(view).inodes == 1201);
    CHECK(run_command({"rm", "-rf", view.string()}).status.ok());
}

TEST_CASE("processes that want the same view at once make it once", "[layers][views]") {
    TempStore temp;
    std::optional<DiffId> layer;
    {
        Store store = temp.open();
        layer = commit_rich_layer(store);
    }
    std::vector<pid_t> children;
    for (int i = 0; i < 6; ++i) {
        children.push_back(start_child([&] {
            Store store = temp.open();
            if (read_file(store.erofs_view(std::vector{*layer})).empty())
                throw Error(Errc::failed, "half a view");
            store.directory_view(std::vector{*layer});
        }));
    }
    for (const pid_t child : children) CHECK(wait_for(child).ok());
    Store store = temp.open();
    CHECK(fsck_all(store).empty());
}

TEST_CASE("a chain's tree is made from the longest beginning that is remembered", "[layers][store]") {
    TempStore temp;
    Store store = temp.open(Durability::fast);
    std::vector<Entry> entries;
    Transaction tx(store, "large");
    for (int d = 0; d < 30; ++d) {
        entries.push_back(add(fmt::format("directory-{:02}", d), directory()));
        for (int f = 0; f < 300; ++f) {
            Inode inode = file("one content");
            inode.object = tx.add_object(as_bytes("one content"));
            entries.push_back(add(fmt::format("directory-{:02}/a-file-with-a-name-{:03}", d, f), inode));
        }
    }
    const DiffId base = tx.add_layer(entries);
    const DiffId top = stage_files(tx, {{"top", "x"}});
    tx.commit();
    Store fresh = temp.open();
    const auto begin = std::chrono::steady_clock::now();
    const auto below = fresh.tree(std::vector{base});
    std::printf("store: tree of a layer with 9,030 entries in %.1f ms\n",
                std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    const auto both = fresh.tree(std::vector{base, top});
    CHECK(both->node_count() == below->node_count() + 1);
    CHECK(both->find("directory-00/a-file-with-a-name-000")->inode ==
          below->find("directory-00/a-file-with-a-name-000")->inode);
    CHECK(below->find("top") == nullptr);
}
