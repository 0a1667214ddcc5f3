#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/tar.h"
#include "layers/tar_header.h"

/// Private to layers/tar_*.cc: maps of sparse files. GNU tar manual, "Storing Sparse Files".
namespace surcoat::tar {

/// One sparse map being read. Methods return what is wrong, or nothing.
class SparseMap {
  public:
    /// Old GNU: the pairs in a member's header, or in one block behind it; `more` says if another block
    /// follows.
    std::optional<std::string> add_gnu_block(ByteSpan block, bool first, bool& more);
    /// PAX 1.0: a block of the map that stands before the content; `more` says if another block follows.
    std::optional<std::string> add_text_block(ByteSpan block, bool& more);
    /// PAX 0.0 and 0.1.
    void set(std::vector<Extent> extents) { extents_ = std::move(extents); }

    /// Checks order, overlap, that all lies in `file_size`, and that the extents' sum is `stored_size`; drops
    /// empty extents.
    std::optional<std::string> finish(std::uint64_t file_size, std::uint64_t stored_size);
    std::vector<Extent> take() { return std::move(extents_); }

  private:
    std::vector<Extent> extents_;
    // PAX 1.0: numbers in text, cut into blocks anywhere.
    std::optional<std::uint64_t> expected_;  ///< how many extents, once that is read
    std::uint64_t numbers_ = 0;              ///< read after the first
    std::string digits_;                     ///< of a number that is not yet complete
};

}  // namespace surcoat::tar
