#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "layers/store/store.h"

namespace surcoat {

/// Every figure is allocated bytes on disk (st_blocks * 512) unless its name says otherwise; definitions in
/// layers/store/README.md, "Numbers". All are queries over the catalogue but `directory`, which measures.

struct ImageUsage {
    Digest image;
    std::uint64_t layer_bytes =
        0;  ///< sum of its layers' file contents (apparent): what a copy of its layers takes
    std::uint64_t visible_bytes = 0;  ///< apparent size of the merged root
    std::uint64_t size = 0;           ///< objects it refers to
    std::uint64_t unique = 0;  ///< of these, the ones no other image or container refers to: freed with it
    double fair = 0;  ///< each object divided by the number of images that refer to it; sums to the total
    std::uint64_t containers = 0;
};

struct ContainerUsage {
    std::string id;
    std::uint64_t own = 0;     ///< its directory: upper, work, logs
    std::uint64_t shared = 0;  ///< apparent size of the root it shares
};

struct StoreUsage {
    // what is on disk, by class; the sum is `total`
    std::uint64_t objects = 0;
    std::uint64_t layers = 0;  ///< tocs
    std::uint64_t views = 0;
    std::uint64_t blobs = 0;
    std::uint64_t containers = 0;
    std::uint64_t catalogue = 0;
    std::uint64_t staging = 0;  ///< running transactions and what dead ones left
    std::uint64_t other = 0;    ///< locks, format, directories
    std::uint64_t total = 0;    ///< equals `du -B1 -s` of the root
    std::uint64_t inodes = 0;
    // what it would take
    std::uint64_t images_as_copies = 0;       ///< every image's root on its own (apparent)
    std::uint64_t images_sharing_layers = 0;  ///< what docker and podman would store
    std::uint64_t containers_as_copies = 0;   ///< every container's root as a copy, plus its own
    std::uint64_t image_count = 0;
    std::uint64_t layer_count = 0;
    std::uint64_t object_count = 0;
    std::uint64_t container_count = 0;
    std::uint64_t reclaimable = 0;  ///< what gc would free now
};

std::vector<ImageUsage> image_usage(Store& store);
/// `measure` false: `own` is 0 (no walk).
std::vector<ContainerUsage> container_usage(Store& store, bool measure);
StoreUsage store_usage(Store& store);

/// What a directory takes, as `du -B1 -s` counts it: allocated blocks of every inode once.
struct DiskUsage {
    std::uint64_t bytes = 0;
    std::uint64_t inodes = 0;
};
DiskUsage directory_usage(const std::filesystem::path& path);

}  // namespace surcoat
