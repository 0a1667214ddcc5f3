#include "layers/base/bytes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "layers/base/error.h"
#include "layers/base/file.h"

namespace surcoat {

std::size_t FdSource::read(MutableByteSpan buffer) {
    for (;;) {
        const ssize_t n = ::read(fd_, buffer.data(), buffer.size());
        if (n >= 0) return static_cast<std::size_t>(n);
        if (errno != EINTR) throw_errno("read");
    }
}

void FdSink::write(ByteSpan bytes) { write_full(fd_, bytes); }

std::size_t MemorySource::read(MutableByteSpan buffer) {
    const std::size_t n = std::min(buffer.size(), rest_.size());
    if (n != 0) std::memcpy(buffer.data(), rest_.data(), n);
    rest_ = rest_.subspan(n);
    return n;
}

std::string read_all(ByteSource& source, std::size_t limit) {
    std::string all;
    char buffer[65536];
    for (;;) {
        const std::size_t n = source.read(std::as_writable_bytes(std::span(buffer)));
        if (n == 0) return all;
        if (all.size() + n > limit) {
            throw Error(Errc::invalid, fmt::format("more than the {} bytes that are allowed here", limit));
        }
        all.append(buffer, n);
    }
}

std::size_t read_full(ByteSource& source, MutableByteSpan buffer) {
    std::size_t done = 0;
    while (done < buffer.size()) {
        const std::size_t n = source.read(buffer.subspan(done));
        if (n == 0) break;
        done += n;
    }
    return done;
}

std::uint64_t copy_all(ByteSource& source, ByteSink& sink) {
    std::vector<std::byte> buffer(1 << 18);
    std::uint64_t total = 0;
    for (;;) {
        const std::size_t n = source.read(buffer);
        if (n == 0) return total;
        sink.write(ByteSpan(buffer).first(n));
        total += n;
    }
}

std::string to_hex(ByteSpan bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const std::byte b : bytes) {
        text += kDigits[std::to_integer<unsigned>(b) >> 4];
        text += kDigits[std::to_integer<unsigned>(b) & 15];
    }
    return text;
}

}  // namespace surcoat
