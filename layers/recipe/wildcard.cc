#include "layers/recipe/wildcard.h"

#include <fmt/core.h>

#include <optional>
#include <string>
#include <vector>

#include "layers/base/error.h"
#include "layers/recipe/char_class.h"
#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

struct Token {
    enum class Kind { literal, any, star, char_class };
    Kind kind;
    char32_t value = 0;
    CharClass set{};
};

std::vector<Token> compile(std::string_view pattern) {
    std::vector<Token> tokens;
    for (std::size_t at = 0; at < pattern.size();) {
        const Character c = decode(pattern, at);
        if (c.value == '*') {
            if (tokens.empty() || tokens.back().kind != Token::Kind::star)
                tokens.push_back({Token::Kind::star});
            ++at;
        } else if (c.value == '?') {
            tokens.push_back({Token::Kind::any});
            ++at;
        } else if (c.value == '[') {
            tokens.push_back({Token::Kind::char_class, 0, CharClass::read(pattern, at)});
        } else if (c.value == '\\') {
            if (++at == pattern.size()) {
                throw Error(Errc::invalid, fmt::format("the pattern '{}' ends in a lone '\\'", pattern))
                    .hint("write '\\\\' for a backslash");
            }
            const Character escaped = decode(pattern, at);
            tokens.push_back({Token::Kind::literal, escaped.value});
            at += escaped.size;
        } else {
            tokens.push_back({Token::Kind::literal, c.value});
            at += c.size;
        }
    }
    return tokens;
}

}  // namespace

void check_wildcard(std::string_view pattern) {
    compile(pattern);
}

bool has_wildcard(std::string_view pattern) {
    return pattern.find_first_of("*?[\\") != std::string_view::npos;
}

bool wildcard_match(std::string_view pattern, std::string_view path) {
    const std::vector<Token> tokens = compile(pattern);
    // Where the text may be after the tokens so far; one pass for each token.
    std::vector<Character> text;
    for (std::size_t i = 0; i < path.size(); i += text.back().size) text.push_back(decode(path, i));
    std::vector<char> reached(text.size() + 1, 0);
    std::vector<char> next(reached.size());
    reached[0] = 1;
    for (const Token& token : tokens) {
        if (token.kind == Token::Kind::star) {
            for (std::size_t i = 0; i < text.size(); ++i) {
                if (reached[i] != 0 && text[i].value != '/') reached[i + 1] = 1;
            }
            continue;
        }
        next[0] = 0;
        for (std::size_t i = 0; i < text.size(); ++i) {
            const char32_t c = text[i].value;
            const bool fits = token.kind == Token::Kind::literal ? c == token.value
                              : token.kind == Token::Kind::any   ? c != '/'
                                                                 : token.set.has(c);
            next[i + 1] = reached[i] != 0 && fits ? 1 : 0;
        }
        std::swap(reached, next);
    }
    return reached.back() != 0;
}

}  // namespace surcoat::recipe
