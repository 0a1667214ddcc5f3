#include "registry/reference.h"

#include <fmt/format.h>

#include <algorithm>

#include "layers/base/error.h"

// Grammar (distribution/reference, "reference.go"):
//
//   reference       := name [ ":" tag ] [ "@" digest ]
//   name            := [ domain "/" ] component { "/" component }
//   domain          := host [ ":" port ]
//   host            := label { "." label } | "[" IPv6 "]"
//   label           := alnum | alnum { alnum | "-" } alnum          (either case)
//   component       := low { separator low }, low := [a-z0-9]+      (lower case)
//   separator       := "." | "_" | "__" | "-" { "-" }
//   tag             := [A-Za-z0-9_] { [A-Za-z0-9_.-] }, at most 128
//
// What stands before the first "/" is a domain only if it could not be anything else: it is "localhost", or
// holds a "." or a ":", or an upper-case letter.

namespace surcoat::registry {
namespace {

constexpr std::string_view kDefaultDomain = "docker.io";
constexpr std::string_view kLegacyDomain = "index.docker.io";
constexpr std::string_view kOfficial = "library/";
constexpr std::size_t kNameMax = 255;
constexpr std::size_t kTagMax = 128;
constexpr std::size_t kDigestHex = 64;

// No <cctype>: what a name may hold must not depend on the locale.
bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}
bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_alnum(char c) {
    return is_lower(c) || is_upper(c) || is_digit(c);
}
bool has_upper(std::string_view text) {
    return std::any_of(text.begin(), text.end(), is_upper);
}

std::string lowered(std::string_view text) {
    std::string low(text);
    for (char& c : low) {
        if (is_upper(c)) c = static_cast<char>(c - 'A' + 'a');
    }
    return low;
}

/// A character that stands where it must not, for a message: 'x', or a number if it does not print.
std::string shown(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > 0x20 && byte < 0x7f ? fmt::format("'{}'", c)
           : byte == 0x20             ? "a space"
                                      : fmt::format("byte 0x{:02x}", byte);
}

/// Each fault_of_… gives what is wrong, or "".
std::string fault_of_component(std::string_view part) {
    if (part.empty()) return "a part of the path is empty";
    for (const char c : part) {
        if (!is_lower(c) && !is_digit(c) && c != '.' && c != '_' && c != '-') {
            return fmt::format(
                "{} must not stand in the path part '{}' (allowed are a-z, 0-9 and, between these, '.', '_', "
                "'__' and '-')",
                shown(c), part.substr(0, 64));
        }
    }
    const auto word = [](char c) { return is_lower(c) || is_digit(c); };
    if (!word(part.front()) || !word(part.back())) {
        return fmt::format("the path part '{}' must begin and end with a letter or digit",
                           part.substr(0, 64));
    }
    for (std::size_t at = 0; at < part.size();) {
        if (word(part[at])) {
            ++at;
            continue;
        }
        std::size_t end = at;
        while (!word(part[end])) ++end;  // ends: the last character is a word's
        const std::string_view separator = part.substr(at, end - at);
        const bool dashes = separator.find_first_not_of('-') == std::string_view::npos;
        if (!dashes && separator != "." && separator != "_" && separator != "__") {
            return fmt::format(
                "'{}' in the path part '{}' is no separator (these are '.', '_', '__' and dashes)", separator,
                part.substr(0, 64));
        }
        at = end;
    }
    return {};
}

std::string fault_of_domain(std::string_view domain) {
    std::string_view host = domain;
    std::string_view port;
    bool has_port = false;
    if (!domain.empty() && domain.front() == '[') {
        const std::size_t close = domain.find(']');
        if (close == std::string_view::npos) return fmt::format("the address in '{}' has no ']'", domain);
        const std::string_view address = domain.substr(1, close - 1);
        if (address.empty() ||
            !std::all_of(address.begin(), address.end(), [](char c) { return is_hex(c) || c == ':'; })) {
            return fmt::format("'{}' is not an IPv6 address", address);
        }
        const std::string_view rest = domain.substr(close + 1);
        if (rest.empty()) return {};
        if (rest.front() != ':') return fmt::format("expected ':' and a port after ']', found '{}'", rest);
        port = rest.substr(1);
        has_port = true;
        host = {};
    } else {
        if (const std::size_t colon = domain.find(':'); colon != std::string_view::npos) {
            host = domain.substr(0, colon);
            port = domain.substr(colon + 1);
            has_port = true;
        }
        for (std::size_t at = 0;;) {
            const std::size_t dot = std::min(host.find('.', at), host.size());
            const std::string_view label = host.substr(at, dot - at);
            const auto fine = [](char c) { return is_alnum(c) || c == '-'; };
            if (label.empty()) return fmt::format("the registry's host name '{}' has an empty label", host);
            if (!std::all_of(label.begin(), label.end(), fine) || label.front() == '-' ||
                label.back() == '-') {
                return fmt::format("'{}' is not a host name's label (letters, digits and, between them, '-')",
                                   label);
            }
            if (dot == host.size()) break;
            at = dot + 1;
        }
    }
    if (has_port && (port.empty() || !std::all_of(port.begin(), port.end(), is_digit))) {
        return fmt::format("'{}' is not a port number", port);
    }
    return {};
}

std::string fault_of_tag(std::string_view tag) {
    if (tag.empty()) return "there is nothing after the ':' where a tag must stand";
    if (tag.size() > kTagMax)
        return fmt::format("the tag has {} characters, at most {} are allowed", tag.size(), kTagMax);
    if (!is_alnum(tag.front()) && tag.front() != '_') {
        return fmt::format("the tag '{}' must begin with a letter, a digit or '_'", tag);
    }
    for (const char c : tag) {
        if (!is_alnum(c) && c != '_' && c != '.' && c != '-') {
            return fmt::format(
                "{} must not stand in the tag '{}' (allowed are letters, digits, '_', '.' and '-')", shown(c),
                tag);
        }
    }
    return {};
}

class Parsing {
  public:
    explicit Parsing(std::string_view text) : text_(text) {}

    Reference run() {
        if (text_.empty()) fail("it is empty", "write NAME[:TAG], for example shop:1");
        if (text_.size() == kDigestHex &&
            std::all_of(text_.begin(), text_.end(), [](char c) { return is_hex(c) && !is_upper(c); })) {
            fail("64 hex digits are an image's ID, not a name", "give the image a name of its own");
        }
        if (text_.find("://") != std::string_view::npos) {
            fail("it is a URL", "leave out '" + std::string(text_.substr(0, text_.find("://") + 3)) + "'");
        }
        Reference reference;
        std::string_view rest = split_domain(reference);
        rest = split_digest(rest, reference);
        rest = split_tag(rest, reference);
        set_path(rest, reference);
        return reference;
    }

  private:
    [[noreturn]] void fail(const std::string& why, std::string hint = {}) const {
        std::string readable;
        for (const char c : text_.substr(0, 300)) {
            const auto byte = static_cast<unsigned char>(c);
            readable += byte >= 0x20 && byte < 0x7f ? std::string(1, c) : fmt::format("\\x{:02x}", byte);
        }
        if (hint.empty())
            hint =
                "an image's name is [REGISTRY[:PORT]/]PATH[:TAG][@DIGEST], for example "
                "localhost:5000/team/shop:1";
        throw Error(Errc::invalid, fmt::format("'{}' is not an image name: {}", readable, why))
            .hint(std::move(hint));
    }

    std::string_view split_domain(Reference& into) const {
        const std::size_t slash = text_.find('/');
        const std::string_view first = text_.substr(0, std::min(slash, text_.size()));
        const bool is_domain =
            slash != std::string_view::npos &&
            (first == "localhost" || first.find_first_of(".:") != std::string_view::npos || has_upper(first));
        if (!is_domain) {
            into.domain = kDefaultDomain;
            return text_;
        }
        into.domain = first == kLegacyDomain ? kDefaultDomain : first;
        if (const std::string fault = fault_of_domain(first); !fault.empty()) fail(fault);
        return text_.substr(slash + 1);
    }

    std::string_view split_digest(std::string_view rest, Reference& into) const {
        const std::size_t at = rest.find('@');
        if (at == std::string_view::npos) return rest;
        try {
            into.digest = Digest::parse(rest.substr(at + 1));
        } catch (const Error& e) { fail(e.message()); }
        return rest.substr(0, at);
    }

    std::string_view split_tag(std::string_view rest, Reference& into) const {
        const std::size_t colon = rest.find(':');
        if (colon == std::string_view::npos) return rest;
        const std::string_view tag = rest.substr(colon + 1);
        if (const std::string fault = fault_of_tag(tag); !fault.empty()) fail(fault);
        into.tag = tag;
        return rest.substr(0, colon);
    }

    void set_path(std::string_view path, Reference& into) const {
        if (path.empty()) fail("there is no name before the tag or digest");
        if (has_upper(path)) {
            fail(fmt::format("the repository '{}' must be lower case", path.substr(0, 64)),
                 fmt::format("try '{}'", lowered(path) + (into.tag.empty() ? "" : ":" + into.tag)));
        }
        for (std::size_t at = 0;;) {
            const std::size_t slash = std::min(path.find('/', at), path.size());
            if (const std::string fault = fault_of_component(path.substr(at, slash - at)); !fault.empty())
                fail(fault);
            if (slash == path.size()) break;
            at = slash + 1;
        }
        const bool official = into.domain == kDefaultDomain && path.find('/') == std::string_view::npos;
        into.path = (official ? std::string(kOfficial) : std::string()) + std::string(path);
        const std::size_t length = into.domain.size() + 1 + into.path.size();
        if (length > kNameMax)
            fail(fmt::format("the name has {} characters, at most {} are allowed", length, kNameMax));
    }

    std::string_view text_;
};

}  // namespace

Reference Reference::parse(std::string_view text) {
    return Parsing(text).run();
}

Reference Reference::with_default_tag() const {
    Reference named = *this;
    if (named.tag.empty() && !named.digest) named.tag = "latest";
    return named;
}

namespace {

std::string suffix(const Reference& reference) {
    return (reference.tag.empty() ? "" : ":" + reference.tag) +
           (reference.digest ? "@" + reference.digest->str() : "");
}

}  // namespace

std::string Reference::full() const {
    return domain + "/" + path + suffix(*this);
}

std::string Reference::familiar_repository() const {
    if (domain != kDefaultDomain) return domain + "/" + path;
    const std::size_t slash = path.find('/');
    if (slash == std::string::npos) return domain + "/" + path;
    if (path.compare(0, kOfficial.size(), kOfficial) == 0 &&
        path.find('/', kOfficial.size()) == std::string::npos) {
        const std::string name = path.substr(kOfficial.size());
        const bool like_an_id = name.size() == kDigestHex && std::all_of(name.begin(), name.end(), is_hex);
        return like_an_id ? domain + "/" + path : name;
    }
    // "docker.io/my.host/x" without its domain would name another registry.
    const std::string first = path.substr(0, slash);
    if (first == "localhost" || first.find('.') != std::string::npos) return domain + "/" + path;
    return path;
}

std::string Reference::familiar() const {
    return familiar_repository() + suffix(*this);
}

}  // namespace surcoat::registry
