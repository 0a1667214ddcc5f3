#pragma once
#include <string_view>

namespace surcoat::recipe {

/// Matches a whole path against a COPY or ADD source pattern, by the rules of Go's path/filepath.Match:
/// `*` any run of characters but '/', `?` one character but '/', `[a-z]` `[^a-z]` a class, `\x` x itself.
/// There is no `**`. Throws Errc::invalid for a malformed pattern, whatever the path.
bool wildcard_match(std::string_view pattern, std::string_view path);

/// Throws Errc::invalid if the pattern is malformed.
void check_wildcard(std::string_view pattern);

/// Whether a word can match anything but itself: it has one of * ? [ or an escape.
bool has_wildcard(std::string_view pattern);

}  // namespace surcoat::recipe
