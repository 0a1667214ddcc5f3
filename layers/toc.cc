// The toc file, version 1; layers/README.md, "toc", has the table of its fields. All numbers of the header
// are little-endian; numbers of records are LEB128 (seven bits a byte, low ones first, at most ten bytes),
// strings are a number and that many bytes. Records and skeleton are two zstd streams, one behind the other.
//
// The checksum covers header and records, not the skeleton: a reader of the toc alone need not touch the
// skeleton's pages; those have zstd's own checksum, and what is made from them is checked against the DiffId.

#include "layers/toc.h"

#include <fmt/format.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/compression.h"

namespace surcoat {
namespace {

constexpr std::string_view kMagic = "SURCTOC\n";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 96;
constexpr std::size_t kChecksumAt = 64;
/// Far more than ten million records of a usual size; what a hostile file may make us allocate at most.
constexpr std::uint64_t kRecordsBytesMax = std::uint64_t{4} << 30;

// A record's first byte.
constexpr unsigned kKindMask = 0x03;  // Entry::Kind
constexpr unsigned kHasObject = 0x04;
constexpr unsigned kWholeFile = 0x08;  // one extent {0, size}, not written out
constexpr unsigned kHasXattrs = 0x10;
constexpr unsigned kHasDevice = 0x20;
constexpr unsigned kArchiveOnly = 0x40;
constexpr unsigned kKnownFlags = 0x7f;

class RecordWriter {
  public:
    void byte(unsigned value) { text_ += static_cast<char>(value); }
    void number(std::uint64_t value) {
        for (; value >= 0x80; value >>= 7) byte(static_cast<unsigned>(value & 0x7f) | 0x80);
        byte(static_cast<unsigned>(value));
    }
    /// Zigzag: small numbers of either sign stay short.
    void signed_number(std::int64_t value) {
        number(static_cast<std::uint64_t>(value) << 1 ^ static_cast<std::uint64_t>(value >> 63));
    }
    void bytes(ByteSpan value) { text_ += as_text(value); }
    void string(std::string_view value) {
        number(value.size());
        text_ += value;
    }
    std::string take() { return std::move(text_); }

  private:
    std::string text_;
};

/// Thrown inside only: read_toc says which file, and where.
struct BadRecord {
    std::string why;
};

class RecordReader {
  public:
    explicit RecordReader(std::string_view text) : rest_(text) {}
    bool at_end() const { return rest_.empty(); }
    unsigned byte() {
        need(1);
        const auto value = static_cast<unsigned char>(rest_[0]);
        rest_.remove_prefix(1);
        return value;
    }
    std::uint64_t number() {
        std::uint64_t value = 0;
        for (unsigned shift = 0;; shift += 7) {
            const std::uint64_t next = byte();
            if (shift == 63 && next > 1) throw BadRecord{"a number is over 64 bits"};
            value |= (next & 0x7f) << shift;
            if (next < 0x80) {
                // One way to write each number, so that one toc has one file.
                if (next == 0 && shift != 0) throw BadRecord{"a number has needless zeros"};
                return value;
            }
        }
    }
    template <typename Small>
    Small number_up_to(std::uint64_t limit, const char* what) {
        const std::uint64_t value = number();
        if (value > limit) throw BadRecord{fmt::format("{} {} is over {}", what, value, limit)};
        return static_cast<Small>(value);
    }
    std::int64_t signed_number() {
        const std::uint64_t value = number();
        return static_cast<std::int64_t>(value >> 1 ^ -(value & 1));
    }
    std::string_view bytes(std::uint64_t count) {
        need(count);
        const std::string_view taken = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return taken;
    }
    std::string string() { return std::string(bytes(number())); }

  private:
    void need(std::uint64_t count) const {
        if (count > rest_.size()) throw BadRecord{"it ends too early"};
    }
    std::string_view rest_;
};

bool is_whole_file(const TocRecord& record) {
    return record.extents.size() == 1 && record.extents[0] == Extent{0, record.entry.inode.size};
}

void write_record(RecordWriter& out, const TocRecord& record) {
    const Entry& entry = record.entry;
    const Inode& inode = entry.inode;
    const bool whole = is_whole_file(record);
    const bool device = inode.device_major != 0 || inode.device_minor != 0;
    out.byte(static_cast<unsigned>(entry.kind) | (inode.object ? kHasObject : 0) | (whole ? kWholeFile : 0) |
             (inode.xattrs.empty() ? 0 : kHasXattrs) | (device ? kHasDevice : 0) |
             (record.archive_only ? kArchiveOnly : 0));
    out.byte(static_cast<unsigned>(inode.type));
    out.string(entry.path);
    out.string(entry.target);
    out.number(record.skeleton_bytes);
    out.number(inode.mode);
    out.number(inode.uid);
    out.number(inode.gid);
    out.signed_number(inode.mtime.seconds);
    out.number(inode.mtime.nanoseconds);
    out.number(inode.size);
    out.string(inode.link_target);
    if (inode.object) out.bytes(inode.object->hash);
    if (device) {
        out.number(inode.device_major);
        out.number(inode.device_minor);
    }
    if (!inode.xattrs.empty()) {
        out.number(inode.xattrs.size());
        for (const auto& [name, value] : inode.xattrs) {
            out.string(name);
            out.string(value);
        }
    }
    if (!whole) {
        out.number(record.extents.size());
        std::uint64_t end = 0;
        for (const Extent& extent : record.extents) {
            out.number(extent.offset - end);
            out.number(extent.size);
            end = extent.offset + extent.size;
        }
    }
}

void read_extents(RecordReader& in, bool whole, TocRecord& record) {
    const std::uint64_t size = record.entry.inode.size;
    if (whole) {
        record.extents = {{0, size}};
    } else {
        std::uint64_t end = 0;
        for (std::uint64_t count = in.number(); count != 0; --count) {
            const std::uint64_t gap = in.number();
            const std::uint64_t length = in.number();
            if (gap > size - end || length > size - end - gap)
                throw BadRecord{"its content reaches past the file's end"};
            record.extents.push_back({end + gap, length});
            end += gap + length;
        }
        if (is_whole_file(record)) throw BadRecord{"a whole file is written as if it were sparse"};
    }
    const bool content = std::any_of(record.extents.begin(), record.extents.end(),
                                     [](const Extent& e) { return e.size != 0; });
    if (content && !record.entry.inode.object) throw BadRecord{"its content is named by no object"};
}

TocRecord read_record(RecordReader& in) {
    TocRecord record;
    Entry& entry = record.entry;
    Inode& inode = entry.inode;
    const unsigned flags = in.byte();
    if ((flags & ~kKnownFlags) != 0) throw BadRecord{fmt::format("it has unknown flags {:#x}", flags)};
    entry.kind = static_cast<Entry::Kind>(flags & kKindMask);
    const unsigned type = in.byte();
    if (type > static_cast<unsigned>(FileType::fifo))
        throw BadRecord{fmt::format("its file type {} is not known", type)};
    inode.type = static_cast<FileType>(type);
    entry.path = in.string();
    entry.target = in.string();
    record.archive_only = (flags & kArchiveOnly) != 0;
    record.skeleton_bytes = in.number();
    inode.mode = in.number_up_to<std::uint16_t>(07777, "its mode");
    inode.uid = in.number_up_to<std::uint32_t>(UINT32_MAX, "its user number");
    inode.gid = in.number_up_to<std::uint32_t>(UINT32_MAX, "its group number");
    inode.mtime.seconds = in.signed_number();
    inode.mtime.nanoseconds = in.number_up_to<std::uint32_t>(999'999'999, "its nanoseconds");
    inode.size = in.number_up_to<std::uint64_t>(INT64_MAX, "its size");
    inode.link_target = in.string();
    if ((flags & kHasObject) != 0) {
        inode.object.emplace();
        const std::string_view hash = in.bytes(inode.object->hash.size());
        std::memcpy(inode.object->hash.data(), hash.data(), hash.size());
    }
    if ((flags & kHasDevice) != 0) {
        inode.device_major = in.number_up_to<std::uint32_t>(UINT32_MAX, "its device number");
        inode.device_minor = in.number_up_to<std::uint32_t>(UINT32_MAX, "its device number");
        if (inode.device_major == 0 && inode.device_minor == 0) throw BadRecord{"its device number is empty"};
    }
    if ((flags & kHasXattrs) != 0) {
        std::uint64_t count = in.number();
        if (count == 0) throw BadRecord{"its attributes are empty"};
        for (; count != 0; --count) {
            std::string name = in.string();
            std::string value = in.string();
            inode.xattrs.emplace_back(std::move(name), std::move(value));
        }
    }
    read_extents(in, (flags & kWholeFile) != 0, record);
    return record;
}

struct Layout {
    std::uint64_t record_count = 0;
    std::uint64_t archive_bytes = 0;
    std::uint64_t skeleton_bytes = 0;  ///< unpacked
    std::uint64_t records_bytes = 0;   ///< unpacked
    std::uint64_t records_stored = 0;
    std::uint64_t skeleton_stored = 0;
};

void put_le(std::byte* at, std::uint64_t value, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i) at[i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
}

std::uint64_t get_le(const std::byte* at, std::size_t width) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width; ++i) value |= std::to_integer<std::uint64_t>(at[i]) << (8 * i);
    return value;
}

using HeaderBytes = std::array<std::byte, kHeaderBytes>;

HeaderBytes encode(const Layout& layout, std::string_view records) {
    HeaderBytes header{};
    std::memcpy(header.data(), kMagic.data(), kMagic.size());
    put_le(header.data() + 8, kVersion, 4);
    std::size_t at = 16;
    for (const std::uint64_t field : {layout.record_count, layout.archive_bytes, layout.skeleton_bytes,
                                      layout.records_bytes, layout.records_stored, layout.skeleton_stored}) {
        put_le(header.data() + at, field, 8);
        at += 8;
    }
    Hasher hasher;
    hasher.update(ByteSpan(header).first(kChecksumAt));
    hasher.update(records);
    const Sha256Bytes checksum = hasher.finish();
    std::copy(checksum.begin(), checksum.end(), header.begin() + kChecksumAt);
    return header;
}

[[noreturn]] void corrupt(const std::string& what, const std::string& why) {
    throw Error(Errc::corrupt, fmt::format("the table of contents of {} is corrupt: {}", what, why))
        .hint("run `surcoat fsck`; importing or pulling the image again repairs it");
}

/// Magic, version and sizes; no checksum.
Layout decode(ByteSpan file, const std::string& what) {
    if (file.size() < kHeaderBytes)
        corrupt(what, fmt::format("it has {} bytes, fewer than its header's {}", file.size(), kHeaderBytes));
    if (as_text(file.first(8)) != kMagic) corrupt(what, "it does not begin with 'SURCTOC'");
    const std::uint64_t version = get_le(file.data() + 8, 4);
    if (version != kVersion) {
        corrupt(what,
                fmt::format("its version is {}, and this program knows version {} only", version, kVersion));
    }
    if (get_le(file.data() + 12, 4) != 0) corrupt(what, "a field that must be 0 is not");
    Layout layout;
    std::size_t at = 16;
    for (std::uint64_t* field : {&layout.record_count, &layout.archive_bytes, &layout.skeleton_bytes,
                                 &layout.records_bytes, &layout.records_stored, &layout.skeleton_stored}) {
        *field = get_le(file.data() + at, 8);
        at += 8;
    }
    const std::uint64_t body = file.size() - kHeaderBytes;
    if (layout.records_stored > body || layout.skeleton_stored != body - layout.records_stored) {
        corrupt(what, fmt::format("expected {} and {} bytes behind its header, found {}",
                                  layout.records_stored, layout.skeleton_stored, body));
    }
    if (layout.records_bytes > kRecordsBytesMax)
        corrupt(what, fmt::format("it claims {} bytes of records", layout.records_bytes));
    return layout;
}

std::string pack(ByteSpan bytes) {
    StringSink packed;
    const auto compressor = compress(packed, Compression::zstd);
    compressor->write(bytes);
    compressor->finish();
    return std::move(packed.text);
}

/// Exactly `size` bytes.
std::string unpack(ByteSpan packed, std::uint64_t size, const std::string& what) {
    MemorySource source(packed);
    const auto unpacked = decompress(source, Compression::zstd);
    std::string text;
    // Grows with what is really there: the size is only a claim.
    while (text.size() <= size) {
        const std::size_t had = text.size();
        const std::size_t step = static_cast<std::size_t>(
            std::min<std::uint64_t>(size - had + 1, std::max<std::size_t>(had, 1 << 16)));
        text.resize(had + step);
        const std::size_t n =
            read_full(*unpacked, std::as_writable_bytes(std::span(text.data() + had, step)));
        text.resize(had + n);
        if (n < step) break;
    }
    if (text.size() != size)
        corrupt(what, fmt::format("its records are not the {} bytes that its header says", size));
    return text;
}

void check_sums(const Toc& toc, const std::string& what) {
    std::uint64_t skeleton = 0;
    std::uint64_t content = 0;
    for (const TocRecord& record : toc.records) {
        if (record.skeleton_bytes > toc.skeleton_bytes - skeleton)
            corrupt(what, "its records need more skeleton than there is");
        skeleton += record.skeleton_bytes;
        for (const Extent& extent : record.extents) {
            if (extent.size > toc.archive_bytes - content)
                corrupt(what, "its records need more bytes than the archive had");
            content += extent.size;
        }
    }
    if (toc.skeleton_bytes != toc.archive_bytes - content) {
        corrupt(what, fmt::format("{} bytes of skeleton and {} of content do not make an archive of {}",
                                  toc.skeleton_bytes, content, toc.archive_bytes));
    }
}

/// The skeleton, checked to be as long as the header says.
class SkeletonSource final : public ByteSource {
  public:
    SkeletonSource(ByteSpan packed, std::uint64_t size, std::string what)
        : packed_(packed),
          unpacked_(decompress(packed_, Compression::zstd)),
          left_(size),
          what_(std::move(what)) {}

    std::size_t read(MutableByteSpan buffer) override {
        const std::size_t n = doing(fmt::format("cannot read the skeleton of {}", what_),
                                    [&] { return unpacked_->read(buffer); });
        if (n > left_ || (n == 0 && left_ != 0 && !buffer.empty())) {
            corrupt(what_,
                    fmt::format("its skeleton is {} than its header says", n == 0 ? "shorter" : "longer"));
        }
        left_ -= n;
        return n;
    }

  private:
    MemorySource packed_;
    std::unique_ptr<ByteSource> unpacked_;
    std::uint64_t left_;
    std::string what_;
};

void copy_exactly(ByteSource& source, std::uint64_t count, MutableByteSpan buffer, ByteSink& sink) {
    while (count != 0) {
        const std::size_t n = source.read(
            buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(count, buffer.size()))));
        if (n == 0) throw Error(Errc::corrupt, fmt::format("the skeleton ends {} bytes early", count));
        sink.write(buffer.first(n));
        count -= n;
    }
}

void copy_extent(int fd, const Extent& extent, MutableByteSpan buffer, ByteSink& sink,
                 const ObjectId& object) {
    for (std::uint64_t done = 0; done < extent.size;) {
        const auto wanted =
            static_cast<std::size_t>(std::min<std::uint64_t>(extent.size - done, buffer.size()));
        const std::size_t n = pread_full(fd, buffer.first(wanted), extent.offset + done);
        if (n < wanted) {
            throw Error(Errc::corrupt, fmt::format("object {} is corrupt: expected {} bytes at {}, found {}",
                                                   object.hex(), wanted, extent.offset + done, n))
                .hint("run `surcoat fsck` to see what else is damaged, then import or pull the image again");
        }
        sink.write(buffer.first(n));
        done += n;
    }
}

}  // namespace

std::vector<Entry> Toc::entries() const {
    std::vector<Entry> entries;
    entries.reserve(records.size());
    for (const TocRecord& record : records) {
        if (!record.archive_only) entries.push_back(record.entry);
    }
    return entries;
}

void write_toc(ByteSink& sink, const Toc& toc, ByteSpan skeleton) {
    if (skeleton.size() != toc.skeleton_bytes) {
        throw Error(Errc::failed,
                    fmt::format("a skeleton of {} bytes was given to a table of contents that says {}",
                                skeleton.size(), toc.skeleton_bytes));
    }
    RecordWriter writer;
    for (const TocRecord& record : toc.records) write_record(writer, record);
    const std::string records = writer.take();
    const std::string packed_records = pack(as_bytes(records));
    const std::string packed_skeleton = pack(skeleton);
    const HeaderBytes header = encode({toc.records.size(), toc.archive_bytes, toc.skeleton_bytes,
                                       records.size(), packed_records.size(), packed_skeleton.size()},
                                      packed_records);
    sink.write(header);
    sink.write(as_bytes(packed_records));
    sink.write(as_bytes(packed_skeleton));
}

Toc read_toc(ByteSpan file, const std::string& what) {
    const Layout layout = decode(file, what);
    const ByteSpan packed = file.subspan(kHeaderBytes, static_cast<std::size_t>(layout.records_stored));
    const HeaderBytes header = encode(layout, as_text(packed));
    if (!std::equal(header.begin(), header.end(), file.begin())) corrupt(what, "its checksum does not match");

    const std::string records = doing(fmt::format("cannot read the table of contents of {}", what),
                                      [&] { return unpack(packed, layout.records_bytes, what); });
    Toc toc;
    toc.archive_bytes = layout.archive_bytes;
    toc.skeleton_bytes = layout.skeleton_bytes;
    constexpr std::size_t kSmallestRecord = 12;
    toc.records.reserve(static_cast<std::size_t>(
        std::min<std::uint64_t>(layout.record_count, records.size() / kSmallestRecord)));
    RecordReader reader(records);
    for (std::uint64_t i = 0; i < layout.record_count; ++i) {
        try {
            toc.records.push_back(read_record(reader));
            validate_entry(toc.records.back().entry);
        } catch (const BadRecord& bad) {
            corrupt(what, fmt::format("record {} of {}: {}", i + 1, layout.record_count, bad.why));
        } catch (const Error& bad) {
            corrupt(what, fmt::format("record {} of {}: {}", i + 1, layout.record_count, bad.message()));
        }
    }
    if (!reader.at_end()) corrupt(what, "bytes are left behind its last record");
    check_sums(toc, what);
    return toc;
}

std::unique_ptr<ByteSource> read_skeleton(ByteSpan file, const std::string& what) {
    const Layout layout = decode(file, what);
    const auto at = kHeaderBytes + static_cast<std::size_t>(layout.records_stored);
    return std::make_unique<SkeletonSource>(file.subspan(at), layout.skeleton_bytes, what);
}

void regenerate_archive(const Toc& toc, ByteSource& skeleton, const OpenObject& open, ByteSink& sink) {
    std::vector<std::byte> buffer(std::size_t{1} << 20);
    std::uint64_t skeleton_left = toc.skeleton_bytes;
    for (const TocRecord& record : toc.records) {
        copy_exactly(skeleton, record.skeleton_bytes, buffer, sink);
        skeleton_left -= record.skeleton_bytes;
        if (record.extents.empty()) continue;
        if (!record.entry.inode.object) {
            throw Error(Errc::corrupt,
                        fmt::format("'{}' has content that no object names", printable(record.entry.path)));
        }
        const ObjectId& object = *record.entry.inode.object;
        const UniqueFd fd =
            doing(fmt::format("cannot read the content of '{}'", printable(record.entry.path)),
                  [&] { return open(object); });
        for (const Extent& extent : record.extents) copy_extent(fd.get(), extent, buffer, sink, object);
    }
    copy_exactly(skeleton, skeleton_left, buffer, sink);
    if (skeleton.read(MutableByteSpan(buffer).first(1)) != 0)
        throw Error(Errc::corrupt, "the skeleton is longer than the table of contents says");
}

}  // namespace surcoat
