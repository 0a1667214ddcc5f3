#pragma once
#include <time.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "layers/store/gc.h"

namespace surcoat {

/// What gc would do: worked out of one generation of the catalogue, changing nothing. The dry run and the
/// real run both start from it, so that they say the same.
struct GcPlan {
    // rows that go
    std::vector<std::int64_t> dead_leases;
    std::vector<std::int64_t> dead_transactions;
    std::vector<std::int64_t> images;
    std::vector<std::int64_t> layers;
    std::vector<std::string> cache_keys;
    std::vector<std::string> blobs;
    std::uint64_t objects = 0;  ///< that can go now
    std::uint64_t object_bytes = 0;

    // what stays, for judging files
    std::set<std::string> layer_names;  ///< hex of the DiffId
    std::set<std::string> blob_names;   ///< digest
    std::set<std::string> view_keys;
    std::set<std::string> container_ids;
    std::set<std::int64_t> live_transactions;
    /// Views used since then belong to a running job; seconds after 1970.
    std::int64_t oldest_job = std::numeric_limits<std::int64_t>::max();

    std::vector<GcKept> kept;
};

/// Call inside a transaction of the catalogue. `generation`: the one in which unreferenced objects will be
/// condemned. Leaves temp.kept_layers(number) filled for the caller's statements.
GcPlan plan_garbage(Store& store, const GcOptions& options, std::int64_t generation);

/// Generation below which condemned objects may go: no running transaction has looked since.
std::int64_t oldest_running_generation(Catalogue& catalogue);

/// Something on disk that no row stands for.
struct Stray {
    enum class Kind { layer, blob, view, object, staged, transaction, container } kind;
    std::filesystem::path path;
    std::string name;         ///< as its row would be called
    std::uint64_t bytes = 0;  ///< allocated
};

/// Looks through the store's directories. May see things that are just being published: whoever removes one
/// checks again under the lock of its kind. `used_before`: newer views stay.
std::vector<Stray> find_strays(Store& store, const GcPlan& plan, const struct timespec* used_before);

}  // namespace surcoat
