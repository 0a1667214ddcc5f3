#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>

#include <catch2/catch.hpp>
#include <clocale>
#include <memory>

#include "layers/base/process.h"
#include "layers/base/temp_dir.h"
#include "tests/support/archive.h"
#include "tests/support/requirements.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

Entry add(std::string path, FileType type = FileType::regular) {
    Entry entry;
    entry.path = std::move(path);
    entry.inode.type = type;
    return entry;
}
Entry hardlink(std::string path, std::string target) {
    Entry entry;
    entry.kind = Entry::Kind::hardlink;
    entry.path = std::move(path);
    entry.target = std::move(target);
    return entry;
}

std::string content_of(const Entry& entry) {
    std::string content(entry.inode.size, '\0');
    for (std::size_t i = 0; i < content.size(); ++i)
        content[i] = static_cast<char>(i * 7 + entry.path.size());
    return content;
}

std::string write_archive(const std::vector<Entry>& entries) {
    StringSink sink;
    TarWriter writer(sink);
    for (const Entry& entry : entries) {
        validate_entry(entry);
        writer.entry(entry, {1234, 0});
        if (entry.kind == Entry::Kind::add && entry.inode.type == FileType::regular)
            writer.content(as_bytes(content_of(entry)));
    }
    writer.finish();
    return std::move(sink.text);
}

/// Entries with everything a layer may have, and names nobody would choose.
std::vector<Entry> random_entries(std::mt19937& random, std::size_t count) {
    const auto pick = [&](std::uint64_t below) { return static_cast<std::uint64_t>(random()) % below; };
    const auto name = [&] {
        static const char* const kOdd[] = {"a",        "...",          "-rf",         " ",   "new\nline",
                                           "\xff\xfe", "h\u00e9",      "\\x41",       "%3D", "a=b",
                                           "'q\"",     "\x01\x1b[31m", "\xed\xa0\x80"};
        std::string text = kOdd[pick(std::size(kOdd))];
        const std::uint64_t kind = pick(10);
        if (kind == 0) text += std::string(90 + pick(20), 'n');
        if (kind == 1) text += std::string(200 + pick(40), 'N');
        text += std::to_string(pick(1000000));
        return text;
    };
    std::vector<Entry> entries;
    std::vector<std::string> files;
    for (std::size_t i = 0; i < count; ++i) {
        std::string path = name();
        for (std::uint64_t depth = pick(4); depth != 0; --depth) path = name() + "/" + path;
        Entry entry = add(path, static_cast<FileType>(pick(6)));
        Inode& inode = entry.inode;
        inode.mode = static_cast<std::uint16_t>(pick(010000));
        inode.uid = pick(3) == 0   ? static_cast<std::uint32_t>(2097150 + pick(4))
                    : pick(4) == 0 ? 4294967294U
                                   : static_cast<std::uint32_t>(pick(70000));
        inode.gid = pick(5) == 0 ? 4294967294U : static_cast<std::uint32_t>(pick(70000));
        switch (pick(6)) {
            case 0:
                inode.mtime = {static_cast<std::int64_t>(pick(2000000000)),
                               static_cast<std::uint32_t>(pick(1000000000))};
                break;
            case 1:
                inode.mtime = {-static_cast<std::int64_t>(pick(2000000000)),
                               static_cast<std::uint32_t>(pick(2) * 500000000)};
                break;
            case 2:
                inode.mtime = {8589934591 + static_cast<std::int64_t>(pick(3)), 0};
                break;
            default:
                inode.mtime = {static_cast<std::int64_t>(pick(2000000000)), 0};
        }
        if (inode.type == FileType::regular) {
            inode.size = pick(4) == 0 ? 0 : pick(3) == 0 ? 512 * pick(4) : pick(3000);
            files.push_back(path);
        }
        if (inode.type == FileType::symlink) {
            inode.link_target = name();
            if (pick(3) == 0) inode.link_target += "/" + std::string(80 + pick(40), 't');
            inode.mode = 0777;
        }
        if (inode.type == FileType::char_device || inode.type == FileType::block_device) {
            inode.device_major = static_cast<std::uint32_t>(1 + pick(4095));
            inode.device_minor = static_cast<std::uint32_t>(pick(1 << 20));
        }
        std::map<std::string, std::string> xattrs;
        for (std::uint64_t n = pick(4) == 0 ? pick(4) : 0; n != 0; --n) {
            static const char* const kNames[] = {
                "user.a",       "user.b c", "user.eq=ual", "user.per%41cent", "security.capability",
                "user.\xc3\xa9"};
            std::string value;
            for (std::uint64_t bytes = pick(40); bytes != 0; --bytes) value += static_cast<char>(pick(256));
            xattrs[kNames[pick(std::size(kNames))]] = value;
        }
        inode.xattrs.assign(xattrs.begin(), xattrs.end());
        entries.push_back(entry);
        if (!files.empty() && pick(6) == 0) entries.push_back(hardlink(name(), files[pick(files.size())]));
    }
    return entries;
}

/// What the archive must say of an entry: an Entry again, directories without the slash.
Entry back_to_entry(const TarMember& member) {
    Entry entry;
    entry.path = normalise_path(member.path);
    if (member.is_hardlink) {
        entry.kind = Entry::Kind::hardlink;
        entry.target = normalise_path(member.link_name);
    } else {
        entry.inode = member.inode;
    }
    return entry;
}

}  // namespace

TEST_CASE("whatever entries a layer has, its archive says exactly them", "[layers][tar]") {
    INFO("SURCOAT_TEST_SEED=" << archive_seed());
    std::mt19937 random(archive_seed());
    for (int round = 0; round < 5; ++round) {
        const std::vector<Entry> entries = random_entries(random, 300);
        const std::string archive = write_archive(entries);
        CHECK(archive.size() % 512 == 0);
        CHECK((archive == write_archive(entries)));
        const TakenIn taken = take_in(archive);
        REQUIRE(taken.members.size() == entries.size());
        for (std::size_t i = 0; i < entries.size(); ++i) {
            INFO(printable(entries[i].path));
            CHECK((back_to_entry(taken.members[i]) == entries[i]));
            if (entries[i].kind == Entry::Kind::add && entries[i].inode.type == FileType::regular) {
                CHECK((taken.contents[i] == content_of(entries[i])));
            }
        }
        CHECK((made_again(taken) == archive));
    }
}

TEST_CASE("libarchive reads the same entries from what we write", "[layers][tar][oracle]") {
    INFO("SURCOAT_TEST_SEED=" << archive_seed());
    std::mt19937 random(archive_seed() + 1);
    std::setlocale(LC_CTYPE, "C.UTF-8");  // else libarchive gives no name for one that is not ASCII
    const std::vector<Entry> entries = random_entries(random, 500);
    const std::string bytes = write_archive(entries);
    const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
    archive_read_support_format_tar(reader.get());
    REQUIRE(archive_read_open_memory(reader.get(), bytes.data(), bytes.size()) == ARCHIVE_OK);
    for (const Entry& entry : entries) {
        INFO(printable(entry.path));
        archive_entry* read = nullptr;
        const int code = archive_read_next_header(reader.get(), &read);
        INFO((archive_error_string(reader.get()) != nullptr ? archive_error_string(reader.get()) : ""));
        REQUIRE((code == ARCHIVE_OK || code == ARCHIVE_WARN));
        const Inode& inode = entry.inode;
        REQUIRE(archive_entry_pathname(read) != nullptr);
        CHECK(normalise_path(archive_entry_pathname(read)) == entry.path);
        if (entry.kind == Entry::Kind::hardlink) {
            INFO(printable(entry.target));
            REQUIRE(archive_entry_hardlink(read) != nullptr);
            CHECK(archive_entry_hardlink(read) == entry.target);
            continue;
        }
        CHECK((archive_entry_mode(read) & 07777U) == inode.mode);
        CHECK(static_cast<std::uint32_t>(archive_entry_uid(read)) == inode.uid);
        CHECK(static_cast<std::uint32_t>(archive_entry_gid(read)) == inode.gid);
        // libarchive 3.6 reads "-2.5" as -1.5 s.
        if (inode.mtime.seconds >= 0 || inode.mtime.nanoseconds == 0) {
            CHECK(archive_entry_mtime(read) == inode.mtime.seconds);
            CHECK(static_cast<std::uint32_t>(archive_entry_mtime_nsec(read)) == inode.mtime.nanoseconds);
        }
        if (inode.type == FileType::symlink) {
            INFO(printable(inode.link_target));
            REQUIRE(archive_entry_symlink(read) != nullptr);
            CHECK(archive_entry_symlink(read) == inode.link_target);
        }
        if (inode.type == FileType::char_device || inode.type == FileType::block_device) {
            CHECK(archive_entry_rdevmajor(read) == inode.device_major);
            CHECK(archive_entry_rdevminor(read) == inode.device_minor);
        }
        std::map<std::string, std::string> xattrs;
        archive_entry_xattr_reset(read);
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        while (archive_entry_xattr_next(read, &name, &value, &size) == ARCHIVE_OK)
            xattrs[name] = std::string(static_cast<const char*>(value), size);
        for (const auto& [wanted, content] : inode.xattrs) {
            if (content.empty()) continue;  // libarchive 3.6 drops empty values
            INFO(wanted);
            CHECK((xattrs[wanted] == content));
        }
        if (inode.type == FileType::regular) {
            CHECK(static_cast<std::uint64_t>(archive_entry_size(read)) == inode.size);
            std::string content(inode.size + 1, '\0');
            CHECK(archive_read_data(reader.get(), content.data(), content.size()) ==
                  static_cast<la_ssize_t>(inode.size));
            content.pop_back();
            CHECK((content == content_of(entry)));
        }
    }
    archive_entry* read = nullptr;
    CHECK(archive_read_next_header(reader.get(), &read) == ARCHIVE_EOF);
}

TEST_CASE("GNU tar extracts what we write", "[layers][tar][oracle]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("tar"));
    std::vector<Entry> entries = {add("d", FileType::directory),
                                  add("d/setuid"),
                                  add("d/time"),
                                  add("d/" + std::string(200, 'n')),
                                  add("d/link", FileType::symlink),
                                  hardlink("d/zz", "d/setuid"),
                                  add("d/fifo", FileType::fifo),
                                  add("d/e\xff")};
    entries[0].inode.mode = 0755;
    entries[1].inode.mode = 04755;
    entries[1].inode.size = 700;
    entries[2].inode.mtime = {1700000000, 123456789};
    entries[3].inode.size = 5;
    entries[4].inode.link_target = std::string(180, 't');
    const TempDir directory;
    {
        const UniqueFd out = open_file(directory.path() / "a.tar", O_WRONLY | O_CREAT);
        write_full(out.get(), as_bytes(write_archive(entries)));
    }
    const CommandResult result =
        run_command({"tar", "-xpf", directory.path() / "a.tar", "-C", directory.path()});
    INFO(result.error_output);
    REQUIRE(result.status.ok());
    CHECK(result.error_output.empty());
    CHECK((lstat_path(directory.path() / "d/setuid")->st_mode & 07777) == 04755);
    CHECK(lstat_path(directory.path() / "d/setuid")->st_ino == lstat_path(directory.path() / "d/zz")->st_ino);
    CHECK(lstat_path(directory.path() / "d/time")->st_mtim.tv_nsec == 123456789);
    CHECK((read_file(directory.path() / "d" / std::string(200, 'n')) == content_of(entries[3])));
    CHECK(std::filesystem::read_symlink(directory.path() / "d/link").string() == std::string(180, 't'));
    CHECK(lstat_path(directory.path() / "d/e\xff"));
}

TEST_CASE("an archive has ustar's plain form where that says everything", "[layers][tar]") {
    Entry file_entry = add("usr/bin/x");
    file_entry.inode.size = 2;
    file_entry.inode.mode = 0755;
    file_entry.inode.uid = 1000;
    file_entry.inode.gid = 2097151;
    file_entry.inode.mtime = {1700000000, 0};
    Entry directory = add("usr", FileType::directory);
    directory.inode.mode = 0755;
    const std::string want =
        header({.name = "usr/", .type = '5', .mode = 0755}) +
        member_of({.name = "usr/bin/x", .mode = 0755, .uid = 1000, .gid = 2097151, .mtime = 1700000000},
                  content_of(file_entry)) +
        end_blocks();
    CHECK((write_archive({directory, file_entry}) == want));
    CHECK((write_archive({}) == end_blocks()));
    CHECK((write_archive({add("", FileType::directory)}).substr(0, 3) == std::string("./\0", 3)));

    // Up to 255 bytes by ustar's prefix; a directory's slash counts.
    const std::string name100(100, 'n'), prefix155 = std::string(150, 'p') + "/ppp";
    CHECK(write_archive({add(name100)}).size() == 3 * 512);
    CHECK(write_archive({add(prefix155 + "/" + name100)}).size() == 3 * 512);
    CHECK(write_archive({add(name100, FileType::directory)}).size() == 5 * 512);
    CHECK(write_archive({add(std::string(101, 'n'))}).size() == 5 * 512);
}

TEST_CASE("the extended header has only what ustar cannot say, in fixed order", "[layers][tar]") {
    Entry entry = add(std::string(101, 'n'), FileType::symlink);
    entry.inode.link_target = std::string(101, 't');
    entry.inode.uid = 2097152;
    entry.inode.gid = 3000000000;
    entry.inode.mtime = {-3, 500000000};
    entry.inode.xattrs = {{"security.capability", std::string("\1\0", 2)}, {"user.a=b", "v"}, {"user.z", ""}};
    const std::string archive = write_archive({entry});
    const std::string want = record("path", std::string(101, 'n')) +
                             record("linkpath", std::string(101, 't')) + record("uid", "2097152") +
                             record("gid", "3000000000") + record("mtime", "-2.5") +
                             record("SCHILY.xattr.security.capability", std::string("\1\0", 2)) +
                             record("LIBARCHIVE.xattr.user.a%3Db", "dg") + record("SCHILY.xattr.user.z", "");
    CHECK((archive.substr(512, want.size()) == want));
    CHECK(archive.substr(0, 14) == "PaxHeaders/nnn");

    // A name that is not UTF-8 must say so (POSIX, hdrcharset), else readers may refuse or change it.
    const std::string odd = std::string(101, 'n') + "\xff";
    CHECK((write_archive({add(odd)}).substr(512, 22) == "21 hdrcharset=BINARY\n1"));
}

TEST_CASE("sizes over 8 GiB are said in the extended header", "[layers][tar]") {
    for (const std::uint64_t size :
         {(std::uint64_t{1} << 33) - 1, std::uint64_t{1} << 33, std::uint64_t{1} << 40}) {
        Entry entry = add("big");
        entry.inode.size = size;
        StringSink sink;
        TarWriter writer(sink);
        writer.entry(entry);
        CHECK((sink.text.find(record("size", std::to_string(size))) != std::string::npos) ==
              (size >= std::uint64_t{1} << 33));
        MemorySource source(sink.text);
        TarReader reader(source, nullptr);
        const auto member = reader.next();
        REQUIRE(member);
        CHECK(member->inode.size == size);
        CHECK(member->content_bytes == size);
    }
}

TEST_CASE("whiteouts become OCI's members, with the time they are given", "[layers][tar]") {
    Entry gone, opaque;
    gone.kind = Entry::Kind::whiteout;
    gone.path = "etc/passwd";
    opaque.kind = Entry::Kind::opaque;
    opaque.path = "var";
    const TakenIn taken = take_in(write_archive({opaque, gone}));
    REQUIRE(taken.members.size() == 2);
    CHECK(describe(taken.members[0]) == "regular file var/.wh..wh..opq 0644 0:0 @1234 0");
    CHECK(describe(taken.members[1]) == "regular file etc/.wh.passwd 0644 0:0 @1234 0");
}

TEST_CASE("a hardlink's header repeats its target's owner, mode and time, which docker applies",
          "[layers][tar]") {
    Entry target = add("a");
    target.inode.mode = 04755;
    target.inode.uid = 7;
    target.inode.gid = 8;
    target.inode.mtime = {99, 5};
    target.inode.xattrs = {{"user.x", "y"}};
    const TakenIn taken = take_in(write_archive({target, hardlink("b", "a"), hardlink("c", "elsewhere")}));
    CHECK(describe(taken.members.at(1)) == "hardlink b 4755 7:8 @99.000000005 = a");
    CHECK(describe(taken.members.at(2)) == "hardlink c 0644 0:0 @0 = elsewhere");
}

TEST_CASE("content that is not what the header says fails", "[layers][tar]") {
    Entry entry = add("a");
    entry.inode.size = 3;
    StringSink sink;
    TarWriter writer(sink);
    writer.entry(entry);
    CHECK_THROWS_WITH(writer.content(as_bytes("four")),
                      Catch::Contains("content of 'a' is 1 bytes longer than its header says"));
    writer.content(as_bytes("on"));
    CHECK_THROWS_WITH(writer.entry(entry),
                      Catch::Contains("content of 'a' is incomplete: 1 bytes are missing"));
    CHECK_THROWS_WITH(writer.finish(), Catch::Contains("1 bytes are missing"));
    writer.content(as_bytes("e"));
    CHECK_THROWS_AS(writer.entry(add("")), Error);
    writer.finish();
    CHECK_THROWS_WITH(writer.entry(entry), Catch::Contains("had been finished"));
}
