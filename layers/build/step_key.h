#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "layers/base/json.h"
#include "layers/digest.h"

namespace surcoat::build {

/// A step's cache key: named parts, stored as such, so that a miss can be explained by comparing parts. The
/// first two say on what the step stands and what it is; the rest is the step's own.
///
/// The parent is named by what it *is* (the digests of its layers), not by how it was made: a step that ran
/// again and gave the same layer lets all that follows hit the cache.
class StepKey {
  public:
    StepKey(const char* instruction, std::span<const DiffId> parent);
    StepKey& part(std::string_view name, Json value);
    /// Hex sha256 over the parts.
    std::string hex() const;
    std::string parts_json() const { return parts_.dump(); }

  private:
    Json parts_;
};

}  // namespace surcoat::build
