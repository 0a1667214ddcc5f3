#pragma once
#include <functional>

#include "overlay/container.h"

namespace surcoat::overlay {

/// What the two ways to run a container (attached, monitor) have in common.

/// The row as it is in truth: one that says running while its monitor is dead has exited with 137.
ContainerRow true_state(ContainerRow row);

/// Runs a container in this process until it ends: takes its lock, opens its root, starts it, writes the
/// running row, calls `started` (with the terminal's master side, if there is one; it may carry output until
/// that ends), waits, writes how it ended or, with auto_remove, removes it. Signals that arrive are
/// forwarded. Throws what prevented the start; the row is then as before.
ExitStatus run_container(Store& store, const ContainerRow& row, const Streams& streams,
                         const std::function<void(UniqueFd master)>& started);

/// containers/<id>/lock: exclusive while it runs. Whoever got it shared knows that the row is final.
std::filesystem::path container_lock(const Store& store, const std::string& id);
/// containers/<id>/exit: the exit code, for those who wait for one that removes itself.
std::filesystem::path container_exit_file(const Store& store, const std::string& id);

/// The root to run in: a clone of where it is mounted already, else a new mount. One upper is never mounted
/// twice.
UniqueFd open_container_root(Store& store, const ContainerRow& row, const ContainerSpec& spec);
/// The root of a running container as a detached mount of this mount namespace, without what is mounted in
/// it.
UniqueFd clone_root_of(pid_t init);
/// Where the upper is mounted in this mount namespace.
std::optional<std::filesystem::path> find_mount(const std::filesystem::path& upper);

}  // namespace surcoat::overlay
