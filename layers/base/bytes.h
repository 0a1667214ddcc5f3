#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace surcoat {

using ByteSpan = std::span<const std::byte>;
using MutableByteSpan = std::span<std::byte>;

inline ByteSpan as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view as_text(ByteSpan bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Bytes from somewhere, in order. From one thread at a time.
class ByteSource {
  public:
    virtual ~ByteSource() = default;
    /// Fills up to `buffer.size()` bytes and returns how many; 0 only at the end.
    virtual std::size_t read(MutableByteSpan buffer) = 0;
};

/// Somewhere bytes go, in order. From one thread at a time.
class ByteSink {
  public:
    virtual ~ByteSink() = default;
    virtual void write(ByteSpan bytes) = 0;
};

/// A descriptor, not owned, as a source or a sink.
class FdSource final : public ByteSource {
  public:
    explicit FdSource(int fd) : fd_(fd) {}
    std::size_t read(MutableByteSpan buffer) override;

  private:
    int fd_;
};
class FdSink final : public ByteSink {
  public:
    explicit FdSink(int fd) : fd_(fd) {}
    void write(ByteSpan bytes) override;

  private:
    int fd_;
};

/// Bytes in memory, not owned.
class MemorySource final : public ByteSource {
  public:
    explicit MemorySource(ByteSpan bytes) : rest_(bytes) {}
    explicit MemorySource(std::string_view text) : rest_(as_bytes(text)) {}
    std::size_t read(MutableByteSpan buffer) override;

  private:
    ByteSpan rest_;
};
class StringSink final : public ByteSink {
  public:
    void write(ByteSpan bytes) override { text.append(as_text(bytes)); }
    std::string text;
};

/// A callable as a sink.
class FunctionSink final : public ByteSink {
  public:
    explicit FunctionSink(std::function<void(ByteSpan)> function) : function_(std::move(function)) {}
    void write(ByteSpan bytes) override { function_(bytes); }

  private:
    std::function<void(ByteSpan)> function_;
};

/// Everything that is left. Throws Errc::invalid when it is more than `limit` bytes.
std::string read_all(ByteSource& source, std::size_t limit);
/// Reads until `buffer` is full or the source ends; returns how many.
std::size_t read_full(ByteSource& source, MutableByteSpan buffer);
/// Returns the number of bytes copied.
std::uint64_t copy_all(ByteSource& source, ByteSink& sink);

std::string to_hex(ByteSpan bytes);

}  // namespace surcoat
