#include "layers/recipe/quantity.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>

#include "layers/base/error.h"
#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

__extension__ using Wide = __int128;

[[noreturn]] void refuse_duration(std::string_view text, std::string_view why) {
    throw Error(Errc::invalid, fmt::format("'{}' is not a duration: {}", text, why))
        .hint("write a number with a unit, such as 30s, 1m30s or 500ms");
}

std::optional<std::int64_t> unit_nanoseconds(std::string_view unit) {
    if (unit == "ns") return 1;
    if (unit == "us" || unit == "µs" || unit == "μs") return 1000;
    if (unit == "ms") return 1000000;
    if (unit == "s") return 1000000000;
    if (unit == "m") return 60 * 1000000000LL;
    if (unit == "h") return 3600 * 1000000000LL;
    return std::nullopt;
}

bool digit(char c) {
    return c >= '0' && c <= '9';
}

}  // namespace

std::uint64_t parse_size(std::string_view text) {
    const auto refuse = [&]() {
        return Error(Errc::invalid, fmt::format("'{}' is not a size", text))
            .hint("write bytes, or a number with k, m, g or t: 64m");
    };
    const std::size_t last_of_number = text.find_last_of("0123456789. ");
    if (last_of_number == std::string_view::npos) throw refuse();
    const bool spaced = text[last_of_number] == ' ';
    const std::string number(text.substr(0, spaced ? last_of_number : last_of_number + 1));
    const std::string unit = ascii_lower(text.substr(last_of_number + 1));

    if (number.empty() || number.find_first_not_of("0123456789.eE+") != std::string::npos) throw refuse();
    char* end = nullptr;
    const double value = std::strtod(number.c_str(), &end);
    if (*end != '\0' || !std::isfinite(value)) throw refuse();

    double factor = 1;
    if (!unit.empty() && unit != "b") {
        const std::size_t power = std::string_view("kmgtp").find(unit[0]);
        const std::string_view rest = std::string_view(unit).substr(1);
        if (power == std::string_view::npos || !(rest.empty() || rest == "b" || rest == "ib")) throw refuse();
        factor = std::ldexp(1.0, static_cast<int>(power + 1) * 10);
    }
    if (value * factor >= 9.2e18) throw refuse();
    return static_cast<std::uint64_t>(value * factor);
}

std::chrono::nanoseconds parse_duration(std::string_view text) {
    std::string_view rest = text;
    const bool negative = rest.starts_with('-');
    if (negative || rest.starts_with('+')) rest.remove_prefix(1);
    if (rest == "0") return std::chrono::nanoseconds(0);
    if (rest.empty()) refuse_duration(text, "there is no number");
    constexpr Wide kMost = INT64_MAX;
    Wide total = 0;
    while (!rest.empty()) {
        Wide whole = 0;
        Wide fraction = 0;
        Wide scale = 1;
        std::size_t digits = 0;
        while (!rest.empty() && digit(rest[0])) {
            whole = std::min<Wide>(whole * 10 + (rest[0] - '0'), kMost);
            rest.remove_prefix(1), ++digits;
        }
        if (rest.starts_with('.')) {
            rest.remove_prefix(1);
            while (!rest.empty() && digit(rest[0])) {
                if (scale < 1000000000000000000) fraction = fraction * 10 + (rest[0] - '0'), scale *= 10;
                rest.remove_prefix(1), ++digits;
            }
        }
        if (digits == 0) refuse_duration(text, fmt::format("there is no number before '{}'", rest));
        const std::size_t size = std::min(rest.find_first_of("0123456789."), rest.size());
        if (size == 0) refuse_duration(text, "a unit is missing");
        const auto unit = unit_nanoseconds(rest.substr(0, size));
        if (!unit)
            refuse_duration(text,
                            fmt::format("the unit '{}' is not one of ns us ms s m h", rest.substr(0, size)));
        rest.remove_prefix(size);
        total += whole * *unit + fraction * *unit / scale;
        if (total > kMost) refuse_duration(text, "it is longer than 292 years");
    }
    const auto count = static_cast<std::int64_t>(total);
    return std::chrono::nanoseconds(negative ? -count : count);
}

}  // namespace surcoat::recipe
