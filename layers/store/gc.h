#pragma once
#include <string>
#include <vector>

#include "layers/store/store.h"

namespace surcoat {

struct GcOptions {
    bool dry_run = false;
    bool keep_cache = false;  ///< layers that only the build cache refers to stay
};

/// One thing that could have gone but is held, and by whom.
struct GcKept {
    std::string what;
    std::uint64_t bytes = 0;
    std::string why;  ///< "lease of process 4402: build shop:1"
};

struct GcResult {
    std::uint64_t images = 0;  ///< without a name and without a container
    std::uint64_t layers = 0;
    std::uint64_t objects = 0;
    std::uint64_t blobs = 0;
    std::uint64_t views = 0;
    std::uint64_t cache_steps = 0;
    std::uint64_t leftovers = 0;  ///< files of dead transactions
    std::uint64_t bytes = 0;      ///< allocated blocks that came free; the dry run says the same number
    std::vector<GcKept> kept;
};

/// Marks from names, containers, leases and running transactions; what is not reached goes. Runs in short
/// quanta beside everything else: nobody waits for it longer than one quantum.
GcResult collect_garbage(Store& store, const GcOptions& options);

}  // namespace surcoat
