#include "cmd/place.h"

namespace surcoat::cmd {

Place parse_place(const std::string& text) {
    if (text.empty() || text[0] == '/' || text[0] == '.' || text == "-") return {std::nullopt, text};
    if (const std::size_t at = text.find(":/"); at != std::string::npos && at != 0) return {text.substr(0, at), text.substr(at + 1)};
    // docker allows "web:etc/motd"; with one colon and no '/' before it, the name is a container's.
    const std::size_t colon = text.find(':');
    if (colon != std::string::npos && text.find('/') > colon && text.rfind(':') == colon) return {text.substr(0, colon), "/" + text.substr(colon + 1)};
    return {std::nullopt, text};
}

}  // namespace surcoat::cmd
