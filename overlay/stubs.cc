#include "overlay/stubs.h"

namespace surcoat::overlay {
namespace {

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool is_untouched_stub(const Tree::Node& node) {
    if (node.is_directory()) return node.children.empty();
    return node.inode->type == FileType::regular && node.inode->size == 0;
}

}  // namespace

void remove_stubs(Tree& tree, const Tree& before, const std::vector<std::string>& mount_points) {
    for (const std::string& point : mount_points) {
        // /etc/resolv.conf may be a dangling link of the image: what was made is what it leads to.
        const auto at = tree.resolve(point, true);
        if (!at || at->node == nullptr) continue;
        for (std::string path = at->path; !path.empty(); path = parent_of(path)) {
            const Tree::Node* node = tree.find(path);
            if (node == nullptr || before.find(path) != nullptr || !is_untouched_stub(*node)) break;
            tree.remove(path);
        }
    }
}

}  // namespace surcoat::overlay
