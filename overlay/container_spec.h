#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/json.h"
#include "layers/image.h"

namespace surcoat::overlay {

struct BindMount {
    std::string source;  ///< host path
    std::string target;  ///< absolute, in the container
    bool read_only = false;
};

enum class Network { host, none };

/// How a container is run: the image's configuration with the command line's changes applied. Kept as JSON
/// in the catalogue (versioned by "v": 1).
struct ContainerSpec {
    std::vector<std::string> args;  ///< entrypoint and command
    std::vector<std::string> env;   ///< complete: image's, then the user's, PATH/HOME/HOSTNAME/TERM filled at start
    std::string working_dir;        ///< "" = "/"
    std::string user;               ///< "", "name", "uid", "name:group", "uid:gid"
    std::string hostname;           ///< "" = the first 12 digits of the id
    bool tty = false;
    bool open_stdin = false;
    bool read_only = false;
    Network network = Network::host;
    std::vector<BindMount> mounts;
    std::vector<std::string> tmpfs;
    std::vector<std::string> cap_add;
    std::vector<std::string> cap_drop;
    bool no_new_privileges = false;
    std::string stop_signal;  ///< "" = SIGTERM
    int stop_timeout_seconds = 10;
    bool auto_remove = false;
    bool scratch = false;  ///< its upper need not survive a crash (`--rm`, build steps)
    std::string runtime;   ///< "" = our own sandbox; "crun", "runc"
    std::map<std::string, std::string> labels;
    /// Read-only files shown inside while it runs: path → content.
    std::vector<std::pair<std::string, std::string>> files;

    std::string to_json() const;
    static ContainerSpec from_json(const std::string& text);
};

/// The image's config as a spec, with the user's command, entrypoint (if given) and env laid over as docker
/// does: an entrypoint given by the user clears the image's command.
ContainerSpec spec_from_image(const ImageConfig& config, const std::optional<std::vector<std::string>>& entrypoint,
                              const std::vector<std::string>& command, const std::vector<std::string>& env);

/// `base` with the variables of `over` replaced in place or added at the end.
std::vector<std::string> merge_environment(const std::vector<std::string>& base, const std::vector<std::string>& over);

/// "SIGTERM", "term", "15", "RTMIN+3" as a number. Throws Errc::invalid with the nearest known name.
int parse_signal(const std::string& text);

}  // namespace surcoat::overlay
