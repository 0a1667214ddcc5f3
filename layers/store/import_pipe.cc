#include "layers/store/import_pipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "layers/base/bounded_queue.h"
#include "layers/base/hash.h"

namespace surcoat {
namespace {

// Large enough that waking a thread costs nothing beside filling one, small enough for a dozen of them.
constexpr std::size_t kChunkBytes = 1 << 20;
constexpr std::size_t kQueuedChunks = 5;
constexpr std::uint64_t kFreeExpansion = std::uint64_t{64} << 20;

struct Chunk {
    std::vector<std::byte> bytes = std::vector<std::byte>(kChunkBytes);
    std::size_t size = 0;
    ByteSpan span() const { return ByteSpan(bytes).first(size); }
};
using SharedChunk = std::shared_ptr<Chunk>;

/// Gives the same few buffers out again and again. Two readers share each one; the last returns it.
class ChunkPool : public std::enable_shared_from_this<ChunkPool> {
  public:
    SharedChunk take() {
        std::unique_ptr<Chunk> chunk;
        {
            const std::lock_guard lock(mutex_);
            if (!free_.empty()) {
                chunk = std::move(free_.back());
                free_.pop_back();
            }
        }
        if (!chunk) chunk = std::make_unique<Chunk>();
        return SharedChunk(chunk.release(), [pool = shared_from_this()](Chunk* returned) {
            const std::lock_guard lock(pool->mutex_);
            pool->free_.emplace_back(returned);
        });
    }

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Chunk>> free_;
};

/// The bytes as they come: counted, hashed, kept, and put back in front after a look at the first ones.
class BlobTee final : public ByteSource {
  public:
    BlobTee(ByteSource& source, const ArchivePipe::Options& options) : source_(source), options_(options) {}

    Compression sniff() {
        prefix_size_ = 0;
        while (prefix_size_ < prefix_.size()) {
            const std::size_t n = pull(MutableByteSpan(prefix_).subspan(prefix_size_));
            if (n == 0) break;
            prefix_size_ += n;
        }
        return sniff_compression(ByteSpan(prefix_).first(prefix_size_));
    }
    /// An uncompressed archive's blob digest is its DiffId, which another thread computes anyway.
    void do_not_hash() { hashing_ = false; }

    std::size_t read(MutableByteSpan buffer) override {
        if (prefix_at_ < prefix_size_) {
            const std::size_t n = std::min(buffer.size(), prefix_size_ - prefix_at_);
            std::copy_n(prefix_.begin() + static_cast<std::ptrdiff_t>(prefix_at_), n, buffer.begin());
            prefix_at_ += n;
            return take(buffer.first(n));
        }
        return take(buffer.first(pull(buffer)));
    }

    std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }
    Sha256Bytes digest() { return hasher_.finish(); }
    /// The bytes are not all here because they could not be read, which says nothing about their digest.
    bool source_failed() const { return source_failed_; }

  private:
    std::size_t pull(MutableByteSpan buffer) {
        source_failed_ = true;
        const std::size_t n = source_.read(buffer);
        source_failed_ = false;
        pulled_ += n;
        if (options_.expected_size && pulled_ > *options_.expected_size) {
            throw Error(Errc::corrupt, fmt::format("{} is too long: expected {} bytes, found more",
                                                   options_.what, *options_.expected_size));
        }
        return n;
    }
    std::size_t take(ByteSpan bytes) {
        if (bytes.empty()) return 0;
        if (hashing_) hasher_.update(bytes);
        if (options_.kept != nullptr) options_.kept->write(bytes);
        count_.fetch_add(bytes.size(), std::memory_order_relaxed);
        if (options_.progress != nullptr) {
            options_.progress->bytes(options_.what, count(), options_.expected_size.value_or(0));
        }
        return bytes.size();
    }

    ByteSource& source_;
    const ArchivePipe::Options& options_;
    Hasher hasher_;
    bool hashing_ = true;
    bool source_failed_ = false;
    std::array<std::byte, 6> prefix_{};
    std::size_t prefix_size_ = 0;
    std::size_t prefix_at_ = 0;
    std::uint64_t pulled_ = 0;
    std::atomic<std::uint64_t> count_{0};
};

}  // namespace

bool expands_too_much(std::uint64_t grown, std::uint64_t compressed, std::uint64_t limit) {
    return limit != 0 && grown > kFreeExpansion && grown / limit > compressed;
}

struct ArchivePipe::State {
    State(ByteSource& source, Options given) : options(std::move(given)), tee(source, options) {
        inflater = std::thread([this] { run_inflater(); });
        try {
            hasher = std::thread([this] { run_hasher(); });
        } catch (...) {
            stop();
            throw;
        }
    }

    void run_inflater() noexcept {
        try {
            inflate_all();
            to_parser.close();
            to_hasher.close();
        } catch (...) {
            to_parser.close(std::current_exception());
            to_hasher.close();
        }
    }

    void inflate_all() {
        compression = tee.sniff();
        if (options.compression && *options.compression != compression && options.progress != nullptr) {
            options.progress->warning(fmt::format("{} is declared as {} but is {}: read as what it is",
                                                  options.what, to_string(*options.compression),
                                                  to_string(compression)));
        }
        std::unique_ptr<ByteSource> inflating;
        if (compression == Compression::none) {
            tee.do_not_hash();
        } else {
            inflating = decompress(tee, compression);
        }
        ByteSource& plain = inflating ? *inflating : static_cast<ByteSource&>(tee);
        while (true) {
            SharedChunk chunk = pool->take();
            // A failure in the middle of a buffer must not swallow what came before it: the parser may have
            // something more telling to say about those bytes, and a whole first member is not "truncated".
            std::exception_ptr failure;
            chunk->size = 0;
            try {
                while (chunk->size < kChunkBytes) {
                    const std::size_t n = plain.read(MutableByteSpan(chunk->bytes).subspan(chunk->size));
                    if (n == 0) break;
                    chunk->size += n;
                    if (stopping.load(std::memory_order_relaxed)) return;
                }
            } catch (...) { failure = std::current_exception(); }
            archive_bytes += chunk->size;
            check_growth();
            const bool last = chunk->size < kChunkBytes;
            if (chunk->size != 0) {
                if (!to_hasher.push(chunk)) {
                    if (hash_failure) std::rethrow_exception(hash_failure);
                    return;
                }
                if (!to_parser.push(std::move(chunk))) return;
            }
            if (failure) std::rethrow_exception(failure);
            if (last) return;
        }
    }

    void check_growth() const {
        if (archive_bytes > options.archive_limit) {
            throw Error(Errc::invalid, fmt::format("{} unpacks to more than the {} bytes that are allowed",
                                                   options.what, options.archive_limit))
                .hint("raise the limit if you trust where it comes from");
        }
        if (compression != Compression::none &&
            expands_too_much(archive_bytes, tee.count(), options.expansion_limit)) {
            throw Error(
                Errc::invalid,
                fmt::format("{} looks like a decompression bomb: {} compressed bytes have grown to {}, more "
                            "than {} times as many",
                            options.what, tee.count(), archive_bytes, options.expansion_limit))
                .hint("if you trust where it comes from, decompress it first and import the plain archive");
        }
    }

    void run_hasher() noexcept {
        try {
            Hasher hash;
            while (const auto chunk = to_hasher.pop()) hash.update((*chunk)->span());
            diff_id = hash.finish();
        } catch (...) {
            hash_failure = std::current_exception();
            to_hasher.abandon();
        }
    }

    void join() {
        if (inflater.joinable()) inflater.join();
        if (hasher.joinable()) hasher.join();
    }
    void stop() {
        stopping = true;
        to_parser.abandon();
        to_hasher.abandon();
        // A hasher that waits is woken by the inflater's close().
        join();
    }

    Options options;
    BlobTee tee;
    std::shared_ptr<ChunkPool> pool = std::make_shared<ChunkPool>();
    BoundedQueue<SharedChunk> to_parser{kQueuedChunks};
    BoundedQueue<SharedChunk> to_hasher{kQueuedChunks};
    // The inflating thread's, until it is joined.
    Compression compression = Compression::none;
    std::uint64_t archive_bytes = 0;
    // The hashing thread's, until it is joined (hash_failure: until to_hasher is abandoned).
    Sha256Bytes diff_id{};
    std::exception_ptr hash_failure;
    // The caller's.
    SharedChunk current;
    std::size_t current_at = 0;
    bool ended = false;

    std::atomic<bool> stopping{false};
    std::thread inflater;
    std::thread hasher;  // last: the threads use everything above
};

ArchivePipe::ArchivePipe(ByteSource& source, Options options)
    : state_(std::make_unique<State>(source, std::move(options))) {}

ArchivePipe::~ArchivePipe() {
    state_->stop();
}

std::size_t ArchivePipe::read(MutableByteSpan buffer) {
    State& s = *state_;
    while (!s.current || s.current_at == s.current->size) {
        if (s.ended) return 0;
        s.current.reset();
        auto next = s.to_parser.pop();
        if (!next) {
            s.ended = true;
            return 0;
        }
        s.current = std::move(*next);
        s.current_at = 0;
    }
    const ByteSpan rest = s.current->span().subspan(s.current_at);
    const std::size_t n = std::min(buffer.size(), rest.size());
    std::copy_n(rest.begin(), n, buffer.begin());
    s.current_at += n;
    return n;
}

ArchivePipe::Result ArchivePipe::finish() {
    State& s = *state_;
    s.join();
    if (s.hash_failure) std::rethrow_exception(s.hash_failure);
    const Digest archive = Digest::sha256(s.diff_id);
    return Result{s.compression == Compression::none ? archive : Digest::sha256(s.tee.digest()),
                  DiffId{archive}, s.tee.count(), s.archive_bytes, s.compression};
}

std::optional<Digest> ArchivePipe::blob_digest_after_failure() noexcept {
    State& s = *state_;
    std::vector<std::byte> scrap(1 << 16);
    try {
        while (read(scrap) != 0) {}
    } catch (...) {
        // Damaged compressed data: the rest is read below, without inflating it.
    }
    try {
        s.join();
        if (s.tee.source_failed()) return std::nullopt;
        if (s.compression == Compression::none) return Digest::sha256(s.diff_id);
        while (s.tee.read(scrap) != 0) {}
        return Digest::sha256(s.tee.digest());
    } catch (...) { return std::nullopt; }
}

std::uint64_t ArchivePipe::blob_bytes() const {
    return state_->tee.count();
}

}  // namespace surcoat
