#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "layers/base/bytes.h"

/// Private to layers/tar_*.cc: the 512-byte header block and the numbers in it.
/// POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
namespace surcoat::tar {

inline constexpr std::size_t kBlock = 512;

/// Bytes from the end of `size` bytes of content to the next block.
constexpr std::size_t padding_of(std::uint64_t size) {
    return static_cast<std::size_t>(-size % kBlock);
}

/// A field of the header by offset and width.
struct Field {
    std::size_t offset, width;
};
inline constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kMtime{136, 12}, kChecksum{148, 8}, kLinkName{157, 100}, kMagic{257, 6}, kVersion{263, 2},
    kDevMajor{329, 8}, kDevMinor{337, 8}, kPrefix{345, 155};
inline constexpr std::size_t kType = 156;
// star's form of ustar: a shorter prefix, then atime and ctime, and "tar\0" at the end of the block.
inline constexpr Field kStarPrefix{345, 131}, kStarMagic{508, 4};
// Old GNU: four pairs of offset and size, "more follow", the real size; then blocks of 21 pairs.
inline constexpr Field kGnuRealSize{483, 12};
inline constexpr std::size_t kGnuSparse = 386, kGnuSparseCount = 4, kGnuExtended = 482;
inline constexpr std::size_t kGnuMoreCount = 21, kGnuMoreExtended = 504;

class Header {
  public:
    enum class Form { v7, ustar, star, gnu };

    /// Copies one block.
    explicit Header(ByteSpan block);
    /// An empty ustar header, to be filled.
    Header();

    ByteSpan bytes() const { return std::as_bytes(std::span(block_)); }
    bool all_zero() const;
    Form form() const;
    char type() const { return block_[kType]; }
    std::string_view raw(Field field) const { return {block_.data() + field.offset, field.width}; }
    /// Up to the first NUL, or the whole field.
    std::string_view text(Field field) const;
    /// Octal, or base-256 (first byte's high bit set). Empty is 0. Nothing if it is neither or over 63 bits.
    std::optional<std::int64_t> number(Field field) const;
    bool checksum_matches() const;

    void set_text(Field field, std::string_view text);
    /// Octal with leading zeros and a NUL behind. False (and zero written) if it does not fit.
    bool set_number(Field field, std::uint64_t value);
    void set_type(char type) { block_[kType] = type; }
    /// Call last.
    void set_checksum();

  private:
    std::array<char, kBlock> block_;
};

/// The number in a field's bytes, as Header::number.
std::optional<std::int64_t> parse_number(std::string_view field);

}  // namespace surcoat::tar
