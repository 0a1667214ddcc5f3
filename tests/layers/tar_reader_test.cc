#include <catch2/catch.hpp>

#include "tests/support/archive.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

std::string all_described(const TakenIn& taken) {
    std::string text;
    for (const TarMember& member : taken.members) text += (text.empty() ? "" : " | ") + describe(member);
    return text;
}

std::string base256(std::int64_t value, std::size_t width) {
    std::string field(width, value < 0 ? '\xff' : '\0');
    for (std::size_t i = 0; i < 8; ++i)
        field[width - 1 - i] = static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
    field[0] = static_cast<char>(field[0] | '\x80');
    return field;
}

/// Old GNU's sparse fields of a header: pairs, "more follow", real size.
std::vector<std::pair<std::size_t, std::string>> gnu_sparse(const std::vector<Extent>& map, bool more,
                                                            std::uint64_t real) {
    std::string pairs;
    for (const Extent& e : map)
        pairs += fmt::format("{:011o}", e.offset) + '\0' + fmt::format("{:011o}", e.size) + '\0';
    return {{386, pairs}, {482, std::string(1, more ? '\1' : '\0')}, {483, fmt::format("{:011o}", real)}};
}

struct Accepted {
    std::string what;
    std::string archive;
    std::string members;
};

std::vector<Accepted> accepted() {
    const std::string abc512 = std::string(512, 'a') + std::string(512, 'b') + "ccc";
    const std::string long200 = std::string(120, 'd') + "/" + std::string(79, 'f');
    std::vector<Accepted> cases = {
        {"an empty stream", "", ""},
        {"only end blocks", end_blocks(), ""},
        {"one end block", file("a", "x") + end_blocks(1), "regular file a 0644 0:0 @0 1"},
        {"no end block", file("a", "x"), "regular file a 0644 0:0 @0 1"},
        {"padding to a record of 10,240 bytes", file("a", "x") + end_blocks(18), "regular file a 0644 0:0 @0 1"},
        {"bytes behind the end, not a whole block", file("a", "x") + end_blocks() + "trailing\1", "regular file a 0644 0:0 @0 1"},
        {"another archive behind the end", file("a", "x") + end_blocks() + file("b", "y") + end_blocks(), "regular file a 0644 0:0 @0 1"},
        {"one end block and a part of the second", file("a", "x") + end_blocks(1) + std::string(100, '\0'), "regular file a 0644 0:0 @0 1"},
        {"padding that is not zero", header({"a", '0', 3}) + padded("abc", '!') + end_blocks(), "regular file a 0644 0:0 @0 3"},
        {"an empty file", file("a", "") + file("b", ""), "regular file a 0644 0:0 @0 0 | regular file b 0644 0:0 @0 0"},
        {"v7: no magic, NUL type", member_of({"a", '\0', 0, "", kNoMagic}, "hi"), "regular file a 0644 0:0 @0 2"},
        {"v7: a directory by its name", header({"d/", '\0', 700, "", kNoMagic}), "directory d/ 0644 0:0 @0"},
        {"a file '0' keeps its slash", file("d/", "x"), "regular file d/ 0644 0:0 @0 1"},
        {"contiguous is regular", member_of(Block{"c", '7'}, "x"), "regular file c 0644 0:0 @0 1"},
        {"GNU magic", member_of({"a", '0', 0, "", kGnuMagic}, "x"), "regular file a 0644 0:0 @0 1"},
        {"GNU has no prefix", member_of({.name = "a", .magic = kGnuMagic, .raw = {{345, "atime-here"}}}, "x"), "regular file a 0644 0:0 @0 1"},
        {"ustar's prefix", member_of({.name = "b", .prefix = std::string(155, 'p')}, "x"), "regular file " + std::string(155, 'p') + "/b 0644 0:0 @0 1"},
        {"star's shorter prefix", member_of({.name = "b", .prefix = std::string(131, 'p'), .raw = {{476, "00000000001 "}, {508, std::string("tar\0", 4)}}}, "x"),
         "regular file " + std::string(131, 'p') + "/b 0644 0:0 @0 1"},
        {"a name that fills its field", file(std::string(100, 'n'), "x"), "regular file " + std::string(100, 'n') + " 0644 0:0 @0 1"},
        {"links, devices, fifo",
         header({"s", '2', 0, "../t"}) + header({"h", '1', 0, "a"}) + header({.name = "c", .type = '3', .major = 1, .minor = 3}) +
             header({.name = "b", .type = '4', .major = 259, .minor = 70000}) + header({"p", '6'}),
         "symlink s 0644 0:0 @0 -> ../t | hardlink h 0644 0:0 @0 = a | character device c 0644 0:0 @0 1,3 | "
         "block device b 0644 0:0 @0 259,70000 | fifo p 0644 0:0 @0"},
        {"a link's, directory's and device's size is no content",
         header({"h", '1', 5, "a"}) + header({"s", '2', 9, "t"}) + header({"d", '5', 4096}) + header({"c", '3', 1}) + file("z", "z"),
         "hardlink h 0644 0:0 @0 = a | symlink s 0644 0:0 @0 -> t | directory d 0644 0:0 @0 | character device c 0644 0:0 @0 0,0 | "
         "regular file z 0644 0:0 @0 1"},
        {"type bits in the mode", member_of({.name = "a", .mode = 0104755}, "x"), "regular file a 4755 0:0 @0 1"},
        {"numbers with spaces, and empty ones", member_of({.name = "a", .raw = {{108, "    12 \0"}, {116, std::string(8, '\0')}, {136, "          7 "}}}, "x"),
         "regular file a 0644 10:0 @7 1"},
        {"base-256 numbers",
         header({.name = "a", .raw = {{108, base256(4'000'000'000, 8)}, {116, base256(3, 8)}, {124, base256(1, 12)}, {136, base256(-86400, 12)}}}) + padded("x"),
         "regular file a 0644 4000000000:3 @-86400 1"},
        {"a checksum of signed chars",
         [] {
             std::string bytes = header({"\xe9"});
             int sum = 0;
             for (std::size_t i = 0; i < 512; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<signed char>(bytes[i]);
             return bytes.replace(148, 6, fmt::format("{:06o}", sum));
         }(),
         "regular file \\xe9 0644 0:0 @0 0"},
        {"names that are no text", file("new\nline \xff\\", "x"), "regular file new\\x0aline \\xff\\\\ 0644 0:0 @0 1"},
        {"GNU long name and link", long_name(long200) + long_name(long200 + "t", 'K') + header({"short", '2', 0, "cut", kGnuMagic}),
         "symlink " + long200 + " 0644 0:0 @0 -> " + long200 + "t"},
        {"GNU long name without NUL, with other bytes behind", member_of({.name = "L", .type = 'L', .magic = kGnuMagic}, std::string("n\0junk", 6)) + file("x", "1"),
         "regular file n 0644 0:0 @0 1"},
        {"PAX overrides", extended(record("path", long200) + record("size", "3") + record("uid", "3000000000") + record("gid", "7") +
                                   record("mtime", "1700000000.123456789") + record("atime", "5") + record("comment", "any = thing")) +
                              header({"short"}) + padded("abc"),
         "regular file " + long200 + " 0644 3000000000:7 @1700000000.123456789 3"},
        {"PAX times", extended(record("mtime", "-2.5")) + file("a", "") + extended(record("mtime", "-0.25")) + file("b", "") +
                          extended(record("mtime", "3.1234567899")) + file("c", "") + extended(record("mtime", "-7")) + file("d", ""),
         "regular file a 0644 0:0 @-3.500000000 0 | regular file b 0644 0:0 @-1.750000000 0 | regular file c 0644 0:0 @3.123456789 0 | regular file d 0644 0:0 @-7 0"},
        {"attributes, binary and empty, in byte order",
         extended(record("SCHILY.xattr.user.z", std::string("\0\n=\xff", 4)) + record("SCHILY.xattr.security.capability", "cap") + record("SCHILY.xattr.user.empty", "")) + file("a", ""),
         "regular file a 0644 0:0 @0 0 [security.capability=cap] [user.empty=] [user.z=\\x00\\x0a=\\xff]"},
        {"libarchive's attributes, and SCHILY's over them",
         extended(record("LIBARCHIVE.xattr.user.a%20b%3D", "aGk") + record("LIBARCHIVE.xattr.user.c", "b2xk") + record("SCHILY.xattr.user.c", "new")) + file("a", ""),
         "regular file a 0644 0:0 @0 0 [user.a b==hi] [user.c=new]"},
        {"text ACLs are left to the skeleton", extended(record("SCHILY.acl.access", "user::rwx,group::r-x,other::---")) + file("a", ""), "regular file a 0644 0:0 @0 0"},
        {"hdrcharset", extended(record("hdrcharset", "BINARY") + record("path", "\xff\xfe")) + file("a", ""), "regular file \\xff\\xfe 0644 0:0 @0 0"},
        {"global headers, overridden and taken back",
         extended(record("mtime", "99") + record("uid", "5") + record("comment", "0123456789abcdef"), 'g') + file("a", "") +
             extended(record("mtime", "")) + file("b", "") + extended(record("uid", "6"), 'g') + file("c", ""),
         "regular file a 0644 5:0 @99 0 | regular file b 0644 5:0 @0 0 | regular file c 0644 6:0 @99 0"},
        {"PAX and GNU agree on a name", long_name("same") + extended(record("path", "same")) + file("a", ""), "regular file same 0644 0:0 @0 0"},
        {"device numbers of star", extended(record("SCHILY.devmajor", "4000000") + record("SCHILY.devminor", "1")) + header({"c", '3'}),
         "character device c 0644 0:0 @0 4000000,1"},
        {"old GNU sparse",
         header({.name = "s", .type = 'S', .size = 1027, .magic = kGnuMagic, .raw = gnu_sparse({{1024, 1024}, {4096, 3}, {8192, 0}}, false, 8192)}) + padded(abc512),
         "regular file s 0644 0:0 @0 8192 sparse 1024+1024 4096+3"},
        {"old GNU sparse, all hole", header({.name = "s", .type = 'S', .magic = kGnuMagic, .raw = gnu_sparse({{4096, 0}}, false, 4096)}) + file("z", "z"),
         "regular file s 0644 0:0 @0 4096 sparse | regular file z 0644 0:0 @0 1"},
        {"old GNU sparse with more blocks",
         [&] {
             std::vector<Extent> map;
             for (std::uint64_t i = 0; i < 30; ++i) map.push_back({i * 100, 1});
             const auto cut = [&](std::size_t from, std::size_t to) { return std::vector<Extent>(map.begin() + from, map.begin() + to); };
             const auto more = [&](std::size_t from, std::size_t to, bool again) {
                 std::string block = gnu_sparse(cut(from, to), false, 0)[0].second;
                 block.resize(512, '\0');
                 block[504] = again ? '\1' : '\0';
                 return block;
             };
             return header({.name = "s", .type = 'S', .size = 30, .magic = kGnuMagic, .raw = gnu_sparse(cut(0, 4), true, 1ULL << 33)}) + more(4, 25, true) + more(25, 30, false) + padded(std::string(30, 'x'));
         }(),
         "regular file s 0644 0:0 @0 8589934592 sparse 0+1 100+1 200+1 300+1 400+1 500+1 600+1 700+1 800+1 900+1 1000+1 1100+1 1200+1 1300+1 "
         "1400+1 1500+1 1600+1 1700+1 1800+1 1900+1 2000+1 2100+1 2200+1 2300+1 2400+1 2500+1 2600+1 2700+1 2800+1 2900+1"},
        {"PAX sparse 0.0",
         extended(record("GNU.sparse.size", "100") + record("GNU.sparse.numblocks", "2") + record("GNU.sparse.offset", "10") + record("GNU.sparse.numbytes", "2") +
                  record("GNU.sparse.offset", "50") + record("GNU.sparse.numbytes", "1")) + file("s", "abc"),
         "regular file s 0644 0:0 @0 100 sparse 10+2 50+1"},
        {"PAX sparse 0.1",
         extended(record("GNU.sparse.size", "100") + record("GNU.sparse.numblocks", "2") + record("GNU.sparse.name", "real") + record("GNU.sparse.map", "10,2,50,1")) + file("GNUSparseFile.1/s", "abc"),
         "regular file real 0644 0:0 @0 100 sparse 10+2 50+1"},
        {"PAX sparse 1.0",
         extended(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "99999999999") + record("GNU.sparse.name", "real")) +
             file("GNUSparseFile.1/s", padded("2\n10\n2\n50\n1\n") + "abc"),
         "regular file real 0644 0:0 @0 99999999999 sparse 10+2 50+1"},
        {"PAX sparse 1.0 without pieces",
         extended(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "7")) + file("s", padded("0\n")),
         "regular file s 0644 0:0 @0 7 sparse"},
    };
    // A map over a block's end, cut inside a number.
    std::string map = "100\n", content, extents;
    for (std::uint64_t i = 0; i < 100; ++i) {
        map += fmt::format("{}\n{}\n", 1000 + 10 * i, 3);
        content += "xyz";
        extents += fmt::format(" {}+3", 1000 + 10 * i);
    }
    cases.push_back({"PAX sparse 1.0 with a map of several blocks",
                     extended(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
                              record("GNU.sparse.realsize", "5000")) +
                         file("s", padded(map) + content),
                     "regular file s 0644 0:0 @0 5000 sparse" + extents});
    return cases;
}

}  // namespace

TEST_CASE("an archive of any dialect is read, and made again byte for byte", "[layers][tar]") {
    for (const Accepted& c : accepted()) {
        INFO(c.what);
        const TakenIn taken = take_in(c.archive);
        CHECK(all_described(taken) == c.members);
        CHECK(taken.toc.archive_bytes == c.archive.size());
        bool small = true;
        for (const TarMember& member : taken.members) small = small && member.inode.size < (64 << 20);
        if (small) CHECK((made_again(taken) == c.archive));
        // However the bytes come in.
        for (const std::size_t step : {std::size_t{1}, std::size_t{511}, std::size_t{513}}) {
            const TakenIn again = take_in(c.archive, {}, step);
            CHECK(all_described(again) == c.members);
            CHECK(again.contents == taken.contents);
            CHECK((again.skeleton == taken.skeleton));
        }
    }
}

TEST_CASE("contents of sparse files have their holes where the map says", "[layers][tar]") {
    const TakenIn taken = take_in(
        extended(record("GNU.sparse.size", "8") + record("GNU.sparse.map", "1,2,5,1")) + file("s", "abc"));
    CHECK(taken.contents.at(0) == std::string("\0ab\0\0c\0\0", 8));
}

TEST_CASE("content that is not read goes to the skeleton, so that no byte is lost", "[layers][tar]") {
    const std::string archive = file("a", std::string(1000, 'a')) + file("b", "bbb") + end_blocks();
    MemorySource source(archive);
    StringSink skeleton;
    TarReader reader(source, &skeleton);
    REQUIRE(reader.next());
    std::byte some[10];
    CHECK(reader.content(some) == 10);
    REQUIRE(reader.next());
    CHECK_FALSE(reader.next());
    CHECK_FALSE(reader.next());
    CHECK((skeleton.text == archive.substr(0, 512) + archive.substr(522)));
    CHECK(reader.position() == archive.size());
}

TEST_CASE("a damaged or hostile archive is refused, with member, byte and rule", "[layers][tar]") {
    struct Refused {
        std::string what, archive, text;
        Errc code = Errc::corrupt;
    };
    const std::string sparse10 = record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
                                 record("GNU.sparse.realsize", "100");
    const Refused cases[] = {
        {"not a tar", padded("hello, world"), "at byte 0: this is no tar header"},
        {"a wrong checksum", file("a", "x") + header({.name = "b", .wrong_checksum = true}),
         "at byte 1024: member 'a': the checksum of the next header does not match"},
        {"a hardlink with content", header({"h", '1', 5, "a"}) + padded("hello"),
         "at byte 512: member 'h': the checksum of the next header"},
        {"a member behind one zero block", file("a", "x") + end_blocks(1) + file("b", "y"),
         "at byte 1536: member 'a': a single block of zeros"},
        {"cut in a header", header({"a"}).substr(0, 300),
         "at byte 300: the archive ends inside the next header, after 300 of its 512 bytes"},
        {"cut in content", header({"a", '0', 1000}) + std::string(512, 'x'),
         "member 'a': the archive ends inside the content, 488 bytes are missing"},
        {"cut in padding", header({"a", '0', 3}) + "abc",
         "at byte 515: member 'a': the archive ends in the padding"},
        {"cut in an extended header", header({"x", 'x', 600}) + std::string(512, 'x'),
         "the archive ends inside an extended header"},
        {"cut in a long name", header({"x", 'L', 600}) + std::string(512, 'x'),
         "the archive ends inside a GNU long name"},
        {"an extended header alone", extended(record("path", "a")),
         "the archive ends behind an extended header"},
        {"an extended header before the end", extended(record("path", "a")) + end_blocks(),
         "an extended header stands at the end"},
        {"two extended headers",
         extended(record("path", "a")) + extended(record("path", "b")) + file("c", ""),
         "two extended headers in a row"},
        {"two long names", long_name("a") + long_name("b") + file("c", ""), "two GNU long names in a row"},
        {"an empty long name", long_name("") + file("c", ""), "an empty GNU long name"},
        {"two different names", long_name("a") + extended(record("path", "b")) + file("c", ""),
         "two different names"},
        {"two different targets",
         long_name("a", 'K') + extended(record("linkpath", "b")) + header({"c", '2'}),
         "two different link targets"},
        {"no name", file("", "x"), "at byte 0: a member without a name"},
        {"a negative size", header({.name = "a", .raw = {{124, base256(-1, 12)}}}),
         "member 'a': its size -1 is negative"},
        {"a negative PAX size", extended(record("size", "-5")) + file("a", ""), "size '-5' is no number"},
        {"a huge PAX size", extended(record("size", "9223372036854775808")) + file("a", ""),
         "size '9223372036854775808' is no number"},
        {"a size over 63 bits",
         header({.name = "a", .raw = {{124, "\x80" + std::string(2, '\1') + std::string(9, '\0')}}}),
         "its size '\\x80\\x01\\x01\\x00"},
        {"a size that is no number", header({.name = "a", .raw = {{124, "12x"}}}), "its size '12x"},
        {"a negative octal size", header({.name = "a", .raw = {{124, "-0000000001"}}}),
         "its size '-0000000001\\x00' is no number"},
        {"an owner over 32 bits", extended(record("uid", "4294967296")) + file("a", ""),
         "member 'a': its user number 4294967296 is not between"},
        {"chown's no-owner", extended(record("gid", "4294967295")) + file("a", ""),
         "its group number 4294967295 is not between"},
        {"a negative owner", header({.name = "a", .raw = {{108, base256(-2, 8)}}}), "its user number -2"},
        {"a time that is none", extended(record("mtime", "yesterday")) + file("a", ""),
         "mtime 'yesterday' is no time"},
        {"a time over 63 bits", extended(record("mtime", "99999999999999999999")) + file("a", ""),
         "is no time"},
        {"an incremental backup", header({"d", 'D'}),
         "its type 'D' (a directory's listing in a GNU incremental backup)"},
        {"a volume's label", header({"d", 'V'}), "its type 'V' (a volume's label)"},
        {"a continued file", header({"d", 'M'}), "its type 'M' (a file continued"},
        {"old long names", header({"d", 'N'}), "its type 'N'"},
        {"an unknown type", header({"d", 'Z'}), "member 'd': its type 'Z' is none that a layer may have"},
        {"a type that is not printable", header({"d", '\x01'}), "its type '\\x01'"},
        {"a record without length", extended("path=a\n") + file("a", ""), "does not begin with its length"},
        {"a record too long", extended("99 path=a\n") + file("a", ""), "longer than the header"},
        {"a record too short", extended("8 path=a\n") + file("a", ""), "does not end where its length says"},
        {"a record without key", extended("6 =ab\n\n") + file("a", ""), "has no key"},
        {"a record of nothing", extended("3 \n") + file("a", ""), "does not end where"},
        {"NUL in a path", extended(record("path", std::string("a\0b", 3))) + file("a", ""),
         "a NUL in the extended header's path"},
        {"NUL in a key", extended(record(std::string("k\0", 2), "v")) + file("a", ""),
         "a NUL in an extended header's key"},
        {"NUL in an attribute's name", extended(record("LIBARCHIVE.xattr.user%00x", "aGk")) + file("a", ""),
         "a NUL in the attribute's name"},
        {"bad base64", extended(record("LIBARCHIVE.xattr.user.x", "a*b")) + file("a", ""), "is no base64"},
        {"a global path", extended(record("path", "everything"), 'g') + file("a", ""),
         "a global extended header sets path"},
        {"a global attribute", extended(record("SCHILY.xattr.user.x", "y"), 'g') + file("a", ""),
         "a global extended header sets SCHILY.xattr.user.x"},
        {"a global sparse map", extended(record("GNU.sparse.map", "0,1"), 'g') + file("a", ""),
         "a global extended header sets GNU.sparse.map"},
        {"sparse without GNU's magic", header({"s", 'S'}),
         "a sparse file of GNU's in an archive that is not GNU's"},
        {"sparse pieces that overlap",
         extended(record("GNU.sparse.size", "100") + record("GNU.sparse.map", "10,5,12,1")) +
             file("s", "abcdef"),
         "overlap or are not in order"},
        {"sparse pieces past the end",
         extended(record("GNU.sparse.size", "100") + record("GNU.sparse.map", "99,2")) + file("s", "ab"),
         "reaches past the file's 100 bytes"},
        {"sparse pieces whose sum wraps",
         extended(record("GNU.sparse.size", "9223372036854775807") +
                  record("GNU.sparse.map", "9223372036854775807,9223372036854775807")) +
             file("s", "ab"),
         "reaches past"},
        {"sparse pieces too few",
         extended(record("GNU.sparse.size", "100") + record("GNU.sparse.map", "1,1")) + file("s", "ab"),
         "counts 1 bytes of content, but 2 are in the archive"},
        {"a sparse map of odd length",
         extended(record("GNU.sparse.size", "100") + record("GNU.sparse.map", "1,1,2")) + file("s", "a"),
         "ends behind an offset"},
        {"a sparse map that is none", extended(record("GNU.sparse.map", "1,,2")) + file("s", "a"),
         "no list of numbers"},
        {"a sparse map of another length",
         extended(record("GNU.sparse.size", "9") + record("GNU.sparse.numblocks", "2") +
                  record("GNU.sparse.map", "1,1")) +
             file("s", "a"),
         "has 1 pieces instead of 2"},
        {"a sparse map without size", extended(record("GNU.sparse.map", "1,1")) + file("s", "a"),
         "real size is not given"},
        {"half a pair",
         extended(record("GNU.sparse.size", "9") + record("GNU.sparse.offset", "1")) + file("s", ""),
         "without its numbytes"},
        {"a pair the wrong way round", extended(record("GNU.sparse.numbytes", "1")) + file("s", ""),
         "without its offset"},
        {"sparse version 2",
         extended(record("GNU.sparse.major", "2") + record("GNU.sparse.minor", "0") +
                  record("GNU.sparse.realsize", "9")) +
             file("s", ""),
         "version 2.0"},
        {"a map in text longer than the content", extended(sparse10) + file("s", "5\n1\n1\n"),
         "its sparse map is longer than its content"},
        {"a map in text with letters", extended(sparse10) + file("s", padded("x\n")),
         "'x' in the sparse map is no number"},
        {"a map in text with a long number",
         extended(sparse10) + file("s", padded(std::string(30, '1') + "\n")), "too long"},
        {"a sparse directory",
         extended(record("GNU.sparse.size", "9") + record("GNU.sparse.map", "1,1")) + header({"d", '5'}),
         "a sparse map for what is no regular file"},
        {"too large a header", header({"x", 'x', 9 << 20}), "is larger than the 8388608 that are allowed",
         Errc::invalid},
    };
    for (const Refused& c : cases) {
        INFO(c.what);
        try {
            const TakenIn taken = take_in(c.archive);
            FAIL("accepted: " << all_described(taken));
        } catch (const Error& e) {
            CHECK_THAT(e.what(), Catch::Contains(c.text));
            CHECK(e.code() == c.code);
            CHECK((c.code != Errc::corrupt || !e.hint().empty()));
        }
    }
}

TEST_CASE("an archive may not ask for more than the limits", "[layers][tar]") {
    const std::string archive = file("a", std::string(2000, 'x')) +
                                extended(record("SCHILY.xattr.user.x", std::string(900, 'v'))) +
                                file("b", "");
    CHECK_NOTHROW(take_in(archive));
    const auto refused = [&](TarLimits limits) -> std::string {
        try {
            take_in(archive, limits);
            return "accepted";
        } catch (const Error& e) {
            CHECK(e.code() == Errc::invalid);
            return e.what();
        }
    };
    CHECK_THAT(refused({.entries = 1}), Catch::Contains("more than the 1 members"));
    CHECK_THAT(refused({.total_bytes = 3000}), Catch::Contains("more than the 3000 bytes"));
    CHECK_THAT(refused({.total_bytes = 1999}), Catch::Contains("'a' has 2000 bytes, more than the 1999"));
    CHECK_THAT(refused({.pax_bytes = 500}), Catch::Contains("larger than the 500"));
    CHECK_THAT(refused({.xattr_bytes = 500}), Catch::Contains("906 bytes of extended attributes"));
}

TEST_CASE("an archive cut anywhere is refused, or ends at a member's end", "[layers][tar]") {
    std::string archive;
    for (const Accepted& c : accepted()) {
        if (c.archive.size() >= 4096 || c.archive.size() % 512 != 0 ||
            c.what.find("global") != std::string::npos)
            continue;
        // Only those that go on: another member can stand behind them.
        try {
            if (take_in(c.archive + file("more", "")).members.size() > take_in(c.archive).members.size())
                archive += c.archive;
        } catch (const Error&) {}
    }
    const std::size_t whole = take_in(archive).members.size();
    REQUIRE(whole > 20);
    std::size_t members_before = 0;
    for (std::size_t cut = 0; cut < archive.size(); cut += 512) {
        for (const std::size_t odd : {std::size_t{0}, std::size_t{1}, std::size_t{300}}) {
            const std::string part = archive.substr(0, cut + odd);
            INFO("cut after " << part.size() << " of " << archive.size());
            try {
                const TakenIn taken = take_in(part);
                CHECK(part.size() % 512 == 0);
                CHECK(taken.members.size() >= members_before);
                members_before = taken.members.size();
            } catch (const Error& e) {
                CHECK(e.code() == Errc::corrupt);
                CHECK_THAT(e.what(), Catch::Contains("the archive ends"));
            }
        }
    }
}

TEST_CASE("an archive with flipped bits is refused or still made again exactly", "[layers][tar]") {
    const std::uint32_t seed = archive_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    std::mt19937 random(seed);
    std::size_t read = 0, refused = 0;
    for (const Accepted& c : accepted()) {
        if (c.archive.empty() || c.archive.size() > 8192) continue;
        for (int round = 0; round < 40; ++round) {
            std::string bytes = c.archive;
            for (unsigned flips = 1 + random() % 3; flips != 0; --flips) {
                bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
            }
            try {
                const TakenIn taken = take_in(bytes, {.total_bytes = 1 << 22});
                bool small = true;
                for (const TarMember& member : taken.members) small = small && member.inode.size < (1 << 22);
                const std::string again = small ? made_again(taken) : bytes;
                CHECK((again == bytes));
                ++read;
            } catch (const Error& e) {
                CHECK((e.code() == Errc::corrupt || e.code() == Errc::invalid));
                ++refused;
            }
        }
    }
    CHECK(read > 0);
    CHECK(refused > 0);
}
