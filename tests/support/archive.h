#pragma once
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/tar.h"
#include "layers/toc.h"

/// For tests of layer archives: archives made by hand, byte by byte and without the code under test, and the
/// shortest possible importer. In a header, since not every test program links layers/.
namespace surcoat::test {

/// $SURCOAT_TEST_SEED, else a new one; cases print it.
inline std::uint32_t archive_seed() {
    static const std::uint32_t seed = [] {
        const char* given = std::getenv("SURCOAT_TEST_SEED");
        return given != nullptr ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10))
                                : std::random_device()();
    }();
    return seed;
}

/// One header block as a writer of 1988 would make it.
struct Block {
    std::string name;
    char type = '0';
    std::uint64_t size = 0;
    std::string link{};
    std::string magic = std::string(
        "ustar\0"
        "00",
        8);
    unsigned mode = 0644;
    std::uint64_t uid = 0;
    std::uint64_t gid = 0;
    std::uint64_t mtime = 0;
    unsigned major = 0;
    unsigned minor = 0;
    std::string prefix{};
    /// Overwrites bytes at offsets before the checksum is made.
    std::vector<std::pair<std::size_t, std::string>> raw{};
    bool wrong_checksum = false;
};

inline const std::string kGnuMagic = std::string("ustar  \0", 8);
inline const std::string kNoMagic = std::string(8, '\0');

inline std::string header(const Block& block) {
    std::string bytes(512, '\0');
    const auto put = [&](std::size_t at, std::string_view text) { bytes.replace(at, text.size(), text); };
    put(0, block.name.substr(0, 100));
    put(100, fmt::format("{:07o}", block.mode));
    put(108, fmt::format("{:07o}", block.uid));
    put(116, fmt::format("{:07o}", block.gid));
    put(124, fmt::format("{:011o}", block.size));
    put(136, fmt::format("{:011o}", block.mtime));
    put(156, std::string(1, block.type));
    put(157, block.link.substr(0, 100));
    put(257, block.magic);
    if (block.magic != kNoMagic) {
        put(329, fmt::format("{:07o}", block.major));
        put(337, fmt::format("{:07o}", block.minor));
    }
    put(345, block.prefix);
    for (const auto& [at, text] : block.raw) put(at, text);
    put(148, "        ");
    unsigned sum = block.wrong_checksum ? 1 : 0;
    for (const char c : bytes) sum += static_cast<unsigned char>(c);
    put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
    return bytes;
}

inline std::string padded(std::string bytes, char with = '\0') {
    bytes.append((512 - bytes.size() % 512) % 512, with);
    return bytes;
}
/// A member with content; its size goes into the header.
inline std::string member_of(Block block, const std::string& content) {
    block.size = content.size();
    return header(block) + padded(content);
}
inline std::string file(const std::string& name, const std::string& content) {
    return member_of(Block{name}, content);
}
inline std::string record(const std::string& key, const std::string& value) {
    std::size_t length = key.size() + value.size() + 3;
    for (std::size_t digits = 1; std::to_string(length + digits).size() != digits;) ++digits;
    std::size_t digits = 1;
    while (std::to_string(length + digits).size() != digits) ++digits;
    return fmt::format("{} ", length + digits) + key + "=" + value + "\n";
}
inline std::string extended(const std::string& records, char type = 'x') {
    return member_of(Block{"PaxHeaders/x", type}, records);
}
inline std::string long_name(const std::string& name, char type = 'L') {
    Block block{"././@LongLink", type};
    block.magic = kGnuMagic;
    return member_of(block, name + std::string(1, '\0'));
}
inline std::string end_blocks(std::size_t count = 2) {
    return std::string(512 * count, '\0');
}

/// An archive taken apart.
struct TakenIn {
    std::vector<TarMember> members;
    std::vector<std::string> contents;  ///< logical, holes as zeros; of members that have any
    Toc toc;
    std::string skeleton;
    std::map<ObjectId, std::string> objects;
};

/// Reads `archive` through a source that gives at most `at_a_time` bytes a call.
class DripSource final : public ByteSource {
  public:
    DripSource(std::string_view bytes, std::size_t at_a_time) : rest_(as_bytes(bytes)), step_(at_a_time) {}
    std::size_t read(MutableByteSpan buffer) override {
        const std::size_t n = std::min({buffer.size(), rest_.size(), step_});
        std::copy_n(rest_.begin(), n, buffer.begin());
        rest_ = rest_.subspan(n);
        return n;
    }

  private:
    ByteSpan rest_;
    std::size_t step_;
};

inline TakenIn take_in(std::string_view archive, TarLimits limits = {},
                       std::size_t at_a_time = std::size_t{1} << 20) {
    TakenIn taken;
    DripSource source(archive, at_a_time);
    StringSink skeleton;
    TarReader reader(source, &skeleton, limits);
    std::size_t before = 0;
    while (auto member = reader.next()) {
        TocRecord record;
        record.skeleton_bytes = skeleton.text.size() - before;
        before = skeleton.text.size();
        record.entry.path = fmt::format("{}", taken.members.size());  // any valid path: this is about bytes
        if (member->inode.type == FileType::regular) {
            record.entry.inode.size = member->inode.size;
            record.extents = member->extents;
        }
        // Holes of gigabytes would have to be objects of gigabytes.
        const bool small = member->inode.size <= (64 << 20);
        std::string content;
        if (small && member->inode.type == FileType::regular) content.resize(member->inode.size);
        // Both ways of reading, in turn.
        std::string stored;
        if (taken.members.size() % 2 == 0) {
            stored.resize(member->content_bytes);
            std::size_t done = 0;
            while (const std::size_t n =
                       reader.content(std::as_writable_bytes(std::span(stored)).subspan(done)))
                done += n;
            if (done != stored.size()) throw std::logic_error("content() ended early");
        } else {
            for (ByteSpan chunk; !(chunk = reader.content_chunk()).empty();) stored += as_text(chunk);
            if (stored.size() != member->content_bytes) throw std::logic_error("content_chunk() ended early");
        }
        std::size_t at = 0;
        for (const Extent& extent : member->extents) {
            if (small) content.replace(extent.offset, extent.size, stored, at, extent.size);
            at += extent.size;
        }
        if (!content.empty() || !member->extents.empty()) {
            const ObjectId object{sha256(as_bytes(content))};
            taken.objects[object] = content;
            record.entry.inode.object = object;
        }
        taken.contents.push_back(std::move(content));
        taken.toc.records.push_back(std::move(record));
        taken.members.push_back(std::move(*member));
    }
    taken.skeleton = std::move(skeleton.text);
    taken.toc.archive_bytes = reader.position();
    taken.toc.skeleton_bytes = taken.skeleton.size();
    return taken;
}

inline UniqueFd in_memory(std::string_view content) {
    UniqueFd fd(::memfd_create("object", MFD_CLOEXEC));
    if (!fd) throw_errno("memfd_create");
    write_full(fd.get(), as_bytes(content));
    return fd;
}

/// The archive from toc and skeleton as they come back from the file's form, and the objects.
inline std::string made_again(const TakenIn& taken) {
    StringSink file;
    write_toc(file, taken.toc, as_bytes(taken.skeleton));
    const Toc toc = read_toc(as_bytes(file.text), "the test's layer");
    const auto skeleton = read_skeleton(as_bytes(file.text), "the test's layer");
    StringSink archive;
    regenerate_archive(
        toc, *skeleton, [&](const ObjectId& id) { return in_memory(taken.objects.at(id)); }, archive);
    return std::move(archive.text);
}

/// "regular a/b 0644 0:0 @5 3" and what else is not as usual; for tables.
inline std::string describe(const TarMember& member) {
    const Inode& inode = member.inode;
    std::string text =
        fmt::format("{} {} {:04o} {}:{} @{}", member.is_hardlink ? "hardlink" : to_string(inode.type),
                    printable(member.path), inode.mode, inode.uid, inode.gid, inode.mtime.seconds);
    if (inode.mtime.nanoseconds != 0) text += fmt::format(".{:09}", inode.mtime.nanoseconds);
    if (!member.is_hardlink && inode.type == FileType::regular) text += fmt::format(" {}", inode.size);
    if (inode.type == FileType::symlink) text += " -> " + printable(inode.link_target);
    if (member.is_hardlink) text += " = " + printable(member.link_name);
    if (inode.type == FileType::char_device || inode.type == FileType::block_device) {
        text += fmt::format(" {},{}", inode.device_major, inode.device_minor);
    }
    for (const auto& [name, value] : inode.xattrs)
        text += fmt::format(" [{}={}]", printable(name), printable(value));
    const bool plain =
        member.extents.empty() ? inode.size == 0 : member.extents == std::vector<Extent>{{0, inode.size}};
    if (!plain) {
        text += " sparse";
        for (const Extent& extent : member.extents) text += fmt::format(" {}+{}", extent.offset, extent.size);
    }
    return text;
}

}  // namespace surcoat::test
