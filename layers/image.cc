#include "layers/image.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <chrono>
#include <string_view>
#include <utility>

#include "layers/base/error.h"

namespace surcoat {
namespace {

/// A reader of fixed-width decimal fields.
class Scanner {
  public:
    explicit Scanner(std::string_view text) : rest_(text) {}
    /// Exactly `digits` digits; false otherwise.
    bool number(std::size_t digits, int& value) {
        if (rest_.size() < digits) return false;
        value = 0;
        for (std::size_t i = 0; i < digits; ++i) {
            if (rest_[i] < '0' || rest_[i] > '9') return false;
            value = value * 10 + (rest_[i] - '0');
        }
        rest_.remove_prefix(digits);
        return true;
    }
    /// One of the characters in `wanted`; 0 otherwise.
    char one_of(std::string_view wanted) {
        if (rest_.empty() || wanted.find(rest_[0]) == std::string_view::npos) return 0;
        const char c = rest_[0];
        rest_.remove_prefix(1);
        return c;
    }
    std::size_t skip_digits() {
        std::size_t n = 0;
        while (n < rest_.size() && rest_[n] >= '0' && rest_[n] <= '9') ++n;
        rest_.remove_prefix(n);
        return n;
    }
    bool at_end() const { return rest_.empty(); }

  private:
    std::string_view rest_;
};

}  // namespace

Platform Platform::host() {
    struct utsname name {};
    if (::uname(&name) != 0) throw_errno("ask for the machine's architecture (uname)");
    const std::string_view machine = name.machine;
    Platform platform;
    // Linux' name of a machine and Go's (cmd/go: $GOARCH), with the variant as containerd says it.
    struct Known {
        std::string_view machine, architecture, variant;
    };
    static constexpr Known kKnown[] = {
        {"x86_64", "amd64", ""},  {"aarch64", "arm64", ""},   {"armv8l", "arm", "v8"},
        {"armv7l", "arm", "v7"},  {"armv6l", "arm", "v6"},    {"armv5tel", "arm", "v5"},
        {"i386", "386", ""},      {"i486", "386", ""},        {"i586", "386", ""},
        {"i686", "386", ""},      {"ppc64le", "ppc64le", ""}, {"ppc64", "ppc64", ""},
        {"s390x", "s390x", ""},   {"riscv64", "riscv64", ""}, {"loongarch64", "loong64", ""},
        {"mips64", "mips64", ""},
    };
    for (const Known& known : kKnown) {
        if (known.machine == machine) {
            platform.architecture = known.architecture;
            platform.variant = known.variant;
            return platform;
        }
    }
    platform.architecture = machine;
    return platform;
}

std::string Platform::str() const {
    std::string text = os + "/" + architecture;
    if (!variant.empty()) text += "/" + variant;
    return text;
}

std::string rfc3339(std::int64_t seconds, std::uint32_t nanoseconds) {
    // 0000-01-01 to 9999-12-31: what four digits can say.
    constexpr std::int64_t kFirst = -62167219200;
    constexpr std::int64_t kLast = 253402300799;
    if (seconds < kFirst || seconds > kLast) {
        throw Error(Errc::invalid,
                    fmt::format("{} seconds after 1970 is no time that RFC 3339 can write", seconds));
    }
    const std::chrono::sys_seconds time{std::chrono::seconds(seconds)};
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss clock(time - day);
    std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                                   static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                   clock.hours().count(), clock.minutes().count(), clock.seconds().count());
    if (nanoseconds != 0) {
        text += fmt::format(".{:09}", nanoseconds);
        while (text.back() == '0') text.pop_back();
    }
    return text + "Z";
}

std::optional<std::int64_t> parse_rfc3339(const std::string& text) {
    Scanner scan(text);
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
    if (!scan.number(4, year) || !scan.one_of("-") || !scan.number(2, month) || !scan.one_of("-") ||
        !scan.number(2, day)) {
        return std::nullopt;
    }
    if (!scan.one_of("Tt ") || !scan.number(2, hour) || !scan.one_of(":") || !scan.number(2, minute) ||
        !scan.one_of(":") || !scan.number(2, second)) {
        return std::nullopt;
    }
    if (scan.one_of(".") && scan.skip_digits() == 0) return std::nullopt;
    int offset_minutes = 0;
    const char zone = scan.one_of("Zz+-");
    if (zone == 0) return std::nullopt;
    if (zone == '+' || zone == '-') {
        int hours = 0, minutes = 0;
        if (!scan.number(2, hours) || !scan.one_of(":") || !scan.number(2, minutes) || hours > 23 ||
            minutes > 59) {
            return std::nullopt;
        }
        offset_minutes = (hours * 60 + minutes) * (zone == '-' ? -1 : 1);
    }
    const std::chrono::year_month_day date{std::chrono::year(year),
                                           std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    // Second 60 is a leap second: Unix time counts it as the first of the next minute.
    if (!scan.at_end() || !date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
    const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
    return days * 86400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
}

}  // namespace surcoat
