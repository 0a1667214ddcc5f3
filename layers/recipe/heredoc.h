#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace surcoat::recipe {

/// A here-document: `<<NAME`, `<<-NAME`, `3<<"NAME"`.
struct Heredoc {
    std::string name;         ///< without quotes
    std::string content;      ///< as written; filled by the lexer
    bool expand = true;       ///< false when a part of the name was quoted
    bool strip_tabs = false;  ///< `<<-`
    unsigned descriptor = 0;
};

/// The here-document that a word begins, if it does.
std::optional<Heredoc> parse_heredoc(std::string_view word);
/// All that an instruction's text begins, in order. Text with unbalanced quotes begins none.
std::vector<Heredoc> heredocs_of(std::string_view text);
/// Without the tabs at the beginning of each line, as `<<-` wants it.
std::string strip_leading_tabs(std::string_view content);

}  // namespace surcoat::recipe
