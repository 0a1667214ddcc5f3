#include "layers/entry.h"

#include <catch2/catch.hpp>
#include <functional>

#include "layers/base/error.h"

using namespace surcoat;

TEST_CASE("a path out of an archive has one normal form", "[layers][entry]") {
    const std::pair<std::string, std::string> cases[] = {
        {"", ""},
        {".", ""},
        {"./", ""},
        {"/", ""},
        {"///", ""},
        {"a", "a"},
        {"/a", "a"},
        {"./a", "a"},
        {"a/", "a"},
        {"a//b", "a/b"},
        {"a/./b/.", "a/b"},
        {"./././a/b///", "a/b"},
        {"...", "..."},
        {"a..b/..c", "a..b/..c"},
        {" ", " "},
        {"a\nb/\xff", "a\nb/\xff"},
        {std::string(255, 'n'), std::string(255, 'n')},
    };
    for (const auto& [given, normal] : cases) {
        INFO(printable(given));
        CHECK(normalise_path(given) == normal);
        CHECK(normalise_path(normal) == normal);
    }
    std::string deep = "a";
    for (int i = 1; i < 4096; ++i) deep += "/a";
    CHECK(normalise_path(deep) == deep);
}

TEST_CASE("a path that could lead out, or that no filesystem can hold, is refused with its rule",
          "[layers][entry]") {
    std::string deep = "a";
    for (int i = 0; i < 4096; ++i) deep += "/a";
    const std::pair<std::string, std::string> cases[] = {
        {"..", "'..' in its path"},
        {"../etc/passwd", "'..' in its path"},
        {"a/../b", "'..' in its path"},
        {"a/..", "'..' in its path"},
        {"/..", "'..' in its path"},
        {std::string("a\0b", 3), "a NUL in its path"},
        {std::string(256, 'n'), "a name of 256 bytes"},
        {deep, "more than 4096 levels"},
    };
    for (const auto& [path, rule] : cases) {
        INFO(printable(path));
        try {
            normalise_path(path);
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::invalid);
            CHECK_THAT(e.what(), Catch::Contains(rule));
        }
    }
}

TEST_CASE("names out of an image cannot drive the terminal they are shown on", "[layers][entry]") {
    CHECK(printable("plain/h\u00e9llo \u65e5\u672c") == "plain/h\u00e9llo \u65e5\u672c");
    CHECK(printable("a\nb\x1b[31m\x7f") == "a\\x0ab\\x1b[31m\\x7f");
    CHECK(printable("\xff\xc0\x80") == "\\xff\\xc0\\x80");
    CHECK(printable("\xc2\x9b"
                    "31m") == "\\xc2\\x9b31m");  // CSI in one character
    CHECK(printable("a\\x41") == "a\\\\x41");
    CHECK(printable("\xf0\x9f\x98\x80\xf4\x90\x80\x80") == "\xf0\x9f\x98\x80\\xf4\\x90\\x80\\x80");
    CHECK(printable(std::string(1000, 'x')) == std::string(300, 'x') + "...");
    CHECK(is_utf8("h\u00e9"));
    CHECK_FALSE(is_utf8("\xed\xa0\x80"));
}

TEST_CASE("an entry that breaks a rule of layers may not enter a store", "[layers][entry]") {
    struct Case {
        const char* rule;
        std::function<void(Entry&)> break_it;
    };
    const Case cases[] = {
        {"'..' in its path", [](Entry& e) { e.path = "a/../b"; }},
        {"not in normal form", [](Entry& e) { e.path = "/a"; }},
        {"not in normal form", [](Entry& e) { e.path = "a/"; }},
        {"not in normal form", [](Entry& e) { e.path = "a//b"; }},
        {"a name of 256 bytes", [](Entry& e) { e.path = std::string(256, 'x'); }},
        {"the root must be a directory", [](Entry& e) { e.path = ""; }},
        {"mode 100644 has more than permission bits", [](Entry& e) { e.inode.mode = 0100644; }},
        {"user and group numbers end at 4294967294", [](Entry& e) { e.inode.uid = 0xffffffff; }},
        {"user and group numbers end at 4294967294", [](Entry& e) { e.inode.gid = 0xffffffff; }},
        {"1000000000 nanoseconds", [](Entry& e) { e.inode.mtime.nanoseconds = 1000000000; }},
        {"a directory has no content",
         [](Entry& e) {
             e.inode.type = FileType::directory;
             e.inode.size = 1;
         }},
        {"a fifo has no content",
         [](Entry& e) {
             e.inode.type = FileType::fifo;
             e.inode.object.emplace();
         }},
        {"a symlink needs a target", [](Entry& e) { e.inode.type = FileType::symlink; }},
        {"a symlink's target has 4096 bytes",
         [](Entry& e) {
             e.inode.type = FileType::symlink;
             e.inode.link_target = std::string(4096, 't');
         }},
        {"a NUL in a symlink's target",
         [](Entry& e) {
             e.inode.type = FileType::symlink;
             e.inode.link_target = std::string("a\0", 2);
         }},
        {"a regular file has no link target", [](Entry& e) { e.inode.link_target = "t"; }},
        {"a regular file has no device number", [](Entry& e) { e.inode.device_minor = 3; }},
        {"a character device 0:0 is how overlayfs writes a whiteout",
         [](Entry& e) { e.inode.type = FileType::char_device; }},
        {"device number 4096:0 is over",
         [](Entry& e) {
             e.inode.type = FileType::block_device;
             e.inode.device_major = 4096;
         }},
        {"device number 1:1048576 is over",
         [](Entry& e) {
             e.inode.type = FileType::char_device;
             e.inode.device_major = 1;
             e.inode.device_minor = 1 << 20;
         }},
        {"'trusted.overlay.opaque' belongs to overlayfs",
         [](Entry& e) {
             e.inode.xattrs = {{"trusted.overlay.opaque", "y"}};
         }},
        {"'user.overlay.redirect' belongs to overlayfs",
         [](Entry& e) {
             e.inode.xattrs = {{"user.overlay.redirect", "/x"}};
         }},
        {"not in byte order",
         [](Entry& e) {
             e.inode.xattrs = {{"user.b", ""}, {"user.a", ""}};
         }},
        {"'user.a' is there twice",
         [](Entry& e) {
             e.inode.xattrs = {{"user.a", ""}, {"user.a", ""}};
         }},
        {"must have 1 to 255 bytes",
         [](Entry& e) {
             e.inode.xattrs = {{"", ""}};
         }},
        {"must have 1 to 255 bytes",
         [](Entry& e) {
             e.inode.xattrs = {{std::string(256, 'x'), ""}};
         }},
        {"65536 bytes, more than 65535",
         [](Entry& e) {
             e.inode.xattrs = {{"user.a", std::string(65536, 'x')}};
         }},
        {"a hardlink needs a target", [](Entry& e) { e.kind = Entry::Kind::hardlink; }},
        {"a hardlink to itself",
         [](Entry& e) {
             e.kind = Entry::Kind::hardlink;
             e.target = e.path;
         }},
        {"'..' in its path",
         [](Entry& e) {
             e.kind = Entry::Kind::hardlink;
             e.target = "../x";
         }},
        {"the root cannot be a hardlink",
         [](Entry& e) {
             e.kind = Entry::Kind::hardlink;
             e.path = "";
             e.target = "x";
         }},
        {"a whiteout cannot hide the root",
         [](Entry& e) {
             e.kind = Entry::Kind::whiteout;
             e.path = "";
         }},
    };
    for (const Case& c : cases) {
        INFO(c.rule);
        Entry entry;
        entry.path = "some/path";
        CHECK_NOTHROW(validate_entry(entry));
        c.break_it(entry);
        try {
            validate_entry(entry);
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::invalid);
            CHECK_THAT(e.what(), Catch::Contains(c.rule));
        }
    }
}

TEST_CASE("what looks odd but is legal in a layer passes", "[layers][entry]") {
    Entry entry;
    entry.inode.type = FileType::directory;
    CHECK_NOTHROW(validate_entry(entry));  // the root
    entry.kind = Entry::Kind::opaque;
    CHECK_NOTHROW(validate_entry(entry));  // all of the lower layers hidden
    entry = {};
    entry.path = "dev/x";
    entry.inode.type = FileType::block_device;
    CHECK_NOTHROW(validate_entry(entry));  // only the character device 0:0 means something
    entry.inode.type = FileType::regular;
    entry.inode.mode = 07777;
    entry.inode.uid = entry.inode.gid = 0xfffffffe;
    entry.inode.mtime = {-5, 999999999};
    entry.inode.xattrs = {{"security.capability", std::string(65535, '\0')},
                          {"system.posix_acl_access", ""},
                          {"user.overlayfs", ""}};
    CHECK_NOTHROW(validate_entry(entry));
}
