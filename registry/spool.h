#pragma once
#include <cstdint>
#include <filesystem>

#include "layers/base/bytes.h"
#include "layers/base/unique_fd.h"
#include "layers/digest.h"

namespace surcoat::registry {

/// A file without a name, for bytes that are needed twice or must be measured before they can be sent: gone
/// with this object or the process, whatever happens. From one thread at a time.
class SpoolFile final : public ByteSink {
  public:
    /// On the filesystem of `directory`.
    explicit SpoolFile(const std::filesystem::path& directory);
    void write(ByteSpan bytes) override;
    std::uint64_t size() const noexcept { return size_; }
    /// Digest of all that was written so far.
    Digest digest() const;
    int fd() const noexcept { return fd_.get(); }

  private:
    UniqueFd fd_;
    Hasher hasher_;
    std::uint64_t size_ = 0;
};

/// A part of a seekable file; does not move the descriptor's offset. Throws Errc::corrupt if the file ends
/// before the part does.
class RangeSource final : public ByteSource {
  public:
    RangeSource(int fd, std::uint64_t offset, std::uint64_t size) : fd_(fd), offset_(offset), left_(size) {}
    std::size_t read(MutableByteSpan buffer) override;

  private:
    int fd_;  ///< not owned
    std::uint64_t offset_;
    std::uint64_t left_;
};

}  // namespace surcoat::registry
