#include "layers/compression.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "layers/base/error.h"
#include "layers/compression_formats.h"

namespace surcoat {
namespace {

/// Compression::none: reads from the source itself.
class PlainSource final : public ByteSource {
  public:
    explicit PlainSource(ByteSource& source) : source_(source) {}
    std::size_t read(MutableByteSpan buffer) override { return source_.read(buffer); }

  private:
    ByteSource& source_;
};

class PlainCompressor final : public Compressor {
  public:
    explicit PlainCompressor(ByteSink& sink) : sink_(sink) {}
    void write(ByteSpan bytes) override { sink_.write(bytes); }
    void finish() override {}

  private:
    ByteSink& sink_;
};

}  // namespace

namespace compression_formats {

void BlockCompressor::write(ByteSpan bytes) {
    if (finished_) throw Error(Errc::failed, "bytes were written to a compressor that had been finished");
    while (!bytes.empty()) {
        // A full block is kept until more follows: whether it is the last one must be known when it goes.
        if (filled_ == block_.size()) {
            compress_block(block_, false);
            filled_ = 0;
        }
        const std::size_t n = std::min(bytes.size(), block_.size() - filled_);
        std::memcpy(block_.data() + filled_, bytes.data(), n);
        filled_ += n;
        bytes = bytes.subspan(n);
    }
}

void BlockCompressor::finish() {
    if (finished_) throw Error(Errc::failed, "a compressor was finished twice");
    finished_ = true;
    compress_block(ByteSpan(block_).first(filled_), true);
}

}  // namespace compression_formats

std::string_view to_string(Compression compression) {
    switch (compression) {
        case Compression::none:
            return "none";
        case Compression::gzip:
            return "gzip";
        case Compression::zstd:
            return "zstd";
        case Compression::bzip2:
            return "bzip2";
        case Compression::xz:
            return "xz";
    }
    return "none";
}

Compression sniff_compression(ByteSpan first_bytes) {
    using namespace std::string_view_literals;
    const std::string_view head = as_text(first_bytes);
    if (head.starts_with("\x1f\x8b\x08"sv)) return Compression::gzip;
    if (head.starts_with("\x28\xb5\x2f\xfd"sv)) return Compression::zstd;
    // A skippable frame may come first (RFC 8878, 3.1.2): pzstd and zstd:chunked write such.
    if (head.size() >= 4 && (head[0] & 0xf0) == 0x50 && head.substr(1, 3) == "\x2a\x4d\x18"sv)
        return Compression::zstd;
    if (head.starts_with("\xfd"
                         "7zXZ\0"sv)) {
        return Compression::xz;
    }
    if (head.size() >= 4 && head.starts_with("BZh"sv) && head[3] >= '1' && head[3] <= '9')
        return Compression::bzip2;
    return Compression::none;
}

std::unique_ptr<ByteSource> decompress(ByteSource& compressed, Compression compression) {
    switch (compression) {
        case Compression::none:
            return std::make_unique<PlainSource>(compressed);
        case Compression::gzip:
            return compression_formats::gzip_source(compressed);
        case Compression::zstd:
            return compression_formats::zstd_source(compressed);
        case Compression::bzip2:
        case Compression::xz:
            return compression_formats::libarchive_source(compressed, compression);
    }
    throw Error(Errc::unsupported, "this compression is not known");
}

std::unique_ptr<Compressor> compress(ByteSink& sink, Compression compression) {
    switch (compression) {
        case Compression::none:
            return std::make_unique<PlainCompressor>(sink);
        case Compression::gzip:
            return compression_formats::gzip_compressor(sink);
        case Compression::zstd:
            return compression_formats::zstd_compressor(sink);
        default:
            break;
    }
    throw Error(Errc::unsupported,
                fmt::format("cannot write {}: layers are written as gzip, zstd or not compressed",
                            to_string(compression)))
        .hint("choose gzip or zstd");
}

std::vector<std::pair<std::string, std::string>> compression_library_versions() {
    return {{"isa-l", compression_formats::gzip_library_version()},
            {"zstd", compression_formats::zstd_library_version()},
            {"libarchive", compression_formats::libarchive_library_version()}};
}

}  // namespace surcoat
