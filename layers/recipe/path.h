#pragma once
#include <string>
#include <string_view>

namespace surcoat::recipe {

/// The shortest equal path by text alone: no "//", no ".", ".." taken back where something is before it, no
/// trailing '/'. "" gives ".". ".." at the root stays at the root.
std::string clean_path(std::string_view path);

/// The working directory after `WORKDIR requested` in `current`, as an absolute clean path. Either may be
/// empty or relative; no current directory means "/".
std::string normalize_workdir(std::string_view current, std::string_view requested);

}  // namespace surcoat::recipe
