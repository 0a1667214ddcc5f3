#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "layers/base/bytes.h"
#include "layers/base/unique_fd.h"
#include "layers/entry.h"
#include "layers/tar.h"

namespace surcoat {

/// A layer's table of contents: what the archive held, in its order, plus the "skeleton", all bytes of the
/// archive that are not file content. From both and the objects the very same archive is made again.
struct TocRecord {
    Entry entry;
    /// Bytes of the skeleton that stand before this member's content (headers, padding of the one before).
    std::uint64_t skeleton_bytes = 0;
    /// What of the object stands in the archive; empty: nothing. Plain files: one extent {0, size}.
    std::vector<Extent> extents;
    /// Stands in the archive only, so that it can be made again, and is not part of the layer: a later member
    /// has the same path, or the name is one of AUFS' own. Toc::entries() leaves it out. Its entry is valid in
    /// itself, but its path may be anything (a duplicate).
    bool archive_only = false;
    bool operator==(const TocRecord&) const = default;
};

struct Toc {
    std::vector<TocRecord> records;
    std::uint64_t archive_bytes = 0;
    std::uint64_t skeleton_bytes = 0;  ///< all of it, the tail after the last content included
    std::vector<Entry> entries() const;  ///< of the records that are not archive_only
};

/// The file's form, version 1: see layers/README.md, "toc". The skeleton is zstd-compressed.
/// Deterministic: the same toc and skeleton give the same bytes.
void write_toc(ByteSink& sink, const Toc& toc, ByteSpan skeleton);
/// Throws Errc::corrupt, with `what` in the message, unless version, checksum, counts and paths hold.
Toc read_toc(ByteSpan file, const std::string& what);
/// The skeleton alone, streamed.
std::unique_ptr<ByteSource> read_skeleton(ByteSpan file, const std::string& what);

/// Opens an object's content for reading.
using OpenObject = std::function<UniqueFd(const ObjectId&)>;
/// Writes the archive again, byte for byte.
void regenerate_archive(const Toc& toc, ByteSource& skeleton, const OpenObject& open, ByteSink& sink);

}  // namespace surcoat
