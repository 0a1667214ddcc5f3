#include "overlay/union_view.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>

#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "layers/diff.h"
#include "overlay/kernel_overlay.h"
#include "overlay/library_layers.h"
#include "overlay/library_view.h"
#include "overlay/namespaces.h"
#include "overlay/origins.h"
#include "overlay/probe.h"

namespace surcoat::overlay {
namespace {

std::string library_because(const std::string& reason) {
    return fmt::format("using the library view, because {}; files can be read and changed, but nothing can be run in it "
                       "(as a plain user: user namespaces must be allowed)", reason);
}

// Where only one id is mapped, everything in the upper is root's, also what was copied up from another's file.
// Nobody in there could have given a file away, so what lies at a path of the image keeps the image's owner.
void restore_owners(Tree& merged, const Tree& lower) {
    std::vector<std::pair<std::string, std::shared_ptr<const Inode>>> changes;
    merged.walk([&](const std::string& path, const Tree::Node& node) {
        const Inode& now = *node.inode;
        if (now.uid != 0 || now.gid != 0) return;
        const Tree::Node* before = lower.find(path);
        if (before == nullptr || before->inode == node.inode || before->inode->type != now.type) return;
        if (before->inode->uid == 0 && before->inode->gid == 0) return;
        auto inode = std::make_shared<Inode>(now);
        inode->uid = before->inode->uid;
        inode->gid = before->inode->gid;
        changes.emplace_back(path, std::move(inode));
    });
    for (auto& change : changes) merged.put(change.first, std::move(change.second));
}

}  // namespace

std::unique_ptr<UnionView> open_view(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper,
                                     const ViewOptions& options, std::string* why) {
    if (why != nullptr) why->clear();
    if (options.backend == Backend::library) return open_library_view(store, lowers, upper, options.read_only);
    if (options.backend == Backend::kernel) {
        return view_of_root(mount_overlay(store, lowers, upper, options), "kernel overlay");
    }
    std::string reason;
    if (const auto fault = kernel_overlay_fault(store)) {
        reason = *fault;
    } else {
        try {
            return view_of_root(mount_overlay(store, lowers, upper, options), "kernel overlay");
        } catch (const Error& e) {
            // Somebody else has it mounted. Reading beside them is fine, changing is not.
            if (!options.read_only || e.os_error() != EBUSY) throw;
            reason = e.message();
        }
    }
    if (why != nullptr) *why = library_because(reason);
    return open_library_view(store, lowers, upper, options.read_only);
}

Tree container_tree(Store& store, const LowerStack& lowers, const UpperLayer& upper,
                    const std::function<ObjectId(int fd, std::uint64_t size)>& store_content) {
    const std::shared_ptr<const Tree> image = store.tree(lowers.layers);
    UpperFormat format;
    format.space = upper_namespace();
    if (current_privilege() == Privilege::none) {
        format.owner = [uid = ::geteuid(), gid = ::getegid()](std::uint32_t u, std::uint32_t g) {
            return std::pair(owner_in_view(u, uid), owner_in_view(g, gid));
        };
    }
    Tree merged = *image;
    for (auto frozen = lowers.frozen_uppers.rbegin(); frozen != lowers.frozen_uppers.rend(); ++frozen) {
        merged = merge_upper(RootDir(frozen->string()), merged, format, store_content);
    }
    const Tree below = merged;
    std::optional<RootDir> index;
    if (format.space == OverlayNamespace::trusted) {
        if (auto directory = try_open_file(upper.work / "index", O_RDONLY | O_DIRECTORY)) {
            index.emplace(std::move(*directory));
            format.index = &*index;
            format.origin = origins_of(*image, lowers.layers);
        }
    }
    merged = merge_upper(RootDir(upper.upper.string()), below, format, store_content);
    if (!has_id_range()) restore_owners(merged, below);
    return merged;
}

}  // namespace surcoat::overlay
