#include "overlay/container_spec.h"

#include <fmt/format.h>

#include <algorithm>

#include "layers/base/error.h"
#include "layers/base/signal.h"

namespace surcoat::overlay {
namespace {

constexpr int kVersion = 1;

Json pairs(const std::vector<std::pair<std::string, std::string>>& values) {
    Json all = Json::array();
    for (const auto& [name, content] : values) all.push_back(Json::array({Json(name), Json(content)}));
    return all;
}

std::string_view name_of(const std::string& variable) {
    return std::string_view(variable).substr(0, variable.find('='));
}

}  // namespace

// Members that hold their default are left out: a thousand rows of one image stay small.
std::string ContainerSpec::to_json() const {
    Json json = Json::object();
    json.set("v", kVersion);
    json.set("args", Json(args));
    json.set_if("env", Json(env));
    json.set_if("working_dir", working_dir);
    json.set_if("user", user);
    json.set_if("hostname", hostname);
    if (tty) json.set("tty", true);
    if (open_stdin) json.set("open_stdin", true);
    if (read_only) json.set("read_only", true);
    if (network == Network::none) json.set("network", "none");
    Json binds = Json::array();
    for (const auto& mount : mounts) {
        Json bind = Json::object();
        bind.set("source", mount.source).set("target", mount.target);
        if (mount.read_only) bind.set("read_only", true);
        binds.push_back(std::move(bind));
    }
    json.set_if("mounts", std::move(binds));
    json.set_if("tmpfs", Json(tmpfs));
    json.set_if("cap_add", Json(cap_add));
    json.set_if("cap_drop", Json(cap_drop));
    if (no_new_privileges) json.set("no_new_privileges", true);
    json.set_if("stop_signal", stop_signal);
    if (stop_timeout_seconds != 10) json.set("stop_timeout_seconds", stop_timeout_seconds);
    if (auto_remove) json.set("auto_remove", true);
    if (scratch) json.set("scratch", true);
    json.set_if("runtime", runtime);
    Json labels_json = Json::object();
    for (const auto& [name, value] : labels) labels_json.set(name, value);
    json.set_if("labels", std::move(labels_json));
    json.set_if("files", pairs(files));
    return json.dump();
}

ContainerSpec ContainerSpec::from_json(const std::string& text) {
    const Json json = Json::parse(text, "container specification");
    const std::int64_t version = json.int_or("v", 0);
    if (version != kVersion) {
        throw Error(Errc::unsupported,
                    fmt::format("container specification has version {}; this program knows version {}",
                                version, kVersion))
            .hint("use the surcoat that made the container");
    }
    ContainerSpec spec;
    spec.args = json.strings("args");
    spec.env = json.strings("env");
    spec.working_dir = json.string_or("working_dir");
    spec.user = json.string_or("user");
    spec.hostname = json.string_or("hostname");
    spec.tty = json.bool_or("tty", false);
    spec.open_stdin = json.bool_or("open_stdin", false);
    spec.read_only = json.bool_or("read_only", false);
    const std::string network = json.string_or("network", "host");
    if (network != "host" && network != "none") {
        throw Error(
            Errc::invalid,
            fmt::format("container specification names network '{}'; known are host and none", network));
    }
    spec.network = network == "none" ? Network::none : Network::host;
    if (json.contains("mounts")) {
        for (const Json& bind : json["mounts"].as_array()) {
            spec.mounts.push_back(
                {bind["source"].as_string(), bind["target"].as_string(), bind.bool_or("read_only", false)});
        }
    }
    spec.tmpfs = json.strings("tmpfs");
    spec.cap_add = json.strings("cap_add");
    spec.cap_drop = json.strings("cap_drop");
    spec.no_new_privileges = json.bool_or("no_new_privileges", false);
    spec.stop_signal = json.string_or("stop_signal");
    spec.stop_timeout_seconds = static_cast<int>(json.int_or("stop_timeout_seconds", 10));
    spec.auto_remove = json.bool_or("auto_remove", false);
    spec.scratch = json.bool_or("scratch", false);
    spec.runtime = json.string_or("runtime");
    if (json.contains("labels")) {
        for (const auto& [name, value] : json["labels"].as_object()) spec.labels[name] = value.as_string();
    }
    if (json.contains("files")) {
        for (const Json& file : json["files"].as_array()) {
            const auto& pair = file.as_array();
            if (pair.size() != 2)
                throw Error(Errc::invalid, "container specification: a file is a path and a content");
            spec.files.emplace_back(pair[0].as_string(), pair[1].as_string());
        }
    }
    return spec;
}

std::vector<std::string> merge_environment(const std::vector<std::string>& base,
                                           const std::vector<std::string>& over) {
    std::vector<std::string> merged = base;
    for (const auto& item : over) {
        const auto same = std::find_if(merged.begin(), merged.end(),
                                       [&](const std::string& old) { return name_of(old) == name_of(item); });
        if (same != merged.end()) {
            *same = item;
        } else {
            merged.push_back(item);
        }
    }
    return merged;
}

ContainerSpec spec_from_image(const ImageConfig& config,
                              const std::optional<std::vector<std::string>>& entrypoint,
                              const std::vector<std::string>& command, const std::vector<std::string>& env) {
    ContainerSpec spec;
    // `--entrypoint ""` is docker's way to say "none".
    if (entrypoint) {
        if (!(entrypoint->size() == 1 && entrypoint->front().empty())) spec.args = *entrypoint;
    } else if (config.entrypoint) {
        spec.args = *config.entrypoint;
    }
    if (!command.empty()) {
        spec.args.insert(spec.args.end(), command.begin(), command.end());
    } else if (!entrypoint && config.cmd) {
        spec.args.insert(spec.args.end(), config.cmd->begin(), config.cmd->end());
    }
    spec.env = merge_environment(config.env, env);
    spec.working_dir = config.working_dir;
    spec.user = config.user;
    spec.stop_signal = config.stop_signal;
    spec.labels = config.labels;
    return spec;
}

int parse_signal(const std::string& text) {
    return surcoat::parse_signal(text);
}

}  // namespace surcoat::overlay
