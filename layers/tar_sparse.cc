#include "layers/tar_sparse.h"

#include <fmt/format.h>

#include "layers/tar_pax.h"

namespace surcoat::tar {

std::optional<std::string> SparseMap::add_gnu_block(ByteSpan block, bool first, bool& more) {
    const std::string_view bytes = as_text(block);
    const std::size_t start = first ? kGnuSparse : 0;
    const std::size_t count = first ? kGnuSparseCount : kGnuMoreCount;
    for (std::size_t i = 0; i < count; ++i) {
        const std::string_view offset_field = bytes.substr(start + 24 * i, 12);
        const std::string_view size_field = bytes.substr(start + 24 * i + 12, 12);
        if (size_field[0] == '\0') break;  // the rest of this block is unused
        const auto offset = parse_number(offset_field);
        const auto size = parse_number(size_field);
        if (!offset || !size || *offset < 0 || *size < 0) return "a sparse map's entry is no pair of numbers";
        extents_.push_back({static_cast<std::uint64_t>(*offset), static_cast<std::uint64_t>(*size)});
    }
    more = bytes[first ? kGnuExtended : kGnuMoreExtended] != '\0';
    return {};
}

std::optional<std::string> SparseMap::add_text_block(ByteSpan block, bool& more) {
    for (const char c : as_text(block)) {
        if (expected_ && numbers_ == 2 * *expected_) break;  // NULs up to the block's end
        if (c != '\n') {
            if (digits_.size() >= 20) return "a number in the sparse map is too long";
            digits_ += c;
            continue;
        }
        const auto number = parse_decimal(digits_);
        if (!number) return fmt::format("'{}' in the sparse map is no number", printable(digits_));
        digits_.clear();
        if (!expected_) {
            if (*number > INT64_MAX / 2) return "the sparse map's length is absurd";
            expected_ = number;
        } else if (numbers_++ % 2 == 0) {
            extents_.push_back({*number, 0});
        } else {
            extents_.back().size = *number;
        }
    }
    more = !expected_ || numbers_ < 2 * *expected_;
    return {};
}

std::optional<std::string> SparseMap::finish(std::uint64_t file_size, std::uint64_t stored_size) {
    std::uint64_t end = 0;
    std::uint64_t sum = 0;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < extents_.size(); ++i) {
        const Extent extent = extents_[i];
        if (extent.offset < end) return "the sparse map's pieces overlap or are not in order";
        if (extent.size > file_size || extent.offset > file_size - extent.size) {
            return fmt::format("the sparse map reaches past the file's {} bytes", file_size);
        }
        end = extent.offset + extent.size;
        sum += extent.size;  // cannot overflow: the pieces do not overlap and end at file_size
        if (extent.size != 0) extents_[kept++] = extent;
    }
    extents_.resize(kept);
    if (sum != stored_size) {
        return fmt::format("the sparse map counts {} bytes of content, but {} are in the archive", sum,
                           stored_size);
    }
    return {};
}

}  // namespace surcoat::tar
