#pragma once
#include <fmt/format.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "layers/base/bytes.h"
#include "layers/base/error.h"
#include "layers/compression.h"

/// Private to layers/compression*.cc: one file wraps each library, this is what they share.
namespace surcoat::compression_formats {

/// Read and written at a time. Fixed, because what a compressor writes may depend on how its input is cut.
inline constexpr std::size_t kBlock = std::size_t{1} << 18;

inline Error damaged(Compression format, std::uint64_t input_byte, std::string_view why) {
    return Error(Errc::corrupt,
                 fmt::format("{} data is damaged after byte {}: {}", to_string(format), input_byte, why))
        .hint("the file was cut off or changed on its way: fetch or make it again");
}

/// The compressed bytes, read a block at a time, that knows how far into the input a decoder has come.
class BlockInput {
  public:
    explicit BlockInput(ByteSource& source) : source_(source), buffer_(kBlock) {}
    /// The bytes read but not yet used; reads more if there are none. Empty at the end of the input.
    ByteSpan peek() {
        if (rest_.empty()) {
            const std::size_t n = source_.read(buffer_);
            rest_ = ByteSpan(buffer_).first(n);
            read_ += n;
        }
        return rest_;
    }
    void use(std::size_t bytes) { rest_ = rest_.subspan(bytes); }
    std::uint64_t position() const { return read_ - rest_.size(); }

  private:
    ByteSource& source_;
    std::vector<std::byte> buffer_;
    ByteSpan rest_;
    std::uint64_t read_ = 0;
};

/// Hands its input on in blocks of exactly kBlock bytes (the last is shorter), whatever the callers' writes.
class BlockCompressor : public Compressor {
  public:
    BlockCompressor() : block_(kBlock) {}
    void write(ByteSpan bytes) final;
    void finish() final;

  protected:
    virtual void compress_block(ByteSpan block, bool last) = 0;

  private:
    std::vector<std::byte> block_;
    std::size_t filled_ = 0;
    bool finished_ = false;
};

std::unique_ptr<ByteSource> gzip_source(ByteSource& compressed);
std::unique_ptr<Compressor> gzip_compressor(ByteSink& sink);
std::unique_ptr<ByteSource> zstd_source(ByteSource& compressed);
std::unique_ptr<Compressor> zstd_compressor(ByteSink& sink);
/// bzip2 and xz.
std::unique_ptr<ByteSource> libarchive_source(ByteSource& compressed, Compression compression);

/// As each library says it itself.
std::string gzip_library_version();
std::string zstd_library_version();
std::string libarchive_library_version();

}  // namespace surcoat::compression_formats
