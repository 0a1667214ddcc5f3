#include "layers/whiteout.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <utility>

#include "layers/base/error.h"
#include "layers/entry.h"

namespace surcoat {
namespace {

constexpr std::string_view kPrefix = ".wh.";
constexpr std::string_view kAufsPrefix = ".wh..wh.";
constexpr std::string_view kOpaqueName = ".wh..wh..opq";

std::pair<std::string_view, std::string_view> split_last(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) return {{}, path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

std::string join(std::string_view directory, std::string_view name) {
    return directory.empty() ? std::string(name) : fmt::format("{}/{}", directory, name);
}

}  // namespace

OciWhiteout parse_oci_whiteout(std::string_view path) {
    const auto [directory, name] = split_last(path);
    for (std::string_view rest = directory; !rest.empty();) {
        const std::string_view component = rest.substr(0, rest.find('/'));
        rest.remove_prefix(std::min(rest.size(), component.size() + 1));
        // AUFS kept its own files in such directories; layers made on it still carry them.
        if (component.starts_with(kAufsPrefix)) return {OciWhiteout::Kind::none, {}};
        if (component.starts_with(kPrefix)) {
            throw Error(Errc::corrupt,
                        fmt::format("'{}' lies beneath a whiteout ('{}'), which cannot be a directory",
                                    printable(path), printable(component)))
                .hint("the layer was not written by an image tool: export the image again from its source");
        }
    }
    if (name == kOpaqueName) return {OciWhiteout::Kind::opaque, std::string(directory)};
    if (name.starts_with(kAufsPrefix)) return {OciWhiteout::Kind::none, {}};
    if (!name.starts_with(kPrefix)) return {OciWhiteout::Kind::none, std::string(path)};
    const std::string_view hidden = name.substr(kPrefix.size());
    if (hidden.empty() || hidden == "." || hidden == "..") {
        throw Error(Errc::corrupt,
                    fmt::format("whiteout '{}' would hide '{}', which is not the name of an entry",
                                printable(path), hidden))
            .hint("the layer was not written by an image tool: export the image again from its source");
    }
    return {OciWhiteout::Kind::entry, join(directory, hidden)};
}

std::string oci_whiteout_path(std::string_view path) {
    const auto [directory, name] = split_last(path);
    if (name.empty()) throw Error(Errc::invalid, "a whiteout needs a name: the root itself cannot be hidden");
    if (name.starts_with(kPrefix)) {
        throw Error(Errc::unsupported,
                    fmt::format("the removal of '{}' cannot be written to an image layer: names that begin "
                                "with '.wh.' are OCI's own",
                                printable(path)))
            .hint("rename the file, or keep it out of the image");
    }
    return join(directory, fmt::format("{}{}", kPrefix, name));
}

std::string oci_opaque_path(std::string_view directory) {
    return join(directory, kOpaqueName);
}

std::string_view overlay_prefix(OverlayNamespace space) {
    return space == OverlayNamespace::trusted ? "trusted.overlay." : "user.overlay.";
}

bool is_overlay_xattr(std::string_view name) {
    return name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.");
}

bool is_overlay_whiteout(const struct stat& st) {
    return S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

}  // namespace surcoat
