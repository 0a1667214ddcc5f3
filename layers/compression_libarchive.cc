// bzip2 and xz, through libarchive's filters and its "raw" format. Only imports and ADD meet them: no layer
// of an image may be compressed so.

#include <archive.h>

#include <cerrno>
#include <exception>
#include <string>

#include "layers/compression_formats.h"

namespace surcoat::compression_formats {
namespace {

struct FreeArchive {
    void operator()(archive* reader) const { archive_read_free(reader); }
};

class LibarchiveSource final : public ByteSource {
  public:
    LibarchiveSource(ByteSource& compressed, Compression compression)
        : input_(compressed), compression_(compression), reader_(archive_read_new()) {
        if (!reader_) throw std::bad_alloc();
        archive* reader = reader_.get();
        if (compression == Compression::bzip2) {
            archive_read_support_filter_bzip2(reader);
        } else {
            archive_read_support_filter_xz(reader);
        }
        archive_read_support_format_raw(reader);
        archive_read_support_format_empty(reader);
    }

    std::size_t read(MutableByteSpan buffer) override {
        if (buffer.empty() || ended_) return 0;
        if (!opened_ && !open()) return 0;
        for (;;) {
            const la_ssize_t n = archive_read_data(reader_.get(), buffer.data(), buffer.size());
            check(n);
            if (n > 0) return static_cast<std::size_t>(n);
            ended_ = true;
            return 0;
        }
    }

  private:
    /// False if the content is empty.
    bool open() {
        opened_ = true;
        archive* reader = reader_.get();
        check(archive_read_open(reader, this, nullptr, &LibarchiveSource::give, nullptr));
        archive_entry* entry = nullptr;
        const int code = archive_read_next_header(reader, &entry);
        check(code);
        // Raw takes what no filter recognises as it is, and "empty" takes a stream whose filter failed.
        const int want = compression_ == Compression::bzip2 ? ARCHIVE_FILTER_BZIP2 : ARCHIVE_FILTER_XZ;
        if (archive_filter_code(reader, 0) != want) {
            throw damaged(compression_, 0,
                          fmt::format("what stands here is no {} data", to_string(compression_)));
        }
        if (archive_errno(reader) != 0) check(ARCHIVE_FATAL);
        ended_ = code == ARCHIVE_EOF;
        return !ended_;
    }

    void check(la_ssize_t code) {
        if (failure_) std::rethrow_exception(failure_);
        if (code >= ARCHIVE_OK || code == ARCHIVE_WARN) return;
        const char* why = archive_error_string(reader_.get());
        throw damaged(compression_, input_.position(), why != nullptr ? why : "libarchive cannot read it");
    }

    static la_ssize_t give(archive* reader, void* self, const void** bytes) {
        auto& source = *static_cast<LibarchiveSource*>(self);
        try {
            const ByteSpan block = source.input_.peek();
            source.input_.use(block.size());
            *bytes = block.data();
            return static_cast<la_ssize_t>(block.size());
        } catch (...) {  // must not cross libarchive's frames
            source.failure_ = std::current_exception();
            archive_set_error(reader, EIO, "the input could not be read");
            return ARCHIVE_FATAL;
        }
    }

    BlockInput input_;
    Compression compression_;
    std::unique_ptr<archive, FreeArchive> reader_;
    std::exception_ptr failure_;
    bool opened_ = false;
    bool ended_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> libarchive_source(ByteSource& compressed, Compression compression) {
    return std::make_unique<LibarchiveSource>(compressed, compression);
}

std::string libarchive_library_version() {
    const std::string text = archive_version_string();  // "libarchive 3.6.2"
    return text.substr(text.find(' ') + 1);
}

}  // namespace surcoat::compression_formats
