#include "layers/image.h"

#include <catch2/catch.hpp>

#include "layers/base/error.h"
#include "layers/base/process.h"

using namespace surcoat;

TEST_CASE("times are written and read as RFC 3339 has them", "[layers][image]") {
    CHECK(rfc3339(0) == "1970-01-01T00:00:00Z");
    CHECK(rfc3339(1795366800) == "2026-11-22T17:00:00Z");
    CHECK(rfc3339(1, 500'000'000) == "1970-01-01T00:00:01.5Z");
    CHECK(rfc3339(1, 1) == "1970-01-01T00:00:01.000000001Z");
    CHECK(rfc3339(-1) == "1969-12-31T23:59:59Z");
    CHECK(rfc3339(-62135596800) == "0001-01-01T00:00:00Z");  // Go's zero time, as images say it
    CHECK(rfc3339(253402300799) == "9999-12-31T23:59:59Z");
    CHECK_THROWS_AS(rfc3339(253402300800), Error);
    CHECK_THROWS_AS(rfc3339(INT64_MIN), Error);

    const std::pair<const char*, std::int64_t> good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-22T17:00:00.123456789Z", 1795366800},
        {"2026-11-22t18:30:00+01:30", 1795366800},
        {"2026-11-22T12:00:00-05:00", 1795366800},
        {"2026-11-22 17:00:00z", 1795366800},
        {"0001-01-01T00:00:00Z", -62135596800},
        {"2024-02-29T00:00:00Z", 1709164800},
        {"2016-12-31T23:59:60Z", 1483228800},
    };
    for (const auto& [text, seconds] : good) {
        INFO(text);
        const auto parsed = parse_rfc3339(text);
        REQUIRE(parsed);
        CHECK(*parsed == seconds);
    }
    for (const char* bad : {"", "now", "2026-11-22", "2026-11-22T17:00:00", "2026-11-22T17:00Z",
                            "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-22T24:00:00Z",
                            "2026-11-22T17:60:00Z", "2026-11-22T17:00:61Z", "2026-11-22T17:00:00.Z",
                            "2026-11-22T17:00:00Zx", "2026-11-22T17:00:00+1:00", "2026-11-22T17:00:00+24:00",
                            "-026-11-22T17:00:00Z", " 2026-11-22T17:00:00Z", "2026-1-22T17:00:00Z"}) {
        INFO(bad);
        CHECK_FALSE(parse_rfc3339(bad));
    }
    for (const std::int64_t seconds : {std::int64_t{-62167219200}, std::int64_t{-1}, std::int64_t{951782400},
                                       std::int64_t{253402300799}}) {
        CHECK(parse_rfc3339(rfc3339(seconds, 7)) == seconds);
    }
}

TEST_CASE("the host's platform has Go's name", "[layers][image]") {
    const Platform host = Platform::host();
    CHECK(host.os == "linux");
    const std::string machine = run_command({"uname", "-m"}).output;
    if (machine == "x86_64\n") CHECK(host.str() == "linux/amd64");
    if (machine == "aarch64\n") CHECK(host.str() == "linux/arm64");
    CHECK(Platform{"linux", "arm", "v7"}.str() == "linux/arm/v7");
}
