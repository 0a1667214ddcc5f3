#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/bytes.h"
#include "layers/entry.h"

namespace surcoat {

/// Limits on what an archive may ask of us. Defaults let every real image pass.
struct TarLimits {
    std::uint64_t entries = 10'000'000;
    std::uint64_t total_bytes = std::uint64_t{1} << 44;  ///< uncompressed archive, 16 TiB
    std::size_t pax_bytes = 8 << 20;                     ///< one extended header
    std::size_t xattr_bytes = 4 << 20;                   ///< all attributes of one entry
};

/// A run of a file's content. A plain file has one, a sparse one has several, an empty one none.
struct Extent {
    std::uint64_t offset = 0;  ///< in the file
    std::uint64_t size = 0;
    bool operator==(const Extent&) const = default;
};

/// One member as the archive says it, before OCI's whiteout names are understood.
struct TarMember {
    std::string path;         ///< as written (after PAX and GNU long names), not normalised
    bool is_hardlink = false;
    std::string link_name;    ///< hardlink: target as written. (A symlink's is in inode.link_target.)
    Inode inode;              ///< size: logical size; object not set
    std::vector<Extent> extents;  ///< where the content bytes that follow belong
    std::uint64_t content_bytes = 0;  ///< sum of extents: bytes that content() will give
};

/// Reads a tar stream (ustar, PAX, GNU, v7; sparse: GNU old, PAX 0.0, 0.1, 1.0) byte-exactly: every byte is
/// given out exactly once, either as content or to `skeleton`, in stream order, so that the archive can be
/// made again. Anything after the end-of-archive blocks, too, is skeleton, and so is content that is not read.
/// All that belongs before a member's content has been given out when next() returns it.
/// Strict: bad checksums, truncation, negative or absurd numbers, unknown types are Errc::corrupt with the
/// member's path and the offset in the stream; what only exceeds a limit is Errc::invalid. An archive that
/// ends at a member's end without end-of-archive blocks is complete. Only regular files have content: the
/// size fields of hardlinks and all else are ignored, as Go's reader does. tar_reader.cc lists these choices.
/// Extended attributes come from SCHILY.xattr.* and LIBARCHIVE.xattr.*; SCHILY.acl.* is left to the skeleton.
/// Neither names nor targets are checked here (validate_entry does), but that they are not empty.
/// Header fields: POSIX.1-2017 pax; GNU tar manual, "Basic Tar Format", "Storing Sparse Files".
class TarReader {
  public:
    /// Both are used until the reader goes. `skeleton` may be null.
    TarReader(ByteSource& archive, ByteSink* skeleton, TarLimits limits = {});
    ~TarReader();
    TarReader(TarReader&&) noexcept;

    /// The next member; skips what content was not read. Nothing at the end, after which the rest of the
    /// stream has been given to `skeleton`.
    std::optional<TarMember> next();
    /// Content of the current member, extents one after the other; 0 when it is all read.
    std::size_t content(MutableByteSpan buffer);
    /// The same without copying: the next run of content, as long as it lies in the reader's own buffer; valid
    /// until the next call of any function. Empty when it is all read.
    ByteSpan content_chunk();
    /// Bytes of the stream consumed so far.
    std::uint64_t position() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Writes a layer archive deterministically (notes store.md 4.4): ustar where it fits, else PAX with only the
/// needed keys in fixed order; numeric owners, no names; no atime or ctime; two zero blocks at the end.
class TarWriter {
  public:
    explicit TarWriter(ByteSink& sink);
    ~TarWriter();
    /// Writes the header; then content() must be called for exactly inode.size bytes if it is a regular
    /// file. Whiteouts and opaque marks become OCI's `.wh.` members (mtime: `marker_mtime`). A hardlink's
    /// header repeats owner, mode and time of its target if that was written before, else says entry.inode's:
    /// docker's unpacker applies them. The entry must be valid (validate_entry); xattrs in byte order.
    void entry(const Entry& entry, Timestamp marker_mtime = {});
    void content(ByteSpan bytes);
    /// The end of the archive. Throws Errc::failed if the last entry's content is incomplete.
    void finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace surcoat
