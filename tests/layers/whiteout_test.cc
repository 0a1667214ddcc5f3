#include "layers/whiteout.h"

#include <sys/sysmacros.h>

#include <catch2/catch.hpp>

#include "layers/base/error.h"

using namespace surcoat;
using Kind = OciWhiteout::Kind;

TEST_CASE("the name of an archive's member says what it hides", "[layers][whiteout]") {
    struct Case {
        std::string_view path;
        Kind kind;
        std::string_view means;
    };
    const Case cases[] = {
        {"", Kind::none, ""},
        {"a", Kind::none, "a"},
        {"a/b.wh.c", Kind::none, "a/b.wh.c"},
        {"a/.w", Kind::none, "a/.w"},
        {".wh.a", Kind::entry, "a"},
        {"dir/.wh.a", Kind::entry, "dir/a"},
        {"dir/.wh....", Kind::entry, "dir/..."},
        {"dir/.wh. ", Kind::entry, "dir/ "},
        {"dir/.wh.\xff", Kind::entry, "dir/\xff"},
        {".wh..wh..opq", Kind::opaque, ""},
        {"a/b/.wh..wh..opq", Kind::opaque, "a/b"},
        {".wh..wh.plnk", Kind::none, ""},
        {".wh..wh.plnk/12.34", Kind::none, ""},
        {"a/.wh..wh.aufs", Kind::none, ""},
        {".wh..wh.orph/x/y", Kind::none, ""},
    };
    for (const Case& c : cases) {
        INFO(c.path);
        const OciWhiteout result = parse_oci_whiteout(c.path);
        CHECK(result.kind == c.kind);
        CHECK(result.path == c.means);
    }
}

TEST_CASE("a whiteout that names nothing is corrupt, not opaque", "[layers][whiteout]") {
    for (const char* path :
         {".wh.", "a/.wh.", ".wh..", "a/.wh..", ".wh...", "a/b/.wh...", ".wh.gone/x", "a/.wh.gone/x/y"}) {
        INFO(path);
        try {
            parse_oci_whiteout(path);
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::corrupt);
            CHECK_THAT(e.what(), Catch::Contains(path));
            CHECK_FALSE(e.hint().empty());
        }
    }
}

TEST_CASE("what is written as a whiteout is read as the same", "[layers][whiteout]") {
    for (const char* path : {"a", "dir/a", "dir/sub/...", "x/\xff\n"}) {
        CHECK(parse_oci_whiteout(oci_whiteout_path(path)).kind == Kind::entry);
        CHECK(parse_oci_whiteout(oci_whiteout_path(path)).path == path);
        CHECK(parse_oci_whiteout(oci_opaque_path(path)).kind == Kind::opaque);
        CHECK(parse_oci_whiteout(oci_opaque_path(path)).path == path);
    }
    CHECK(oci_opaque_path("") == ".wh..wh..opq");
    CHECK(oci_whiteout_path("a/b") == "a/.wh.b");
    try {
        oci_whiteout_path("a/.wh.b");
        FAIL("accepted");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::unsupported);
        CHECK_THAT(e.what(), Catch::Contains("a/.wh.b"));
    }
    CHECK_THROWS_AS(oci_whiteout_path(""), Error);
}

TEST_CASE("overlayfs' own marks are told from a file's attributes", "[layers][whiteout]") {
    for (const char* name : {"trusted.overlay.opaque", "user.overlay.redirect",
                             "trusted.overlay.overlay.opaque", "user.overlay."})
        CHECK(is_overlay_xattr(name));
    for (const char* name : {"trusted.overlayx", "user.overlay", "security.overlay.x", "trusted.", ""})
        CHECK_FALSE(is_overlay_xattr(name));
    struct stat st {};
    st.st_mode = S_IFCHR;
    CHECK(is_overlay_whiteout(st));
    st.st_rdev = makedev(0, 1);
    CHECK_FALSE(is_overlay_whiteout(st));
    st.st_rdev = 0;
    st.st_mode = S_IFBLK;
    CHECK_FALSE(is_overlay_whiteout(st));
}
