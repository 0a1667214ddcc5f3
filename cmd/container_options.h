#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cmd/options.h"
#include "overlay/container.h"
#include "registry/image_store.h"

namespace surcoat::cmd {

/// docker's options for making a container, shared by run, create and spawn.
struct ContainerOptions {
    std::string name;
    std::vector<std::string> env;
    std::vector<std::string> env_files;
    std::vector<std::string> volumes;
    std::vector<std::string> mounts;
    std::vector<std::string> tmpfs;
    std::vector<std::string> labels;
    std::vector<std::string> cap_add;
    std::vector<std::string> cap_drop;
    std::vector<std::string> security_options;
    std::optional<std::string> working_dir;
    std::optional<std::string> user;
    std::optional<std::string> entrypoint;
    std::string hostname;
    std::string network = "host";
    std::string runtime;
    std::string stop_signal;
    std::optional<std::int64_t> stop_timeout;
    bool interactive = false;
    bool tty = false;
    bool read_only = false;
    bool remove = false;
    std::vector<std::string> image_and_command;

    void declare(Options& options);
    /// The container to be made of an image. Throws Errc::invalid naming the option that is wrong.
    overlay::NewContainer make(const registry::StoredImage& image) const;
    /// Names the usage when no image is given.
    const std::string& image(const char* verb) const;
};

/// "K=V" as it is; "K" alone takes the caller's value, and is left out without one.
std::optional<std::string> environment_item(const std::string& text);

}  // namespace surcoat::cmd
