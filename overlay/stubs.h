#pragma once
#include <string>
#include <vector>

#include "layers/tree.h"

namespace surcoat::overlay {

/// Takes out of a merged tree what the sandbox had to make to have something to mount on (sandbox_mount_points):
/// names that `before` lacks and that are still empty, and directories on the way to them that hold nothing
/// else. They are no change that anybody made: no diff, layer or export shows them.
void remove_stubs(Tree& tree, const Tree& before, const std::vector<std::string>& mount_points);

}  // namespace surcoat::overlay
