#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "layers/store/store.h"

namespace surcoat {

/// Keeps layers (and an image's blobs) from gc while a job uses them without a name: a build's
/// intermediate layers, a save. Tied to this process's identity: it ends when the object goes or the
/// process dies.
class Lease {
  public:
    Lease(Store& store, std::string purpose);
    ~Lease();
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&&) = delete;

    /// Throws Errc::not_found if a layer is not in the store (any more): from its return on it stays.
    void hold_layers(std::span<const DiffId> layers);
    void hold_blob(const Digest& digest);
    /// The same inside a write that is under way (Transaction::commit's body), so that there is no moment in
    /// which the layers that it publishes are held by nobody.
    void hold_layers(Catalogue::Write& write, std::span<const DiffId> layers);
    void hold_blob(Catalogue::Write& write, const Digest& digest);

  private:
    Store* store_;
    std::int64_t id_;
};

}  // namespace surcoat
