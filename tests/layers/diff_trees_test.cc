#include <catch2/catch.hpp>

#include "layers/tree.h"
#include "tests/support/tree.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

std::string listing(const std::vector<Entry>& entries) {
    std::string text;
    for (const Entry& entry : entries) {
        switch (entry.kind) {
            case Entry::Kind::add:
                text += "+ " + (entry.path.empty() ? "/" : entry.path);
                break;
            case Entry::Kind::hardlink:
                text += "= " + entry.path + " " + entry.target;
                break;
            case Entry::Kind::whiteout:
                text += "- " + entry.path;
                break;
            case Entry::Kind::opaque:
                text += "o " + entry.path;
                break;
        }
        text += "\n";
    }
    return text;
}

void put(Tree& tree, const std::string& path, Inode inode) {
    tree.put(path, std::make_shared<const Inode>(std::move(inode)));
}

}  // namespace

TEST_CASE("what diff_trees says turns one tree into the other", "[layers][diff_trees]") {
    const std::uint64_t seed = test_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    Dice dice(seed);
    for (int round = 0; round < 400; ++round) {
        const Tree before = random_tree(dice, static_cast<unsigned>(dice.below(60)));
        Tree after = dice.one_in(4) ? random_tree(dice, static_cast<unsigned>(dice.below(60))) : before;
        std::vector<std::string> paths, files;
        after.walk([&](const std::string& path, const Tree::Node& node) {
            paths.push_back(path);
            if (!node.is_directory()) files.push_back(path);
        });
        for (std::uint64_t n = dice.below(12); n > 0 && !paths.empty(); --n) {
            const std::string path = dice.of(paths);
            const Tree::Node* node = after.find(path);
            if (node == nullptr) continue;
            switch (dice.below(6)) {
                case 0:
                    after.remove(path);
                    break;
                case 1:
                    put(after, path, random_inode(dice));
                    break;
                case 2:
                    put(after, path, directory(static_cast<std::uint16_t>(dice.below(512))));
                    break;
                case 3:
                    if (!node->is_directory()) put(after, path, *node->inode);
                    break;  // a link breaks, nothing else
                case 4:
                    if (const auto& target = dice.of(files.empty() ? paths : files);
                        target != path && after.find(target) != nullptr &&
                        !after.find(target)->is_directory())
                        after.link(path, target);
                    break;
                case 5:
                    put(after, path, random_inode(dice));
                    break;
            }
        }
        INFO("round " << round << "\nbefore:\n" << describe(before) << "after:\n" << describe(after));
        const std::vector<Entry> entries = diff_trees(before, after, true);
        Tree result = before;
        result.apply(entries);
        REQUIRE(difference(describe(after), describe(result)) == "");
        REQUIRE(diff_trees(after, result, true).empty());
        for (const Entry& entry : entries) {
            if (entry.kind != Entry::Kind::opaque) validate_entry(entry);
        }
        // Without times of directories it is the same but for those.
        Tree timeless = before;
        timeless.apply(diff_trees(before, after));
        REQUIRE(diff_trees(timeless, after).empty());
    }
}

TEST_CASE("a difference is written in an order that any tool can apply", "[layers][diff_trees]") {
    const Tree before = tree_of({add("a", directory()), add("a/gone", file("1")), add("a/kept", file("1")),
                                 add("a/sub", directory()), add("b", file("1")), add("c", directory(0700)),
                                 add("c/d", directory()), add("c/d/e", file("1"))});
    Tree after = before;
    put(after, "a/sub/new", file("2"));
    after.remove("a/gone");
    after.remove("b");
    put(after, "a-first", file("3"));
    CHECK(listing(diff_trees(before, after)) == "- b\n+ a\n- a/gone\n+ a/sub\n+ a/sub/new\n+ a-first\n");
    CHECK(diff_trees(before, before).empty());
    CHECK(listing(diff_trees(Tree(), after)) ==
          "+ a\n+ a/kept\n+ a/sub\n+ a/sub/new\n+ a-first\n+ c\n+ c/d\n+ c/d/e\n");
}

TEST_CASE("a directory's time alone is no change, unless asked for", "[layers][diff_trees]") {
    const Tree before = tree_of({add("d", directory(0755, {1, 0})), add("d/f", file("1"))});
    Tree after = before;
    put(after, "d", directory(0755, {2, 0}));
    CHECK(diff_trees(before, after).empty());
    CHECK(listing(diff_trees(before, after, true)) == "+ d\n");
    // Written because of what is in it, it keeps its old time: the layer does not depend on when it was made.
    put(after, "d/f", file("2"));
    const auto entries = diff_trees(before, after);
    REQUIRE(listing(entries) == "+ d\n+ d/f\n");
    CHECK(entries[0].inode.mtime == Timestamp{1, 0});
    put(after, "d", directory(0700, {2, 0}));
    CHECK(diff_trees(before, after)[0].inode == directory(0700, {2, 0}));
    Tree root = before;
    put(root, "", directory(0711));
    CHECK(listing(diff_trees(before, root)) == "+ /\n");
}

TEST_CASE("a changed hardlink group is written as a whole", "[layers][diff_trees]") {
    const Tree before =
        tree_of({add("a", file("1")), hardlink("b", "a"), hardlink("c", "a"), add("x", file("1"))});
    Tree after = before;
    SECTION("one name more") {
        after.link("d", "b");
        CHECK(listing(diff_trees(before, after)) == "+ a\n= b a\n= c a\n= d a\n");
    }
    SECTION("one name less needs a whiteout only") {
        after.remove("a");
        CHECK(listing(diff_trees(before, after)) == "- a\n");
    }
    SECTION("one name on its own with equal attributes") {
        put(after, "b", file("1"));
        CHECK(listing(diff_trees(before, after)) == "+ b\n");
    }
    SECTION("a new content for all") {
        put(after, "a", file("2"));
        after.link("b", "a");
        after.link("c", "a");
        CHECK(listing(diff_trees(before, after)) == "+ a\n= b a\n= c a\n");
    }
    SECTION("two equal files become one") {
        after.link("x", "a");
        CHECK(listing(diff_trees(before, after)) == "+ a\n= b a\n= c a\n= x a\n");
    }
}
