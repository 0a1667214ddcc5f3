#include "layers/recipe/ignore.h"

#include <algorithm>

#include "layers/base/error.h"
#include "layers/recipe/characters.h"
#include "layers/recipe/path.h"
#include "layers/recipe/wildcard.h"

namespace surcoat::recipe {

std::vector<std::string> parse_ignore_file(std::string_view text) {
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    std::vector<std::string> patterns;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.starts_with('#')) continue;
        line = trim(line);
        if (line.empty()) continue;
        const bool exception = line.starts_with('!');
        if (exception) line = trim(line.substr(1));
        std::string pattern;
        if (!line.empty()) {
            pattern = clean_path(line);
            if (pattern.size() > 1 && pattern[0] == '/') pattern.erase(0, 1);
        }
        patterns.push_back((exception ? "!" : "") + pattern);
    }
    return patterns;
}

/// The three simple kinds are what nearly all ignore files are made of. They are also not quite what the
/// tokens would say (`**x` alone matches "ax"), and it is the language's rules that count.
IgnoreRules::Pattern::Pattern(std::string cleaned) : text(std::move(cleaned)) {
    for (std::size_t at = 0; at < text.size();) {
        const Character c = decode(text, at);
        if (text.compare(at, 2, "**") == 0) {
            const bool first = at == 0;
            at += 2;
            if (at < text.size() && text[at] == '/') ++at;
            if (at < text.size()) {
                tokens.push_back({Token::Kind::directories});
                kind = Kind::tokens;
            } else {
                tokens.push_back({Token::Kind::rest});
                kind = kind == Kind::exact ? Kind::prefix : Kind::tokens;
            }
            if (first) kind = Kind::suffix;
        } else if (c.value == '*') {
            tokens.push_back({Token::Kind::star});
            kind = Kind::tokens;
            ++at;
        } else if (c.value == '?') {
            tokens.push_back({Token::Kind::any});
            kind = Kind::tokens;
            ++at;
        } else if (c.value == '[') {
            tokens.push_back({Token::Kind::char_class, 0, CharClass::read(text, at)});
            kind = Kind::tokens;
        } else if (c.value == '\\' && at + 1 < text.size()) {
            const Character escaped = decode(text, ++at);
            tokens.push_back({Token::Kind::literal, escaped.value});
            kind = Kind::tokens;
            at += escaped.size;
        } else {
            tokens.push_back({Token::Kind::literal, c.value});
            at += c.size;
        }
    }
}

bool IgnoreRules::Pattern::match(std::string_view path) const {
    switch (kind) {
        case Kind::exact:
            return path == text;
        case Kind::prefix:
            return path.starts_with(std::string_view(text).substr(0, text.size() - 2));
        case Kind::suffix: {
            const std::string_view end = std::string_view(text).substr(2);
            return path.ends_with(end) || (end.starts_with('/') && path == end.substr(1));
        }
        case Kind::tokens:
            return match_tokens(path);
    }
    return false;
}

bool IgnoreRules::Pattern::match_tokens(std::string_view path) const {
    std::vector<Character> characters;
    for (std::size_t i = 0; i < path.size(); i += characters.back().size)
        characters.push_back(decode(path, i));
    std::vector<char> reached(characters.size() + 1, 0);
    std::vector<char> next(reached.size());
    reached[0] = 1;
    for (const Token& token : tokens) {
        bool alive = false;
        if (token.kind == Token::Kind::star || token.kind == Token::Kind::rest) {
            for (std::size_t i = 0; i < characters.size(); ++i) {
                if (reached[i] != 0 && (token.kind == Token::Kind::rest || characters[i].value != '/'))
                    reached[i + 1] = 1;
            }
            continue;
        }
        if (token.kind == Token::Kind::directories) {
            bool started = false;
            for (std::size_t i = 0; i < characters.size(); ++i) {
                started = started || reached[i] != 0;
                if (started && characters[i].value == '/') reached[i + 1] = 1;
            }
            continue;
        }
        next[0] = 0;
        for (std::size_t i = 0; i < characters.size(); ++i) {
            const char32_t c = characters[i].value;
            const bool fits = token.kind == Token::Kind::literal ? c == token.value
                              : token.kind == Token::Kind::any   ? c != '/'
                                                                 : token.set.has(c);
            next[i + 1] = reached[i] != 0 && fits ? 1 : 0;
            alive = alive || next[i + 1] != 0;
        }
        if (!alive) return false;
        std::swap(reached, next);
    }
    return reached.back() != 0;
}

IgnoreRules::IgnoreRules(const std::vector<std::string>& patterns) {
    for (const std::string& raw : patterns) {
        std::string_view text = trim(raw);
        if (text.empty()) continue;
        std::string cleaned = clean_path(text);
        const bool exception = cleaned[0] == '!';
        if (exception) {
            if (cleaned.size() == 1) {
                throw Error(Errc::invalid, "an ignore file has '!' without a pattern")
                    .hint("write the path to take in: !dir/file");
            }
            cleaned.erase(0, 1);
            exceptions_ = true;
        }
        check_wildcard(cleaned);
        patterns_.emplace_back(std::move(cleaned)).exception = exception;
    }
}

bool IgnoreRules::ignores(std::string_view path) const {
    bool ignored = false;
    for (const Pattern& pattern : patterns_) {
        if (pattern.exception != ignored) continue;  // it could change nothing
        bool matches = pattern.match(path);
        for (std::size_t slash = path.find('/'); !matches && slash != std::string_view::npos;
             slash = path.find('/', slash + 1)) {
            matches = pattern.match(path.substr(0, slash));
        }
        if (matches) ignored = !pattern.exception;
    }
    return ignored;
}

}  // namespace surcoat::recipe
