#pragma once
#include "overlay/union_view.h"

namespace surcoat::overlay {

/// The library backend: merges the layers in this process and changes the upper in overlayfs' own form, so
/// that the kernel may mount it afterwards. No mount and, for reading, no privilege; giving files away (owners
/// other than one's own) and trusted.* attributes need root or a namespace's root. Nobody else may change the
/// upper meanwhile: for a running container use view_of_root.
/// Costs the image's tree in memory, and a few system calls for each component of a path and layer on disk.
std::unique_ptr<UnionView> open_library_view(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper,
                                             bool read_only);

}  // namespace surcoat::overlay
