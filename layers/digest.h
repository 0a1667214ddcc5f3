#pragma once
#include <compare>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "layers/base/hash.h"

namespace surcoat {

/// `algorithm:encoded`, validated: sha256 with 64 or sha512 with 128 lower-case hex digits.
/// Spec: OCI image-spec v1.1, descriptor.md, "Digests". Digests of other algorithms are refused
/// (Errc::unsupported) because nothing here could verify them.
class Digest {
  public:
    /// Throws Errc::invalid with the text and what is wrong with it.
    static Digest parse(std::string_view text);
    static std::optional<Digest> try_parse(std::string_view text);
    static Digest sha256(const Sha256Bytes& hash);
    static Digest of(ByteSpan bytes) { return sha256(surcoat::sha256(bytes)); }
    static Digest of(std::string_view text) { return of(as_bytes(text)); }

    const std::string& str() const noexcept { return text_; }
    std::string_view algorithm() const { return std::string_view(text_).substr(0, text_.find(':')); }
    std::string_view hex() const { return std::string_view(text_).substr(text_.find(':') + 1); }
    /// The first 12 hex digits, for people.
    std::string short_hex() const { return std::string(hex().substr(0, 12)); }
    auto operator<=>(const Digest&) const = default;

  private:
    explicit Digest(std::string text) : text_(std::move(text)) {}
    std::string text_;
};

/// Digest of an uncompressed layer archive: the key of every layer here.
struct DiffId {
    Digest digest;
    const std::string& str() const noexcept { return digest.str(); }
    auto operator<=>(const DiffId&) const = default;
};

/// Identity of layers applied in order, bottom first. Spec: image-spec config.md, "Layer ChainID".
/// Only for exchange with other tools: nothing is stored under it.
struct ChainId {
    Digest digest;
    auto operator<=>(const ChainId&) const = default;
};
std::optional<ChainId> chain_id(std::span<const DiffId> layers);

/// sha256 of one file's content: the name of an object.
struct ObjectId {
    Sha256Bytes hash{};
    std::string hex() const { return to_hex(hash); }
    static ObjectId parse_hex(std::string_view hex);  ///< throws Errc::invalid
    auto operator<=>(const ObjectId&) const = default;
};

}  // namespace surcoat

template <>
struct std::hash<surcoat::ObjectId> {
    std::size_t operator()(const surcoat::ObjectId& id) const noexcept {
        std::size_t value;
        std::memcpy(&value, id.hash.data(), sizeof value);
        return value;
    }
};
template <>
struct std::hash<surcoat::Digest> {
    std::size_t operator()(const surcoat::Digest& d) const noexcept { return std::hash<std::string>()(d.str()); }
};
