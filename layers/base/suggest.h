#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace surcoat {

/// Damerau-Levenshtein distance (adjacent transposition counts 1), bytes, case-insensitive for ASCII.
unsigned edit_distance(std::string_view a, std::string_view b);
/// The nearest known name, if within 2 edits (1 for names of up to 3 bytes).
std::optional<std::string> nearest(std::string_view wanted, const std::vector<std::string>& known);
/// " (did you mean 'x'?)" or "".
std::string did_you_mean(std::string_view wanted, const std::vector<std::string>& known);

}  // namespace surcoat
