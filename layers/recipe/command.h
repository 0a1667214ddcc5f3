#pragma once
#include <optional>
#include <string>

#include "layers/recipe/recipe.h"

namespace surcoat::recipe {

/// What a RUN with here-documents gives to the shell.
struct Script {
    std::string text;
    /// Set when the only here-document begins with "#!": it is to be made an executable file of this name and
    /// started itself, without the shell.
    std::optional<std::string> file_name;
};

/// The script of a shell-form command. A command that is nothing but `<<NAME` runs the body; any other keeps
/// its here-documents for the shell to read. Throws nothing; without here-documents it is the text itself.
Script script_of(const CommandLine& command);

}  // namespace surcoat::recipe
