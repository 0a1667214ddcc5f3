// Any bytes: as an archive they are refused, or every byte is given out once; as a toc they are refused or
// mean something that is written back in the same bytes of records.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "layers/base/error.h"
#include "layers/tar.h"
#include "layers/toc.h"

using namespace surcoat;

namespace {

void read_archive(ByteSpan bytes) {
    MemorySource source(bytes);
    std::uint64_t skeleton_bytes = 0;
    std::uint64_t content_bytes = 0;
    FunctionSink skeleton([&](ByteSpan piece) { skeleton_bytes += piece.size(); });
    TarReader reader(source, &skeleton, {.entries = 1000, .pax_bytes = 1 << 16, .xattr_bytes = 1 << 16});
    while (const auto member = reader.next()) {
        std::uint64_t end = 0;
        for (const Extent& extent : member->extents) {
            if (extent.offset < end || extent.size == 0 || extent.offset + extent.size > member->inode.size)
                std::abort();
            end = extent.offset + extent.size;
        }
        std::byte buffer[1000];
        if (member->path.size() % 3 == 0) continue;  // content that nobody reads
        while (const std::size_t n = reader.content(buffer)) content_bytes += n;
    }
    if (skeleton_bytes + content_bytes != bytes.size() || reader.position() != bytes.size()) std::abort();
}

void read_contents(ByteSpan bytes) {
    const Toc toc = read_toc(bytes, "fuzz");
    const auto source = read_skeleton(bytes, "fuzz");
    const std::string skeleton = read_all(*source, 1 << 24);
    if (skeleton.size() != toc.skeleton_bytes) return;
    StringSink again;
    write_toc(again, toc, as_bytes(skeleton));
    if (!(read_toc(as_bytes(again.text), "fuzz").records == toc.records)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteSpan bytes = std::as_bytes(std::span(data, size));
    for (void (*read)(ByteSpan) : {read_archive, read_contents}) {
        try {
            read(bytes);
        } catch (const Error&) {}
    }
    return 0;
}
