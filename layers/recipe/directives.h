#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/recipe/source.h"

namespace surcoat::recipe {

/// `# name=value` at the very top of a recipe.
struct Directive {
    std::string name;  ///< syntax, escape or check
    std::string value;
    Span where;
};

/// The directives: comment lines before anything else; the first line that is no known directive ends them. A
/// first line `#!…` does not. Throws Errc::invalid when one is given twice.
std::vector<Directive> read_directives(const Source& source);

/// The escape character that they choose, `\` by default. Throws Errc::invalid for anything but `\` and "`".
char escape_character(const Source& source, const std::vector<Directive>& directives);

/// Which other frontend a recipe asks for: `# syntax=REF …` (also after `#!`, as `//syntax=`, or as the JSON
/// document {"syntax":"REF"}). `command_line` is the whole value, `reference` its first word.
struct Syntax {
    std::string reference;
    std::string command_line;
};
std::optional<Syntax> detect_syntax(std::string_view text);

}  // namespace surcoat::recipe
