#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "layers/entry.h"

namespace surcoat::overlay {

/// What all backends of UnionView say and refuse in the same words.

/// "etc/motd" of "/etc//motd/", one dot component dropped, ".." kept: what is resolved inside a root.
std::vector<std::string> path_components(std::string_view path);

/// "cannot <verb> '<path>': <errno text>", for the container's path.
[[noreturn]] void fail(std::string_view verb, const std::string& path, int error);

/// Throws Errc::invalid: `path` is a directory, a fifo, … and not a regular file.
[[noreturn]] void not_regular(const std::string& path, FileType type);
/// Refuses a node that is no fifo or device, and char device 0:0, which would be a whiteout.
void check_node(const std::string& path, const Inode& inode);
/// Refuses overlayfs' own attribute names.
void check_xattr(const std::string& path, const std::string& name);

}  // namespace surcoat::overlay
