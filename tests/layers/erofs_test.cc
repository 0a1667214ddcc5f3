#include "layers/erofs.h"

#include <sys/sysmacros.h>

#include <chrono>
#include <iostream>

#include <catch2/catch.hpp>

#include "layers/base/error.h"
#include "layers/base/process.h"
#include "layers/base/temp_dir.h"
#include "layers/erofs_format.h"
#include "tests/support/mount.h"
#include "tests/support/requirements.h"
#include "tests/support/tree.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

std::array<std::byte, 16> some_uuid() {
    std::array<std::byte, 16> uuid{};
    for (unsigned i = 0; i < 16; ++i) uuid[i] = std::byte(0x10 + i);
    return uuid;
}

std::string erofs_of(const Tree& tree) {
    StringSink sink;
    write_erofs(sink, tree, some_uuid());
    return sink.text;
}

std::filesystem::path write_image(const std::filesystem::path& path, const Tree& tree) {
    write_file_durably(path, erofs_of(tree));
    return path;
}

constexpr const char* kBigContentName = "sparse-9G";
constexpr std::uint64_t kBigSize = 9ull << 30;

/// A POSIX ACL as its attribute holds it (linux/posix_acl_xattr.h): user::rwx user:1000:rw- group::r-x
/// mask::rwx other::---.
std::string some_acl() {
    std::string value(4 + 5 * 8, '\0');
    erofs::put<std::uint32_t>(value.data(), 2);
    const std::uint32_t entries[][3] = {
        {1, 7, 0xFFFFFFFF}, {2, 6, 1000}, {4, 5, 0xFFFFFFFF}, {0x10, 7, 0xFFFFFFFF}, {0x20, 0, 0xFFFFFFFF}};
    char* at = value.data() + 4;
    for (const auto& [tag, permissions, id] : entries) {
        erofs::put<std::uint16_t>(at, tag);
        erofs::put<std::uint16_t>(at + 2, permissions);
        erofs::put<std::uint32_t>(at + 4, id);
        at += 8;
    }
    return value;
}

/// cap_net_bind_service=ep, as `setcap` writes it (VFS_CAP_REVISION_2).
std::string some_capability() {
    std::string value(20, '\0');
    erofs::put<std::uint32_t>(value.data(), 0x02000001);
    erofs::put<std::uint32_t>(value.data() + 4, 1u << 10);
    return value;
}

/// One of everything that must survive. Contents are "content of NAME".
Tree rich_tree(std::vector<std::string>& contents) {
    Tree tree;
    const auto put = [&](const std::string& path, Inode inode) {
        tree.put(path, std::make_shared<const Inode>(std::move(inode)));
    };
    const auto put_file = [&](const std::string& path, auto&& change) {
        contents.push_back("content of " + path);
        Inode inode = file(contents.back());
        change(inode);
        put(path, std::move(inode));
    };
    Inode root = directory(0755, {1'700'000'000, 123'456'789});
    root.xattrs = {{"user.root", "yes"}};
    put("", root);
    put_file("plain", [](Inode&) {});
    put("empty", file(""));
    put_file("setuid", [](Inode& i) { i.mode = 04755; });
    put_file("setgid", [](Inode& i) { i.mode = 02755; });
    put("sticky", directory(01777));
    put_file("closed", [](Inode& i) { i.mode = 0; });
    put_file("owner", [](Inode& i) {
        i.uid = 4'000'000'000;
        i.gid = 4'294'967'294;
    });
    put_file("nanoseconds", [](Inode& i) { i.mtime = {1'234'567'890, 999'999'999}; });
    put_file("before-1970", [](Inode& i) { i.mtime = {-1'000'000, 250'000'000}; });
    put_file("epoch", [](Inode& i) { i.mtime = {0, 0}; });
    put_file("after-2038", [](Inode& i) { i.mtime = {5'000'000'000, 1}; });
    put_file("linked", [](Inode&) {});
    tree.link("linked-too", "linked");
    put("deep", directory(0700));
    tree.link("deep/linked-three", "linked");
    put("link", symlink("plain"));
    tree.link("link-hard", "link");
    put("link-long", symlink(std::string(4095, 'l')));
    put("link-4032", symlink(std::string(4032, 'm')));
    put("link-4033", symlink(std::string(4033, 'n')));
    put("link-dangling", symlink("/nowhere/\xff"));
    put("null", device(FileType::char_device, 1, 3));
    put("highest", device(FileType::char_device, 4095, 1048575));
    put("zero-major", device(FileType::char_device, 0, 77));
    put("zero-minor", device(FileType::char_device, 77, 0));
    put("minor-256", device(FileType::block_device, 8, 256));
    put("block-zero", device(FileType::block_device, 0, 0));
    tree.link("null-too", "null");
    put("fifo", fifo());
    put(std::string(255, 'n'), directory());
    put_file(std::string(255, 'n') + "/" + std::string(255, '\xe9'), [](Inode&) {});
    for (const char* name :
         {"-", "+", "!", ".hidden", "..x", ".-", ".", "\x01", "\xff", "\xc3\x28", "new\nline", "a b", "~"}) {
        if (std::string(name) != ".") put_file(name, [](Inode&) {});
    }
    put("many", directory());
    for (unsigned i = 0; i < 10'000; ++i)
        put(fmt::format("many/entry-{:05}-{}", i, std::string(i % 60, 'x')), file(""));
    for (unsigned n : {1u, 100u, 270u, 271u, 272u, 273u, 274u, 275u, 276u, 277u, 278u, 279u, 280u, 541u}) {
        put(fmt::format("d{}", n), directory());  // around one block of directory data
        for (unsigned i = 0; i < n; ++i) put(fmt::format("d{}/{:03}", n, i), fifo());
    }
    put_file("attributes", [](Inode& i) {
        i.xattrs = {{"trusted.hidden", "t"},
                    {"user.binary", std::string("\0\xff\n", 3)},
                    {"user.empty", ""},
                    {"user.long", std::string(60'000, 'v')},
                    {"user.other", std::string(65'535, 'w')}};
    });
    put_file("capability", [](Inode& i) {
        i.mode = 0755;
        i.xattrs = {{"security.capability", some_capability()}};
    });
    put_file("acl", [](Inode& i) {
        i.mode = 0770;
        i.xattrs = {{"system.posix_acl_access", some_acl()}};
    });
    Inode with_acls = directory(0770);
    with_acls.xattrs = {{"system.posix_acl_access", some_acl()}, {"system.posix_acl_default", some_acl()}};
    put("acl-directory", with_acls);
    Inode crowded = directory();
    crowded.xattrs = {{"user.crowd", std::string(3990, 'c')}};
    put("crowded", crowded);
    put("crowded/x", file(""));
    Inode symlink_with_attribute = symlink("plain");
    symlink_with_attribute.xattrs = {{"trusted.on-link", "yes"}};
    put("link-attribute", symlink_with_attribute);
    Inode big = file("x");
    big.size = kBigSize;
    put(kBigContentName, big);
    std::string path = "levels";
    put(path, directory());
    for (int i = 0; i < 60; ++i) put(path += "/d", directory());
    return tree;
}

}  // namespace

TEST_CASE("what write_erofs writes, read_erofs gives back", "[layers][erofs]") {
    std::vector<std::string> contents;
    const Tree tree = rich_tree(contents);
    const std::string image = erofs_of(tree);
    CHECK(image.size() % 4096 == 0);
    CHECK(difference(describe(tree), describe(read_erofs(as_bytes(image), "view"))) == "");
    CHECK(erofs_of(read_erofs(as_bytes(image), "view")) == image);

    const std::string nothing = erofs_of(Tree());
    CHECK(nothing.size() == 8192);
    CHECK(describe(read_erofs(as_bytes(nothing), "view")) == describe(Tree()));
}

TEST_CASE("random trees survive the way through EROFS", "[layers][erofs]") {
    const std::uint64_t seed = test_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    Dice dice(seed);
    for (int round = 0; round < 60; ++round) {
        const Tree tree = random_tree(dice, static_cast<unsigned>(dice.below(300)));
        REQUIRE(difference(describe(tree), describe(read_erofs(as_bytes(erofs_of(tree)), "view"))) == "");
    }
}

TEST_CASE("the same tree gives the same image, however it came about", "[layers][erofs]") {
    const std::vector<Entry> layer{add("b", file("1")), add("a", directory()), add("a/x", file("2")),
                                   hardlink("c", "a/x")};
    Tree applied;
    applied.apply(layer);
    Tree made;
    made.put("a", std::make_shared<const Inode>(directory()));
    made.put("c", std::make_shared<const Inode>(file("2")));
    made.link("a/x", "c");
    made.put("b", std::make_shared<const Inode>(file("1")));
    CHECK(erofs_of(applied) == erofs_of(made));
    CHECK(erofs_of(applied) == erofs_of(Tree(applied)));
}

TEST_CASE("a view of 16,500 names is written within a moment", "[layers][erofs]") {
    Tree tree;
    for (unsigned d = 0; d < 500; ++d) {
        const std::string path = fmt::format("directory-{}", d);
        tree.put(path, std::make_shared<const Inode>(directory()));
        for (unsigned f = 0; f < 32; ++f)
            tree.put(fmt::format("{}/file-{}", path, f),
                     std::make_shared<const Inode>(file(fmt::format("{}/{}", d, f))));
    }
    const auto start = std::chrono::steady_clock::now();
    const std::string image = erofs_of(tree);
    const std::chrono::duration<double> written = std::chrono::steady_clock::now() - start;
    CHECK(describe(read_erofs(as_bytes(image), "view")) == describe(tree));
    const std::chrono::duration<double> both = std::chrono::steady_clock::now() - start;
    std::cout << fmt::format(
        "erofs: 16,500 names, {} bytes, written in {:.1f} ms, read and compared in {:.1f} ms\n", image.size(),
        written.count() * 1e3, (both - written).count() * 1e3);
}

TEST_CASE("what a view cannot show is refused with its path and the reason", "[layers][erofs]") {
    Inode forged = device(FileType::char_device, 0, 0);
    Inode huge_device = device(FileType::block_device, 4096, 0);
    Inode no_object = file("x");
    no_object.object.reset();
    Inode long_target = symlink(std::string(4096, 'x'));
    Inode large_attribute = file("x");
    large_attribute.xattrs = {{"user.large", std::string(65'536, 'x')}};
    Inode many_attributes = file("x");
    for (int i = 0; i < 5; ++i)
        many_attributes.xattrs.emplace_back(fmt::format("user.{}", i), std::string(60'000, 'x'));
    const std::pair<Inode, std::string> cases[] = {
        {forged, "forged whiteout"},      {huge_device, "4096:0"},
        {no_object, "no object"},         {long_target, "4096"},
        {large_attribute, "65536 bytes"}, {many_attributes, "together"},
        {symlink(""), "1 to 4095 bytes"},
    };
    for (const auto& [inode, words] : cases) {
        Tree tree;
        tree.put("dir", std::make_shared<const Inode>(directory()));
        tree.put("dir/bad", std::make_shared<const Inode>(inode));
        try {
            erofs_of(tree);
            FAIL("accepted: " << words);
        } catch (const Error& e) {
            CHECK(e.code() == Errc::invalid);
            CHECK_THAT(e.what(), Catch::Contains("'/dir/bad'") && Catch::Contains(words));
        }
    }
}

TEST_CASE("attributes that Linux cannot show are left out of a view", "[layers][erofs]") {
    Inode inode = file("x");
    inode.xattrs = {{"com.apple.quarantine", "1"}, {"system.nfs4_acl", "2"}, {"user.kept", "3"}};
    const Tree back = read_erofs(as_bytes(erofs_of(tree_of({add("a", inode)}))), "view");
    CHECK(back.find("a")->inode->xattrs ==
          std::vector<std::pair<std::string, std::string>>{{"user.kept", "3"}});
}

TEST_CASE("no damaged image is read as something else than a tree or a clear error", "[layers][erofs]") {
    const std::uint64_t seed = test_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    Dice dice(seed);
    const std::string whole = erofs_of(random_tree(dice, 120));
    unsigned refused = 0;
    for (int round = 0; round < 3000; ++round) {
        std::string image = whole;
        for (std::uint64_t n = 1 + dice.below(4); n > 0; --n) {
            image[dice.below(image.size())] =
                static_cast<char>(dice.one_in(2) ? dice.below(256) : dice.below(3) * 255 / 2);
        }
        if (dice.one_in(10)) image.resize(dice.below(image.size()));
        if (image.size() >= 4096)
            erofs::put<std::uint32_t>(image.data() + 1028, erofs::checksum(image.data()));
        try {
            const Tree tree = read_erofs(as_bytes(image), "view");
            tree.node_count();
        } catch (const Error& e) {
            REQUIRE(e.code() == Errc::corrupt);
            REQUIRE_THAT(e.what(), Catch::Contains("view is not a whole view"));
            ++refused;
        }
    }
    CHECK(refused > 300);
    const auto refuse = [](std::string image, const std::string& words) {
        try {
            read_erofs(as_bytes(image), "views/x.erofs");
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::corrupt);
            CHECK_THAT(e.what(), Catch::Contains("views/x.erofs") && Catch::Contains(words));
            CHECK_FALSE(e.hint().empty());
        }
    };
    refuse("", "0");
    refuse(std::string(8192, '\0'), "does not begin like an EROFS image");
    std::string flipped = whole;
    flipped[1024 + 50] ^= 1;
    refuse(flipped, "checksum");
    refuse(whole + std::string(4096, '\0'), "should have");
}

TEST_CASE("fsck.erofs and dump.erofs understand our views", "[layers][erofs][oracle]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("fsck.erofs"));
    std::vector<std::string> contents;
    const TempDir temp;
    const auto image = write_image(temp.path() / "view.erofs", rich_tree(contents));
    const CommandResult checked = run_command({"fsck.erofs", image.string()});
    INFO(checked.output << checked.error_output);
    CHECK(checked.status.ok());
    const CommandResult dumped = run_command({"dump.erofs", "-s", image.string()});
    CHECK(dumped.status.ok());
    CHECK_THAT(dumped.output, Catch::Contains("sb_csum") && Catch::Contains("chunked_file"));
    CHECK_THAT(dumped.output, Catch::Contains("10111213-1415-1617-1819-1a1b1c1d1e1f"));
    const CommandResult shown = run_command({"dump.erofs", "--path=/before-1970", image.string()});
    CHECK(shown.status.ok());
}

TEST_CASE("a mounted view shows every attribute and every content of the tree", "[layers][erofs][mount]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    std::vector<std::string> contents;
    const Tree tree = rich_tree(contents);
    const TempDir temp;
    const auto image = write_image(temp.path() / "view.erofs", tree);
    const auto objects = temp.path() / "objects", upper = temp.path() / "upper", work = temp.path() / "work",
               target = temp.path() / "merged";
    for (const auto& path : {objects, upper, work, target}) std::filesystem::create_directory(path);
    for (const std::string& content : contents) put_object(objects, content);
    put_object(objects, "x");  // stands for 9 GiB of zeros that nobody reads here
    const std::string big = object_redirect(object_of("x"));
    std::filesystem::resize_file(objects.string() + big, kBigSize);

    // The kernel's own view of the image, without contents (they are below).
    const std::string bare = in_mount_namespace([&] {
        const UniqueFd view = mount_erofs(image);
        attach(view, target);
        DirectoryReader reader;
        reader.contents = false;
        return describe(reader.read(target));
    });
    const auto without_objects = [](std::string text) {
        for (std::size_t at; (at = text.find(" object ")) != std::string::npos;) text.erase(at, 20);
        return text;
    };
    CHECK(difference(without_objects(describe(tree)), bare) == "");

    // As a container sees it.
    const auto overlay = [&](bool writable, const std::function<std::string()>& body) {
        return in_mount_namespace([&] {
            const UniqueFd view = mount_erofs(image);
            OverlayMount mount;
            mount.lowers = {view.get()};
            mount.objects = objects;
            if (writable) {
                mount.upper = upper;
                mount.work = work;
                for (const char* option : {"redirect_dir", "index", "metacopy"})
                    mount.options.emplace_back(option, "on");
            }
            mount.at(target);
            return body();
        });
    };
    const Tree small = [&] {
        Tree without = tree;
        without.remove(kBigContentName);
        return without;
    }();
    const auto contents_shown = [&] {
        DirectoryReader reader;
        reader.contents = false;
        std::string text = describe(reader.read(target));
        for (const std::string& content : contents) {
            const std::string path = content.substr(std::string("content of ").size());
            if (read_file(target / path) != content) text += "content differs: " + path + "\n";
        }
        const auto st = lstat_path(target / kBigContentName);
        if (!st || static_cast<std::uint64_t>(st->st_size) != kBigSize)
            text += "size of the large file differs\n";
        return text;
    };
    CHECK(difference(without_objects(describe(tree)), overlay(false, contents_shown)) == "");
    // The root of a writable mount is the upper's.
    const auto writable = overlay(true, [&] {
        std::string text = contents_shown();
        return text.substr(text.find('\n') + 1);
    });
    const std::string expected = without_objects(describe(tree));
    CHECK(difference(expected.substr(expected.find('\n') + 1), writable) == "");

    SECTION("and copying up keeps them") {
        const std::string touched = overlay(true, [&] {
            small.walk([&](const std::string& path, const Tree::Node& node) {
                if (path.find('/') != path.npos || node.inode->type == FileType::symlink ||
                    node.is_directory())
                    return;
                const std::string full = (target / path).string();
                // chmod copies up. ext4 has no room for the large attributes of one file.
                if (path == "attributes") return;
                if (::chmod(full.c_str(), node.inode->mode) != 0) throw_errno("chmod " + path);
            });
            std::string text = contents_shown();
            return text.substr(text.find('\n') + 1);
        });
        CHECK(difference(expected.substr(expected.find('\n') + 1), touched) == "");
    }
}

TEST_CASE("a device number is shown as it was, and 0:0 never appears", "[layers][erofs][mount]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    Tree tree;
    const std::pair<unsigned, unsigned> numbers[] = {{1, 3},     {1, 0},   {0, 1},   {0, 255},       {0, 256},
                                                     {255, 255}, {256, 1}, {8, 256}, {4095, 1048575}};
    for (const auto& [major_number, minor_number] : numbers) {
        tree.put(fmt::format("c{}-{}", major_number, minor_number),
                 std::make_shared<const Inode>(device(FileType::char_device, major_number, minor_number)));
        tree.put(fmt::format("b{}-{}", major_number, minor_number),
                 std::make_shared<const Inode>(device(FileType::block_device, major_number, minor_number)));
    }
    const TempDir temp;
    const auto image = write_image(temp.path() / "view.erofs", tree);
    const auto target = temp.path() / "merged", objects = temp.path() / "objects";
    std::filesystem::create_directory(target);
    std::filesystem::create_directory(objects);
    const std::string shown = in_mount_namespace([&] {
        const UniqueFd view = mount_erofs(image);
        OverlayMount mount;
        mount.lowers = {view.get()};
        mount.objects = objects;
        mount.at(target);
        std::string text;
        for (const auto& entry : std::filesystem::directory_iterator(target)) {
            const auto st = lstat_path(entry.path());
            text += fmt::format("{}={}{}-{}\n", entry.path().filename().string(),
                                S_ISCHR(st->st_mode) ? 'c' : 'b', major(st->st_rdev), minor(st->st_rdev));
        }
        return text;
    });
    for (const auto& [major_number, minor_number] : numbers) {
        for (const char* kind : {"c", "b"}) {
            const std::string name = fmt::format("{}{}-{}", kind, major_number, minor_number);
            CHECK_THAT(shown, Catch::Contains(name + "=" + name + "\n"));
        }
    }
}

TEST_CASE("the inode numbers we foretell are those that a mount shows", "[layers][erofs][mount]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    const std::uint64_t seed = test_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    Dice dice(seed);
    const Tree tree = random_tree(dice, 200);
    const TempDir temp;
    const auto image = write_image(temp.path() / "view.erofs", tree);
    std::string expected;
    for (const auto& [number, inode] : erofs_inode_numbers(tree))
        expected += fmt::format("{} {}\n", number, describe(*inode).substr(0, 12));
    const std::string shown = in_mount_namespace([&] {
        const UniqueFd view = mount_erofs(image);
        std::string text;
        tree.walk([&](const std::string& path, const Tree::Node& node) {
            if (node.is_directory()) return;
            struct stat st;
            if (::fstatat(view.get(), path.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) throw_errno(path);
            text += fmt::format("{} {}\n", st.st_ino, describe(*node.inode).substr(0, 12));
        });
        return text;
    });
    CHECK(difference(expected, shown) == "");
}
