#pragma once
#include "layers/recipe/lexer.h"
#include "layers/recipe/recipe.h"

namespace surcoat::recipe {

/// FROM as a stage without steps. Throws Errc::invalid with its place, as all here.
Stage parse_from(const Source& source, const Instruction& instruction);
/// Any other instruction as its value. An unknown one is refused with a suggestion.
Step parse_step(const Source& source, const Instruction& instruction);

}  // namespace surcoat::recipe
