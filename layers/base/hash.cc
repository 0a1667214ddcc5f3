#include "layers/base/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <utility>

#include "layers/base/error.h"

namespace surcoat {

struct Hasher::State {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    const EVP_MD* algorithm;

    // Fetching by name costs microseconds in OpenSSL 3; thousands of small files are hashed, so fetch once.
    static const EVP_MD* fetch(Algorithm kind) {
        static const EVP_MD* const k256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
        static const EVP_MD* const k512 = EVP_MD_fetch(nullptr, "SHA512", nullptr);
        return kind == Algorithm::sha256 ? k256 : k512;
    }
    explicit State(const EVP_MD* which) : algorithm(which) {
        if (context == nullptr || EVP_DigestInit_ex2(context, algorithm, nullptr) != 1) {
            throw Error(Errc::unsupported, "OpenSSL offers no SHA-2");
        }
    }
    State(const State& other) : algorithm(other.algorithm) {
        if (context == nullptr || EVP_MD_CTX_copy_ex(context, other.context) != 1) {
            throw Error(Errc::failed, "OpenSSL cannot copy a hash state");
        }
    }
    State& operator=(const State&) = delete;
    ~State() { EVP_MD_CTX_free(context); }
};

Hasher::Hasher(Algorithm algorithm) : state_(std::make_unique<State>(State::fetch(algorithm))) {}
Hasher::Hasher(const Hasher& other) : state_(std::make_unique<State>(*other.state_)) {}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::update(ByteSpan bytes) { EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()); }

Sha256Bytes Hasher::finish() {
    Sha256Bytes result;
    EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(result.data()), nullptr);
    EVP_DigestInit_ex2(state_->context, state_->algorithm, nullptr);
    return result;
}

std::string Hasher::finish_hex() {
    std::array<std::byte, EVP_MAX_MD_SIZE> result;
    unsigned size = 0;
    EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(result.data()), &size);
    EVP_DigestInit_ex2(state_->context, state_->algorithm, nullptr);
    return to_hex(ByteSpan(result).first(size));
}

Sha256Bytes sha256(ByteSpan bytes) {
    Hasher hasher;
    hasher.update(bytes);
    return hasher.finish();
}

std::string crypto_library_version() { return OpenSSL_version(OPENSSL_VERSION_STRING); }

}  // namespace surcoat
