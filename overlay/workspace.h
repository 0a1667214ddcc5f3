#pragma once
#include "layers/build/ports.h"
#include "overlay/container.h"

namespace surcoat::overlay {

/// build::Workspaces over union views: each workspace is a scratch upper (volatile) in the store's tx
/// directory on the parent's layers; commands run in the sandbox.
class UnionWorkspaces final : public build::Workspaces {
  public:
    explicit UnionWorkspaces(Store& store) : store_(store) {}
    std::unique_ptr<build::Workspace> open(const std::vector<DiffId>& chain, const ImageConfig& config) override;

  private:
    Store& store_;
};

}  // namespace surcoat::overlay
