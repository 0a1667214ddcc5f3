#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace surcoat::recipe {

/// The container ports of one word of EXPOSE: "80", "53/udp", "8000-8002/tcp", and, as the language allows
/// it,
/// "[ip:][hostport:]port". Gives "80/tcp" forms, in order, one for each port of a range. Protocols: tcp, udp,
/// sctp. Throws Errc::invalid.
std::vector<std::string> parse_ports(std::string_view word);

}  // namespace surcoat::recipe
