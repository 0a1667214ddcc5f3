#include "layers/recipe/char_class.h"

#include <fmt/core.h>

#include "layers/base/error.h"
#include "layers/recipe/characters.h"

namespace surcoat::recipe {

CharClass CharClass::read(std::string_view pattern, std::size_t& at) {
    const auto refuse = [&](std::string_view why) {
        return Error(Errc::invalid,
                     fmt::format("the pattern '{}' has a character class that {}", pattern, why))
            .hint("write [abc], [a-z] or [^a-z]; \\[ is a literal bracket");
    };
    const auto peek = [&]() { return at < pattern.size() ? pattern[at] : '\0'; };
    const auto one = [&]() {
        if (peek() == '-' || peek() == ']')
            throw refuse(fmt::format("has '{}' where a character belongs", peek()));
        if (peek() == '\\') ++at;
        if (at >= pattern.size()) throw refuse("is not closed");
        const Character c = decode(pattern, at);
        at += c.size;
        return c.value;
    };
    CharClass out;
    ++at;
    if (peek() == '^') {
        out.negated_ = true;
        ++at;
    }
    while (out.ranges_.empty() || peek() != ']') {
        const char32_t first = one();
        char32_t last = first;
        if (peek() == '-') {
            ++at;
            last = one();
        }
        out.ranges_.emplace_back(first, last);
        if (at >= pattern.size()) throw refuse("is not closed");
    }
    ++at;
    return out;
}

bool CharClass::has(char32_t c) const {
    for (const auto& [first, last] : ranges_) {
        if (first <= c && c <= last) return !negated_;
    }
    return negated_;
}

}  // namespace surcoat::recipe
