#include "layers/digest.h"

#include <fmt/format.h>

#include <algorithm>

#include "layers/base/error.h"

namespace surcoat {
namespace {

bool lower_hex(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// Empty if `text` is a digest that we can verify, else what is wrong.
std::string fault_of(std::string_view text) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return "there is no ':' between algorithm and value";
    const std::string_view algorithm = text.substr(0, colon);
    const std::string_view value = text.substr(colon + 1);
    const std::size_t want = algorithm == "sha256" ? 64 : algorithm == "sha512" ? 128 : 0;
    if (want == 0) return fmt::format("the algorithm '{}' is not sha256 or sha512", algorithm);
    if (value.size() != want) return fmt::format("expected {} hex digits, found {}", want, value.size());
    if (!lower_hex(value)) return "the value must be lower-case hex";
    return {};
}

}  // namespace

Digest Digest::parse(std::string_view text) {
    if (const std::string fault = fault_of(text); !fault.empty()) {
        throw Error(Errc::invalid, fmt::format("'{}' is not a digest: {}", text.substr(0, 200), fault));
    }
    return Digest(std::string(text));
}

std::optional<Digest> Digest::try_parse(std::string_view text) {
    if (!fault_of(text).empty()) return std::nullopt;
    return Digest(std::string(text));
}

Digest Digest::sha256(const Sha256Bytes& hash) { return Digest("sha256:" + to_hex(hash)); }

std::optional<ChainId> chain_id(std::span<const DiffId> layers) {
    std::optional<ChainId> chain;
    for (const DiffId& layer : layers) {
        chain = ChainId{chain ? Digest::of(chain->digest.str() + " " + layer.str()) : layer.digest};
    }
    return chain;
}

ObjectId ObjectId::parse_hex(std::string_view hex) {
    if (hex.size() != 64 || !lower_hex(hex)) throw Error(Errc::invalid, fmt::format("'{}' is not an object name", hex.substr(0, 200)));
    ObjectId id;
    const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
    for (std::size_t i = 0; i < 32; ++i) {
        id.hash[i] = static_cast<std::byte>(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    }
    return id;
}

}  // namespace surcoat
