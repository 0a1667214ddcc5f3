#include "layers/tar_header.h"

#include <algorithm>
#include <cstring>

namespace surcoat::tar {
namespace {

std::optional<std::int64_t> parse_base256(std::string_view field) {
    // Two's complement, big-endian; the first byte's high bit only marks the form, the next is the sign.
    const bool negative = (static_cast<unsigned char>(field[0]) & 0x40) != 0;
    const std::uint64_t fill = negative ? ~std::uint64_t{0} : 0;
    std::uint64_t value = fill;
    for (std::size_t i = 0; i < field.size(); ++i) {
        std::uint64_t byte = static_cast<unsigned char>(field[i]);
        if (i == 0) byte = negative ? byte | 0x80 : byte & 0x7f;
        if (value >> 55 != fill >> 55) return std::nullopt;  // the top byte and the sign would be lost
        value = value << 8 | byte;
    }
    return static_cast<std::int64_t>(value);
}

}  // namespace

std::optional<std::int64_t> parse_number(std::string_view field) {
    if (!field.empty() && (static_cast<unsigned char>(field[0]) & 0x80) != 0) return parse_base256(field);
    std::size_t i = 0;
    // Old writers pad with spaces in front; some leave a field as NULs.
    while (i < field.size() && (field[i] == ' ' || field[i] == '\0')) ++i;
    std::uint64_t value = 0;
    for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) {
        if (value >> 60 != 0) return std::nullopt;
        value = value << 3 | static_cast<std::uint64_t>(field[i] - '0');
    }
    if (i < field.size() && field[i] != ' ' && field[i] != '\0') return std::nullopt;
    return static_cast<std::int64_t>(value);
}

Header::Header(ByteSpan block) {
    std::memcpy(block_.data(), block.data(), kBlock);
}

Header::Header() {
    block_.fill('\0');
    set_text(kMagic, "ustar");
    set_text(kVersion, "00");
}

bool Header::all_zero() const {
    return block_[0] == 0 && std::memcmp(block_.data(), block_.data() + 1, kBlock - 1) == 0;
}

Header::Form Header::form() const {
    using namespace std::string_view_literals;
    if (raw(kMagic) == "ustar\0"sv) return raw(kStarMagic) == "tar\0"sv ? Form::star : Form::ustar;
    if (raw(kMagic) == "ustar "sv && raw(kVersion) == " \0"sv) return Form::gnu;
    return Form::v7;
}

std::string_view Header::text(Field field) const {
    const std::string_view whole = raw(field);
    return whole.substr(0, whole.find('\0'));
}

std::optional<std::int64_t> Header::number(Field field) const {
    return parse_number(raw(field));
}

bool Header::checksum_matches() const {
    const auto stored = number(kChecksum);
    if (!stored) return false;
    // The sum counts the checksum field as spaces. Some historic writers summed signed chars.
    std::int64_t unsigned_sum = 8 * ' ';
    std::int64_t high_bytes = 0;
    const auto add = [&](std::size_t from, std::size_t to) {
        unsigned sum = 0, high = 0;
        for (std::size_t i = from; i < to; ++i) {
            const unsigned byte = static_cast<unsigned char>(block_[i]);
            sum += byte;
            high += byte >> 7;
        }
        unsigned_sum += sum;
        high_bytes += high;
    };
    add(0, kChecksum.offset);
    add(kChecksum.offset + kChecksum.width, kBlock);
    return *stored == unsigned_sum || *stored == unsigned_sum - 256 * high_bytes;
}

void Header::set_text(Field field, std::string_view text) {
    if (!text.empty())
        std::memcpy(block_.data() + field.offset, text.data(), std::min(text.size(), field.width));
}

bool Header::set_number(Field field, std::uint64_t value) {
    const std::size_t digits = field.width - 1;
    const bool fits = value >> (3 * digits) == 0;
    if (!fits) value = 0;
    for (std::size_t i = digits; i-- > 0; value >>= 3)
        block_[field.offset + i] = static_cast<char>('0' + (value & 7));
    block_[field.offset + digits] = '\0';
    return fits;
}

void Header::set_checksum() {
    unsigned sum = 8 * ' ';
    for (std::size_t i = 0; i < kBlock; ++i) {
        if (i < kChecksum.offset || i >= kChecksum.offset + kChecksum.width)
            sum += static_cast<unsigned char>(block_[i]);
    }
    // Six digits, NUL, space: the form of the field that every reader knows.
    set_number({kChecksum.offset, 7}, sum);
    block_[kChecksum.offset + 7] = ' ';
}

}  // namespace surcoat::tar
