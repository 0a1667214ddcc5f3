#pragma once
#include <deque>
#include <memory>
#include <vector>

#include "layers/store/byte_locks.h"
#include "layers/store/store.h"

namespace surcoat {

/// What a Store keeps in memory; for the files of this folder only.
struct Store::State {
    explicit State(StoreOptions given)
        : options(std::move(given)),
          catalogue(options.root / "store.sqlite"),
          container_locks(options.root / "lock" / "containers"),
          view_locks(options.root / "lock" / "views") {}

    StoreOptions options;
    Catalogue catalogue;
    ByteLocks container_locks;  ///< a container's directory is being made or removed; README, "Locks"
    ByteLocks view_locks;       ///< a view is being made or removed

    struct RememberedTree {
        std::vector<DiffId> chain;
        std::shared_ptr<const Tree> tree;
    };
    std::deque<RememberedTree> trees;  ///< the last one used first
};

/// The 62 digits under which an object lies in its bucket, and the bucket: "ab/cdef…".
std::string object_name(const ObjectId& id);

/// The file's content is what its name says. Throws Errc::corrupt with what was found.
void verify_object(const std::filesystem::path& file, const ObjectId& id);

}  // namespace surcoat
