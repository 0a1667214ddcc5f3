#pragma once
#include "overlay/union_view.h"

namespace surcoat::overlay {

/// Mounts the view with the kernel's overlayfs through fsopen(2), fsconfig(2) `lowerdir+`/`datadir+`,
/// fsmount(2), and returns the mount, attached nowhere: it goes when the descriptor does, unless it was
/// moved somewhere with move_mount(2).
/// As root: the store's EROFS image (mounted from the file, no loop device) over its objects, with
/// redirect_dir=on,index=on,xino=on,metacopy=on. In a user namespace: the metadata directory over the same
/// objects, with userxattr. `scratch` adds volatile. Older kernels: see overlay/README.md, "Ladder".
/// Throws Errc::unsupported or denied with what was tried and what would help.
UniqueFd mount_overlay(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper,
                       const ViewOptions& options);

/// Whether mount_overlay works on this store: tried once per process by really mounting an empty view in the
/// store's filesystem. Nothing: it works; else why not.
std::optional<std::string> kernel_overlay_fault(Store& store);

/// Attaches a detached mount at a directory of this mount namespace / takes it away again (lazily if busy).
void attach_mount(const UniqueFd& mount, const std::filesystem::path& where);
void detach_mount(const std::filesystem::path& where);
bool is_mount_point(const std::filesystem::path& where);

/// File operations on a mounted root: the kernel backend of UnionView, and the way into a running
/// container's root (/proc/PID/root).
std::unique_ptr<UnionView> view_of_root(UniqueFd root, std::string backend_name);

}  // namespace surcoat::overlay
