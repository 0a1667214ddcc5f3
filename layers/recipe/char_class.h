#pragma once
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

namespace surcoat::recipe {

/// `[a-z]`, `[^a-z]` of a path pattern; a backslash takes the next character literally.
class CharClass {
  public:
    CharClass() = default;
    /// Reads the class that begins at `pattern[at]` ('[') and moves `at` behind its ']'. Throws Errc::invalid
    /// naming the pattern when it is empty, not closed, or has a range with only one end.
    static CharClass read(std::string_view pattern, std::size_t& at);

    bool has(char32_t c) const;

  private:
    std::vector<std::pair<char32_t, char32_t>> ranges_;
    bool negated_ = false;
};

}  // namespace surcoat::recipe
