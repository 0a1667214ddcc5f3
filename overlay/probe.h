#pragma once
#include <string>
#include <vector>

#include "layers/store/store.h"
#include "layers/whiteout.h"

namespace surcoat::overlay {

/// True if this process may mount EROFS: root, and a kernel that has it. Asked of the kernel, once.
bool can_mount_erofs();

/// Which attributes uppers carry here: "trusted.overlay." where we mount EROFS as root, else "user.overlay.".
/// One store is always written in one of the two as long as it stays on one machine and with one user.
OverlayNamespace upper_namespace();

/// What `doctor` shows: one rung of overlay/README.md's "Ladder", tried for real in the store's file system.
struct Probe {
    std::string what;
    bool works = false;
    std::string detail;  ///< why not, or what it costs to do without
};
std::vector<Probe> probe_backends(Store& store);

}  // namespace surcoat::overlay
