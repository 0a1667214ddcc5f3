#pragma once
// What every backend of UnionView must do, as one suite over a factory, and the model test that plays the same
// random changes on two of them. Needs root: a layer here holds device nodes and files of several owners.
#include <fcntl.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "layers/base/file.h"
#include "layers/base/temp_dir.h"
#include "layers/store/transaction.h"
#include "overlay/union_view.h"
#include "tests/support/tree.h"

namespace surcoat::test {

/// A store with one chain of two layers, and room for uppers.
struct UnionFixture {
    TempDir directory;
    std::unique_ptr<Store> store;
    overlay::LowerStack lowers;
    int uppers = 0;

    explicit UnionFixture(bool devices = true) {
        StoreOptions options;
        options.root = directory.path() / "store";
        store = std::make_unique<Store>(options);
        Transaction transaction(*store, "test");
        const auto content = [&](std::string text, std::uint16_t mode = 0644, std::uint32_t uid = 0, std::uint32_t gid = 0) {
            Inode inode = file(text, mode, uid, gid);
            if (!text.empty()) transaction.add_object(as_bytes(text));
            return inode;
        };
        Inode motd = content("hello\n", 0640, devices ? 1000 : 0, devices ? 100 : 0);
        motd.mtime = {1'234'567'890, 123'456'789};
        motd.xattrs = {{"user.note", "kept"}};
        Inode root = directory_inode(0751);
        std::vector<Entry> base{add("", root),
                                add("bin", directory_inode()),
                                add("bin/alias", content("one file, two names\n", 0755)),
                                add("bin/su", content("setuid\n", 04755)),
                                hardlink("bin/tool", "bin/alias"),
                                add("dir", directory_inode(0750)),
                                add("dir/one", content("1\n")),
                                add("dir/sub", directory_inode()),
                                add("dir/sub/deep", content("deep\n")),
                                add("dir/two", content("22\n")),
                                add("empty", content("")),
                                add("etc", directory_inode()),
                                add("etc/gone", content("whited out\n")),
                                add("etc/motd", motd),
                                add("hole", content(std::string(40'000, '\0') + "end")),
                                add("links", directory_inode()),
                                add("links/absolute", symlink("/etc/motd")),
                                add("links/directory", symlink("../dir")),
                                add("links/loop", symlink("loop2")),
                                add("links/loop2", symlink("loop")),
                                add("links/new", symlink("/etc/created")),
                                add("links/out", symlink("../../../../../etc/motd")),
                                add("opaque", directory_inode()),
                                add("opaque/old", content("old\n"))};
        if (devices) {
            base.push_back(add("null", device(FileType::char_device, 1, 3)));
            base.push_back(add("pipe", fifo()));
        }
        const std::vector<Entry> second{add("dir/three", content("333\n")), whiteout("etc/gone"),
                                        add("opaque", directory_inode(0700)), opaque("opaque"),
                                        add("opaque/new", content("new\n"))};
        const DiffId a = transaction.add_layer(base);
        const DiffId b = transaction.add_layer(second);
        transaction.commit();
        lowers.layers = {a, b};
    }

    static Inode directory_inode(std::uint16_t mode = 0755) { return test::directory(mode, {1'500'000'000, 7}); }

    overlay::UpperLayer new_upper() {
        const auto base = directory.path() / ("upper" + std::to_string(++uppers));
        overlay::UpperLayer upper{base / "upper", base / "work"};
        make_directories(upper.upper);
        make_directories(upper.work);
        return upper;
    }
};

inline std::string content_at(overlay::UnionView& view, const std::string& path) {
    const UniqueFd fd = view.open_read(path);
    return read_file(fd.get());
}
inline void put_content(overlay::UnionView& view, const std::string& path, std::string_view text, bool truncate = true) {
    UniqueFd fd = view.open_write(path, 0644, truncate);
    write_full(fd.get(), as_bytes(text));
    fd.close();
}
inline std::string names_in(overlay::UnionView& view, const std::string& path) {
    std::string names;
    for (const auto& entry : view.list(path)) names += entry.name + " ";
    return names;
}
/// errno of what `body` throws; 0 if it does not throw, -1 for an error without one.
inline int errno_of(const std::function<void()>& body) {
    try {
        body();
        return 0;
    } catch (const Error& e) {
        return e.os_error() != 0 ? e.os_error() : -1;
    }
}

/// The whole view as text. Times of this century's third decade and later are "now": two backends never change
/// the same thing at the same instant.
inline std::string dump(overlay::UnionView& view, bool times = true) {
    std::string text;
    const std::function<void(const std::string&)> walk = [&](const std::string& path) {
        auto inode = view.stat(path, false);
        REQUIRE(inode);
        if (!times || inode->mtime.seconds > 1'650'000'000) inode->mtime = {};
        if (inode->type == FileType::regular) inode->object = object_of(content_at(view, path));
        text += (path.empty() ? "/" : path) + " " + describe(*inode) + "\n";
        if (inode->type != FileType::directory) return;
        for (const auto& entry : view.list(path)) walk(path.empty() ? entry.name : path + "/" + entry.name);
    };
    walk("");
    return text;
}
/// The same text from a tree.
inline std::string dump(const Tree& tree, bool times = true) {
    std::string text;
    const auto line = [&](const std::string& path, Inode inode) {
        if (!times || inode.mtime.seconds > 1'650'000'000) inode.mtime = {};
        if (inode.type == FileType::regular && !inode.object) inode.object = object_of("");
        text += path + " " + describe(inode) + "\n";
    };
    line("/", *tree.root().inode);
    tree.walk([&](const std::string& path, const Tree::Node& node) { line(path, *node.inode); });
    return text;
}

using OpenUnion = std::function<std::unique_ptr<overlay::UnionView>(UnionFixture&, const overlay::UpperLayer&)>;

inline void check_union_reading(const OpenUnion& open) {
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    auto view = open(fixture, upper);

    CHECK(names_in(*view, "/") == "bin dir empty etc hole links null opaque pipe ");
    CHECK(names_in(*view, "etc") == "motd ");
    CHECK(names_in(*view, "opaque") == "new ");
    CHECK(names_in(*view, "links/directory") == "one sub three two ");
    CHECK(content_at(*view, "/etc/motd") == "hello\n");
    CHECK(content_at(*view, "links/absolute") == "hello\n");
    CHECK(content_at(*view, "links/out") == "hello\n");
    CHECK(content_at(*view, "links/directory/sub/../one") == "1\n");
    CHECK(content_at(*view, "../../etc/motd") == "hello\n");
    CHECK(content_at(*view, "empty").empty());
    CHECK(content_at(*view, "hole") == std::string(40'000, '\0') + "end");

    // Every attribute is the image's: the dump of the view is the dump of the tree.
    CHECK(difference(dump(*fixture.store->tree(fixture.lowers.layers)), dump(*view)).empty());
    CHECK(view->stat("", true)->mode == 0751);
    CHECK(view->stat("links/absolute", false)->type == FileType::symlink);
    CHECK(view->stat("links/absolute", true)->uid == 1000);
    CHECK(view->stat("null", false)->device_minor == 3);
    CHECK_FALSE(view->stat("etc/gone", false));
    CHECK_FALSE(view->stat("etc/motd/below", false));
    CHECK_FALSE(view->stat("links/new", true));

    CHECK(errno_of([&] { view->open_read("links/loop"); }) == ELOOP);
    CHECK(errno_of([&] { view->open_read("etc/gone"); }) == ENOENT);
    CHECK(errno_of([&] { view->list("etc/motd"); }) == ENOTDIR);
    try {
        view->open_read("dir");
        FAIL("opened a directory as a file");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::invalid);
        CHECK(std::string(e.what()) == "'dir' is a directory, not a regular file");
    }
    CHECK_THROWS_WITH(view->open_read("pipe"), "'pipe' is a fifo, not a regular file");
    CHECK_THROWS_WITH(view->open_read("etc/none"), Catch::Contains("'etc/none'") && Catch::Contains("No such file"));
}

inline void check_union_changes(const OpenUnion& open) {
    UnionFixture fixture;
    const auto upper = fixture.new_upper();
    auto view = open(fixture, upper);
    auto& v = *view;

    SECTION("a changed file keeps every attribute but its time") {
        put_content(v, "etc/motd", "HE", false);
        const auto after = v.stat("etc/motd", false);
        CHECK(content_at(v, "etc/motd") == "HEllo\n");
        CHECK(after->mode == 0640);
        CHECK(after->uid == 1000);
        CHECK(after->gid == 100);
        CHECK(after->xattrs == std::vector<std::pair<std::string, std::string>>{{"user.note", "kept"}});
    }
    SECTION("changing only attributes keeps content and time") {
        v.set_mode("etc/motd", 0600);
        CHECK(v.stat("etc/motd", false)->mtime == Timestamp{1'234'567'890, 123'456'789});
        CHECK(content_at(v, "etc/motd") == "hello\n");
        v.set_owner("etc/motd", 5, 6);
        v.set_mtime("etc/motd", {-5, 250});
        v.set_xattr("etc/motd", "user.more", std::string("a\0b", 3));
        const auto after = v.stat("etc/motd", false);
        CHECK(after->mode == 0600);
        CHECK(after->uid == 5);
        CHECK(after->gid == 6);
        CHECK(after->mtime == Timestamp{-5, 250});
        CHECK(after->xattrs.size() == 2);
        put_content(v, "etc/motd", "tail", false);
        CHECK(content_at(v, "etc/motd") == "tailo\n");
    }
    SECTION("modes are followed, owners and times are of the link itself") {
        v.set_mode("links/absolute", 0604);
        CHECK(v.stat("etc/motd", false)->mode == 0604);
        v.set_owner("links/absolute", 7, 7);
        v.set_mtime("links/absolute", {1'000'000'000, 0});
        CHECK(v.stat("links/absolute", false)->uid == 7);
        CHECK(v.stat("links/absolute", false)->mtime.seconds == 1'000'000'000);
        CHECK(v.stat("etc/motd", false)->uid == 1000);
    }
    SECTION("setuid bits and special modes are kept and given") {
        v.set_mtime("bin/su", {1'000'000'000, 0});
        CHECK(v.stat("bin/su", false)->mode == 04755);
        v.make_directory("sticky", 01777);
        CHECK(v.stat("sticky", false)->mode == 01777);
        v.open_write("mode", 0600, true);
        CHECK(v.stat("mode", false)->mode == 0600);
    }
    SECTION("two names of one file stay one file") {
        put_content(v, "bin/tool", "both\n");
        CHECK(content_at(v, "bin/alias") == "both\n");
        v.hardlink("bin/alias", "dir/third");
        put_content(v, "dir/third", "all three\n");
        CHECK(content_at(v, "bin/tool") == "all three\n");
        v.remove("bin/tool", false);
        CHECK(content_at(v, "bin/alias") == "all three\n");
        CHECK(errno_of([&] { v.hardlink("dir", "dir2"); }) == EPERM);
        CHECK(errno_of([&] { v.hardlink("dir/one", "dir/two"); }) == EEXIST);
    }
    SECTION("what is removed is gone, and what takes its place shows nothing of it") {
        v.remove("dir", true);
        CHECK_FALSE(v.stat("dir", false));
        CHECK(errno_of([&] { v.list("dir"); }) == ENOENT);
        v.make_directory("dir", 0755);
        CHECK(names_in(v, "dir").empty());
        put_content(v, "dir/one", "new one\n");
        CHECK(names_in(v, "dir") == "one ");
        v.remove("etc/motd", false);
        CHECK(errno_of([&] { v.remove("etc/motd", false); }) == ENOENT);
        v.make_directory("etc/motd", 0700);
        put_content(v, "etc/motd/inside", "x");
        CHECK(names_in(v, "etc/motd") == "inside ");
        v.remove("bin", true);
        put_content(v, "bin", "a file now");
        CHECK(content_at(v, "bin") == "a file now");
    }
    SECTION("a directory must be empty to be removed alone") {
        CHECK(errno_of([&] { v.remove("dir", false); }) == ENOTEMPTY);
        for (const char* name : {"dir/one", "dir/two", "dir/three", "dir/sub/deep", "dir/sub"}) v.remove(name, false);
        v.remove("dir", false);
        CHECK_FALSE(v.stat("dir", false));
        CHECK(errno_of([&] { v.remove("", true); }) == EBUSY);
    }
    SECTION("directories of the image can be renamed, with all that is in them") {
        v.rename("dir", "moved");
        CHECK(names_in(v, "moved") == "one sub three two ");
        CHECK_FALSE(v.stat("dir", false));
        v.rename("moved/sub", "etc/sub");
        CHECK(content_at(v, "etc/sub/deep") == "deep\n");
        CHECK(names_in(v, "moved") == "one three two ");
        put_content(v, "moved/one", "changed\n");
        v.rename("moved", "dir");
        CHECK(content_at(v, "dir/one") == "changed\n");
        CHECK(content_at(v, "dir/two") == "22\n");
        v.make_directory("links/fresh", 0711);
        CHECK(errno_of([&] { v.rename("dir", "links"); }) == ENOTEMPTY);
        v.rename("dir", "links/fresh");
        CHECK(names_in(v, "links/fresh") == "one three two ");
        CHECK(v.stat("links/fresh", false)->mode == 0750);
        CHECK(errno_of([&] { v.rename("links", "links/fresh/in"); }) == EINVAL);
        CHECK(errno_of([&] { v.rename("etc", "empty"); }) == ENOTDIR);
        CHECK(errno_of([&] { v.rename("empty", "etc"); }) == EISDIR);
    }
    SECTION("files are renamed over files, nodes and links too") {
        v.rename("etc/motd", "dir/one");
        CHECK(content_at(v, "dir/one") == "hello\n");
        CHECK(v.stat("dir/one", false)->mtime == Timestamp{1'234'567'890, 123'456'789});
        CHECK_FALSE(v.stat("etc/motd", false));
        v.rename("null", "etc/null");
        CHECK(v.stat("etc/null", false)->device_major == 1);
        v.rename("links/absolute", "etc/link");
        CHECK(v.stat("etc/link", false)->link_target == "/etc/motd");
        v.rename("bin/tool", "bin/alias");  // one file already: nothing happens
        CHECK(names_in(v, "bin") == "alias su tool ");
    }
    SECTION("nodes, links and files are made where names were removed") {
        v.remove("pipe", false);
        v.remove("null", false);
        v.make_symlink("/etc/motd", "pipe");
        CHECK(content_at(v, "pipe") == "hello\n");
        Inode node = device(FileType::block_device, 8, 17);
        node.mode = 0660;
        node.gid = 6;
        v.make_node("null", node);
        CHECK(v.stat("null", false)->device_minor == 17);
        CHECK(v.stat("null", false)->mode == 0660);
        CHECK(v.stat("null", false)->gid == 6);
        Inode whiteout_like = device(FileType::char_device, 0, 0);
        CHECK_THROWS_WITH(v.make_node("w", whiteout_like), Catch::Contains("0:0"));
        CHECK_THROWS_WITH(v.make_node("w", file("")), Catch::Contains("only fifos and devices"));
        CHECK_THROWS_WITH(v.set_xattr("empty", "trusted.overlay.opaque", "y"), Catch::Contains("overlayfs' own"));
    }
    SECTION("a file is created through a dangling link, but never over anything else") {
        put_content(v, "links/new", "made\n");
        CHECK(content_at(v, "etc/created") == "made\n");
        CHECK_THROWS_WITH(v.open_write("dir", 0644, false), "'dir' is a directory, not a regular file");
        CHECK(errno_of([&] { v.open_write("none/file", 0644, true); }) == ENOENT);
        CHECK(errno_of([&] { v.make_directory("etc", 0755); }) == EEXIST);
        CHECK(errno_of([&] { v.make_directory("none/x", 0755); }) == ENOENT);
        CHECK(errno_of([&] { v.make_directory("empty/x", 0755); }) == ENOTDIR);
        CHECK(errno_of([&] { v.make_symlink("x", "etc/motd"); }) == EEXIST);
    }
    SECTION("the image is never touched") {
        const std::string before = dump(*fixture.store->tree(fixture.lowers.layers));
        for (const char* name : {"bin", "dir", "etc", "links", "opaque"}) v.remove(name, true);
        put_content(v, "hole", "x", false);
        view.reset();
        auto fresh = open(fixture, fixture.new_upper());
        CHECK(difference(before, dump(*fresh)).empty());
    }
    SECTION("another view of the same upper shows the same") {
        v.rename("dir", "d2");
        v.remove("etc", true);
        put_content(v, "bin/tool", "both\n");
        v.remove("bin/tool", false);
        v.set_mode("empty", 0111);
        const std::string before = dump(v);
        view.reset();
        CHECK(difference(before, dump(*open(fixture, upper))).empty());
    }
}

/// One random change, the same on whichever view it is played. The result is an errno, or 0.
class RandomChange {
  public:
    RandomChange(std::mt19937_64& random, const std::vector<std::string>& paths) {
        const auto pick = [&](std::uint64_t n) { return random() % n; };
        const auto existing = [&] { return paths[pick(paths.size())]; };
        const auto fresh = [&] {
            static const char* const kNames[] = {"a", "b", "one", "dir", "sub", "tool", "motd"};
            std::string base = pick(3) == 0 ? "" : existing();
            return (base.empty() ? "" : base + "/") + kNames[pick(7)];
        };
        const auto any = [&] { return pick(3) == 0 ? fresh() : existing(); };
        kind_ = pick(13);
        a_ = existing();
        b_ = any();
        number_ = pick(1u << 30);
    }
    std::string str() const { return std::to_string(kind_) + " '" + a_ + "' '" + b_ + "' " + std::to_string(number_); }
    int play(overlay::UnionView& v) const {
        return errno_of([&] {
            switch (kind_) {
                case 0: put_content(v, a_, "text " + std::to_string(number_), number_ % 2 == 0); break;
                case 1: put_content(v, b_, std::string(number_ % 9000, 'x'), true); break;
                case 2: v.make_directory(b_, number_ % 2 == 0 ? 0755 : 02770); break;
                case 3: v.make_symlink(a_, b_); break;
                case 4: v.hardlink(a_, b_); break;
                case 5:
                case 6:
                case 7: v.rename(a_, b_); break;
                case 8: v.remove(a_, false); break;
                case 9: if (number_ % 4 == 0) v.remove(a_, true); break;
                case 10: v.set_mode(a_, static_cast<std::uint16_t>(number_ & 0777)); break;
                case 11: v.set_owner(a_, number_ % 3, number_ % 5); break;
                default: v.set_mtime(a_, {static_cast<std::int64_t>(number_), 0}); break;
            }
        });
    }

  private:
    std::uint64_t kind_, number_;
    std::string a_, b_;
};

}  // namespace surcoat::test
