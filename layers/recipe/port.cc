#include "layers/recipe/port.h"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "layers/base/error.h"
#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

struct Range {
    unsigned first = 0;
    unsigned last = 0;
};

std::optional<unsigned> parse_port(std::string_view text) {
    unsigned port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size() || text.empty() || port > 65535)
        return std::nullopt;
    return port;
}

std::optional<Range> parse_range(std::string_view text) {
    const std::size_t dash = text.find('-');
    const auto first = parse_port(text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_port(text.substr(dash + 1));
    if (!first || !last || *last < *first) return std::nullopt;
    return Range{*first, *last};
}

bool is_address(std::string_view text) {
    if (text.starts_with('[') && text.ends_with(']') && text.size() > 2)
        text = text.substr(1, text.size() - 2);
    const std::string address(text);
    unsigned char bytes[sizeof(in6_addr)];
    return ::inet_pton(AF_INET, address.c_str(), bytes) == 1 ||
           ::inet_pton(AF_INET6, address.c_str(), bytes) == 1;
}

[[noreturn]] void refuse(std::string_view word, std::string_view why) {
    throw Error(Errc::invalid, fmt::format("'{}' is not a port: {}", word, why))
        .hint("write EXPOSE 80, EXPOSE 53/udp or EXPOSE 8000-8010/tcp");
}

}  // namespace

std::vector<std::string> parse_ports(std::string_view word) {
    const std::size_t slash = word.find('/');
    std::string_view ports = word.substr(0, slash);
    std::string protocol = slash == std::string_view::npos ? "" : ascii_lower(word.substr(slash + 1));
    if (protocol.empty()) protocol = "tcp";
    if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") {
        refuse(word, fmt::format("the protocol is '{}', known are tcp, udp and sctp", protocol));
    }
    const auto cut_last = [&ports]() {
        const std::size_t colon = ports.rfind(':');
        const std::string_view last = colon == std::string_view::npos ? ports : ports.substr(colon + 1);
        ports = colon == std::string_view::npos ? std::string_view() : ports.substr(0, colon);
        return last;
    };
    const std::string_view container = cut_last();
    const std::string_view host = cut_last();
    const std::string_view address = ports;

    if (container.empty()) refuse(word, "it has no port number");
    const auto range = parse_range(container);
    if (!range)
        refuse(word,
               fmt::format("'{}' is not a number from 0 to 65535 or a rising range of them", container));
    if (!address.empty() && !is_address(address))
        refuse(word, fmt::format("'{}' is not an IP address", address));
    if (!host.empty()) {
        const auto host_range = parse_range(host);
        if (!host_range) refuse(word, fmt::format("the host part '{}' is not a port or a range", host));
        const bool same_length = host_range->last - host_range->first == range->last - range->first;
        if (!same_length && range->first != range->last) {
            refuse(word, fmt::format("the ranges '{}' and '{}' differ in length", host, container));
        }
    }
    std::vector<std::string> out;
    for (unsigned port = range->first; port <= range->last; ++port)
        out.push_back(fmt::format("{}/{}", port, protocol));
    return out;
}

}  // namespace surcoat::recipe
