#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace surcoat::recipe {

/// The patterns of ${v#p}, ${v%p} and ${v/p/r}: `*` any run of characters of one line, `?` any character but
/// a line break, an escaped character itself. No classes. Time is bounded by pattern length times text
/// length.
class VariableGlob {
  public:
    /// Backslash escapes * ? \ } and /; any other escape throws Errc::invalid.
    explicit VariableGlob(std::string_view pattern);

    /// How many bytes of the beginning match, at least or at most; nothing if no beginning does.
    std::optional<std::size_t> prefix(std::string_view text, bool longest) const;
    /// The same for the end.
    std::optional<std::size_t> suffix(std::string_view text, bool longest) const;
    /// Offset and length of the first match from `from` on, the longest of those.
    std::optional<std::pair<std::size_t, std::size_t>> find(std::string_view text, std::size_t from) const;

  private:
    struct Token {
        enum class Kind { literal, any, star };
        Kind kind;
        char32_t value = 0;
    };
    std::vector<Token> tokens_;
};

}  // namespace surcoat::recipe
