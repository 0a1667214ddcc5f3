#include "layers/diff.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "layers/base/error.h"
#include "layers/base/temp_dir.h"
#include "layers/erofs.h"
#include "tests/support/mount.h"
#include "tests/support/requirements.h"
#include "tests/support/tree.h"

using namespace surcoat;
using namespace surcoat::test;
namespace fs = std::filesystem;

namespace {

const StoreContent kHash = [](int fd, std::uint64_t size) {
    const std::string content = read_file(fd);
    if (content.size() != size) throw Error(Errc::failed, "store: the size is not what was said");
    return object_of(content);
};

std::string merged(const fs::path& upper, const Tree& lower, const UpperFormat& format = {}) {
    return describe(merge_upper(RootDir(upper.string()), lower, format, kHash));
}

void set_xattr(const fs::path& path, const std::string& name, const std::string& value) {
    if (::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0)
        throw_errno("set " + name);
}

void write(const fs::path& path, const std::string& content) {
    write_full(open_file(path, O_WRONLY | O_CREAT | O_TRUNC).get(), as_bytes(content));
}

/// Changes below a mounted root as programs make them, at random. What the kernel refuses (EXDEV, ENOTEMPTY,
/// …) is refused; everything else must be understood afterwards.
class Vandal {
  public:
    Vandal(Dice& dice, fs::path root) : dice_(dice), root_(std::move(root)) {}

    void act() {
        look();
        const std::string path = any(), name = fresh();
        const char* p = path.c_str();
        const char* n = name.c_str();
        struct stat st;
        if (::lstat(p, &st) != 0) return;
        switch (dice_.below(20)) {
            case 0:
                write_content(name, O_CREAT | O_TRUNC);
                break;
            case 1:
                if (S_ISREG(st.st_mode)) write_content(path, O_TRUNC);
                break;
            case 2:
                if (S_ISREG(st.st_mode)) write_content(path, O_APPEND);
                break;
            case 3:
                if (!S_ISLNK(st.st_mode)) done(::chmod(p, static_cast<mode_t>(dice_.below(07777 + 1))));
                break;
            case 4:
                done(::lchown(p, static_cast<uid_t>(dice_.below(2000)), static_cast<gid_t>(dice_.below(9))));
                break;
            case 5: {
                const timespec times[2] = {{static_cast<time_t>(dice_.below(2'000'000'000)), 1},
                                           {static_cast<time_t>(dice_.below(2'000'000'000)), 123'456'789}};
                done(::utimensat(AT_FDCWD, p, times, AT_SYMLINK_NOFOLLOW));
                break;
            }
            case 6:
                if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
                    done(::lsetxattr(p, "user.vandal", p, dice_.below(9), 0));
                break;
            case 7:
                done(::mkdir(n, 0755));
                break;
            case 8:
                done(::symlink("somewhere", n));
                break;
            case 9:
                special(name);
                break;
            case 10:
            case 11:
                if (!S_ISDIR(st.st_mode)) done(::link(p, n));
                break;
            case 12:
            case 13:
                done(::rename(p, n));
                break;
            case 14:
                done(::rename(p, any().c_str()));
                break;
            case 15:
                done(::renameat2(AT_FDCWD, p, AT_FDCWD, any().c_str(), RENAME_EXCHANGE));
                break;
            case 16:
                if (!S_ISDIR(st.st_mode)) done(::unlink(p));
                break;
            case 17:
                if (dice_.one_in(3)) fs::remove_all(path);
                break;
            case 18:
                if (S_ISDIR(st.st_mode) && path != root_.string() && dice_.one_in(2)) {  // opaque
                    fs::remove_all(path);
                    done(::mkdir(p, 0700));
                    write_content(path + "/again", O_CREAT);
                }
                break;
            case 19:
                if (S_ISREG(st.st_mode)) done(::truncate(p, static_cast<off_t>(dice_.below(3) * 100)));
                break;
        }
    }

  private:
    void look() {
        all_.clear();
        directories_.assign(1, root_.string());
        std::vector<std::string> pending{root_.string()};
        while (!pending.empty()) {
            const std::string directory = pending.back();
            pending.pop_back();
            for (const std::string& name :
                 list_directory(open_file(directory, O_RDONLY | O_DIRECTORY).get())) {
                const std::string path = directory + "/" + name;
                all_.push_back(path);
                if (!S_ISDIR(lstat_path(path)->st_mode)) continue;
                directories_.push_back(path);
                pending.push_back(path);
            }
        }
    }
    std::string any() { return all_.empty() ? root_.string() : dice_.of(all_); }
    std::string fresh() {
        return fmt::format("{}/{}{}", dice_.of(directories_), dice_.of<std::string>({"a", "new", "\xff"}),
                           dice_.below(12));
    }
    void write_content(const std::string& path, int flags) {
        const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | flags, 0644));
        if (fd && S_ISREG(stat_fd(fd.get()).st_mode)) write_full(fd.get(), as_bytes(random_content(dice_)));
    }
    void special(const std::string& name) {
        if (dice_.one_in(3)) {
            done(::mkfifo(name.c_str(), 0600));
        } else if (dice_.one_in(2)) {
            done(::mknod(name.c_str(), S_IFCHR | 0600, makedev(dice_.below(300), 1 + dice_.below(3))));
        } else {
            done(::mknod(name.c_str(), S_IFSOCK | 0600, 0));
        }
    }
    static void done(long) {}

    Dice& dice_;
    fs::path root_;
    std::vector<std::string> all_, directories_;
};

/// A store's objects, an image of a tree, and a writable overlay mount on it.
struct Bench {
    explicit Bench(Tree tree, const std::vector<std::string>& contents) : lower(std::move(tree)) {
        for (const char* name : {"objects", "upper", "work", "merged"}) fs::create_directory(path(name));
        for (const std::string& content : contents) put_object(path("objects"), content);
        uuid[3] = std::byte{7};
        StringSink sink;
        write_erofs(sink, lower, uuid);
        write_file_durably(path("view.erofs"), sink.text);
        // The mounted root has the upper's attributes: begin with the lower's, as a container is made.
        const Inode& root = *lower.root().inode;
        ::chmod(path("upper").c_str(), root.mode);
    }
    fs::path path(const std::string& name) const { return temp.path() / name; }
    void mount(const std::vector<std::pair<std::string, std::string>>& options) const {
        const UniqueFd view = mount_erofs(path("view.erofs"));
        OverlayMount overlay;
        overlay.lowers = {view.get()};
        overlay.objects = path("objects");
        overlay.upper = path("upper");
        overlay.work = path("work");
        overlay.options.insert(overlay.options.end(), options.begin(), options.end());
        overlay.at(path("merged"));
    }
    std::string merged_by_us() const {
        std::optional<RootDir> index;
        if (fs::exists(path("work/index"))) index.emplace(path("work/index").string());
        UpperFormat format;
        if (index) format.index = &*index;
        format.origin = erofs_origins(lower, uuid);
        return merged(path("upper"), lower, format);
    }
    std::string shown() const { return describe(DirectoryReader().read(path("merged"))); }

    TempDir temp;
    Tree lower;
    std::array<std::byte, 16> uuid{};
};

using Options = std::vector<std::pair<std::string, std::string>>;

/// Runs `body` on a mounted bench; what we make of the upper must be what the mount shows.
void check_against_kernel(Bench& bench, const Options& options,
                          const std::function<void(const fs::path&)>& body) {
    const std::string result = in_mount_namespace([&] {
        bench.mount(options);
        body(bench.path("merged"));
        const std::string seen = bench.shown();
        unmount(bench.path("merged"));
        // Once more: the kernel must find everything again from the disk alone.
        bench.mount(options);
        const std::string again = bench.shown();
        unmount(bench.path("merged"));
        return difference(seen, again) + difference(seen, bench.merged_by_us());
    });
    REQUIRE(result == "");
}

const Options kAll{{"redirect_dir", "on"}, {"index", "on"}, {"metacopy", "on"}};

}  // namespace

TEST_CASE("an upper is understood as the kernel shows it, whatever was done to it", "[layers][diff][mount]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    const std::uint64_t seed = test_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    Dice dice(seed);
    const Options combinations[] = {
        kAll,
        {{"redirect_dir", "on"}, {"index", "on"}, {"metacopy", "off"}},
        {{"redirect_dir", "on"}, {"index", "off"}, {"metacopy", "on"}},
        {{"redirect_dir", "nofollow"}, {"index", "off"}, {"metacopy", "off"}},
    };
    const char* rounds = std::getenv("SURCOAT_TEST_ROUNDS");
    for (int round = 0; round < (rounds != nullptr ? std::atoi(rounds) : 24); ++round) {
        INFO("round " << round);
        std::vector<std::string> contents;
        Tree lower = random_tree(dice, 20 + static_cast<unsigned>(dice.below(120)), &contents);
        for (int i = 0; i < 40; ++i) contents.push_back(fmt::format("content {}\n", i));
        Bench bench(std::move(lower), contents);
        check_against_kernel(bench, combinations[round % 4], [&](const fs::path& root) {
            Vandal vandal(dice, root);
            for (std::uint64_t n = 1 + dice.below(120); n > 0; --n) vandal.act();
        });
        dice = Dice(seed + static_cast<unsigned>(round) + 1);  // what the child threw is lost to us
    }
}

TEST_CASE("changed lower hardlinks stay together", "[layers][diff][mount]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    const std::vector<std::string> contents{"one", "two"};
    const Tree lower =
        tree_of({add("d", directory()), add("d/a", file("one")), hardlink("d/b", "d/a"), hardlink("c", "d/a"),
                 add("x", file("two")), hardlink("y", "x"), add("alone", file("one"))});
    Bench bench(lower, contents);
    const auto run = [&](const std::function<void(const fs::path&)>& body) {
        check_against_kernel(bench, kAll, body);
    };
    SECTION("written through one name") {
        run([](const fs::path& root) { write(root / "c", "new"); });
    }
    SECTION("the name they were changed by is gone") {
        run([](const fs::path& root) {
            write(root / "c", "new");
            fs::remove(root / "c");
        });
    }
    SECTION("attributes only, then renamed") {
        run([](const fs::path& root) {
            ::chmod((root / "d/a").c_str(), 0600);
            fs::rename(root / "d/a", root / "z");
        });
    }
    SECTION("groups swap a name") {
        run([](const fs::path& root) {
            fs::rename(root / "x", root / "t");
            fs::rename(root / "c", root / "x");
            fs::rename(root / "t", root / "c");
            write(root / "y", "changed");
        });
    }
    SECTION("the directory moved") {
        run([](const fs::path& root) {
            fs::rename(root / "d", root / "e");
            ::chmod((root / "e/b").c_str(), 0);
            fs::create_hard_link(root / "e/b", root / "e/more");
        });
    }
    SECTION("all names gone") {
        run([](const fs::path& root) {
            write(root / "c", "new");
            for (const char* name : {"c", "d/a", "d/b"}) fs::remove(root / name);
        });
    }
}

TEST_CASE("redirects lead where the kernel follows them", "[layers][diff][mount]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    const Tree lower =
        tree_of({add("a", directory()), add("a/b", directory()), add("a/b/c", directory()),
                 add("a/b/c/file", file("one")), add("other", directory()), add("other/file", file("two"))});
    Bench bench(lower, {"one", "two"});
    const auto run = [&](const std::function<void(const fs::path&)>& body) {
        check_against_kernel(bench, kAll, body);
    };
    SECTION("among siblings") {
        run([](const fs::path& root) { fs::rename(root / "a", root / "z"); });
    }
    SECTION("into another directory, and its children further") {
        run([](const fs::path& root) {
            fs::rename(root / "a/b", root / "other/moved");
            fs::rename(root / "other/moved/c", root / "other/moved/d");
            fs::rename(root / "other/moved/d", root / "top");
        });
    }
    SECTION("two names exchanged") {
        run([](const fs::path& root) {
            fs::rename(root / "a", root / "t");
            fs::rename(root / "other", root / "a");
            fs::rename(root / "t", root / "other");
        });
    }
    SECTION("a new directory at the old name") {
        run([](const fs::path& root) {
            fs::rename(root / "a", root / "z");
            fs::create_directory(root / "a");
            write(root / "a/b", "a file now");
        });
    }
    SECTION("a file whose content stays below") {
        run([](const fs::path& root) {
            ::chmod((root / "a/b/c/file").c_str(), 0600);
            fs::rename(root / "a/b/c/file", root / "other/elsewhere");
            fs::rename(root / "other", root / "third");
        });
    }
}

TEST_CASE("an upper made elsewhere is read by its marks", "[layers][diff]") {
    const TempDir temp;
    const fs::path& upper = temp.path();
    const Tree lower =
        tree_of({add("d", directory(0700)), add("d/kept", file("kept")), add("d/gone", file("gone")),
                 add("e", directory()), add("e/hidden", file("hidden")), add("old", directory()),
                 add("old/in", file("in"))});
    const auto tree = [&](const UpperFormat& format = {}) {
        return merge_upper(RootDir(upper.string()), lower, format, kHash);
    };
    const bool root = ::geteuid() == 0;
    UpperFormat format;
    format.space = root ? OverlayNamespace::trusted : OverlayNamespace::user;
    const std::string prefix(overlay_prefix(format.space));
    fs::create_directory(upper / "d");

    SECTION("whiteouts of both kinds") {
        SURCOAT_REQUIRE_OR_SKIP(root ? std::optional<std::string>()
                                     : std::optional<std::string>("whiteouts need root"));
        REQUIRE(::mknod((upper / "d/gone").c_str(), S_IFCHR, 0) == 0);
        write(upper / "old", "");
        set_xattr(upper / "old", prefix + "whiteout", "y");
        set_xattr(upper, prefix + "opaque", "x");
        const Tree result = tree(format);
        CHECK(result.find("d/gone") == nullptr);
        CHECK(result.find("old") == nullptr);
        REQUIRE(result.find("d/kept") != nullptr);
        CHECK(result.find("e/hidden") != nullptr);
        CHECK(result.root().inode->xattrs.empty());
    }
    SECTION("an opaque directory shows nothing of the lower one, 'x' all of it") {
        fs::create_directory(upper / "e");
        set_xattr(upper / "e", prefix + "opaque", "y");
        set_xattr(upper / "d", prefix + "opaque", "x");
        const Tree result = tree(format);
        CHECK(result.find("e/hidden") == nullptr);
        CHECK(result.find("d/kept") != nullptr);
    }
    SECTION("the other namespace's marks mean nothing and vanish") {
        fs::create_directory(upper / "e");
        const OverlayNamespace other = root ? OverlayNamespace::user : OverlayNamespace::trusted;
        if (root) set_xattr(upper / "e", std::string(overlay_prefix(other)) + "opaque", "y");
        const Tree result = tree(format);
        CHECK(result.find("e/hidden") != nullptr);
        CHECK(result.find("e")->inode->xattrs.empty());
    }
    SECTION("a metacopy file takes the object from below, and must find it") {
        write(upper / "d/kept", "");
        fs::resize_file(upper / "d/kept", 4);
        ::chmod((upper / "d/kept").c_str(), 0400);
        set_xattr(upper / "d/kept", prefix + "metacopy", "");
        const Tree result = tree(format);
        CHECK(result.find("d/kept")->inode->object == object_of("kept"));
        CHECK(result.find("d/kept")->inode->mode == 0400);
        set_xattr(upper / "d/kept", prefix + "redirect", "/nowhere/at all");
        try {
            tree(format);
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::corrupt);
            CHECK_THAT(e.what(), Catch::Contains("/d/kept") && Catch::Contains("'/nowhere/at all'"));
            CHECK_FALSE(e.hint().empty());
        }
    }
    SECTION("a name that OCI cannot express") {
        write(upper / "d/.wh.note", "x");
        try {
            tree(format);
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::unsupported);
            CHECK_THAT(e.what(), Catch::Contains("d/.wh.note"));
            CHECK_FALSE(e.hint().empty());
        }
    }
    SECTION("owners are mapped") {
        format.owner = [](std::uint32_t uid, std::uint32_t gid) {
            return std::pair<std::uint32_t, std::uint32_t>(uid + 100, gid + 200);
        };
        const Tree result = tree(format);
        const Inode& inode = *result.find("d")->inode;
        CHECK(inode.uid == ::geteuid() + 100);
        CHECK(inode.gid == stat_fd(open_file(upper / "d", O_RDONLY).get()).st_gid + 200);
    }
    SECTION("sockets are left out, and hide what was there") {
        REQUIRE(::mknod((upper / "d/kept").c_str(), S_IFSOCK | 0600, 0) == 0);
        CHECK(tree(format).find("d/kept") == nullptr);
    }
}

TEST_CASE("the depth of an upper costs neither descriptors nor stack", "[layers][diff]") {
    const TempDir temp;
    constexpr int kLevels = 1500;
    {
        UniqueFd fd = open_file(temp.path(), O_RDONLY | O_DIRECTORY);
        for (int i = 0; i < kLevels; ++i) {
            REQUIRE(::mkdirat(fd.get(), "d", 0755) == 0);
            if (i % 100 == 0) REQUIRE(::mkdirat(fd.get(), "e", 0755) == 0);
            UniqueFd next = open_file_at(fd.get(), "d", O_RDONLY | O_DIRECTORY);
            write_full(open_file_at(fd.get(), "f", O_WRONLY | O_CREAT).get(), as_bytes("x"));
            fd = std::move(next);
        }
    }
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit few{120, before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
    std::uint64_t names = 0;
    std::string problem;
    try {
        names = merge_upper(RootDir(temp.path().string()), Tree(), {}, kHash).node_count();
    } catch (const std::exception& e) { problem = e.what(); }
    ::setrlimit(RLIMIT_NOFILE, &before);
    CHECK(problem == "");
    CHECK(names == 2 * kLevels + kLevels / 100);
}

TEST_CASE("changes are listed as docker diff lists them", "[layers][diff]") {
    const Tree before =
        tree_of({add("etc", directory()), add("etc/passwd", file("p")), add("etc/kept", file("k")),
                 add("tmp", directory()), add("tmp/sub", directory()), add("tmp/sub/file", file("f")),
                 add("usr", directory()), add("usr/bin", directory()), add("kind", file("1"))});
    Tree after = before;
    CHECK(list_changes(before, after).empty());
    after.put("etc/passwd", std::make_shared<const Inode>(file("P")));
    after.remove("tmp/sub");
    after.put("usr/bin/tool", std::make_shared<const Inode>(file("t")));
    after.put("usr/bin-new", std::make_shared<const Inode>(directory()));
    after.put("usr/bin-new/x", std::make_shared<const Inode>(file("x")));
    after.put("kind", std::make_shared<const Inode>(directory()));
    after.put("", std::make_shared<const Inode>(directory(0755, {99, 0})));
    std::string text;
    for (const Change& change : list_changes(before, after))
        text += std::string(1, static_cast<char>(change.kind)) + " " + change.path + "\n";
    CHECK(text ==
          "C /etc\nC /etc/passwd\nC /kind\nC /tmp\nD /tmp/sub\nC /usr\nC /usr/bin\nA /usr/bin-new\nA "
          "/usr/bin-new/x\nA /usr/bin/tool\n");

    Tree touched = before;
    touched.put("etc", std::make_shared<const Inode>(directory(0755, {5, 5})));
    CHECK(list_changes(before, touched).empty());
    Inode later = file("p");
    later.mtime.seconds += 1;
    touched.put("etc/passwd", std::make_shared<const Inode>(later));
    CHECK(list_changes(before, touched).size() == 2);
}
