#pragma once
#include <array>
#include <memory>

#include "layers/base/bytes.h"

namespace surcoat {

using Sha256Bytes = std::array<std::byte, 32>;

/// Streaming hash (OpenSSL EVP, which uses SHA-NI where the processor has it). From one thread at a time.
/// Copyable: a copy goes on from the same state.
class Hasher {
  public:
    enum class Algorithm { sha256, sha512 };
    explicit Hasher(Algorithm algorithm = Algorithm::sha256);
    Hasher(const Hasher& other);
    Hasher& operator=(const Hasher&) = delete;
    Hasher(Hasher&&) noexcept;
    Hasher& operator=(Hasher&&) noexcept;
    ~Hasher();

    void update(ByteSpan bytes);
    void update(std::string_view text) { update(as_bytes(text)); }
    /// Ends a sha256 hash; the hasher is then ready for the next message.
    Sha256Bytes finish();
    /// Ends a hash of either kind, as lower-case hex.
    std::string finish_hex();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

Sha256Bytes sha256(ByteSpan bytes);

/// Of OpenSSL, as it says itself: "3.0.17".
std::string crypto_library_version();

}  // namespace surcoat
