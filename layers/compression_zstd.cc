// zstd (RFC 8878) through libzstd.

#include <zstd.h>

#include <algorithm>
#include <string>
#include <thread>

#include "layers/compression_formats.h"

namespace surcoat::compression_formats {
namespace {

constexpr int kWindowLogMax = 27;  // 128 MiB, what `zstd -d` accepts without --long
constexpr int kLevel = 3;

struct FreeContext {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

class ZstdSource final : public ByteSource {
  public:
    explicit ZstdSource(ByteSource& compressed) : input_(compressed), context_(ZSTD_createDCtx()) {
        if (!context_) throw std::bad_alloc();
        ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kWindowLogMax);
    }

    std::size_t read(MutableByteSpan buffer) override {
        if (buffer.empty()) return 0;
        for (;;) {
            const ByteSpan input = input_.peek();
            if (input.empty() && between_frames_) {
                if (frames_ == 0) throw damaged(Compression::zstd, 0, "the input is empty");
                return 0;
            }
            ZSTD_inBuffer in{input.data(), input.size(), 0};
            ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
            const std::size_t left = ZSTD_decompressStream(context_.get(), &out, &in);
            if (ZSTD_isError(left) != 0) {
                throw damaged(Compression::zstd, input_.position() + in.pos, ZSTD_getErrorName(left));
            }
            input_.use(in.pos);
            between_frames_ = left == 0;
            if (between_frames_) ++frames_;
            if (out.pos != 0) return out.pos;
            if (input.empty() && !between_frames_) {
                throw damaged(Compression::zstd, input_.position(), "the input ends inside a frame");
            }
        }
    }

  private:
    BlockInput input_;
    std::unique_ptr<ZSTD_DCtx, FreeContext> context_;
    bool between_frames_ = true;
    std::uint64_t frames_ = 0;
};

class ZstdCompressor final : public BlockCompressor {
  public:
    explicit ZstdCompressor(ByteSink& sink)
        : sink_(sink), context_(ZSTD_createCCtx()), output_(std::max(kBlock, ZSTD_CStreamOutSize())) {
        if (!context_) throw std::bad_alloc();
        ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kLevel);
        ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
        // One worker or many give the same bytes (jobs are cut by size), none gives others: so never none.
        // A library built without threads says no here, and then the bytes are those of that library.
        const unsigned workers = std::clamp(std::thread::hardware_concurrency(), 1U, 4U);
        ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_nbWorkers, static_cast<int>(workers));
    }

  protected:
    void compress_block(ByteSpan block, bool last) override {
        ZSTD_inBuffer in{block.data(), block.size(), 0};
        for (;;) {
            ZSTD_outBuffer out{output_.data(), output_.size(), 0};
            const std::size_t left =
                ZSTD_compressStream2(context_.get(), &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
            if (ZSTD_isError(left) != 0) {
                throw Error(Errc::failed,
                            fmt::format("cannot compress with zstd: {}", ZSTD_getErrorName(left)));
            }
            if (out.pos != 0) sink_.write(ByteSpan(output_).first(out.pos));
            if (last ? left == 0 : in.pos == in.size) return;
        }
    }

  private:
    ByteSink& sink_;
    std::unique_ptr<ZSTD_CCtx, FreeContext> context_;
    std::vector<std::byte> output_;
};

}  // namespace

std::unique_ptr<ByteSource> zstd_source(ByteSource& compressed) {
    return std::make_unique<ZstdSource>(compressed);
}
std::unique_ptr<Compressor> zstd_compressor(ByteSink& sink) {
    return std::make_unique<ZstdCompressor>(sink);
}

std::string zstd_library_version() {
    return ZSTD_versionString();
}

}  // namespace surcoat::compression_formats
