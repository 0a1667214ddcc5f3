// Taking in one layer archive (DESIGN.md section 4, layers/store/README.md "Import").
//
// Three things cost: inflating (40 %), hashing (35 %: the blob, the archive, each file), writing the
// contents. ArchivePipe does the first and most of the second in threads of its own; this thread parses,
// hashes each file and writes it, as the store's one writer. A file of up to 4 MiB is hashed in memory before
// anything is written, so that a content which the store has already is never written; larger ones are
// streamed, and their runs of zeros become holes. Nothing is synced here: Transaction::commit does that for
// all files at once.
//
// Everything is checked before this returns: compressed digest and size, DiffId, every entry's rules. What
// was staged until a failure is the transaction's to drop.

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "layers/base/fault.h"
#include "layers/store/import_pipe.h"
#include "layers/store/import_rules.h"
#include "layers/store/transaction.h"

namespace surcoat {
namespace {

constexpr std::uint64_t kHashFirstBytes = 4 << 20;
constexpr std::size_t kStreamBytes = 1 << 20;
constexpr std::uint64_t kFreeHoles = std::uint64_t{64} << 30;

/// All that is not content. It is kept in memory (0.7 KiB an entry in real layers), so its size is capped:
/// only a hostile archive has as much after its end, or in its headers.
class Skeleton final : public ByteSink {
  public:
    void write(ByteSpan more) override {
        constexpr std::size_t kLimit = std::size_t{1} << 30;
        if (bytes_.size() + more.size() > kLimit) {
            throw Error(Errc::invalid,
                        fmt::format("the archive has more than {} bytes that are not file content", kLimit));
        }
        bytes_.insert(bytes_.end(), more.begin(), more.end());
    }
    ByteSpan bytes() const { return bytes_; }
    /// How many have come since the last call.
    std::uint64_t take_new() {
        const std::uint64_t fresh = bytes_.size() - taken_;
        taken_ = bytes_.size();
        return fresh;
    }

  private:
    std::vector<std::byte> bytes_;
    std::uint64_t taken_ = 0;
};

/// Moves members' contents into the transaction.
class ContentTaker {
  public:
    ContentTaker(Transaction& transaction, TarReader& tar) : transaction_(transaction), tar_(tar) {}

    /// The current member's content, `size` bytes of which only `extents` stand in the archive.
    ObjectId take(std::uint64_t size, const std::vector<Extent>& extents) {
        return size <= kHashFirstBytes ? take_small(size, extents) : take_large(size, extents);
    }

  private:
    ObjectId take_small(std::uint64_t size, const std::vector<Extent>& extents) {
        // Nearly always the content lies in the reader's buffer as a whole.
        const bool plain = extents.size() == 1 && extents[0].size == size;
        ByteSpan chunk = plain ? tar_.content_chunk() : ByteSpan();
        if (plain && chunk.size() == size) return transaction_.add_object(chunk);
        if (buffer_.size() < size) buffer_.resize(size);
        if (plain) {
            std::copy(chunk.begin(), chunk.end(), buffer_.begin());
            read_exactly(MutableByteSpan(buffer_).first(size).subspan(chunk.size()));
            return transaction_.add_object(ByteSpan(buffer_).first(size));
        }
        const MutableByteSpan content = MutableByteSpan(buffer_).first(size);
        std::uint64_t at = 0;
        for (const Extent& extent : extents) {
            std::fill(content.begin() + static_cast<std::ptrdiff_t>(at),
                      content.begin() + static_cast<std::ptrdiff_t>(extent.offset), std::byte{0});
            read_exactly(content.subspan(extent.offset, extent.size));
            at = extent.offset + extent.size;
        }
        std::fill(content.begin() + static_cast<std::ptrdiff_t>(at), content.end(), std::byte{0});
        return transaction_.add_object(content);
    }

    ObjectId take_large(std::uint64_t size, const std::vector<Extent>& extents) {
        if (buffer_.size() < kStreamBytes) buffer_.resize(kStreamBytes);
        const auto writer = transaction_.open_object();
        std::uint64_t at = 0;
        for (const Extent& extent : extents) {
            if (extent.offset > at) writer->skip(extent.offset - at);
            for (std::uint64_t left = extent.size; left != 0;) {
                const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left, kStreamBytes));
                const MutableByteSpan piece = MutableByteSpan(buffer_).first(n);
                read_exactly(piece);
                writer->write(piece);
                left -= n;
            }
            at = extent.offset + extent.size;
        }
        if (size > at) writer->skip(size - at);
        return writer->finish();
    }

    void read_exactly(MutableByteSpan into) {
        while (!into.empty()) {
            const std::size_t n = tar_.content(into);
            if (n == 0) throw Error(Errc::corrupt, fmt::format("content ends {} bytes early", into.size()));
            into = into.subspan(n);
        }
    }

    Transaction& transaction_;
    TarReader& tar_;
    std::vector<std::byte> buffer_;
};

struct ParsedLayer {
    Toc toc;
    Skeleton skeleton;
    std::optional<Timestamp> newest;
};

/// Where the extents of a sparse file lie decides where we write: checked here although the reader does too.
void check_extents(const TarMember& member) {
    std::uint64_t at = 0;
    for (const Extent& extent : member.extents) {
        if (extent.offset < at || extent.size > member.inode.size ||
            extent.offset > member.inode.size - extent.size) {
            throw Error(Errc::corrupt, fmt::format("sparse map of {} does not fit its {} bytes",
                                                   quoted_path(member.path), member.inode.size));
        }
        at = extent.offset + extent.size;
    }
}

ParsedLayer parse_layer(Transaction& transaction, ArchivePipe& pipe,
                        const Transaction::ImportOptions& options) {
    ParsedLayer layer;
    TarReader tar(pipe, &layer.skeleton, options.limits);
    ContentTaker contents(transaction, tar);
    ImportRules rules;
    std::uint64_t holes = 0;
    while (const auto member = tar.next()) {
        const std::uint64_t skeleton_bytes = layer.skeleton.take_new();
        TocRecord& record = rules.add(layer.toc, *member);
        record.skeleton_bytes = skeleton_bytes;
        if (!member->is_hardlink && member->inode.size != 0) {  // only regular files have a size
            check_extents(*member);
            holes += member->inode.size - member->content_bytes;
            if (holes > kFreeHoles && expands_too_much(holes, pipe.blob_bytes(), options.expansion_limit)) {
                throw Error(Errc::invalid,
                            fmt::format("sparse file {} takes the archive's holes to {} bytes, out "
                                        "of {} that were read: more than is allowed",
                                        quoted_path(member->path), holes, pipe.blob_bytes()));
            }
            record.extents = member->extents;
            record.entry.inode = member->inode;
            record.entry.inode.object = doing(fmt::format("member {}", quoted_path(member->path)), [&] {
                return contents.take(member->inode.size, member->extents);
            });
            fault_point("import.content");
        }
        if (!layer.newest || *layer.newest < member->inode.mtime) layer.newest = member->inode.mtime;
    }
    rules.finish(layer.toc);
    layer.toc.archive_bytes = tar.position();
    layer.toc.skeleton_bytes = layer.skeleton.bytes().size();
    if (layer.toc.archive_bytes == 0) throw Error(Errc::corrupt, "the archive is empty: 0 bytes");
    if (options.base) Tree().apply(layer.toc.entries());
    return layer;
}

void verify(const ArchivePipe::Result& read, std::uint64_t parsed_bytes,
            const Transaction::ImportOptions& options) {
    if (options.expected_size && read.blob_bytes != *options.expected_size) {
        throw Error(Errc::corrupt,
                    fmt::format("expected {} bytes, found {}", *options.expected_size, read.blob_bytes))
            .hint("what was received is cut off or is not what was asked for: fetch it again");
    }
    if (options.expected_blob && read.blob != *options.expected_blob) {
        throw Error(Errc::corrupt, fmt::format("digest is wrong: expected {}, found {}",
                                               options.expected_blob->str(), read.blob.str()))
            .hint("what was received is damaged or is not what was asked for: fetch it again");
    }
    if (options.expected_diff_id && read.diff_id != *options.expected_diff_id) {
        throw Error(Errc::corrupt,
                    fmt::format("DiffId of the uncompressed archive is wrong: expected {}, found {}",
                                options.expected_diff_id->str(), read.diff_id.str()))
            .hint("the image's configuration and this layer do not belong together");
    }
    if (parsed_bytes != read.archive_bytes) {
        throw Error(Errc::failed,
                    fmt::format("{} bytes were unpacked but {} read", read.archive_bytes, parsed_bytes));
    }
}

/// The parser or the inflater failed. If the bytes were not what they should have been in the first place,
/// that is the cause to name.
[[noreturn]] void rethrow_root_cause(Error& failure, ArchivePipe& pipe,
                                     const Transaction::ImportOptions& options) {
    if (failure.code() == Errc::corrupt || failure.code() == Errc::invalid) {
        if (options.expected_blob) {
            const auto found = pipe.blob_digest_after_failure();
            if (found && *found != *options.expected_blob) {
                failure.within(fmt::format("digest is wrong: expected {}, found {}",
                                           options.expected_blob->str(), found->str()));
                failure.hint("what was received is damaged or is not what was asked for: fetch it again");
            }
        }
        if (failure.hint().empty() && pipe.blob_bytes() == 0) failure.hint("the file or stream was empty");
        if (failure.hint().empty() && failure.code() == Errc::corrupt) {
            failure.hint("is it a whole tar archive, plain or compressed with gzip, zstd, xz or bzip2?");
        }
    }
    throw std::move(failure);
}

}  // namespace

Transaction::ImportedLayer Transaction::import_layer(ByteSource& source, const ImportOptions& options) {
    return doing(fmt::format("cannot take in {}", options.what), [&] {
        const std::unique_ptr<BlobWriter> kept = options.keep_blob ? open_blob() : nullptr;
        ArchivePipe pipe(source, {options.compression, options.expected_size, options.limits.total_bytes,
                                  options.expansion_limit, kept.get(), options.progress, options.what});
        ParsedLayer layer;
        try {
            layer = parse_layer(*this, pipe, options);
        } catch (Error& failure) { rethrow_root_cause(failure, pipe, options); }
        const ArchivePipe::Result read = pipe.finish();
        verify(read, layer.toc.archive_bytes, options);
        fault_point("import.verified");

        const bool existed = !stage_layer(read.diff_id, layer.toc, layer.skeleton.bytes());
        stage_layer_blob({read.blob, read.diff_id, read.compression, read.blob_bytes});
        if (kept) kept->finish(read.blob, options.media_type);
        return ImportedLayer{read.diff_id,     read.archive_bytes, read.blob, read.blob_bytes,
                             read.compression, layer.newest,       existed};
    });
}

}  // namespace surcoat
