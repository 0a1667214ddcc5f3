#pragma once
#include <memory>

#include "layers/base/bytes.h"

namespace surcoat {

enum class Compression { none, gzip, zstd, bzip2, xz };
std::string_view to_string(Compression compression);

/// By the first bytes (6 suffice). `none` if nothing matches.
Compression sniff_compression(ByteSpan first_bytes);

/// Decompresses while it is read: gzip by ISA-L (all members; trailing bytes that are no member are an
/// error), zstd by libzstd (all frames), bzip2 and xz through libarchive's raw format. Memory does not grow
/// with the input (zstd windows over 128 MiB are refused). read() throws Errc::corrupt on damaged or
/// truncated input, saying after which input byte; what `compressed` throws passes through. `compressed` must
/// outlive it. How much may come out is for the reader to limit.
std::unique_ptr<ByteSource> decompress(ByteSource& compressed, Compression compression);

/// Compresses deterministically: the same input gives the same bytes with the same library version, however
/// the writes cut it and however many processors there are (gzip by ISA-L: on processors of one generation,
/// since ISA-L has a variant for each); no time, no name in the gzip header (MTIME 0, OS 255).
class Compressor : public ByteSink {
  public:
    /// Call once after the last write; writes what is left to the sink.
    virtual void finish() = 0;
};
/// gzip by ISA-L at level 3 (seven times faster than zlib -6, for 15 % more bytes) or zstd level 3; `none`
/// passes through; bzip2 and xz are Errc::unsupported. `sink` must outlive it.
std::unique_ptr<Compressor> compress(ByteSink& sink, Compression compression);

/// Of the libraries behind this file: {"isa-l", "2.30.0"}, …
std::vector<std::pair<std::string, std::string>> compression_library_versions();

}  // namespace surcoat
