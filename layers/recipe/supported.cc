#include "layers/recipe/supported.h"

#include <fmt/core.h>
#include <sys/utsname.h>

#include <algorithm>
#include <vector>

#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

/// GOARCH names, as image indexes use them, of the names that people and uname(2) use.
std::string normalize_architecture(const std::string& name) {
    if (name == "x86_64" || name == "x86-64") return "amd64";
    if (name == "aarch64") return "arm64";
    if (name == "armhf" || name == "armv7l") return "arm/v7";
    if (name == "armel" || name == "armv6l") return "arm/v6";
    if (name == "i386" || name == "i486" || name == "i586" || name == "i686") return "386";
    if (name == "loongarch64") return "loong64";
    return name;
}

bool is_component(std::string_view text) {
    return !text.empty() &&
           text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.-") == std::string_view::npos;
}

class Checker {
  public:
    explicit Checker(const Recipe& recipe) : recipe_(recipe) {}

    void check(const Step& step) {
        where_ = &step.where;
        std::visit([this](const auto& what) { look_at(what); }, step.what);
    }

  private:
    /// `where` may be unset for a flag without a value of its own: then the instruction is shown.
    [[noreturn]] void refuse(const Span* where, const std::string& what, const std::string& hint) const {
        throw recipe_.source
            .error(where != nullptr ? *where : *where_, what + " is not supported by this version",
                   Errc::unsupported)
            .hint(hint);
    }
    template <typename T>
    void look_at(const T&) const {}
    void look_at(const Add&) const {
        refuse(nullptr, "ADD", "use COPY for files of the context; fetch and unpack in a RUN step");
    }
    void look_at(const OnBuild&) const {
        refuse(nullptr, "ONBUILD", "write the instruction in the recipes that build on this image");
    }
    void look_at(const Run& run) const {
        if (!run.mounts.empty())
            refuse(&run.mounts[0].where, "RUN --mount",
                   "COPY what the step needs, in a stage of its own if it must not stay");
        if (!run.devices.empty()) refuse(&run.devices[0].where, "RUN --device", "remove the flag");
        if (run.network != "default") refuse(nullptr, "RUN --network=" + run.network, "remove the flag");
        if (run.security != "sandbox") refuse(nullptr, "RUN --security=" + run.security, "remove the flag");
    }
    void look_at(const Copy& copy) const {
        if (copy.link) refuse(nullptr, "COPY --link", "remove the flag; the files are the same without it");
        if (copy.parents) refuse(nullptr, "COPY --parents", "copy each directory to its own destination");
        if (!copy.exclude.empty())
            refuse(&copy.exclude[0].where, "COPY --exclude", "name what is not wanted in .dockerignore");
        if (!copy.files.empty())
            refuse(&copy.files[0].where, "COPY of a here-document",
                   "put the text into a file of the context, or write it with RUN");
    }

    const Recipe& recipe_;
    const Span* where_ = nullptr;
};

}  // namespace

std::string normalize_platform(std::string_view platform) {
    std::vector<std::string> parts;
    for (std::string_view rest = platform;;) {
        const std::size_t slash = rest.find('/');
        parts.push_back(ascii_lower(rest.substr(0, slash)));
        if (slash == std::string_view::npos) break;
        rest.remove_prefix(slash + 1);
    }
    bool good = parts.size() <= 3;
    for (const std::string& part : parts) good = good && is_component(part);
    if (!good) {
        throw Error(Errc::invalid, fmt::format("'{}' is not a platform", platform))
            .hint("write os/architecture, such as linux/amd64");
    }
    static const std::vector<std::string> kSystems = {"linux", "windows", "darwin", "freebsd", "macos"};
    if (parts.size() == 1) {
        const bool system = std::find(kSystems.begin(), kSystems.end(), parts[0]) != kSystems.end();
        if (!system) return "linux/" + normalize_architecture(parts[0]);
        const std::string host = host_platform();
        return (parts[0] == "macos" ? "darwin" : parts[0]) + host.substr(host.find('/'));
    }
    std::string out = (parts[0] == "macos" ? "darwin" : parts[0]) + "/" + normalize_architecture(parts[1]);
    if (parts.size() == 3) {
        // v8 is the only arm64 and v1 the least amd64: neither is written.
        const bool usual = (out.ends_with("/arm64") && (parts[2] == "v8" || parts[2] == "8")) ||
                           (out.ends_with("/amd64") && parts[2] == "v1");
        if (!usual)
            out += "/" + (is_digit(static_cast<unsigned char>(parts[2][0])) ? "v" + parts[2] : parts[2]);
    } else if (out.ends_with("/arm")) {
        out += "/v7";
    }
    return out;
}

std::string host_platform() {
    struct utsname machine {};
    ::uname(&machine);
    return "linux/" + normalize_architecture(machine.machine);
}

void check_supported(const Recipe& recipe) {
    if (recipe.stages.empty()) {
        throw recipe.source.error({}, "the recipe has no FROM")
            .hint("begin it with FROM and the name of a base image");
    }
    Checker checker(recipe);
    for (const Stage& stage : recipe.stages) {
        if (stage.platform.find('$') == std::string::npos) check_platform(recipe, stage, stage.platform);
        for (const Step& step : stage.steps) checker.check(step);
    }
}

void check_platform(const Recipe& recipe, const Stage& stage, std::string_view expanded) {
    if (expanded.empty()) return;
    std::string wanted;
    try {
        wanted = normalize_platform(expanded);
    } catch (const Error& e) { throw recipe.source.error(stage.platform_at, e.message()).hint(e.hint()); }
    const std::string host = host_platform();
    if (wanted == host) return;
    throw recipe.source
        .error(stage.platform_at,
               fmt::format("FROM --platform={} is not supported by this version on a {} machine", expanded,
                           host),
               Errc::unsupported)
        .hint("build on a machine of that platform, or remove --platform");
}

}  // namespace surcoat::recipe
