#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace surcoat::test {

/// Where the recorded results of real engines lie: $SURCOAT_SHARED, else ../shared beside the checkout.
/// Nothing if neither is there; the case then says so and ends.
std::optional<std::filesystem::path> vectors_directory();

/// Why this process cannot mount overlayfs and EROFS as root; nothing if it can. Tried for real, once.
std::optional<std::string> cannot_mount();
/// Why `program` cannot be used as an oracle; nothing if it is on PATH.
std::optional<std::string> cannot_find(const std::string& program);

}  // namespace surcoat::test

/// Ends the case, with the reason on the screen, when a requirement is missing. A case that ends so counts
/// as skipped: the line begins with "skipped:" and tests/run adds these up.
#define SURCOAT_REQUIRE_OR_SKIP(reason)                       \
    do {                                                      \
        if (const auto why = (reason)) {                      \
            WARN("skipped: " << *why);                        \
            return;                                           \
        }                                                     \
    } while (false)
