#include "layers/recipe/heredoc.h"

#include <charconv>

#include "layers/base/error.h"
#include "layers/recipe/characters.h"
#include "layers/recipe/expand.h"

namespace surcoat::recipe {

namespace {

std::optional<std::string> nothing_is_set(const std::string&) {
    return std::nullopt;
}

/// Quotes are looked at with `\`, whatever the escape character of the recipe. Text with unbalanced ones has
/// no words.
std::vector<std::string> words_of(std::string_view text, bool keep_quotes) {
    try {
        return expand_raw(text, nothing_is_set, '\\', {.keep_quotes = keep_quotes, .keep_unset = true}).words;
    } catch (const Error&) { return {}; }
}

}  // namespace

std::optional<Heredoc> parse_heredoc(std::string_view word) {
    Heredoc out;
    std::size_t digits = 0;
    while (digits < word.size() && word[digits] >= '0' && word[digits] <= '9') ++digits;
    std::from_chars(word.data(), word.data() + digits, out.descriptor);
    std::string_view rest = word.substr(digits);
    if (!rest.starts_with("<<")) return std::nullopt;
    rest.remove_prefix(2);
    out.strip_tabs = rest.starts_with('-');
    if (out.strip_tabs) rest.remove_prefix(1);
    rest = trim_left(rest);
    if (rest.empty() || rest.find('<') != std::string_view::npos) return std::nullopt;
    const std::vector<std::string> plain = words_of(rest, false);
    if (plain.size() != 1) return std::nullopt;
    const std::vector<std::string> raw = words_of(rest, true);
    if (raw.size() != 1) return std::nullopt;
    out.name = plain[0];
    out.expand = plain[0] == raw[0];  // they differ exactly when something was quoted
    return out;
}

std::vector<Heredoc> heredocs_of(std::string_view text) {
    std::vector<Heredoc> out;
    if (text.find("<<") == std::string_view::npos) return out;
    for (const std::string& word : words_of(text, true)) {
        if (auto found = parse_heredoc(word)) out.push_back(std::move(*found));
    }
    return out;
}

std::string strip_leading_tabs(std::string_view content) {
    std::string out;
    bool line_begins = true;
    for (const char c : content) {
        if (line_begins && c == '\t') continue;
        out += c;
        line_begins = c == '\n';
    }
    return out;
}

}  // namespace surcoat::recipe
