#pragma once
#include <string>
#include <string_view>

#include "layers/recipe/recipe.h"

namespace surcoat::recipe {

/// What this machine builds for: "linux/amd64", "linux/arm64", …
std::string host_platform();

/// A platform in its usual spelling: "linux/x86_64" and "amd64" give "linux/amd64", "linux/arm64/v8" gives
/// "linux/arm64". Throws Errc::invalid for what is not `os[/arch[/variant]]`.
std::string normalize_platform(std::string_view platform);

/// Refuses, with file:line:column and a caret, whatever the engine does not execute (never ignored) and a
/// recipe that has no stage. Throws Errc::unsupported for the former, Errc::invalid for the latter.
/// `FROM --platform` with a variable in it is left to check_platform().
void check_supported(const Recipe& recipe);

/// The same for a stage's platform after expansion: only the host's is built. Empty is fine.
void check_platform(const Recipe& recipe, const Stage& stage, std::string_view expanded);

}  // namespace surcoat::recipe
