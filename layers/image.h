#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layers/digest.h"

namespace surcoat {

/// Plain values, as OCI's specs-go names them; their JSON lives in registry/oci.h.

struct Platform {
    std::string os = "linux";
    std::string architecture;  ///< Go's names: amd64, arm64, …
    std::string variant;
    static Platform host();
    std::string str() const;  ///< "linux/amd64", "linux/arm/v7"
    bool operator==(const Platform&) const = default;
};

struct Healthcheck {
    std::vector<std::string> test;  ///< {"NONE"}, {"CMD", …}, {"CMD-SHELL", text}
    std::int64_t interval_ns = 0;
    std::int64_t timeout_ns = 0;
    std::int64_t start_period_ns = 0;
    std::int64_t start_interval_ns = 0;
    int retries = 0;
    bool operator==(const Healthcheck&) const = default;
};

/// The "config" member of an image configuration. Spec: image-spec v1.1, config.md.
struct ImageConfig {
    std::string user;
    std::vector<std::string> exposed_ports;  ///< "80/tcp", sorted
    std::vector<std::string> env;            ///< "K=V", in order
    std::optional<std::vector<std::string>> entrypoint;
    std::optional<std::vector<std::string>> cmd;
    std::vector<std::string> volumes;  ///< sorted
    std::string working_dir;
    std::map<std::string, std::string> labels;
    std::string stop_signal;
    // Docker's additions
    std::optional<Healthcheck> healthcheck;
    std::optional<std::vector<std::string>> shell;
    std::vector<std::string> on_build;
    bool operator==(const ImageConfig&) const = default;
};

struct History {
    std::optional<std::string> created;  ///< RFC 3339
    std::string created_by;
    std::string author;
    std::string comment;
    bool empty_layer = false;
    bool operator==(const History&) const = default;
};

/// What a build produces and a container starts from.
struct Image {
    Platform platform;
    std::optional<std::string> created;  ///< RFC 3339
    std::string author;
    ImageConfig config;
    std::vector<DiffId> layers;  ///< bottom first
    std::vector<History> history;
    bool operator==(const Image&) const = default;
};

/// RFC 3339 in UTC: "2026-11-22T17:00:00Z"; fractions when nanoseconds are not 0.
std::string rfc3339(std::int64_t seconds, std::uint32_t nanoseconds = 0);
/// Seconds after 1970; nothing if it is no RFC 3339 time.
std::optional<std::int64_t> parse_rfc3339(const std::string& text);

}  // namespace surcoat
