#pragma once
#include <optional>
#include <string>

namespace surcoat::cmd {

/// "web:/etc/motd", "shop:1:/etc/motd" or "./file": where a path is. Everything after the last ":/" is the
/// path; a word that begins with '/' or '.' is the host's.
struct Place {
    std::optional<std::string> name;  ///< container or image; none: this host
    std::string path;
};
Place parse_place(const std::string& text);

}  // namespace surcoat::cmd
