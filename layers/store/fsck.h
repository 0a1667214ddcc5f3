#pragma once
#include <string>
#include <vector>

#include "layers/store/store.h"

namespace surcoat {

struct FsckOptions {
    /// false: rows against files and sizes. true: also every object's sha256, every blob's digest, every
    /// layer's archive made again and compared with its DiffId.
    bool deep = false;
    Progress* progress = nullptr;
};

struct Finding {
    enum class Severity { error, garbage } severity = Severity::error;
    std::string what;     ///< "object ab12…", "layer sha256:…", "container web-1"
    std::string problem;  ///< with the values found and wanted
    std::string remedy;   ///< what to type
};

/// Checks every promise of layers/store/README.md. Empty: the store is whole. Garbage (leftovers of killed
/// processes that gc will take) is reported as such and is no error.
std::vector<Finding> check_store(Store& store, const FsckOptions& options);

}  // namespace surcoat
