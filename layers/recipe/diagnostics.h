#pragma once
#include <string>
#include <string_view>

#include "layers/recipe/source.h"

namespace surcoat::recipe {

/// Something worth saying about a recipe that does not keep it from being built.
struct Diagnostic {
    std::string rule;  ///< a stable name: "NoEmptyContinuation"
    std::string message;
    Span where;
};

/// The first line of the span with a line number, and a caret under the span:
///     12 | COPPY a b
///        | ^~~~~
/// Long lines are cut around the span; tabs keep their width. No trailing newline. Empty when the span is
/// not in the text. Works for any text file, not only for recipes.
std::string render_caret(std::string_view text, const Span& where);

/// "Dockerfile:12:5: warning: message" and the caret, for printing.
std::string render(const Source& source, const Diagnostic& diagnostic);

}  // namespace surcoat::recipe
