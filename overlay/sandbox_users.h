#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

#include "layers/base/root_dir.h"

namespace surcoat::overlay {

/// Who a container's command runs as.
struct SandboxUser {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;  ///< supplementary
    std::string home = "/";
};

/// Finds "", "name", "uid", "name:group", "uid:gid" in the root's own /etc/passwd and /etc/group, as docker
/// does: "" is uid 0; a number need not be known (its group is then 0); supplementary groups are read only
/// when no group is given. Spec: image-spec v1.1, config.md, "User"; conversion.md.
/// Throws Errc::invalid naming an unknown name and the nearest known one.
SandboxUser find_user(const RootDir& root, const std::string& wanted);

}  // namespace surcoat::overlay
