#include "layers/toc.h"

#include <catch2/catch.hpp>

#include "tests/support/archive.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

TocRecord file_record(std::string path, std::string_view content) {
    TocRecord record;
    record.entry.path = std::move(path);
    record.entry.inode.size = content.size();
    if (!content.empty()) {
        record.entry.inode.object = ObjectId{sha256(as_bytes(content))};
        record.extents = {{0, content.size()}};
    }
    record.skeleton_bytes = 512;
    return record;
}

/// One record of each kind, with extreme values.
Toc rich_toc() {
    Toc toc;
    toc.records.push_back(file_record("", ""));
    toc.records.back().entry.inode.type = FileType::directory;
    toc.records.push_back(file_record("a/\xff\n", "content"));
    Inode& inode = toc.records.back().entry.inode;
    inode.mode = 07777;
    inode.uid = inode.gid = 0xfffffffe;
    inode.mtime = {INT64_MIN, 999'999'999};
    inode.xattrs = {{"security.capability", std::string("\0\1", 2)}, {"user.x", ""}};
    toc.records.push_back(file_record("sparse", "0123456789"));
    toc.records.back().extents = {{0, 1}, {3, 2}, {9, 1}};
    toc.records.push_back(file_record("hole", "0123456789"));
    toc.records.back().extents = {};
    toc.records.push_back(file_record("empty", ""));
    toc.records.push_back(file_record("late", ""));
    toc.records.back().entry.inode.mtime = {INT64_MAX, 0};
    toc.records.push_back(file_record("twice", "older"));
    toc.records.back().archive_only = true;
    toc.records.push_back(file_record("link", ""));
    toc.records.back().entry.inode.type = FileType::symlink;
    toc.records.back().entry.inode.link_target = "../target";
    toc.records.push_back(file_record("null", ""));
    toc.records.back().entry.inode.type = FileType::char_device;
    toc.records.back().entry.inode.device_major = 4095;
    toc.records.back().entry.inode.device_minor = 1048575;
    for (const Entry::Kind kind : {Entry::Kind::hardlink, Entry::Kind::whiteout, Entry::Kind::opaque}) {
        toc.records.push_back(file_record("k" + std::to_string(static_cast<int>(kind)), ""));
        toc.records.back().entry.kind = kind;
        if (kind == Entry::Kind::hardlink) toc.records.back().entry.target = "a";
    }
    toc.skeleton_bytes = 512 * toc.records.size() + 1024;
    toc.archive_bytes = toc.skeleton_bytes + 7 + 4 + 5;
    return toc;
}

std::string written(const Toc& toc, const std::string& skeleton) {
    StringSink sink;
    write_toc(sink, toc, as_bytes(skeleton));
    return std::move(sink.text);
}

std::string refusal(std::string_view file) {
    try {
        read_toc(as_bytes(file), "layer sha256:abc");
        return "accepted";
    } catch (const Error& e) {
        CHECK(e.code() == Errc::corrupt);
        CHECK_THAT(e.what(), Catch::Contains("layer sha256:abc"));
        return e.what();
    }
}

/// The file with a checksum that fits again, as somebody who forges one would make it.
std::string resealed(std::string file) {
    const auto stored = [&](std::size_t at) {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < 8; ++i)
            value |= static_cast<std::uint64_t>(static_cast<unsigned char>(file[at + i])) << (8 * i);
        return value;
    };
    const std::string sealed = file.substr(0, 64) + file.substr(96, stored(48));
    const Sha256Bytes sum = sha256(as_bytes(sealed));
    return file.replace(64, 32, std::string(as_text(sum)));
}

}  // namespace

TEST_CASE("a table of contents comes back as it was written, and always in the same bytes", "[layers][toc]") {
    const Toc toc = rich_toc();
    const std::string skeleton(toc.skeleton_bytes, 's');
    const std::string file = written(toc, skeleton);
    CHECK((file == written(toc, skeleton)));
    const Toc read = read_toc(as_bytes(file), "it");
    CHECK(read.archive_bytes == toc.archive_bytes);
    CHECK(read.skeleton_bytes == toc.skeleton_bytes);
    REQUIRE(read.records.size() == toc.records.size());
    for (std::size_t i = 0; i < toc.records.size(); ++i) {
        INFO(printable(toc.records[i].entry.path));
        CHECK((read.records[i] == toc.records[i]));
    }
    const auto source = read_skeleton(as_bytes(file), "it");
    CHECK((read_all(*source, 1 << 20) == skeleton));
    CHECK(read.entries().size() == toc.records.size() - 1);

    Toc empty;
    const Toc nothing = read_toc(as_bytes(written(empty, "")), "it");
    CHECK(nothing.records.empty());
}

TEST_CASE("a skeleton that does not fit its table of contents is not written", "[layers][toc]") {
    StringSink sink;
    CHECK_THROWS_WITH(write_toc(sink, rich_toc(), as_bytes("short")),
                      Catch::Contains("a skeleton of 5 bytes"));
}

TEST_CASE("a table of contents that is cut or changed anywhere is refused", "[layers][toc]") {
    const Toc toc = rich_toc();
    const std::string file = written(toc, std::string(toc.skeleton_bytes, 's'));
    const std::size_t skeleton_at = file.size() - static_cast<unsigned char>(file[56]);
    for (std::size_t size = 0; size < file.size(); ++size) CHECK(refusal(file.substr(0, size)) != "accepted");
    CHECK_THAT(refusal(file + "x"), Catch::Contains("bytes behind its header"));
    for (std::size_t at = 0; at < skeleton_at; ++at) {
        std::string changed = file;
        changed[at] ^= 0x20;
        INFO("byte " << at);
        CHECK(refusal(changed) != "accepted");
    }
    // The skeleton has a checksum of its own.
    for (std::size_t at = skeleton_at; at < file.size(); ++at) {
        std::string changed = file;
        changed[at] ^= 0x20;
        INFO("byte " << at);
        try {
            const auto source = read_skeleton(as_bytes(changed), "it");
            const std::string read = read_all(*source, 1 << 20);
            CHECK((read == std::string(toc.skeleton_bytes, 's')));
        } catch (const Error& e) { CHECK(e.code() == Errc::corrupt); }
    }
    CHECK_THAT(refusal("SURCTOC!" + file.substr(8)), Catch::Contains("does not begin with"));
    std::string version2 = file;
    version2[8] = 2;
    CHECK_THAT(refusal(resealed(version2)),
               Catch::Contains("its version is 2, and this program knows version 1 only"));
}

TEST_CASE("a forged table of contents is refused though its checksum fits", "[layers][toc]") {
    const auto forged = [](const std::function<void(Toc&)>& change) {
        Toc toc = rich_toc();
        change(toc);
        return refusal(written(toc, std::string(toc.skeleton_bytes, 's')));
    };
    CHECK_THAT(forged([](Toc& t) { t.records[1].entry.path = "../../etc/passwd"; }),
               Catch::Contains("'..' in its path"));
    CHECK_THAT(forged([](Toc& t) { t.records[1].entry.path = "/abs"; }),
               Catch::Contains("not in normal form"));
    CHECK_THAT(forged([](Toc& t) {
                   t.records[1].entry.inode.xattrs = {{"trusted.overlay.opaque", "y"}};
               }),
               Catch::Contains("belongs to overlayfs"));
    CHECK_THAT(forged([](Toc& t) { t.records[1].entry.inode.object.reset(); }),
               Catch::Contains("record 2 of 12: its content is named by no object"));
    CHECK_THAT(forged([](Toc& t) {
                   t.records[2].extents = {{0, 1}, {3, 2}, {9, 2}};
               }),
               Catch::Contains("reaches past the file's end"));
    CHECK_THAT(forged([](Toc& t) {
                   t.records[2].extents = {{5, 1}, {0, 1}};
               }),
               Catch::Contains("reaches past the file's end"));
    CHECK_THAT(forged([](Toc& t) { t.records[1].skeleton_bytes = UINT64_MAX; }),
               Catch::Contains("more skeleton than there is"));
    CHECK_THAT(forged([](Toc& t) { t.archive_bytes = 10; }),
               Catch::Contains("more bytes than the archive had"));
    CHECK_THAT(forged([](Toc& t) { t.archive_bytes += 1; }), Catch::Contains("do not make an archive"));
    CHECK_THAT(forged([](Toc& t) { t.records[1].entry.inode.mode = 010000; }),
               Catch::Contains("its mode 4096 is over"));

    const Toc toc = rich_toc();
    const std::string file = written(toc, std::string(toc.skeleton_bytes, 's'));
    const auto with_count = [&](char count) {
        std::string changed = file;
        changed[16] = count;
        return refusal(resealed(changed));
    };
    CHECK_THAT(with_count(13), Catch::Contains("record 13 of 13: it ends too early"));
    CHECK_THAT(with_count(11), Catch::Contains("bytes are left behind its last record"));
    std::string huge = file;
    huge.replace(40, 8, std::string(8, '\x7f'));
    CHECK_THAT(refusal(resealed(huge)), Catch::Contains("bytes of records"));
    std::string other_size = file;
    other_size[40] ^= 1;
    CHECK_THAT(refusal(resealed(other_size)), Catch::Contains("its records are not the"));
}

TEST_CASE("an archive is not made again from a damaged object or skeleton without saying so",
          "[layers][toc]") {
    const std::string archive = file("a", "content of a") + file("b", std::string(3000, 'b')) + end_blocks();
    const TakenIn taken = take_in(archive);
    const auto regenerate = [&](const std::string& skeleton,
                                const std::function<std::string(const ObjectId&)>& content) -> std::string {
        MemorySource source(skeleton);
        StringSink sink;
        try {
            regenerate_archive(
                taken.toc, source, [&](const ObjectId& id) { return in_memory(content(id)); }, sink);
            CHECK((sink.text == archive));
            return "made";
        } catch (const Error& e) {
            CHECK((e.code() == Errc::corrupt || e.code() == Errc::not_found));
            return e.what();
        }
    };
    const auto whole = [&](const ObjectId& id) { return taken.objects.at(id); };
    CHECK(regenerate(taken.skeleton, whole) == "made");
    CHECK_THAT(regenerate(taken.skeleton.substr(1), whole),
               Catch::Contains("the skeleton ends 1 bytes early"));
    CHECK_THAT(regenerate(taken.skeleton + "x", whole),
               Catch::Contains("longer than the table of contents says"));
    CHECK_THAT(regenerate(taken.skeleton, [&](const ObjectId& id) { return taken.objects.at(id).substr(1); }),
               Catch::Contains("is corrupt: expected 12 bytes at 0, found 11"));
    CHECK_THAT(
        regenerate(taken.skeleton,
                   [&](const ObjectId&) -> std::string { throw Error(Errc::not_found, "no such object"); }),
        Catch::Contains("cannot read the content of"));
}
