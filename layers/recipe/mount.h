#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace surcoat::recipe {

/// One `RUN --mount=`, after expansion. Empty strings and absent values: not given.
struct Mount {
    enum class Type { bind, cache, tmpfs, secret, ssh };
    enum class Sharing { unset, shared, private_, locked };
    Type type = Type::bind;
    std::string from;
    std::string source;
    std::string target;
    bool read_only = true;         ///< default: false for cache and tmpfs
    bool required = false;         ///< secret, ssh
    std::uint64_t size_bytes = 0;  ///< tmpfs; 0: no limit given
    std::string id;
    Sharing sharing = Sharing::unset;
    std::optional<std::uint32_t> mode;
    std::optional<std::uint32_t> uid;
    std::optional<std::uint32_t> gid;
    std::optional<std::string> env;
};

std::string_view to_string(Mount::Type type);
std::string_view to_string(Mount::Sharing sharing);  ///< "" for unset

/// Reads the value of `--mount`: comma-separated `key=value` fields, quoted as in CSV. Values but that of
/// `from` go through `expand`. Throws Errc::invalid for unknown keys, bad values and options that the type
/// has not.
Mount parse_mount(std::string_view text, const std::function<std::string(std::string_view)>& expand);

/// What can be said before variables are known: the CSV form, and that `from` has none. Throws Errc::invalid.
void check_mount(std::string_view text);

}  // namespace surcoat::recipe
