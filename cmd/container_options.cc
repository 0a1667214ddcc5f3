#include "cmd/container_options.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "layers/base/file.h"
#include "overlay/sandbox_plan.h"

namespace surcoat::cmd {

void ContainerOptions::declare(Options& options) {
    options.value("--name", name, "the container's name", "NAME");
    options.list("-e,--env", env, "a variable; NAME alone takes it from here", "NAME=VALUE");
    options.list("--env-file", env_files, "a file of NAME=VALUE lines", "FILE");
    options.list("-v,--volume", volumes, "show a host directory or file inside", "HOST:PATH[:ro]");
    options.list("--mount", mounts, "the same, in docker's long form", "type=bind,src=…,dst=…");
    options.list("--tmpfs", tmpfs, "an empty directory in memory", "PATH");
    options.list("-l,--label", labels, "a label", "NAME=VALUE");
    options.list("--cap-add", cap_add, "a capability more, or ALL", "CAP");
    options.list("--cap-drop", cap_drop, "a capability less, or ALL", "CAP");
    options.list("--security-opt", security_options, "no-new-privileges", "OPTION");
    options.value("-w,--workdir", working_dir, "the directory to run in", "PATH");
    options.value("-u,--user", user, "who to run as", "USER[:GROUP]");
    options.value("--entrypoint", entrypoint, "instead of the image's entrypoint; \"\" for none", "PROGRAM");
    options.value("--hostname", hostname, "the host name inside", "NAME");
    options.choice("--network,--net", network, {"host", "none"}, "the host's network, or none");
    options.choice("--runtime", runtime, {"", "crun", "runc"}, "run through an OCI runtime instead of our own sandbox");
    options.value("--stop-signal", stop_signal, "what `stop` sends", "SIGNAL");
    options.value("--stop-timeout", stop_timeout, "seconds before `stop` kills (10)", "SECONDS");
    options.flag("-i,--interactive", interactive, "keep standard input open");
    options.flag("-t,--tty", tty, "give it a terminal");
    options.flag("--read-only", read_only, "nothing in its root can be written");
    options.rest("IMAGE [COMMAND…]", image_and_command, "the image, then what to run instead of its command");
}

const std::string& ContainerOptions::image(const char* verb) const {
    if (image_and_command.empty()) {
        throw Error(Errc::invalid, fmt::format("{}: no image is named", verb)).hint(fmt::format("usage: surcoat {} [OPTIONS] IMAGE [COMMAND…]; images: `surcoat images`", verb));
    }
    return image_and_command.front();
}

std::optional<std::string> environment_item(const std::string& text) {
    if (text.empty() || text.front() == '=') throw Error(Errc::invalid, fmt::format("environment '{}' has no name", text));
    if (text.find('=') != std::string::npos) return text;
    if (const char* value = std::getenv(text.c_str())) return text + "=" + value;
    return std::nullopt;
}

namespace {

overlay::BindMount parse_volume(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, ':');) parts.push_back(part);
    if (parts.size() < 2 || parts.size() > 3 || parts[1].empty() || parts[1][0] != '/') {
        throw Error(Errc::invalid, fmt::format("--volume '{}' must read HOST:PATH or HOST:PATH:ro, with an absolute PATH", text));
    }
    overlay::BindMount mount;
    mount.source = std::filesystem::absolute(parts[0]).lexically_normal();
    mount.target = parts[1];
    if (parts.size() == 3) {
        std::istringstream flags(parts[2]);
        for (std::string flag; std::getline(flags, flag, ',');) {
            if (flag == "ro") mount.read_only = true;
            else if (flag != "rw" && flag != "z" && flag != "Z") throw Error(Errc::invalid, fmt::format("--volume '{}': unknown option '{}' (ro, rw)", text, flag));
        }
    }
    if (!std::filesystem::exists(mount.source)) {
        throw Error(Errc::not_found, fmt::format("--volume '{}': there is no '{}' on this host", text, mount.source));
    }
    return mount;
}

void parse_mount(const std::string& text, overlay::ContainerSpec& spec) {
    std::string type = "bind";
    overlay::BindMount mount;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, ',');) {
        const std::size_t equals = part.find('=');
        const std::string key = part.substr(0, equals);
        const std::string value = equals == std::string::npos ? "true" : part.substr(equals + 1);
        if (key == "type") type = value;
        else if (key == "src" || key == "source") mount.source = std::filesystem::absolute(value).lexically_normal();
        else if (key == "dst" || key == "target" || key == "destination") mount.target = value;
        else if (key == "ro" || key == "readonly") mount.read_only = value != "false";
        else throw Error(Errc::invalid, fmt::format("--mount '{}': unknown key '{}' (type, src, dst, ro)", text, key));
    }
    if (mount.target.empty() || mount.target[0] != '/') throw Error(Errc::invalid, fmt::format("--mount '{}' needs an absolute dst=", text));
    if (type == "tmpfs") {
        spec.tmpfs.push_back(mount.target);
    } else if (type == "bind") {
        if (!std::filesystem::exists(mount.source)) throw Error(Errc::not_found, fmt::format("--mount '{}': there is no '{}' on this host", text, mount.source));
        spec.mounts.push_back(mount);
    } else {
        throw Error(Errc::invalid, fmt::format("--mount '{}': type '{}' is neither bind nor tmpfs", text, type));
    }
}

void read_env_file(const std::string& file, std::vector<std::string>& env) {
    std::istringstream lines(read_file(file, 16 << 20));
    int number = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        const std::size_t start = line.find_first_not_of(" \t");
        if (start == std::string::npos || line[start] == '#') continue;
        line.erase(0, start);
        if (line.front() == '=') throw Error(Errc::invalid, fmt::format("{}:{}: a variable without a name", file, number));
        if (auto item = environment_item(line)) env.push_back(std::move(*item));
    }
}

}  // namespace

overlay::NewContainer ContainerOptions::make(const registry::StoredImage& image) const {
    std::vector<std::string> variables;
    for (const std::string& file : env_files) read_env_file(file, variables);
    for (const std::string& item : env) {
        if (auto variable = environment_item(item)) variables.push_back(std::move(*variable));
    }
    const std::vector<std::string> command(image_and_command.begin() + 1, image_and_command.end());
    std::optional<std::vector<std::string>> entry;
    if (entrypoint) entry = entrypoint->empty() ? std::vector<std::string>{} : std::vector<std::string>{*entrypoint};

    overlay::NewContainer made{name, image.row.id, image_and_command.front(), image.row.layers,
                               overlay::spec_from_image(image.image.config, entry, command, variables)};
    overlay::ContainerSpec& spec = made.spec;
    if (working_dir) spec.working_dir = *working_dir;
    if (user) spec.user = *user;
    spec.hostname = hostname;
    spec.network = network == "none" ? overlay::Network::none : overlay::Network::host;
    for (const std::string& volume : volumes) spec.mounts.push_back(parse_volume(volume));
    for (const std::string& mount : mounts) parse_mount(mount, spec);
    for (const std::string& path : tmpfs) {
        overlay::parse_tmpfs(path);  // refuses what is wrong with it
        spec.tmpfs.push_back(path);
    }
    for (const std::string& label : labels) {
        const std::size_t equals = label.find('=');
        spec.labels[label.substr(0, equals)] = equals == std::string::npos ? "" : label.substr(equals + 1);
    }
    for (const std::string& option : security_options) {
        if (option == "no-new-privileges" || option == "no-new-privileges=true" || option == "no-new-privileges:true") spec.no_new_privileges = true;
        else throw Error(Errc::invalid, fmt::format("--security-opt '{}' is not known: no-new-privileges", option));
    }
    spec.cap_add = cap_add;
    spec.cap_drop = cap_drop;
    spec.tty = tty;
    spec.open_stdin = interactive;
    spec.read_only = read_only;
    spec.auto_remove = remove;
    spec.scratch = remove;
    spec.runtime = runtime;
    if (!stop_signal.empty()) spec.stop_signal = stop_signal;
    if (stop_timeout) spec.stop_timeout_seconds = static_cast<int>(*stop_timeout);
    if (spec.args.empty()) {
        throw Error(Errc::invalid, fmt::format("image '{}' says nothing to run, and no command was given", image_and_command.front()))
            .hint(fmt::format("name one: surcoat run {} COMMAND", image_and_command.front()));
    }
    return made;
}

}  // namespace surcoat::cmd
