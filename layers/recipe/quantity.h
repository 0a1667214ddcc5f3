#pragma once
#include <chrono>
#include <cstdint>
#include <string_view>

namespace surcoat::recipe {

/// "512m", "1.5g", "1 KiB", "10": bytes, always with powers of 1024. Throws Errc::invalid.
std::uint64_t parse_size(std::string_view text);

/// "1h30m", "1.5s", "-3ms", "0": Go's durations (time.ParseDuration), with a unit (ns us µs ms s m h) for
/// every number but 0. Throws Errc::invalid.
std::chrono::nanoseconds parse_duration(std::string_view text);

}  // namespace surcoat::recipe
