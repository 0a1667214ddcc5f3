#include "layers/recipe/glob.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "layers/base/error.h"
#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

/// A text as characters with the byte offset of each, and of the end.
struct Characters {
    explicit Characters(std::string_view text) {
        for (std::size_t i = 0; i < text.size();) {
            const Character c = decode(text, i);
            values.push_back(c.value);
            offsets.push_back(i);
            i += c.size;
        }
        offsets.push_back(text.size());
    }
    std::vector<char32_t> values;
    std::vector<std::size_t> offsets;
};

constexpr std::size_t kNowhere = std::numeric_limits<std::size_t>::max();

/// For every place of the text, the earliest start from which the tokens match up to there (kNowhere: none).
/// One pass of the text for each token, so that no pattern is expensive.
template <typename Tokens>
std::vector<std::size_t> earliest_starts(const Tokens& tokens, const std::vector<char32_t>& text,
                                         std::vector<std::size_t> starts) {
    std::vector<std::size_t> next(starts.size());
    for (const auto& token : tokens) {
        using Kind = decltype(token.kind);
        if (token.kind == Kind::star) {
            for (std::size_t i = 1; i < starts.size(); ++i) {
                if (text[i - 1] != '\n') starts[i] = std::min(starts[i], starts[i - 1]);
            }
            continue;
        }
        next[0] = kNowhere;
        for (std::size_t i = 1; i < starts.size(); ++i) {
            const bool fits = token.kind == Kind::any ? text[i - 1] != '\n' : text[i - 1] == token.value;
            next[i] = fits ? starts[i - 1] : kNowhere;
        }
        std::swap(starts, next);
    }
    return starts;
}

}  // namespace

VariableGlob::VariableGlob(std::string_view pattern) {
    for (std::size_t i = 0; i < pattern.size();) {
        Character c = decode(pattern, i);
        i += c.size;
        if (c.value == '*') {
            if (tokens_.empty() || tokens_.back().kind != Token::Kind::star)
                tokens_.push_back({Token::Kind::star});
        } else if (c.value == '?') {
            tokens_.push_back({Token::Kind::any});
        } else if (c.value == '\\') {
            if (i == pattern.size()) {
                throw Error(Errc::invalid, "the pattern ends in a lone '\\'")
                    .hint("write '\\\\' for a backslash in a ${…} pattern");
            }
            c = decode(pattern, i);
            if (std::u32string_view(U"*?\\}/").find(c.value) == std::u32string_view::npos) {
                throw Error(Errc::invalid,
                            fmt::format("invalid escape '\\{}' in a pattern", pattern.substr(i, c.size)))
                    .hint("in a ${…} pattern, '\\' goes only before * ? \\ } and /");
            }
            i += c.size;
            tokens_.push_back({Token::Kind::literal, c.value});
        } else {
            tokens_.push_back({Token::Kind::literal, c.value});
        }
    }
}

std::optional<std::size_t> VariableGlob::prefix(std::string_view text, bool longest) const {
    const Characters characters(text);
    std::vector<std::size_t> starts(characters.offsets.size(), kNowhere);
    starts[0] = 0;
    starts = earliest_starts(tokens_, characters.values, std::move(starts));
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < starts.size(); ++i) {
        if (starts[i] != 0) continue;
        found = characters.offsets[i];
        if (!longest) break;
    }
    return found;
}

std::optional<std::size_t> VariableGlob::suffix(std::string_view text, bool longest) const {
    const Characters characters(text);
    std::vector<std::size_t> starts(characters.offsets.size());
    for (std::size_t i = 0; i < starts.size(); ++i) starts[i] = i;
    if (longest) {
        const std::size_t start = earliest_starts(tokens_, characters.values, std::move(starts)).back();
        if (start == kNowhere) return std::nullopt;
        return text.size() - characters.offsets[start];
    }
    // The shortest suffix is the shortest prefix of the text read backwards.
    const std::vector<char32_t> backwards(characters.values.rbegin(), characters.values.rend());
    const std::vector<Token> reversed(tokens_.rbegin(), tokens_.rend());
    for (std::size_t i = 0; i < starts.size(); ++i) starts[i] = i == 0 ? 0 : kNowhere;
    starts = earliest_starts(reversed, backwards, std::move(starts));
    for (std::size_t i = 0; i < starts.size(); ++i) {
        if (starts[i] == 0) return text.size() - characters.offsets[characters.values.size() - i];
    }
    return std::nullopt;
}

std::optional<std::pair<std::size_t, std::size_t>> VariableGlob::find(std::string_view text,
                                                                      std::size_t from) const {
    const std::string_view rest = text.substr(from);
    const Characters characters(rest);
    std::vector<std::size_t> starts(characters.offsets.size());
    for (std::size_t i = 0; i < starts.size(); ++i) starts[i] = i;
    starts = earliest_starts(tokens_, characters.values, std::move(starts));
    std::size_t best = kNowhere;
    std::size_t end = 0;
    for (std::size_t i = 0; i < starts.size(); ++i) {
        if (starts[i] == kNowhere || starts[i] > best) continue;
        best = starts[i];
        end = i;
    }
    if (best == kNowhere) return std::nullopt;
    return std::pair(from + characters.offsets[best], characters.offsets[end] - characters.offsets[best]);
}

}  // namespace surcoat::recipe
