#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace surcoat::overlay {

/// Linux capabilities (capabilities(7)) as a set of bits, bit n for the capability with number n.
using CapabilityMask = std::uint64_t;

/// What this process could hand on: its bounding set, less what its own permitted set lacks.
CapabilityMask available_capabilities();

/// What a container gets: docker's default fourteen, with the changes asked for ("NET_ADMIN",
/// "CAP_NET_ADMIN", "ALL", any case), limited to what this process can hand on. `drop` ALL with some added
/// gives exactly those; `add` ALL with some dropped everything else.
/// Throws Errc::invalid naming an unknown capability and the nearest known one.
CapabilityMask container_capabilities(const std::vector<std::string>& add,
                                      const std::vector<std::string>& drop);

/// "CAP_CHOWN", … in the order of their numbers.
std::vector<std::string> capability_names(CapabilityMask mask);

constexpr CapabilityMask capability_bit(unsigned number) {
    return CapabilityMask{1} << number;
}

}  // namespace surcoat::overlay
