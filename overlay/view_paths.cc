#include "overlay/view_paths.h"

#include <fmt/format.h>

#include "layers/base/error.h"
#include "layers/whiteout.h"

namespace surcoat::overlay {

std::vector<std::string> path_components(std::string_view path) {
    std::vector<std::string> components;
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        const std::string_view component = path.substr(0, slash);
        if (!component.empty() && component != ".") components.emplace_back(component);
        if (slash == std::string_view::npos) break;
        path.remove_prefix(slash + 1);
    }
    return components;
}

void fail(std::string_view verb, const std::string& path, int error) {
    throw os_error(fmt::format("{} '{}' in the container", verb, path), error);
}

void not_regular(const std::string& path, FileType type) {
    throw Error(Errc::invalid, fmt::format("'{}' is a {}, not a regular file", path, to_string(type)));
}

void check_node(const std::string& path, const Inode& inode) {
    const bool device = inode.type == FileType::char_device || inode.type == FileType::block_device;
    if (!device && inode.type != FileType::fifo) {
        throw Error(Errc::invalid, fmt::format("'{}' is to be a {}: only fifos and devices are made this way", path,
                                               to_string(inode.type)));
    }
    if (inode.type == FileType::char_device && inode.device_major == 0 && inode.device_minor == 0) {
        throw Error(Errc::invalid, fmt::format("'{}' cannot be character device 0:0: that is how overlayfs writes 'removed'",
                                               path));
    }
}

void check_xattr(const std::string& path, const std::string& name) {
    if (!is_overlay_xattr(name)) return;
    throw Error(Errc::invalid, fmt::format("attribute '{}' of '{}' is overlayfs' own and cannot be set", name, path));
}

}  // namespace surcoat::overlay
