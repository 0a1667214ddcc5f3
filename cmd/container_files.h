#pragma once
#include <string>

#include "cmd/wire.h"
#include "layers/tree.h"

namespace surcoat::cmd {

/// The merged tree of a container or an image, contents named by hash but not stored.
Tree tree_of(Program& program, const std::string& container_or_image);

}  // namespace surcoat::cmd
