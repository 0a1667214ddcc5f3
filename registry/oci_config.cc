#include <fmt/format.h>

#include <algorithm>

#include "layers/base/error.h"
#include "registry/oci.h"
#include "registry/oci_members.h"

// The image configuration. Spec: image-spec v1.1, config.md; docker's additions (Healthcheck, OnBuild,
// Shell): moby's dockerspec. Members are written in the order of the Go types that everyone else writes them
// with:
//
//   created author architecture os variant config rootfs history
//   config:      User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir Labels StopSignal Healthcheck
//   OnBuild Shell Healthcheck: Test Interval Timeout StartPeriod StartInterval Retries        (times in
//   nanoseconds) rootfs:      type diff_ids history:     created created_by author comment empty_layer

namespace surcoat::registry {
namespace {

/// Go's map[string]struct{}: {"80/tcp":{}}.
Json set_json(std::vector<std::string> names) {
    std::sort(names.begin(), names.end());
    Json json = Json::object();
    for (const std::string& name : names) json.set(name, Json::object());
    return json;
}

std::vector<std::string> set_member(const Json& json, const char* member) {
    std::vector<std::string> names;
    const Json& value = json[member];
    if (value.is_null()) return names;
    doing(fmt::format("member '{}'", member), [&] {
        for (const auto& item : value.as_object()) {
            if (!item.second.is_null()) item.second.as_object();
            names.push_back(item.first);
        }
    });
    std::sort(names.begin(), names.end());
    return names;
}

std::optional<std::vector<std::string>> command_member(const Json& json, const char* member) {
    if (!json.contains(member)) return std::nullopt;
    return json.strings(member);
}

Json healthcheck_json(const Healthcheck& check) {
    Json json = Json::object();
    json.set_if("Test", check.test);
    const auto nonzero = [&](const char* name, std::int64_t value) {
        if (value != 0) json.set(name, value);
    };
    nonzero("Interval", check.interval_ns);
    nonzero("Timeout", check.timeout_ns);
    nonzero("StartPeriod", check.start_period_ns);
    nonzero("StartInterval", check.start_interval_ns);
    nonzero("Retries", check.retries);
    return json;
}

Healthcheck healthcheck_from(const Json& json) {
    check_member_case(json, {"Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"});
    Healthcheck check;
    check.test = json.strings("Test");
    check.interval_ns = json.int_or("Interval", 0);
    check.timeout_ns = json.int_or("Timeout", 0);
    check.start_period_ns = json.int_or("StartPeriod", 0);
    check.start_interval_ns = json.int_or("StartInterval", 0);
    const std::int64_t retries = json.int_or("Retries", 0);
    if (retries < 0 || retries > INT32_MAX)
        throw Error(Errc::invalid, fmt::format("Retries is {}, expected 0 or more", retries));
    check.retries = static_cast<int>(retries);
    return check;
}

Json config_json(const ImageConfig& config) {
    Json json = Json::object();
    json.set_if("User", config.user);
    json.set_if("ExposedPorts", set_json(config.exposed_ports));
    json.set_if("Env", config.env);
    if (config.entrypoint) json.set("Entrypoint", *config.entrypoint);
    if (config.cmd) json.set("Cmd", *config.cmd);
    json.set_if("Volumes", set_json(config.volumes));
    json.set_if("WorkingDir", config.working_dir);
    json.set_if("Labels", string_map_json(config.labels));
    json.set_if("StopSignal", config.stop_signal);
    if (config.healthcheck) json.set("Healthcheck", healthcheck_json(*config.healthcheck));
    json.set_if("OnBuild", config.on_build);
    if (config.shell) json.set("Shell", *config.shell);
    return json;
}

ImageConfig config_from(const Json& json) {
    ImageConfig config;
    if (json.is_null()) return config;
    check_member_case(json, {"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir",
                             "Labels", "StopSignal", "Healthcheck", "OnBuild", "Shell"});
    config.user = json.string_or("User");
    config.exposed_ports = set_member(json, "ExposedPorts");
    config.env = json.strings("Env");
    config.entrypoint = command_member(json, "Entrypoint");
    config.cmd = command_member(json, "Cmd");
    config.volumes = set_member(json, "Volumes");
    config.working_dir = json.string_or("WorkingDir");
    config.labels = string_map(json, "Labels");
    config.stop_signal = json.string_or("StopSignal");
    if (const Json& check = json["Healthcheck"]; !check.is_null()) {
        config.healthcheck = doing("member 'Healthcheck'", [&] { return healthcheck_from(check); });
    }
    config.on_build = json.strings("OnBuild");
    config.shell = command_member(json, "Shell");
    return config;
}

std::optional<std::string> time_member(const Json& json, const char* member) {
    const std::string text = json.string_or(member);
    if (text.empty()) return std::nullopt;
    if (!parse_rfc3339(text)) {
        throw Error(Errc::invalid, fmt::format("member '{}' is {}, expected an RFC 3339 time", member,
                                               json_quote(text.substr(0, 100))));
    }
    return text;
}

Json history_json(const History& step) {
    Json json = Json::object();
    if (step.created) json.set("created", *step.created);
    json.set_if("created_by", step.created_by).set_if("author", step.author).set_if("comment", step.comment);
    if (step.empty_layer) json.set("empty_layer", true);
    return json;
}

History history_from(const Json& json) {
    check_member_case(json, {"created", "created_by", "author", "comment", "empty_layer"});
    History step;
    step.created = time_member(json, "created");
    step.created_by = json.string_or("created_by");
    step.author = json.string_or("author");
    step.comment = json.string_or("comment");
    step.empty_layer = json.bool_or("empty_layer", false);
    return step;
}

std::vector<DiffId> layers_from(const Json& rootfs) {
    if (rootfs.is_null()) throw Error(Errc::invalid, "it is missing");
    check_member_case(rootfs, {"type", "diff_ids"});
    if (const std::string type = rootfs.string_or("type"); type != "layers") {
        throw Error(Errc::invalid, fmt::format("its type is {}, expected \"layers\"", json_quote(type)));
    }
    std::vector<DiffId> layers;
    for (const std::string& text : rootfs.strings("diff_ids")) layers.push_back(DiffId{Digest::parse(text)});
    return layers;
}

}  // namespace

std::string write_config(const Image& image) {
    Json json = Json::object();
    if (image.created) json.set("created", *image.created);
    json.set_if("author", image.author);
    json.set("architecture", image.platform.architecture).set("os", image.platform.os);
    json.set_if("variant", image.platform.variant);
    json.set("config", config_json(image.config));
    std::vector<std::string> ids;
    for (const DiffId& layer : image.layers) ids.push_back(layer.str());
    json.set("rootfs", Json::object().set("type", "layers").set("diff_ids", ids));
    Json history = Json::array();
    for (const History& step : image.history) history.push_back(history_json(step));
    json.set_if("history", std::move(history));
    return json.dump();
}

Image parse_config(std::string_view text, const std::string& what) {
    const Json json = Json::parse(text, what);
    return doing(what, [&] {
        check_member_case(json, {"created", "author", "architecture", "os", "os.version", "os.features",
                                 "variant", "config", "rootfs", "history"});
        for (const char* name : {"architecture", "os"}) {
            if (!json.contains(name)) throw Error(Errc::invalid, fmt::format("member '{}' is missing", name));
        }
        Image image;
        image.platform.architecture = json.string_or("architecture");
        image.platform.os = json.string_or("os");
        image.platform.variant = json.string_or("variant");
        image.created = time_member(json, "created");
        image.author = json.string_or("author");
        image.config = doing("member 'config'", [&] { return config_from(json["config"]); });
        image.layers = doing("member 'rootfs'", [&] { return layers_from(json["rootfs"]); });
        if (const Json& history = json["history"]; !history.is_null()) {
            doing("member 'history'", [&] {
                for (const Json& step : history.as_array()) image.history.push_back(history_from(step));
                const auto with_layer = std::count_if(image.history.begin(), image.history.end(),
                                                      [](const History& step) { return !step.empty_layer; });
                if (!image.history.empty() && static_cast<std::size_t>(with_layer) != image.layers.size()) {
                    throw Error(Errc::invalid,
                                fmt::format("it has {} entries with a layer, but there are {} diff_ids",
                                            with_layer, image.layers.size()));
                }
            });
        }
        return image;
    });
}

}  // namespace surcoat::registry
