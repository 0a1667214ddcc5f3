#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace surcoat::recipe {

/// What stands for a byte that is not UTF-8.
constexpr char32_t kInvalidCharacter = 0xfffd;

/// One character of UTF-8 text and how many bytes it takes (1 for a byte that is not UTF-8).
struct Character {
    char32_t value = 0;
    std::size_t size = 1;
};
/// `at` must be inside the text.
Character decode(std::string_view text, std::size_t at);
std::size_t count_characters(std::string_view text);
/// Each byte that is not UTF-8 replaced by U+FFFD.
std::string make_valid_utf8(std::string_view text);

// Unicode's classes, whatever the locale.
bool is_space(char32_t c);
bool is_letter(char32_t c);
bool is_digit(char32_t c);

/// Without Unicode white space at both ends, or at the left one; a view into `text`.
std::string_view trim(std::string_view text);
std::string_view trim_left(std::string_view text);
std::string ascii_lower(std::string_view text);
std::string ascii_upper(std::string_view text);

}  // namespace surcoat::recipe
