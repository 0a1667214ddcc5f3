#pragma once
#include <filesystem>

#include "overlay/container_spec.h"
#include "overlay/sandbox.h"

namespace surcoat::overlay {

/// The OCI runtime configuration (runtime-spec v1.1 config.json) that makes `crun` or `runc` run what our
/// sandbox would run. `root` is the mounted view; the files that write_bundle_files() makes are named as lying
/// in "files" beside it. Throws Errc::invalid for an unknown user.
std::string bundle_config(const ContainerSpec& spec, const std::string& id, const std::filesystem::path& root);

/// /etc/hosts and the like, and the spec's files, as `directory`/files/…: what bundle_config() mounts.
void write_bundle_files(const ContainerSpec& spec, const std::string& id, const std::filesystem::path& directory);

/// Runs a container through an installed runtime and waits: writes the bundle into `directory`, with what
/// the runtime needs on machines with hybrid cgroups, and takes it away when it succeeded. `on_started` gets
/// the container's process 1 (0 if it is over already) and may carry output until that ends. Throws Errc::not_found if the runtime, or
/// the program in the container, does not exist; denied or failed with what the runtime said.
ExitStatus run_with_runtime(const std::string& runtime, UniqueFd root, const ContainerSpec& spec, const std::string& id,
                            const std::filesystem::path& directory, const Streams& streams,
                            const std::function<void(pid_t)>& on_started);

}  // namespace surcoat::overlay
