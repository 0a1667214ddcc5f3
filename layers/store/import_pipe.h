#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "layers/base/progress.h"
#include "layers/compression.h"
#include "layers/digest.h"
#include "layers/store/transaction.h"

namespace surcoat {

/// A compressed archive that threads of its own read, hash, inflate and hash again while the caller parses
/// what read() gives it:
///
///     source ─► [read, blob sha256, keep, inflate] ─► 1 MiB buffers ─┬─► [DiffId sha256]
///                                                                    └─► read(), the caller's thread
///
/// At most a dozen buffers exist at any time, whatever the archive's size. Used from one thread; `source`
/// and `options.kept` are used by another one until this object goes.
class ArchivePipe final : public ByteSource {
  public:
    struct Options {
        std::optional<Compression> compression;      ///< as declared; what the bytes say wins, with a warning
        std::optional<std::uint64_t> expected_size;  ///< more compressed bytes than this: Errc::corrupt
        std::uint64_t archive_limit = 0;             ///< more inflated bytes than this: Errc::invalid
        std::uint64_t expansion_limit = 0;           ///< Transaction::ImportOptions says what it means
        Transaction::BlobWriter* kept = nullptr;     ///< gets the bytes as they come
        Progress* progress = nullptr;
        std::string what;
    };
    struct Result {
        Digest blob;
        DiffId diff_id;
        std::uint64_t blob_bytes = 0;
        std::uint64_t archive_bytes = 0;
        Compression compression = Compression::none;
    };

    ArchivePipe(ByteSource& source, Options options);
    /// Waits for the threads; one that is reading `source` ends after that read.
    ~ArchivePipe() override;

    /// Inflated bytes. Throws what the reading or inflating thread failed with, after all that it got out.
    std::size_t read(MutableByteSpan buffer) override;
    /// Call after read() gave 0.
    Result finish();
    /// After a failure: reads on to the end, so that a damaged download can be told from a damaged archive.
    /// Nothing if the source itself fails.
    std::optional<Digest> blob_digest_after_failure() noexcept;
    std::uint64_t blob_bytes() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// What a bomb is: `grown` bytes out of `compressed` ones, against the limit; 64 MiB are free.
bool expands_too_much(std::uint64_t grown, std::uint64_t compressed, std::uint64_t limit);

}  // namespace surcoat
