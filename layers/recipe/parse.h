#pragma once
#include <string>

#include "layers/recipe/recipe.h"

namespace surcoat::recipe {

/// Reads a recipe: every instruction and flag of the language, also those that the engine does not run
/// (supported.h says which). `name` is the file's name for messages. Pure: no file is opened.
/// Throws Errc::invalid with file:line:column, the line and a caret.
/// A recipe without FROM gives no stages; check_supported() refuses it.
Recipe parse(std::string text, std::string name = "Dockerfile");

/// One instruction on its own: an ONBUILD trigger of a base image. Throws as parse().
Step parse_trigger(std::string text, std::string name);

}  // namespace surcoat::recipe
