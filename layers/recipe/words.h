#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace surcoat::recipe {

/// A word cut out of an instruction's text: what it means, and the bytes that it was written with.
struct Piece {
    std::string text;
    std::string_view written;
};

/// The text up to the first run of blanks, and what follows it.
struct Head {
    std::string_view first;
    std::string_view rest;
    bool has_rest = false;
};
Head split_head(std::string_view text);

/// Words between blanks; quotes mean nothing.
std::vector<Piece> split_blanks(std::string_view text);

/// The leading `--flag` words, without quotes, and the text after them. `--` alone ends them. A backslash
/// drops itself, whatever the escape character of the recipe.
struct Flags {
    std::vector<Piece> flags;
    std::string_view rest;
};
Flags split_flags(std::string_view text);

/// The words of ENV, LABEL and ARG: blanks inside quotes or after the escape character do not separate.
/// Quotes and escapes stay in the words.
std::vector<Piece> split_quoted(std::string_view text, char escape);

/// A JSON array of strings. Nothing if it is not a JSON array at all (it is shell text then). Throws
/// Errc::invalid for an array that holds something else than strings.
std::optional<std::vector<Piece>> parse_json_form(std::string_view text);

}  // namespace surcoat::recipe
