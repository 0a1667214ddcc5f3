#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "layers/recipe/char_class.h"

namespace surcoat::recipe {

/// The patterns of an ignore file (`.dockerignore`), cleaned: blanks, comments and a leading '/' are gone;
/// a leading '!' stays. Order matters.
std::vector<std::string> parse_ignore_file(std::string_view text);

/// Which paths of a context are left out. The last pattern that matches decides; a pattern matches what it
/// names and all below it; `!` takes in again, also below an ignored directory; `**` spans any number of
/// directories; the rest is as in wildcard.h. Immutable: safe for many threads.
class IgnoreRules {
  public:
    IgnoreRules() = default;
    /// Throws Errc::invalid naming the pattern that is malformed.
    explicit IgnoreRules(const std::vector<std::string>& patterns);

    /// `path` is relative, with '/', without "./" ("a/b"); a trailing '/' does no harm.
    bool ignores(std::string_view path) const;
    /// Whether something below an ignored directory could be taken in again: without exceptions a walk
    /// need not enter what is ignored.
    bool has_exceptions() const noexcept { return exceptions_; }
    bool empty() const noexcept { return patterns_.empty(); }

  private:
    struct Token {
        enum class Kind {
            literal,      ///< `value`
            any,          ///< `?`: one character but '/'
            star,         ///< `*`: any run of these
            directories,  ///< `**` inside: nothing, or anything that ends in '/'
            rest,         ///< `**` at the end: anything
            char_class,   ///< `set`
        };
        Kind kind;
        char32_t value = 0;
        CharClass set{};
    };
    struct Pattern {
        enum class Kind { exact, prefix, suffix, tokens };
        explicit Pattern(std::string cleaned);
        bool match(std::string_view path) const;
        bool match_tokens(std::string_view path) const;

        std::string text;
        Kind kind = Kind::exact;
        bool exception = false;
        std::vector<Token> tokens;
    };

    std::vector<Pattern> patterns_;
    bool exceptions_ = false;
};

}  // namespace surcoat::recipe
