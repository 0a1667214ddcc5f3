#include "layers/tree.h"

#include <chrono>
#include <iostream>
#include <thread>

#include <catch2/catch.hpp>

#include "layers/base/error.h"
#include "tests/support/tree.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

/// Paths with a type letter and, for files, what they hold: "d a", "f a/b one", "l x -> y". Hardlinks: "h c =
/// a".
std::string sketch(const Tree& tree) {
    std::map<const Inode*, std::string> first;
    std::string text;
    tree.walk([&](const std::string& path, const Tree::Node& node) {
        const auto [at, fresh] = first.emplace(node.inode.get(), path);
        if (node.is_directory()) {
            text += fmt::format("d {} {:o}\n", path, node.inode->mode);
        } else if (!fresh) {
            text += fmt::format("h {} = {}\n", path, at->second);
        } else if (node.inode->type == FileType::symlink) {
            text += fmt::format("l {} -> {}\n", path, node.inode->link_target);
        } else {
            text += fmt::format("f {} {}\n", path, node.inode->size);
        }
    });
    return text;
}

void refuse(const std::vector<std::vector<Entry>>& layers, const std::string& path, const std::string& rule) {
    Tree tree;
    try {
        for (const auto& layer : layers) tree.apply(layer);
        FAIL("accepted: " << path);
    } catch (const Error& e) {
        CHECK(e.code() == Errc::invalid);
        CHECK_THAT(e.what(), Catch::Contains("'" + path + "'") && Catch::Contains(rule));
    }
    tree.node_count();  // still a tree
}

}  // namespace

TEST_CASE("layers are applied by OCI's rules", "[layers][tree]") {
    struct Case {
        const char* rule;
        std::vector<std::vector<Entry>> layers;
        const char* expected;
    };
    const Case cases[] = {
        {"an empty layer changes nothing", {{}}, ""},
        {"missing parents are made", {{add("a/b/c", file("1"))}}, "d a 755\nd a/b 755\nf a/b/c 1\n"},
        {"a parent named later gets its attributes",
         {{add("a/b", file("1")), add("a", directory(0700))}},
         "d a 700\nf a/b 1\n"},
        {"a directory over a directory keeps its children",
         {{add("a", directory(0700)), add("a/b", file("1"))}, {add("a", directory(0711))}},
         "d a 711\nf a/b 1\n"},
        {"a file over a directory replaces it",
         {{add("a", directory()), add("a/b", file("1"))}, {add("a", file("22"))}},
         "f a 2\n"},
        {"a directory over a file replaces it",
         {{add("a", file("1"))}, {add("a", directory()), add("a/b", file("22"))}},
         "d a 755\nf a/b 2\n"},
        {"a directory over a symlink replaces it",
         {{add("t", directory()), add("a", symlink("t"))}, {add("a", directory()), add("a/x", file("1"))}},
         "d a 755\nf a/x 1\nd t 755\n"},
        {"a whiteout hides a file", {{add("a", file("1")), add("b", file("1"))}, {whiteout("a")}}, "f b 1\n"},
        {"a whiteout hides a directory with all in it", {{add("a/b/c", file("1"))}, {whiteout("a")}}, ""},
        {"a whiteout of nothing is ignored",
         {{add("b", file("1"))}, {whiteout("a"), whiteout("x/y/z"), whiteout("b/c")}},
         "f b 1\n"},
        {"a whiteout does not hide its own layer's entry, before it",
         {{add("a", directory(0700)), add("a/old", file("1"))},
          {whiteout("a"), add("a", directory()), add("a/new", file("22"))}},
         "d a 755\nf a/new 2\n"},
        {"… nor behind it",
         {{add("a/old", file("1"))}, {add("a", directory()), add("a/new", file("22")), whiteout("a")}},
         "d a 755\nf a/new 2\n"},
        {"opaque hides lower layers' entries, whatever the order",
         {{add("a", directory(0700)), add("a/old", file("1")), add("a/s/t", file("1"))},
          {add("a/new", file("22")), opaque("a")}},
         "d a 700\nf a/new 2\n"},
        {"an opaque root hides everything",
         {{add("a/b", file("1"))}, {opaque(""), add("c", file("22"))}},
         "f c 2\n"},
        {"a symlink as parent is followed",
         {{add("usr/lib", directory()), add("lib", symlink("usr/lib"))}, {add("lib/x", file("1"))}},
         "l lib -> usr/lib\nd usr 755\nd usr/lib 755\nf usr/lib/x 1\n"},
        {"an absolute one starts at the root",
         {{add("usr/lib", directory()), add("l", symlink("/usr/../usr/./lib/"))}, {add("l/x", file("1"))}},
         "l l -> /usr/../usr/./lib/\nd usr 755\nd usr/lib 755\nf usr/lib/x 1\n"},
        {"one that climbs out stops at the root",
         {{add("l", symlink("../../../etc")), add("l/x", file("1"))}},
         "d etc 755\nf etc/x 1\nl l -> ../../../etc\n"},
        {"a whiteout follows parents too",
         {{add("usr/lib/x", file("1")), add("lib", symlink("usr/lib"))}, {whiteout("lib/x")}},
         "l lib -> usr/lib\nd usr 755\nd usr/lib 755\n"},
        {"a whiteout of a symlink hides the symlink",
         {{add("usr/lib/x", file("1")), add("lib", symlink("usr/lib"))}, {whiteout("lib")}},
         "d usr 755\nd usr/lib 755\nf usr/lib/x 1\n"},
        {"a hardlink in one layer", {{add("a", file("1")), hardlink("b", "a")}}, "f a 1\nh b = a\n"},
        {"a hardlink to a lower layer's file",
         {{add("a", file("1"))}, {hardlink("b", "a")}},
         "f a 1\nh b = a\n"},
        {"a hardlink's target is found through symlinks",
         {{add("usr/lib/x", file("1")), add("lib", symlink("usr/lib"))}, {hardlink("b", "lib/x")}},
         "f b 1\nl lib -> usr/lib\nd usr 755\nd usr/lib 755\nh usr/lib/x = b\n"},
        {"a hardlink to a symlink is a name of the symlink",
         {{add("l", symlink("nowhere")), hardlink("m", "l")}},
         "l l -> nowhere\nh m = l\n"},
        {"replacing one name leaves the others",
         {{add("a", file("1")), hardlink("b", "a")}, {add("a", file("22"))}},
         "f a 2\nf b 1\n"},
        {"a lower name that is a link to itself stays",
         {{add("a", file("1")), add("l", symlink("."))}, {hardlink("a", "l/a")}},
         "f a 1\nl l -> .\n"},
    };
    for (const Case& c : cases) {
        INFO(c.rule);
        Tree tree;
        for (const auto& layer : c.layers) tree.apply(layer);
        CHECK(sketch(tree) == c.expected);
    }
}

TEST_CASE("made parents are plain and ageless", "[layers][tree]") {
    const Tree tree = tree_of({add("a/b", file("1"))});
    CHECK(describe(*tree.find("a")->inode) == "directory 0755 0:0 0.000000000");
    CHECK(describe(*Tree().root().inode) == "directory 0755 0:0 0.000000000");
}

TEST_CASE("hostile and broken layers are refused with the path and the rule", "[layers][tree]") {
    refuse({{add("a", file("1")), add("a", file("2"))}}, "a", "is there twice");
    refuse({{add("a", directory()), add("a", symlink("/etc"))}}, "a", "is there twice");
    refuse({{add("a", file("1")), hardlink("a", "a")}}, "a", "is there twice");
    refuse({{add("a", file("1"))}, {whiteout("a"), whiteout("a")}}, "a", "is there twice");
    refuse({{add("a", file("1")), add("a/b", file("2"))}}, "a/b", "its parent is a regular file");
    refuse({{add("a", file("1"))}, {add("a/b/c", file("2"))}}, "a/b", "'a' on the way is a regular file");
    refuse({{add("l", symlink("l"))}, {add("l/x", file("1"))}}, "l", "more than 40 symlinks");
    refuse({{add("l", symlink("m")), add("m", symlink("l"))}, {add("l/x", file("1"))}}, "l",
           "more than 40 symlinks");
    refuse({{hardlink("b", "nothing")}}, "b", "is a hardlink to 'nothing', which does not exist");
    refuse({{add("d", directory()), hardlink("b", "d")}}, "b", "is a hardlink to the directory 'd'");
    refuse({{add("a", file("1"))}, {whiteout("a"), hardlink("b", "a")}}, "b", "does not exist");
    refuse({{add("", file("1"))}}, "/", "the root must be a directory");
}

TEST_CASE("paths are resolved as in a chroot", "[layers][tree]") {
    const Tree tree =
        tree_of({add("usr/bin/sh", file("1")), add("bin", symlink("usr/bin")), add("abs", symlink("/bin/sh")),
                 add("up", symlink("../../usr")), add("loop", symlink("loop")),
                 add("dangling", symlink("usr/none")), add("far", symlink("none/none"))});
    struct Case {
        const char* path;
        bool follow;
        const char* expected;  // "-": nothing; "?x": x does not exist
    };
    const Case cases[] = {
        {"", true, ""},
        {"bin", true, "usr/bin"},
        {"bin", false, "bin"},
        {"bin/sh", false, "usr/bin/sh"},
        {"abs", true, "usr/bin/sh"},
        {"up/bin/sh", true, "usr/bin/sh"},
        {"bin/../bin/sh", true, "usr/bin/sh"},
        {"nothing", true, "?nothing"},
        {"bin/new", true, "?usr/bin/new"},
        {"dangling", true, "?usr/none"},
        {"dangling", false, "dangling"},
        {"dangling/x", true, "-"},
        {"far", true, "-"},
        {"no/thing", true, "-"},
        {"abs/x", true, "-"},
        {"../..", true, ""},
    };
    for (const Case& c : cases) {
        INFO(c.path << (c.follow ? " followed" : ""));
        const auto found = tree.resolve(c.path, c.follow);
        const std::string text = !found ? "-" : (found->node == nullptr ? "?" : "") + found->path;
        CHECK(text == c.expected);
        if (found && found->node != nullptr) CHECK(tree.find(found->path) == found->node);
    }
    CHECK_THROWS_WITH(tree.resolve("loop", true),
                      Catch::Contains("'loop'") && Catch::Contains("40 symlinks"));
    CHECK(tree.resolve("loop", false)->node != nullptr);
}

TEST_CASE("single changes say what they miss", "[layers][tree]") {
    Tree tree = tree_of({add("d", directory()), add("d/f", file("1")), add("l", symlink("d"))});
    const auto inode = std::make_shared<const Inode>(file("22"));
    tree.put("d/g", inode);
    tree.link("h", "d/g");
    CHECK(tree.find("h")->inode == inode);
    tree.put("d", std::make_shared<const Inode>(directory(0700)));
    CHECK(sketch(tree) == "d d 700\nf d/f 1\nf d/g 2\nh h = d/g\nl l -> d\n");
    tree.remove("d");
    CHECK(sketch(tree) == "f h 2\nl l -> d\n");
    CHECK_THROWS_WITH(tree.put("no/x", inode),
                      Catch::Contains("'no/x': its parent directory does not exist"));
    CHECK_THROWS_WITH(tree.put("l/x", inode), Catch::Contains("'l' on the way is not a directory"));
    CHECK_THROWS_WITH(tree.remove("x"), Catch::Contains("'x': cannot be removed"));
    CHECK_THROWS_WITH(tree.remove(""), Catch::Contains("the root cannot be removed"));
    CHECK_THROWS_WITH(tree.link("y", "x"),
                      Catch::Contains("'y': cannot be linked to 'x', which does not exist"));
    CHECK_THROWS_WITH(tree.put("", inode), Catch::Contains("the root must be a directory"));
}

TEST_CASE("a tree counts its names and its bytes, each inode once", "[layers][tree]") {
    const Tree tree = tree_of(
        {add("a", file("12345")), hardlink("b", "a"), add("c", file("123")), add("d/e", symlink("a"))});
    CHECK(tree.node_count() == 5);
    CHECK(tree.visible_bytes() == 8);
}

TEST_CASE("a copy is a value of its own", "[layers][tree]") {
    Tree first = tree_of({add("a/b", file("1"))});
    Tree second = first;
    CHECK(second.find("a/b")->inode == first.find("a/b")->inode);
    second.remove("a");
    CHECK(first.find("a/b") != nullptr);
    first = second;
    CHECK(first.node_count() == 0);
    first = tree_of({add("x", file("1"))});
    CHECK(first.node_count() == 1);
}

TEST_CASE("deep and wide layers take linear time and little stack", "[layers][tree]") {
    std::vector<Entry> deep;
    std::string path;
    for (int i = 0; i < 4096; ++i) {
        path += path.empty() ? "d" : "/d";
        deep.push_back(add(path, directory()));
    }
    std::vector<Entry> wide;
    for (int i = 0; i < 100'000; ++i)
        wide.push_back(add(fmt::format("dir-{}/sub/file-{}", i / 300, i), file("1")));
    const auto start = std::chrono::steady_clock::now();
    std::uint64_t names = 0;
    std::thread([&] {
        Tree tree;
        tree.apply(deep);
        const Tree copy = tree;
        names = copy.node_count();
        tree.apply(std::vector<Entry>{add("d", file("gone"))});
        Tree twice;
        for (int i = 0; i < 2; ++i) twice.apply(wide);
        names += twice.node_count();
        diff_trees(copy, twice);
    }).join();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    CHECK(names == 4096 + 100'000 + 2 * 334);
    std::cout << fmt::format("tree: 4,096 levels and 200,000 files applied and compared in {:.0f} ms\n",
                             took.count() * 1e3);
}
