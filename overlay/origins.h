#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/tree.h"

namespace surcoat::overlay {

/// overlayfs' file handles ("origin" attributes, names in work/index) of a view's EROFS image → inodes of its
/// tree, null if unknown. The uuid in them is derived from the view's key, so an image made again has the same.
std::function<std::shared_ptr<const Inode>(std::string_view handle)> origins_of(const Tree& tree,
                                                                               const std::vector<DiffId>& layers);
/// The handle that the name of an index entry spells in hex; nothing if it is none.
std::optional<std::string> index_handle(std::string_view name);

}  // namespace surcoat::overlay
