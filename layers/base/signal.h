#pragma once
#include <string>

namespace surcoat {

/// "SIGTERM", "term", "15", "RTMIN+3" as a number. Throws Errc::invalid with the nearest known name.
int parse_signal(const std::string& text);

}  // namespace surcoat
