#pragma once
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "layers/base/unique_fd.h"

namespace surcoat::overlay {

/// Where this process stands.
enum class Privilege {
    root,            ///< root of the initial user namespace with CAP_SYS_ADMIN
    user_namespace,  ///< root of a user namespace (ours or somebody's): overlayfs yes, EROFS no
    none,            ///< neither: only the library view works
};
Privilege current_privilege();

/// For a plain user: moves this (single-threaded) process into a new user and mount namespace in which it is
/// root, with the ranges of /etc/subuid and /etc/subgid mapped through newuidmap and newgidmap where they
/// exist, else with this one user mapped to 0. Root stays where it is. Throws Errc::denied, saying which
/// switch forbids it (user.max_user_namespaces, kernel.unprivileged_userns_clone, AppArmor), if it cannot.
/// Call it before any thread is started and before the store is opened.
void become_namespace_root();

/// True if ids other than 0 can be used in a process's user namespace (a range is mapped, or it is the initial
/// one). 0 is this process.
bool has_id_range(pid_t pid = 0);

}  // namespace surcoat::overlay
